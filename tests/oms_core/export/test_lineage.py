"""Where a column comes from, read from SQL alone."""

from __future__ import annotations

import pytest
from sqlglot.errors import SqlglotError

from oms_core.export.lineage import Origin, column_origins

COLUMNS = {
    "landing": {
        "sales": {"id": "text", "amount": "decimal", "tax": "decimal"},
        "fees": {"id": "text", "fee": "decimal"},
    }
}


def origins(sql: str) -> dict[str, list[tuple[str, str, str]]]:
    found = column_origins(sql, "duckdb", COLUMNS)
    return {name: [(o.table, o.column, o.subtype) for o in several] for name, several in found.items()}


def test_a_column_keeps_its_origin_through_renaming_and_stars() -> None:
    sql = (
        "with a as (select * from landing.sales), b as (select id as sale_id, amount from a) select * from b"
    )
    assert origins(sql) == {
        "sale_id": [("sales", "id", "IDENTITY")],
        "amount": [("sales", "amount", "IDENTITY")],
    }


def test_what_happens_on_the_way_is_told_by_its_strongest_change() -> None:
    sql = """
        with summed as (select id, sum(amount) as amount from landing.sales group by id)
        select summed.id, summed.amount + coalesce(f.fee, 0) as net from summed left join landing.fees as f using (id)
    """
    assert origins(sql)["net"] == [("fees", "fee", "TRANSFORMATION"), ("sales", "amount", "AGGREGATION")]


def test_a_union_has_the_origins_of_both_sides_and_a_constant_has_none() -> None:
    sql = "select id, 'sale' as kind from landing.sales union all select id, 'fee' from landing.fees"
    assert origins(sql) == {"id": [("fees", "id", "IDENTITY"), ("sales", "id", "IDENTITY")], "kind": []}


def test_a_sub_query_is_looked_into() -> None:
    sql = (
        "select id, (select max(fee) from landing.fees where fees.id = sales.id) as worst from landing.sales"
    )
    assert ("fees", "fee", "AGGREGATION") in origins(sql)["worst"]


def test_a_recursive_query_ends() -> None:
    sql = """
        with recursive walk as (select id, amount from landing.sales union all select w.id, w.amount from walk as w)
        select id, amount from walk
    """
    assert origins(sql)["amount"] == [("sales", "amount", "IDENTITY")]


def test_what_is_no_sql_is_said() -> None:
    with pytest.raises(SqlglotError):
        column_origins("select from from", "duckdb", COLUMNS)


def test_origins_are_told_with_their_schema() -> None:
    found = column_origins("select tax from landing.sales", "duckdb", COLUMNS)
    assert found == {"tax": [Origin("landing", "sales", "tax", "IDENTITY")]}
