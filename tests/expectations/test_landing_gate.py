"""Gate 1 over batches of a small shop, landed by the real kit and then spoiled on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connectors import registry
from connectors.declare import (
    Amount,
    Child,
    ControlTotal,
    Currency,
    Field,
    Gtin,
    Instant,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
    stream_schemas,
)
from connectors.extract import land_rows
from connectors.landing import CommittedBatch, Landing
from connectors.quarantine import list_rows
from expectations.context import GateContext
from expectations.landing import EXTRAS, check_batch, gate_landing, landing_suite


class Order(Record):
    """An order of the shop."""

    order_id: str = Field(min_length=1)
    currency: Currency
    total_amount: Amount
    created_at: Instant
    updated_at: Instant
    promised_at: Instant | None = None


class Line(Record):
    """A line of an order."""

    line_id: str
    barcode: Gtin | None = None
    qty: Quantity = Field(ge=0)


class Shelf(Record):
    """A place in the shop; the list has no change time."""

    shelf_id: int
    capacity: int | None = None


SHOP = Source(
    name="shop",
    title="Shop",
    kind=Kind.POS,
    owner="tests",
    streams=(
        Stream(
            name="orders",
            record=Order,
            key=("order_id",),
            path="/orders",
            cursor="updated_at",
            children=(Child(name="lines", path="lines", record=Line, parent={"order_id": "order_id"}),),
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
        ),
        Stream(name="shelves", record=Shelf, key=("shelf_id",), path="/shelves"),
    ),
)


def order(number: int, **changes: Any) -> dict[str, Any]:
    """A good order with two lines, as the shop sends it."""
    return {
        "order_id": f"o{number}",
        "currency": "EUR",
        "total_amount": "12.50",
        "created_at": "2026-10-01T09:00:00+02:00",
        "updated_at": "2026-10-02T09:00:00+02:00",
        "lines": [
            {"line_id": f"o{number}-1", "barcode": "4006381333931", "qty": "1"},
            {"line_id": f"o{number}-2", "qty": "0.250"},
        ],
        **changes,
    }


@dataclass(frozen=True)
class Shop:
    """The landing store of one test."""

    landing: Landing

    def land(self, rows: Sequence[dict[str, Any]], stream: str = "orders") -> CommittedBatch:
        """Land rows as one page and one batch; they must all be valid."""
        declared = SHOP.stream(stream)
        batch = self.landing.open_batch("shop", declared)
        page = batch.archive(repr(rows).encode(), "GET /orders")
        batch.count(stream, len(rows))
        land_rows(batch, declared, rows, page)
        assert not batch.rejections
        batch.commit()
        return next(item for item in self.landing.batches() if item.batch_id == batch.batch_id)


def rewrite(path: Path, change: Callable[[pa.Table], pa.Table]) -> None:
    """Change a landed file behind the kit's back."""
    pq.write_table(change(pq.read_table(path)), path)


def spoil(path: Path, position: int, **values: Any) -> None:
    """Put values into one landed row that no record model would let through."""

    def change(table: pa.Table) -> pa.Table:
        rows = table.to_pylist()
        rows[position].update(values)
        return pa.Table.from_pylist(rows, schema=table.schema)

    rewrite(path, change)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """An empty shop."""
    landing = Landing(tmp_path / "landing")
    yield Shop(landing)
    landing.close()


def test_a_good_batch_passes_whole(shop: Shop, gate: GateContext) -> None:
    result = check_batch(shop.land([order(n) for n in range(5)]), SHOP, gate)
    assert (result.reasons, result.warnings, result.rejections) == ((), (), ())
    assert result.passed
    assert result.row_count == 15
    assert all(finding.passed and finding.error is None for finding in result.findings)
    assert {finding.table for finding in result.findings} == {"landing.shop.orders", "landing.shop.lines"}


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("currency", "XXY", "currency 'XXY' is not an ISO 4217 code"),
        ("total_amount", Decimal("99999999999999"), "total_amount 99999999999999.0000 is not between"),
        (
            "created_at",
            datetime(1999, 12, 31, tzinfo=UTC),
            "created_at 1999-12-31 00:00:00+00:00 is before 2000",
        ),
        (
            "updated_at",
            datetime(2200, 1, 1, tzinfo=UTC),
            "updated_at 2200-01-01 00:00:00+00:00 is before 2000 or over 2 days",
        ),
        (
            "promised_at",
            datetime(2200, 1, 1, tzinfo=UTC),
            "promised_at 2200-01-01 00:00:00+00:00 is before 2000 or more than",
        ),
        ("order_id", None, "order_id is missing"),
        ("updated_at", None, "updated_at is missing"),
    ],
)
def test_a_bad_row_is_rejected_with_its_reason_and_place(
    shop: Shop, gate: GateContext, column: str, value: Any, reason: str
) -> None:
    batch = shop.land([order(n) for n in range(5)])
    spoil(batch.files["orders"], 3, **{column: value})
    result = check_batch(batch, SHOP, gate)
    assert result.passed
    row = next(item for item in result.rejections if item.stream == "orders")
    assert row.error.startswith(reason)
    assert row.stage == "gate"
    landed = pq.read_table(batch.files["orders"]).to_pylist()[3]
    assert (row.origin.page_sha256, row.origin.row_index, row.origin.record_hash, row.origin.child_index) == (
        landed["_page_sha256"], 3, landed["_record_hash"], None,
    )  # fmt: skip
    assert "_page_sha256" not in json.loads(row.payload)
    assert column in json.loads(row.payload)


def test_a_promise_may_lie_ahead(shop: Shop, gate: GateContext) -> None:
    ahead = (datetime.now(UTC) + timedelta(days=300)).isoformat()
    assert not check_batch(shop.land([order(1, promised_at=ahead)]), SHOP, gate).rejections


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("qty", Decimal("-1"), "qty -1.000000 is not between 0 and"),
        ("order_id", None, "order_id is missing: the row has lost its parent"),
        ("_parent_hash", None, "_parent_hash is missing: the row has lost its parent"),
        ("barcode_gtin14", "123", "barcode_gtin14 '123' is not a GTIN-14"),
    ],
)
def test_a_bad_child_row_is_rejected_alone(
    shop: Shop, gate: GateContext, column: str, value: Any, reason: str
) -> None:
    batch = shop.land([order(n) for n in range(3)])
    spoil(batch.files["lines"], 2, **{column: value})
    result = check_batch(batch, SHOP, gate)
    (row,) = result.rejections
    assert row.stream == "lines"
    assert row.error.startswith(reason)
    assert (row.origin.row_index, row.origin.child_index) == (1, 0)
    assert row.parent is not None
    assert set(json.loads(row.parent)) == {"hash", "order_id"}


def test_children_go_with_their_rejected_parent(shop: Shop, gate: GateContext) -> None:
    batch = shop.land([order(n) for n in range(4)])
    spoil(batch.files["orders"], 1, currency="XXY")
    result = check_batch(batch, SHOP, gate)
    assert [(item.stream, item.origin.row_index, item.origin.child_index) for item in result.rejections] == [
        ("orders", 1, None), ("lines", 1, 0), ("lines", 1, 1),
    ]  # fmt: skip
    assert result.rejections[1].error.startswith("its parent row is rejected: currency 'XXY'")


def test_a_row_with_several_faults_is_rejected_once(shop: Shop, gate: GateContext) -> None:
    batch = shop.land([order(n, lines=[]) for n in range(4)])
    spoil(batch.files["orders"], 0, currency="XXY", total_amount=Decimal("-99999999999999"))
    (row,) = check_batch(batch, SHOP, gate).rejections
    assert "XXY" in row.error
    assert "-99999999999999" in row.error


def test_the_same_row_received_twice_is_no_fault(shop: Shop, gate: GateContext) -> None:
    result = check_batch(shop.land([order(1), order(2), order(1)]), SHOP, gate)
    assert (result.passed, result.repeated_count, result.rejections) == (True, 1, ())


def test_every_copy_of_a_bad_row_is_rejected(shop: Shop, gate: GateContext) -> None:
    batch = shop.land([order(n, lines=[]) for n in (1, 2, 3, 1)])
    for position in (0, 3):
        spoil(batch.files["orders"], position, currency="XXY")
    assert [item.origin.row_index for item in check_batch(batch, SHOP, gate).rejections] == [0, 3]


def test_two_versions_of_a_record_are_told_apart_by_the_cursor(shop: Shop, gate: GateContext) -> None:
    later = order(1, updated_at="2026-10-03T09:00:00+02:00", total_amount="13.00")
    assert not check_batch(shop.land([order(1), later]), SHOP, gate).rejections


@pytest.mark.parametrize(
    ("stream", "rows"),
    [
        ("orders", [order(1, lines=[]), order(2, lines=[]), order(1, total_amount="13.00", lines=[])]),
        ("shelves", [{"shelf_id": 1, "capacity": 5}, {"shelf_id": 2}, {"shelf_id": 1, "capacity": 6}]),
    ],
)
def test_of_two_contents_under_one_key_the_last_stands(
    shop: Shop, gate: GateContext, stream: str, rows: list[dict[str, Any]]
) -> None:
    (row,) = check_batch(shop.land(rows, stream), SHOP, gate).rejections
    assert row.origin.row_index == 0
    assert "is the key of another row with other content" in row.error


def test_a_key_that_is_missing_everywhere_holds_the_batch(shop: Shop, gate: GateContext) -> None:
    batch = shop.land([order(1), order(2)])
    for position in (0, 1):
        spoil(batch.files["orders"], position, order_id=None)
    result = check_batch(batch, SHOP, gate)
    assert not result.passed
    assert not result.rejections
    assert "landing.shop.orders: order_id: is missing in 2 of 2 rows" in result.reasons[0]


def test_mostly_bad_rows_are_a_bad_batch(shop: Shop, gate: GateContext) -> None:
    batch = shop.land([order(n, lines=[]) for n in range(30)])
    rewrite(batch.files["orders"], lambda table: _set(table, "currency", ["XXY"] * 20 + ["EUR"] * 10))
    result = check_batch(batch, SHOP, gate)
    assert not result.passed
    assert not result.rejections
    assert "20 of 30 rows fail, more than 50%" in result.reasons[0]


def _set(table: pa.Table, column: str, values: list[Any]) -> pa.Table:
    position = table.schema.get_field_index(column)
    return table.set_column(
        position, table.schema.field(position), pa.array(values, table.schema.field(position).type)
    )


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda table: table.drop_columns(["currency"]), "currency is missing"),
        (lambda table: table.append_column("surprise", pa.nulls(len(table))), "surprise is not declared"),
        (
            lambda table: table.set_column(0, "order_id", pa.array(range(len(table)))),
            "order_id is int64 instead of string",
        ),
        (lambda table: table.slice(1), "holds 2 rows where the manifest has 3"),
    ],
)
def test_a_file_that_is_not_what_was_landed_holds_the_batch(
    shop: Shop, gate: GateContext, change: Any, reason: str
) -> None:
    batch = shop.land([order(n) for n in range(3)])
    rewrite(batch.files["orders"], change)
    (result,) = gate_landing(shop.landing, {"shop": SHOP}, gate)
    assert not result.passed
    assert reason in result.reasons[0]


def test_a_file_cut_short_or_gone_holds_the_batch(shop: Shop, gate: GateContext) -> None:
    cut, gone = shop.land([order(1)]), shop.land([order(2)])
    cut.files["orders"].write_bytes(cut.files["orders"].read_bytes()[:100])
    gone.files["lines"].unlink()
    results = gate_landing(shop.landing, {"shop": SHOP}, gate)
    assert [result.passed for result in results] == [False, False]
    assert all("cannot be read as Parquet" in result.reasons[0] for result in results)


def test_verdicts_reach_the_manifest_and_one_bad_batch_stops_no_other(shop: Shop, gate: GateContext) -> None:
    good, bad, unfit = (shop.land([order(n + 10 * k) for n in range(3)]) for k in range(3))
    spoil(bad.files["orders"], 0, currency="XXY")
    whole = unfit.files["orders"].read_bytes()
    unfit.files["orders"].write_bytes(b"")
    told: list[str] = []
    gate_landing(shop.landing, {"shop": SHOP}, gate, progress=lambda result: told.append(result.name))
    assert told == [good.batch_id, bad.batch_id, unfit.batch_id]
    assert [batch.gate for batch in shop.landing.batches()] == ["passed", "passed", "held"]
    assert len(shop.landing.gated_rows(bad.batch_id)) == 3
    for count in shop.landing.counts():
        assert count.pulled == count.landed + count.quarantined
    assert sum(count.quarantined for count in shop.landing.counts()) == 3

    unfit.files["orders"].write_bytes(whole)
    (again,) = gate_landing(shop.landing, {"shop": SHOP}, gate, state="held")
    assert again.passed
    assert not shop.landing.batches(gate="held")


def test_a_batch_of_a_source_no_longer_declared_is_held(shop: Shop, gate: GateContext) -> None:
    shop.land([order(1)])
    (result,) = gate_landing(shop.landing, {}, gate)
    assert "shop.orders is not declared any more" in result.reasons[0]


def test_a_batch_without_rows_passes(shop: Shop, gate: GateContext) -> None:
    shop.land([])
    (result,) = gate_landing(shop.landing, {"shop": SHOP}, gate)
    assert result.passed


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(bad=st.sets(st.integers(0, 29), max_size=14))
def test_exactly_the_spoiled_rows_are_rejected(
    tmp_path_factory: pytest.TempPathFactory, gate: GateContext, bad: set[int]
) -> None:
    landing = Landing(tmp_path_factory.mktemp("law") / "landing")
    batch = Shop(landing).land([order(n, lines=[]) for n in range(30)])
    codes = ["xxy" if n in bad else "EUR" for n in range(30)]
    rewrite(batch.files["orders"], lambda table: _set(table, "currency", codes))
    assert [item.origin.row_index for item in check_batch(batch, SHOP, gate).rejections] == sorted(bad)
    landing.close()


def test_every_declared_stream_has_a_suite_over_its_own_columns() -> None:
    for source in registry.sources().values():
        for stream in source.streams:
            for name, schema in stream_schemas(stream).items():
                suite = landing_suite(source, name)
                assert suite.name == f"landing.{source.name}.{name}"
                assert set(suite.columns) <= set(schema.names)


def test_extras_are_for_streams_that_exist() -> None:
    for source, stream in EXTRAS:
        assert stream in registry.source(source).tables


def test_returns_with_a_positive_quantity_are_only_told(
    tmp_path_factory: pytest.TempPathFactory, gate: GateContext
) -> None:
    landing = Landing(tmp_path_factory.mktemp("returns") / "landing")
    source = registry.source("file_drop")
    stream = source.stream("order_lines")
    row = {
        "export_name": "test", "file_name": "x.csv", "document_type": "return", "order_number": "C1", "qty": "2",
        "ordered_at": "2026-01-01T00:00:00Z", "sku_code": "A", "unit_price_amount": "1", "net_amount": "2",
        "currency": "GBP",
    }  # fmt: skip
    batch = landing.open_batch("file_drop", stream)
    rows = [{**row, "line_number": n} for n in range(3)]
    batch.count(stream.name, len(rows))
    land_rows(batch, stream, rows, batch.archive(b"x", "x.csv"))
    batch.commit()
    (result,) = gate_landing(landing, {"file_drop": source}, gate)
    assert result.passed
    assert not result.rejections
    assert "qty, document_type: is positive on a return document in 3 of 3 rows" in result.warnings[0]
    landing.close()


def test_a_row_the_gate_rejects_again_waits_once_and_never_reaches_the_warehouse(
    shop: Shop, gate: GateContext
) -> None:
    for _ in range(2):
        batch = shop.land([order(1), order(2)])
        spoil(batch.files["orders"], 0, currency="XXY")
        gate_landing(shop.landing, {"shop": SHOP}, gate)
        assert len([row for row in shop.landing.gated_rows(batch.batch_id) if row[0] == "orders"]) == 1
    waiting = [row for row in list_rows(shop.landing) if row.stream == "orders"]
    assert [row.seen for row in waiting] == [2]
    for count in shop.landing.counts():
        assert count.pulled == count.landed + count.quarantined
