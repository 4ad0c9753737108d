"""Publishing: whole or not at all, changed rows only, every past release readable for ever."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from oms_core.audit.merkle import leaf_hash, tree_root
from oms_core.release.errors import BusyError, RejectedError
from oms_core.release.publish import Batch, Publication, publish
from oms_core.release.read import current_release, fetch_rows, list_releases, resolve
from oms_core.store.errors import NotReleasedError, UnsupportedColumnError
from oms_core.store.postgres import Database

MONEY = pa.decimal128(18, 4)
ORDERS = pa.schema(
    [
        ("order_id", pa.string()),
        ("order_number", pa.string()),
        ("currency", pa.string()),
        ("net_amount", MONEY),
        ("ordered_at", pa.timestamp("us")),
        ("ordered_on", pa.date32()),
        ("line_count", pa.int64()),
        ("is_test", pa.bool_()),
        ("completeness_ratio", pa.float64()),
    ]
)
NOON = datetime(2026, 11, 23, 12, 0, 0, 123456)


def order(order_id: str, **values: Any) -> dict[str, Any]:
    """One row of a small fct_orders."""
    return {
        "order_id": order_id,
        "order_number": f"N{order_id}",
        "currency": "EUR",
        "net_amount": Decimal("10.0000"),
        "ordered_at": NOON,
        "ordered_on": date(2026, 11, 23),
        "line_count": 1,
        "is_test": False,
        "completeness_ratio": 0.1,
        **values,
    }


def orders(*rows: dict[str, Any], schema: pa.Schema = ORDERS) -> dict[str, pa.Table]:
    """The marts of a release that holds orders only."""
    return {"fct_orders": pa.Table.from_pylist(list(rows), schema=schema)}


def publish_orders(database: Database, *rows: dict[str, Any], **options: Any) -> Publication:
    """Publish rows of fct_orders."""
    return publish(database, orders(*rows), batches=[], code_version="test", **options)


def released(database: Database, as_of: int | None = None) -> list[dict[str, Any]]:
    """The rows of fct_orders as of a release, without what the release adds."""
    rows = fetch_rows(database, "fct_orders", as_of=as_of)
    return [{k: v for k, v in row.items() if k not in ("row_hash", "release_id")} for row in rows]


def stored(row: dict[str, Any]) -> dict[str, Any]:
    """A row as PostgreSQL gives it back: instants with their zone."""
    return {**row, "ordered_at": row["ordered_at"] and row["ordered_at"].replace(tzinfo=UTC)}


def versions(database: Database) -> list[tuple[str, int, int | None]]:
    """(order, release_from, release_to) of every version ever stored."""
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT order_id, release_from, release_to FROM release_history.fct_orders ORDER BY 1, 2")
        )
        return [tuple(row) for row in rows]


def test_first_release_shows_what_was_published(database: Database) -> None:
    assert current_release(database) is None
    tricky = order(
        "2", order_number="tab\t newline\n back\\slash \\N", currency=None, net_amount=None, is_test=None
    )
    empty = order(
        "3", order_number="", completeness_ratio=None, ordered_at=None, ordered_on=None, line_count=-(2**63)
    )
    done = publish_orders(database, order("1"), tricky, empty)
    assert (done.release_id, done.is_new) == (1, True)
    assert released(database) == [stored(row) for row in (order("1"), tricky, empty)]
    listed = list_releases(database)
    assert [item.release_id for item in listed] == [1]
    assert listed[0].row_counts == {"fct_orders": 3}
    assert listed[0].merkle_root == done.merkle_root


def test_only_changed_rows_get_new_versions(database: Database) -> None:
    publish_orders(database, order("1"), order("2"), order("3"))
    done = publish_orders(database, order("1"), order("2", line_count=7), order("4"))
    table = done.tables[0]
    assert (table.seal.row_count, table.inserted_count, table.closed_count) == (3, 2, 2)
    assert versions(database) == [("1", 1, None), ("2", 1, 2), ("2", 2, None), ("3", 1, 2), ("4", 2, None)]
    assert [row["line_count"] for row in released(database, 1)] == [1, 1, 1]
    assert [row["order_id"] for row in released(database)] == ["1", "2", "4"]
    assert [row["release_id"] for row in fetch_rows(database, "fct_orders")] == [1, 2, 2]


def test_nothing_changed_makes_no_release(database: Database) -> None:
    first = publish_orders(database, order("1"), order("2"))
    again = publish_orders(database, order("2"), order("1"))
    assert (again.release_id, again.is_new, again.merkle_root) == (1, False, first.merkle_root)
    assert len(list_releases(database)) == 1


def test_a_release_can_become_empty_and_full_again(database: Database) -> None:
    publish_orders(database, order("1"))
    publish_orders(database)
    assert released(database) == []
    publish_orders(database, order("1"))
    assert released(database, 1) == released(database, 3) == [stored(order("1"))]
    assert versions(database) == [("1", 1, 2), ("1", 3, None)]


@pytest.mark.parametrize("seed", range(5))
def test_every_past_release_stays_as_it_was_published(database: Database, seed: int) -> None:
    """Law: as of r, a table shows exactly the rows published as r, however many releases follow."""
    chance = random.Random(seed)
    known: dict[int, list[dict[str, Any]]] = {}
    rows: dict[str, dict[str, Any]] = {}
    for _round in range(8):
        for key in chance.sample("abcdefghij", chance.randint(0, 6)):
            if key in rows and chance.random() < 0.4:
                del rows[key]
            else:
                rows[key] = order(
                    key, line_count=chance.randint(1, 2), currency=chance.choice(["EUR", "CNY", None])
                )
        offered = list(rows.values())
        chance.shuffle(offered)
        done = publish_orders(database, *offered)
        expected = [stored(rows[key]) for key in sorted(rows)]
        assert done.is_new == (expected != known.get(done.release_id))
        known[done.release_id] = expected
    assert {release: released(database, release) for release in known} == known
    for key, begin, end in versions(database):
        assert end is None or begin < end
        others = [(b, e) for k, b, e in versions(database) if k == key and b > begin]
        assert all(end is not None and end <= other for other, _ in others), "intervals of one key overlap"


def test_readers_work_batch_by_batch(database: Database) -> None:
    table = pa.Table.from_pylist([order(str(number)) for number in range(100)], schema=ORDERS)
    reader = pa.RecordBatchReader.from_batches(ORDERS, table.to_batches(max_chunksize=7))
    publish(database, {"fct_orders": reader}, batches=[], code_version="test")
    assert publish(database, {"fct_orders": table}, batches=[], code_version="test").is_new is False


def test_root_is_over_the_rows_and_depends_on_nothing_else(database: Database) -> None:
    done = publish_orders(database, order("1"), order("2", order_number="a\tb"))
    # The documented form: columns by name, tab-separated COPY text, RFC 6962 leaves in ascending order.
    lines = [
        b"0.1\tEUR\tfalse\t1\t10.0000\t1\tN1\t2026-11-23 12:00:00.123456\t2026-11-23",
        b"0.1\tEUR\tfalse\t1\t10.0000\t2\ta\\tb\t2026-11-23 12:00:00.123456\t2026-11-23",
    ]
    leaves = sorted(map(leaf_hash, lines))
    seal = done.tables[0].seal
    assert seal.merkle_root == tree_root(b"".join(leaves))
    entry = (
        '{"columns":[["completeness_ratio","double precision"],["currency","text"],["is_test","boolean"],'
        '["line_count","bigint"],["net_amount","numeric(18,4)"],["order_id","text"],["order_number","text"],'
        '["ordered_at","timestamptz"],["ordered_on","date"]],"control_totals":{"EUR":{"net_amount":"20.0000"}},'
        f'"merkle_root":"{seal.merkle_root.hex()}","row_count":2,"table":"fct_orders"}}'
    )
    assert done.merkle_root == leaf_hash(entry.encode())
    assert {row["row_hash"] for row in fetch_rows(database, "fct_orders")} == {leaf.hex() for leaf in leaves}


def test_types_of_other_engines_hash_alike(database: Database) -> None:
    """Dictionary text, large text, narrower integers and other time units are the same values."""
    publish_orders(database, order("1", ordered_at=NOON.replace(microsecond=123000)))
    table = orders(order("1", ordered_at=NOON.replace(microsecond=123000)))["fct_orders"]
    other = pa.table(
        {
            "order_id": table["order_id"].cast(pa.large_string()),
            "order_number": table["order_number"].dictionary_encode(),
            "currency": table["currency"].cast(pa.string_view()),
            "net_amount": table["net_amount"],
            "ordered_at": table["ordered_at"].cast(pa.timestamp("ms")).cast(pa.timestamp("ms", "UTC")),
            "ordered_on": table["ordered_on"].cast(pa.date64()),
            "line_count": table["line_count"].cast(pa.int32()),
            "is_test": table["is_test"],
            "completeness_ratio": table["completeness_ratio"],
            "row_hash": ["the mart's own, replaced by the seal's"],
        }
    )
    assert publish(database, {"fct_orders": other}, batches=[], code_version="test").is_new is False


def test_control_totals_are_per_currency_and_exact(database: Database) -> None:
    done = publish_orders(
        database,
        *(order(str(number), net_amount=Decimal("0.1")) for number in range(1000)),
        order("x", currency="CNY", net_amount=Decimal("99999999999999.9999")),
        order("y", currency=None, net_amount=Decimal("-1.5")),
        order("z", currency="JPY", net_amount=None),
    )
    assert done.tables[0].seal.control_totals == {
        "CNY": {"net_amount": Decimal("99999999999999.9999")},
        "EUR": {"net_amount": Decimal("100.0000")},
        "XXX": {"net_amount": Decimal("-1.5")},
    }


def test_amounts_in_the_reporting_currency_are_counted_under_it(database: Database) -> None:
    schema = ORDERS.append(pa.field("reporting_currency", pa.string())).append(
        pa.field("net_reporting_amount", MONEY)
    )
    marts = orders(order("1", reporting_currency="USD", net_reporting_amount=Decimal(12)), schema=schema)
    done = publish(database, marts, batches=[], code_version="test")
    assert done.tables[0].seal.control_totals["USD"] == {"net_reporting_amount": Decimal(12)}


def test_batches_belong_to_the_first_release_that_holds_them(database: Database) -> None:
    first, second = Batch("square", "orders", "b1"), Batch("square", "orders", "b2")
    publish(database, orders(order("1")), batches=[first], code_version="test")
    publish(database, orders(order("2")), batches=[first, second], code_version="test")
    assert [item.batch_count for item in list_releases(database)] == [1, 1]


def test_new_columns_are_added_and_lost_ones_stay_readable(database: Database) -> None:
    publish_orders(database, order("1"))
    wider = ORDERS.append(pa.field("channel", pa.string()))
    publish(database, orders(order("1", channel="web"), schema=wider), batches=[], code_version="test")
    assert [row["channel"] for row in released(database)] == ["web"]
    assert [row["channel"] for row in released(database, 1)] == [None]
    narrower = wider.remove(wider.get_field_index("line_count"))
    done = publish(
        database, orders(order("1", channel="web"), schema=narrower), batches=[], code_version="test"
    )
    assert done.tables[0].missing_columns == ("line_count",)
    assert [row["line_count"] for row in released(database)] == [None]
    assert [row["line_count"] for row in released(database, 2)] == [1]


def test_a_new_column_without_values_makes_a_release_that_shows_it(database: Database) -> None:
    publish_orders(database)
    wider = ORDERS.append(pa.field("channel", pa.string()))
    assert publish(database, orders(schema=wider), batches=[], code_version="test").is_new
    assert publish(database, orders(schema=wider), batches=[], code_version="test").is_new is False


def test_types_widen_and_never_narrow(database: Database) -> None:
    at = ORDERS.get_field_index("line_count")
    narrow = ORDERS.set(at, pa.field("line_count", pa.int16()))
    publish(database, orders(order("1"), schema=narrow), batches=[], code_version="test")
    publish(database, orders(order("1", line_count=2**40)), batches=[], code_version="test")
    assert [row["line_count"] for row in released(database)] == [2**40]
    assert [row["line_count"] for row in released(database, 1)] == [1]
    as_text = ORDERS.set(at, pa.field("line_count", pa.string()))
    with pytest.raises(
        RejectedError, match=r"fct_orders.line_count was bigint in earlier releases and is text now"
    ):
        publish(database, orders(order("1", line_count="x"), schema=as_text), batches=[], code_version="test")
    assert len(list_releases(database)) == 2


def test_a_column_without_values_may_take_any_type_later(database: Database) -> None:
    untyped = ORDERS.append(pa.field("distance_km", pa.null()))
    publish(database, orders(order("1"), schema=untyped), batches=[], code_version="test")
    typed = ORDERS.append(pa.field("distance_km", pa.float64()))
    publish(database, orders(order("1", distance_km=1.5), schema=typed), batches=[], code_version="test")
    assert [row["distance_km"] for row in released(database)] == [1.5]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([order("1"), order("1")], "holds 1 rows twice"),
        (
            [order("1"), order("1", line_count=2)],
            r"null or comes twice: Key \(order_id, release_from\)=\(1, 1\)",
        ),
        ([order("1"), order(None)], "null or comes twice"),  # type: ignore[arg-type]
        ([order("1", order_number="nul \0 byte")], "refused by PostgreSQL: invalid byte sequence"),
    ],
)
def test_bad_rows_are_rejected_whole(database: Database, rows: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(RejectedError, match=message):
        publish_orders(database, *rows)
    assert list_releases(database) == []


def test_a_key_that_goes_on_may_not_begin_again(database: Database) -> None:
    publish_orders(database, order("1"), order("2"))
    with pytest.raises(RejectedError, match="fct_orders holds the key order_id=1 twice"):
        publish_orders(database, order("1"), order("1", line_count=9), order("2"))
    assert versions(database) == [("1", 1, None), ("2", 1, None)]


def test_marts_that_cannot_be_released_are_named(database: Database) -> None:
    with pytest.raises(RejectedError, match="no mart was given"):
        publish(database, {}, batches=[], code_version="test")
    with pytest.raises(RejectedError, match="table fct_moods is not declared"):
        publish(database, {"fct_moods": pa.table({"id": ["1"]})}, batches=[], code_version="test")
    with pytest.raises(RejectedError, match="fct_orders lacks order_id of its key"):
        publish(database, {"fct_orders": pa.table({"id": ["1"]})}, batches=[], code_version="test")
    lists = pa.table({"order_id": ["1"], "tags": [["a", "b"]]})
    with pytest.raises(UnsupportedColumnError, match="column tags has type list"):
        publish(database, {"fct_orders": lists}, batches=[], code_version="test")


def test_a_table_once_released_must_be_offered_again(database: Database) -> None:
    publish_orders(database, order("1"))
    with pytest.raises(RejectedError, match="release 1 has tables that are not offered now: fct_orders"):
        publish(database, {"dim_skus": pa.table({"sku_id": ["s"]})}, batches=[], code_version="test")


def test_one_publisher_at_a_time(database: Database) -> None:
    started, go_on = threading.Event(), threading.Event()

    def slow() -> Iterator[pa.RecordBatch]:
        started.set()
        assert go_on.wait(30)
        yield from orders(order("1"))["fct_orders"].to_batches()

    reader = pa.RecordBatchReader.from_batches(ORDERS, slow())
    options: dict[str, Any] = {"batches": [], "code_version": "test"}
    first = threading.Thread(target=publish, args=(database, {"fct_orders": reader}), kwargs=options)
    first.start()
    try:
        assert started.wait(30)
        with pytest.raises(BusyError, match=r"another publication, or .* for 0.2 s"):
            publish_orders(database, order("2"), wait_seconds=0.2)
    finally:
        go_on.set()
        first.join()
    assert released(database) == [stored(order("1"))]


def test_releases_are_found_by_id_and_by_time(database: Database) -> None:
    with pytest.raises(NotReleasedError, match="there is no release 1: publish one first"):
        resolve(database, 1)
    first = publish_orders(database, order("1"))
    second = publish_orders(database, order("2"))
    assert resolve(database, 1).release_id == 1
    assert resolve(database, "2").release_id == 2
    assert resolve(database, first.published_at).release_id == 1
    assert resolve(database, second.published_at - timedelta(microseconds=1)).release_id == 1
    assert resolve(database, (second.published_at + timedelta(days=1)).isoformat()).release_id == 2
    with pytest.raises(NotReleasedError, match="nothing was released yet at 1999"):
        resolve(database, "1999-01-01")
    with pytest.raises(NotReleasedError, match="no release 3: the newest is release 2"):
        resolve(database, 3)
    with pytest.raises(NotReleasedError, match="neither a release number nor a time"):
        resolve(database, "yesterday")
