"""Reading releases: questions in SQL that cannot write, and what changed between two."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from oms_core.audit import log
from oms_core.release.errors import QueryRefusedError, RejectedError
from oms_core.release.publish import publish
from oms_core.release.read import diff, fetch_rows, note_export, query, query_as_auditor
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.tables import AUDITOR_ROLE


@pytest.fixture
def two_releases(database: Database, publish_small: Callable[..., Any]) -> Database:
    """Release 2 has no order lines any more."""
    publish_small(database)
    publish_small(database, fct_order_lines=[])
    return database


def test_query_reads_the_current_or_a_past_release(two_releases: Database) -> None:
    answer = query(
        two_releases, "select currency, sum(net_amount) as net from fct_orders group by 1 order by 1;"
    )
    assert answer.columns == ("currency", "net")
    assert answer.rows == (("CNY", Decimal("8.0000")), ("EUR", Decimal("49.9000")))
    assert not answer.is_cut
    assert query(two_releases, "select count(*) from fct_order_lines").rows == ((0,),)
    assert query(two_releases, "select count(*) from fct_order_lines", as_of=1).rows == ((1,),)
    assert query(two_releases, "select count(*) from released.fct_order_lines", as_of="1").rows == ((1,),)
    assert query(two_releases, "select 100 % 7, ':x', '%s', '{}'").rows == ((2, ":x", "%s", "{}"),)
    with pytest.raises(NotReleasedError, match="no release 9"):
        query(two_releases, "select 1", as_of=9)


def test_query_stops_at_its_limits(database: Database) -> None:
    answer = query(database, "select generate_series(1, 1000000)", limit=3)
    assert (answer.rows, answer.is_cut) == (((1,), (2,), (3,)), True)
    assert not query(database, "select generate_series(1, 3)", limit=3).is_cut
    nothing = query(database, "select 1 as one where false")
    assert (nothing.columns, nothing.rows, nothing.is_cut) == (("one",), (), False)
    many = query(database, "select repeat('x', 1000), generate_series(1, 100000000)", limit=2500)
    assert (len(many.rows), many.is_cut) == (2500, True)
    with pytest.raises(QueryRefusedError, match=r"takes more than 0.2 s"):
        query(database, "select pg_sleep(30)", seconds=0.2)
    assert query(database, "select 1").rows == ((1,),)


@pytest.mark.parametrize(
    ("asked", "is_personal"),
    [
        ("select * from dim_customers", True),
        ("select left(email, 3) as e from dim_customers", True),
        ("select * from survivorship_conflicts", True),
        ("select customer_id, country from dim_customers", False),
        ("select order_number, net_amount as value from fct_orders", False),
    ],
)
def test_taking_personal_data_out_is_an_entry(
    database: Database, publish_small: Callable[..., Any], asked: str, is_personal: bool
) -> None:
    publish_small(
        database,
        dim_customers=[{"customer_id": "c", "full_name": "Ann", "email": "a@a.example", "country": "DE", "preference_tags": "[]"}],
        survivorship_conflicts=[{"entity": "customer", "golden_id": "c", "attribute": "email", "record_id": "r", "value": "x"}],
    )  # fmt: skip
    answer = query(database, asked)
    assert note_export(database, actor="ann", query=asked, answer=answer) is is_personal
    with database.begin() as connection:
        said = [e.said for e in log.read(connection, -1, 100) if e.said["kind"] == "personal_data.exported"]
    assert [(item["actor"], item["data"]) for item in said] == (
        [("ann", {"query": asked, "rows": len(answer.rows)})] if is_personal else []
    )


NOT_READS = [
    "insert into fct_orders (order_id) values ('x')",
    "update fct_orders set net_amount = 0",
    "delete from fct_orders",
    "drop view fct_orders",
    "truncate release_history.fct_orders",
    "create table released.mine (id int)",
    "create temp table mine as select 1",
    "select * into mine from fct_orders",
    "with gone as (delete from release_history.fct_orders returning 1) select * from gone",
    "select * from release_history.fct_orders",
    "select * from orderhub.releases",
    "select * from orderhub.identity_members",
    "select pg_read_file('/etc/passwd')",
    "select lo_create(1)",
    "select lo_export(1, '/tmp/x')",
    "set role postgres",
    "set session authorization postgres",
    "copy fct_orders to '/tmp/x'",
    "copy fct_orders to program 'cat'",
    "copy fct_orders to stdout",
    "select 1; delete from fct_orders",
    "commit; drop schema released cascade",
    "do $$ begin delete from released.fct_orders; end $$",
    "vacuum",
    "explain analyze delete from fct_orders",
    "select * from no_such_table",
    "selec 1",
    "select 1/0",
    "select 'not a number'::int",
    "",
    "-- nothing",
    "select '\0'",
]
ESCAPES = [
    "set_config('role', 'postgres', false)",
    "set_config('session_authorization', 'postgres', false)",
    "set_config('transaction_read_only', 'off', false)",
    "set_config('default_transaction_read_only', 'off', false)",
    "set_config('search_path', 'orderhub', false)",
    "set_config('orderhub.as_of', '1', false)",
    "set_config('statement_timeout', '1', false)",
]


def test_query_refuses_whatever_is_not_one_read(two_releases: Database, subtests: pytest.Subtests) -> None:
    before = fetch_rows(two_releases, "fct_orders")
    for statement in NOT_READS:
        with subtests.test(statement=statement):
            with pytest.raises(QueryRefusedError, match=r"\w"):
                query(two_releases, statement)
    assert fetch_rows(two_releases, "fct_orders") == before


def test_settings_changed_by_a_query_die_with_it(two_releases: Database, subtests: pytest.Subtests) -> None:
    about = "select current_user, current_setting('transaction_read_only'), count(*) from fct_order_lines"
    for escape in ESCAPES:
        with subtests.test(escape=escape):
            with contextlib.suppress(QueryRefusedError):
                query(two_releases, f"select {escape}")
            assert query(two_releases, about).rows == (("orderhub_reader", "on", 0),)
            with pytest.raises(QueryRefusedError):
                query(two_releases, f"select {escape}, (select count(*) from orderhub.releases)")


def test_the_reading_role_sees_views_only(two_releases: Database) -> None:
    with two_releases.begin() as connection:
        readable = connection.execute(
            text(
                "SELECT relnamespace::regnamespace::text, relkind FROM pg_class WHERE relkind IN ('r', 'v', 'm', 'p', 'S') "
                "AND relnamespace::regnamespace::text !~ '^(pg_|information_schema)' "
                "AND has_table_privilege('orderhub_reader', oid, 'SELECT')"
            )
        ).all()
        assert {tuple(row) for row in readable} == {("released", "v")}
    with two_releases.read() as connection, pytest.raises(DBAPIError, match="permission denied"):
        connection.execute(text("SELECT * FROM orderhub.golden_ids"))


def test_fetch_rows_names_what_is_not_there(two_releases: Database) -> None:
    assert [row["order_id"] for row in fetch_rows(two_releases, "fct_orders", {"currency": "EUR"})] == [
        "order_a"
    ]
    assert len(fetch_rows(two_releases, "fct_orders", limit=1)) == 1
    with pytest.raises(NotReleasedError, match='column "mood" does not exist'):
        fetch_rows(two_releases, "fct_orders", {"mood": "good"})
    with pytest.raises(NotReleasedError, match='relation "fct_rebates" does not exist'):
        fetch_rows(two_releases, "fct_rebates")
    with pytest.raises(RejectedError, match="fct_moods is not declared"):
        fetch_rows(two_releases, "fct_moods")


def test_diff_tells_what_changed_and_how(database: Database, publish_small: Callable[..., Any]) -> None:
    def order(order_id: str, amount: str) -> dict[str, Any]:
        return {
            "order_id": order_id,
            "order_number": order_id,
            "currency": "EUR",
            "net_amount": Decimal(amount),
        }

    publish_small(database, fct_orders=[order("a", "1"), order("b", "2"), order("c", "3")])
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2.5"), order("d", "4")])
    publish_small(database, fct_orders=[order("a", "9"), order("b", "2"), order("c", "3")])
    found = diff(database, 1, 2, "fct_orders")
    assert (found.added, found.removed, found.changed) == (1, 1, 1)
    changes = {change.key["order_id"]: change for change in found.changes}
    assert changes["b"].kind == "changed"
    assert changes["b"].columns == {"net_amount": (Decimal("2.0000"), Decimal("2.5000"))}
    assert changes["c"].kind == "removed"
    assert changes["d"].columns["net_amount"] == (None, Decimal("4.0000"))
    backwards = diff(database, 2, 1, "fct_orders")
    assert {c.key["order_id"]: c.kind for c in backwards.changes} == {
        "b": "changed",
        "c": "added",
        "d": "removed",
    }
    # b and c changed and changed back: between 1 and 3 only a differs.
    assert [(c.key["order_id"], c.kind) for c in diff(database, 1, 3, "fct_orders").changes] == [
        ("a", "changed")
    ]
    assert diff(database, 2, 2, "fct_orders").changes == ()
    limited = diff(database, 1, 2, "fct_orders", limit=1)
    assert (len(limited.changes), limited.removed) == (1, 1)
    with pytest.raises(NotReleasedError, match="no release 4"):
        diff(database, 1, 4, "fct_orders")
    with pytest.raises(NotReleasedError, match="fct_rebates was never released"):
        diff(database, 1, 2, "fct_rebates")


def test_versions_and_changes_can_be_asked_for_in_sql(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    def order(order_id: str, amount: str) -> dict[str, Any]:
        return {
            "order_id": order_id,
            "order_number": order_id,
            "currency": "EUR",
            "net_amount": Decimal(amount),
        }

    publish_small(database, fct_orders=[order("a", "1"), order("b", "2"), order("c", "3")])
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2.5"), order("d", "4")])
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2.5"), order("c", "3"), order("d", "4")])
    changes = query(
        database,
        "select release_id, change_kind, order_id, column_name, old_value, new_value from fct_orders_changes "
        "where release_id > 1 order by 1, 3",
    )
    assert changes.rows == (
        (2, "changed", "b", "net_amount", "2.0000", "2.5000"),
        (2, "removed", "c", None, None, None),
        (2, "added", "d", None, None, None),
        (3, "added", "c", None, None, None),
    )
    known = query(
        database,
        "select release_from, release_to, net_amount, known_from < known_to from fct_orders_versions "
        "where order_id = 'b' order by 1",
    )
    assert known.rows == ((1, 2, Decimal("2.0000"), True), (2, None, Decimal("2.5000"), None))


def test_a_wider_type_keeps_every_view(database: Database) -> None:
    def customers(kind: pa.DataType, points: int) -> dict[str, pa.Table]:
        columns = {"customer_id": ["w"], "full_name": ["Ann Lee"], "points": pa.array([points], kind)}
        return {"dim_customers": pa.table(columns)}

    publish(database, customers(pa.int16(), 7), batches=(), code_version="test")
    publish(database, customers(pa.int64(), 2**40), batches=(), code_version="test")
    asked = "select points from dim_customers_versions order by release_from"
    assert query(database, asked).rows == ((7,), (2**40,))
    assert query(database, "select points from dim_customers").rows == ((2**40,),)
    changed = query(
        database, "select column_name, old_value, new_value from dim_customers_changes where release_id = 2"
    )
    assert changed.rows == (("points", "7", str(2**40)),)
    seen = query_as_auditor(database, "select full_name, points from dim_customers", actor="eve").rows
    assert seen == (("A•••", 2**40),)


def test_an_auditor_reads_everything_but_persons(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database)
    publish_small(
        database,
        dim_customers=[{"customer_id": "customer_w", "full_name": "李小红", "preference_tags": "[]"}],
    )
    rows = query_as_auditor(database, "select customer_id, full_name from dim_customers", actor="eve").rows
    assert rows == (("customer_w", "李•••"),)
    assert query_as_auditor(
        database,
        "select old_value, new_value from dim_customers_changes where column_name = 'full_name'",
        actor="eve",
    ).rows == (("王•••", "李•••"),)
    assert query_as_auditor(
        database, "select full_name from dim_customers_versions order by release_from", actor="eve"
    ).rows == (("王•••",), ("李•••",))
    past = query_as_auditor(database, "select full_name from dim_customers", actor="eve", as_of=1)
    assert past.rows == (("王•••",),)
    whole = query_as_auditor(database, "select sum(net_amount) from fct_orders", actor="eve")
    assert whole.rows == ((Decimal("57.9000"),),)
    assert query_as_auditor(
        database, "select count(*) > 0 from orderhub.audit_entries", actor="eve"
    ).rows == ((True,),)


def test_an_auditor_reads_every_table_but_keys(database: Database, publish_small: Callable[..., Any]) -> None:
    publish_small(database)
    with database.begin() as connection:
        closed = connection.execute(
            text(
                "SELECT c.relname || '.' || a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid "
                "WHERE c.relnamespace IN ('orderhub'::regnamespace, 'released'::regnamespace) AND c.relkind IN ('r', 'v') "
                "AND a.attnum > 0 AND NOT a.attisdropped AND c.relname <> 'alembic_version' "
                "AND NOT has_column_privilege(:role, c.oid, a.attnum, 'SELECT') AND NOT EXISTS (SELECT FROM pg_attribute AS m "
                "WHERE m.attrelid = to_regclass('masked.' || quote_ident(c.relname)) AND m.attname = a.attname) ORDER BY 1"
            ),
            {"role": AUDITOR_ROLE},
        ).scalars()
        assert set(closed) == {"api_keys.key_sha256", "person_keys.key", "person_keys.person_id"}


def test_an_auditor_sees_how_a_text_about_an_order_begins(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.outbox_events (event_id, type, subject, occurred_at, data) VALUES ('e', 't', 'order_a', "
                """now(), '{"note": ["ring 王小明", 7, null], "left": {"by": "Ann"}}')"""
            )
        )
    seen = query_as_auditor(database, "select subject, data from outbox_events", actor="eve").rows
    assert seen == (("order_a", {"note": ["r•••", 7, None], "left": {"by": "A•••"}}),)
    with pytest.raises(QueryRefusedError, match="permission"):
        query_as_auditor(database, "select data from orderhub.outbox_events", actor="eve")


@pytest.mark.parametrize(
    "sql",
    [
        "select full_name from released.dim_customers",
        "select new_value from released.dim_customers_changes",
        "select * from release_history.dim_customers",
        "select key_sha256 from orderhub.api_keys",
        "select fields from orderhub.identity_values",
        "select evidence from orderhub.identity_tasks",
        "select identifying from orderhub.identity_records",
        "delete from orderhub.audit_entries",
        "select set_config('role', 'postgres', true), query_to_xml('select * from released.dim_customers', true, true, '')",
        "create table masked.mine (a text)",
    ],
)
def test_an_auditor_gets_round_no_mask(
    database: Database, publish_small: Callable[..., Any], sql: str
) -> None:
    publish_small(database)
    with pytest.raises(QueryRefusedError):
        query_as_auditor(database, sql, actor="eve")


def test_a_purpose_lifts_the_mask_and_is_logged(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database)
    sql = "select full_name from dim_customers"
    answer = query_as_auditor(database, sql, actor="eve", purpose="complaint 12: who ordered?")
    assert answer.rows == (("王小明",),)
    with database.begin() as connection:
        said = [entry.said for entry in log.read(connection, -1, 100)]
    (entry,) = [item for item in said if item["kind"] == "personal_data.read"]
    assert (entry["actor"], entry["data"]["purpose"]) == ("eve", "complaint 12: who ordered?")
    assert entry["data"]["query"] == sql
    with pytest.raises(QueryRefusedError, match="purpose"):
        query_as_auditor(database, sql, actor="eve", purpose="  ")
