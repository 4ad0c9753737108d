"""The survivorship macro itself, rendered and run in DuckDB: which record answers, under each rule, ties included."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import duckdb
import jinja2
import jinja2.ext
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity import normalise
from oms_core.identity.golden.survivorship import RULES, UNITS

MACROS = Path(__file__).resolve().parents[2] / "dbt" / "macros"
SURVIVED = (
    Path(__file__).resolve().parents[2] / "dbt" / "models" / "marts" / "core" / "int_orders_survived.sql"
)
QUICK = settings(max_examples=60, deadline=None, database=None)

# Two systems of one kind, one of another, one that no rule lists.
SYSTEMS = (("crm_one", "crm", 1), ("crm_two", "crm", 2), ("erp", "erp", 1), ("till", "pos", 1))
UNIT = {"anchor": "name", "attributes": {"name": ("name", "text"), "city": ("city", "text")}}


class _Returned(Exception):
    """What a macro returned with `return(...)`."""


def _return(value: object) -> None:
    raise _Returned(value)


@lru_cache(maxsize=1)
def macros() -> Any:
    """The macros as dbt would offer them, on DuckDB."""
    environment = jinja2.Environment(extensions=["jinja2.ext.do"], autoescape=False)
    types = {"text": "text", "integer": "bigint", "boolean": "boolean", "instant": "timestamp"}
    environment.globals |= {
        "return": _return,
        "column_type": lambda kind: types.get(kind, "numeric(18,4)"),
        "code_point_order": lambda expression: expression,
        "ref": lambda name: name,
        "source": lambda schema, name: name,
    }
    text = "".join((MACROS / name).read_text() for name in ("golden_units.sql", "survivorship.sql"))
    return environment.from_string(text).module


def golden_units(entity: str) -> dict[str, Any]:
    with pytest.raises(_Returned) as returned:
        macros().golden_units(entity)
    found: dict[str, Any] = returned.value.args[0]
    return found


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as opened:
        opened.execute("create table source_systems (source_system text, kind text, authority int)")
        opened.executemany("insert into source_systems values (?, ?, ?)", SYSTEMS)
        opened.execute(
            "create table survivorship_rules (entity text, unit text, source_system text, priority int, rule text, "
            "rule_version text)"
        )
        opened.execute(
            "create table records (golden_id text, record_id text, source_system text, source_updated_at timestamp, "
            "name text, city text)"
        )
        yield opened


def surviving(
    connection: duckdb.DuckDBPyConnection,
    rule: str,
    records: Sequence[tuple[str, str, int | None, str | None, str | None]],
) -> dict[str, Any]:
    """The golden row of records (record id, system, day of January or None, name, city)."""
    connection.execute("delete from survivorship_rules")
    connection.execute("delete from records")
    for system, _, _ in SYSTEMS:
        priority = {"crm_one": 1, "crm_two": 1, "erp": 2}.get(system)
        connection.execute(
            "insert into survivorship_rules values ('customer', 'name', ?, ?, ?, '7')",
            [system, priority, rule],
        )
    for record_id, system, day, name, city in records:
        at = None if day is None else f"2026-01-{day:02d}"
        connection.execute(
            "insert into records values ('G', ?, ?, ?, ?, ?)", [record_id, system, at, name, city]
        )
    query = macros().survive("records", "golden_id", "customer", {"name": UNIT})
    found = connection.execute(query)
    names = [column[0] for column in found.description]
    rows = found.fetchall()
    assert len(rows) == 1
    return dict(zip(names, rows[0], strict=True))


CASES = [
    ("the best kind wins, however old", "source_priority",
     [("a", "erp", 9, "Anna", "Bonn"), ("b", "crm_one", 1, "Ann", None)], "b"),
    ("a source that cannot answer does not block the next", "source_priority",
     [("a", "erp", 9, "Anna", "Bonn"), ("b", "crm_one", 1, None, "Kiel")], "a"),
    ("two systems of one kind: the stated order, not the newest", "source_priority",
     [("a", "crm_two", 9, "Anna", None), ("b", "crm_one", 1, "Ann", None)], "b"),
    ("two records of one system: the newest", "source_priority",
     [("a", "crm_one", 1, "Anna", None), ("b", "crm_one", 9, "Ann", None)], "b"),
    ("no dates at all: the smaller record id, every time", "source_priority",
     [("b", "crm_one", None, "Anna", None), ("a", "crm_one", None, "Ann", None)], "a"),
    ("a source that the rule does not list answers last", "most_recent",
     [("a", "till", 9, "Anna", None), ("b", "erp", 1, "Ann", None)], "b"),
    ("an unlisted source answers where nobody else can", "most_recent",
     [("a", "till", 9, "Anna", None), ("b", "erp", 1, None, None)], "a"),
    ("the newest wins, whatever the kind", "most_recent",
     [("a", "erp", 9, "Anna", None), ("b", "crm_one", 1, "Ann", None)], "a"),
    ("a record without a date is no newer than one with", "most_recent",
     [("a", "crm_one", None, "Anna", None), ("b", "erp", 1, "Ann", None)], "b"),
    ("equally new: the better kind", "most_recent",
     [("a", "erp", 9, "Anna", None), ("b", "crm_one", 9, "Ann", None)], "b"),
    ("the value that most records tell wins over the best kind", "most_frequent",
     [("a", "crm_one", 9, "Ann", None), ("b", "erp", 1, "Anna", None), ("c", "erp", 2, " Anna ", None)], "c"),
    ("equally frequent: the better kind", "most_frequent",
     [("a", "erp", 9, "Anna", None), ("b", "crm_one", 1, "Ann", None)], "b"),
    ("a value counts whole", "most_frequent",
     [("a", "crm_one", 9, "Ann", "Bonn"), ("b", "erp", 1, "Ann", "Kiel"), ("c", "erp", 2, "Eve", "Ulm"),
      ("d", "crm_two", 3, "Eve", "Ulm")], "d"),
    ("votes of records that cannot answer do not count", "most_frequent",
     [("a", "erp", 9, None, "Bonn"), ("b", "erp", 8, None, "Bonn"), ("c", "till", 1, "Ann", None)], "c"),
    ("the fullest record wins", "most_complete",
     [("a", "crm_one", 9, "Ann", None), ("b", "erp", 1, "Anna", "Bonn")], "b"),
    ("equally full: the better kind", "most_complete",
     [("a", "erp", 9, "Anna", "Bonn"), ("b", "crm_one", 1, "Ann", "Ulm")], "b"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("rule", "records", "winner"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_a_rule_chooses(
    connection: duckdb.DuckDBPyConnection, rule: str, records: list[Any], winner: str
) -> None:
    found = surviving(connection, rule, records)
    chosen = next(record for record in records if record[0] == winner)
    assert found["name_record_id"] == winner
    assert (found["name"], found["city"]) == (chosen[3], chosen[4])
    assert (found["name_rule"], found["name_rule_version"]) == (rule, "7")


def test_addresses_that_marketplaces_hand_out_are_known_to_sql_as_to_python(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    condition = macros().is_relay_address("address")
    told = [f"x1@{domain}example" for domain in normalise.RELAY_DOMAINS]
    for address, is_relay in [*((one, True) for one in told), ("anna@inbox.example", False)]:
        found = connection.execute(
            f"select {condition} from (select ? as address) as a", [address]
        ).fetchone()
        assert found == (is_relay,), address
        assert (normalise.email(address) is None) == is_relay, address


def test_where_nobody_can_answer_nothing_survives(connection: duckdb.DuckDBPyConnection) -> None:
    found = surviving(connection, "source_priority", [("a", "erp", 1, None, "Bonn")])
    assert (found["name"], found["city"], found["name_record_id"], found["name_rule"]) == (
        None,
        None,
        None,
        None,
    )


@QUICK
@given(
    rule=st.sampled_from(RULES),
    told=st.lists(
        st.tuples(
            st.sampled_from([system for system, _, _ in SYSTEMS]),
            st.none() | st.integers(1, 4),
            st.none() | st.sampled_from("AB"),
            st.none() | st.sampled_from("XY"),
        ),
        min_size=1,
        max_size=7,
    ),
    shuffle=st.randoms(use_true_random=False),
)
def test_what_survives_does_not_depend_on_the_order_of_records(
    connection: duckdb.DuckDBPyConnection, rule: str, told: list[Any], shuffle: Any
) -> None:
    records = [(f"r{number}", *values) for number, values in enumerate(told)]
    first = surviving(connection, rule, records)
    shuffle.shuffle(records)
    assert surviving(connection, rule, records) == first
    able = [record for record in records if record[3] is not None]
    assert (first["name_record_id"] is None) == (not able)
    if first["name_record_id"] is not None:
        chosen = next(record for record in records if record[0] == first["name_record_id"])
        assert (first["name"], first["city"]) == (chosen[3], chosen[4])  # whole, from one record


@pytest.mark.parametrize("entity", ["customer", "sku", "location"])
def test_the_units_of_the_macro_are_those_that_rules_know(entity: str) -> None:
    assert {name: tuple(unit["attributes"]) for name, unit in golden_units(entity).items()} == {
        unit.name: unit.attributes for unit in UNITS[entity]
    }


def test_the_units_of_an_order_are_those_that_rules_know() -> None:
    environment = jinja2.Environment(autoescape=False)
    seen: list[dict[str, Any]] = []
    environment.globals |= {
        "config": lambda **_: "",
        "ref": lambda name: name,
        "survive": lambda relation, id, entity, units: seen.append(units) or "",
    }
    environment.from_string(SURVIVED.read_text()).render()
    known = {unit.name: unit for unit in UNITS["order"]}
    assert set(seen[0]) <= set(known)
    # What survives under another name first is named as the record's own (record_status, paid_currency).
    for name, unit in seen[0].items():
        ours = {attribute.removeprefix("record_") for attribute in unit["attributes"]} - {f"{name}_currency"}
        if known[name].attributes and name != "lines" and ours != {"status"}:
            assert ours == set(known[name].attributes), name
