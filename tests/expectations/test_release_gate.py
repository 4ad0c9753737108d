"""Gate 2 over small marts."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from expectations.context import GateContext
from expectations.release import PROVEN_ATTRIBUTES, REQUIRED_COLUMNS, gate_release
from expectations.suite import GateResult

_AMOUNT = pa.decimal128(18, 4)
_INSTANT = pa.timestamp("us")
_TYPES: dict[str, pa.DataType] = {
    **{name: _INSTANT for name in PROVEN_ATTRIBUTES if name.endswith("_at")},
    **{name: _AMOUNT for name in PROVEN_ATTRIBUTES if name.endswith("_amount")},
    "difference_net_amount": _AMOUNT,
    **{
        name: _AMOUNT for columns in REQUIRED_COLUMNS.values() for name in columns if name.endswith("_amount")
    },
    "marketing_consent": pa.bool_(),
    "completeness_ratio": pa.float64(),
    "source_count": pa.int64(),
    "difference_count": pa.int64(),
}


def table(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows with the columns the gate reads; what a row does not say is null."""
    schema = pa.schema([(column, _TYPES.get(column, pa.string())) for column in REQUIRED_COLUMNS[name]])
    return pa.Table.from_pylist(rows, schema=schema)


def fact(number: int, **changes: Any) -> dict[str, Any]:
    """A good order of the fact table."""
    return {
        "order_id": f"ord-{number}",
        "order_number": f"#{number}",
        "ordered_at": datetime(2026, 1, 1),
        "currency": "EUR",
        "gross_amount": Decimal("10.10"),
        "discount_amount": Decimal("0.20"),
        "shipping_amount": Decimal("3.00"),
        "net_amount": Decimal("12.90"),
        "completeness_ratio": 0.5,
        "source_count": 2,
        **changes,
    }


def posting(debit: str, credit: str) -> dict[str, Any]:
    """One side of an entry of January."""
    return {
        "period": "2026-01", "currency": "EUR", "debit_amount": Decimal(debit), "credit_amount": Decimal(credit),
    }  # fmt: skip


def total(**changes: str) -> dict[str, Any]:
    """Both sides of one leg: 100 there, 95 here, 5 of them a fee."""
    amounts = dict.fromkeys(
        (name for name in REQUIRED_COLUMNS["fin_reconciliation_totals"] if name.endswith("_amount")), "0"
    )
    amounts |= {"left_amount": "100", "right_amount": "95", "fee_amount": "5", **changes}
    return {
        "total_id": "2026-01:payment:shop:EUR",
        **{name: Decimal(amount) for name, amount in amounts.items()},
    }


def marts(orders: list[dict[str, Any]], **changes: list[dict[str, Any]]) -> dict[str, pa.Table]:
    """Good marts around the orders: each value of theirs has its provenance."""
    rows: dict[str, list[dict[str, Any]]] = {
        "fct_orders": orders,
        "fct_order_lines": [
            {"order_line_id": f"line-{n}", "order_id": order["order_id"], "currency": "EUR", "sku_id": "sku-1"}
            for n, order in enumerate(orders)
        ],
        "dim_customers": [{"customer_id": "cus-1", "country": "CN"}],
        "dim_skus": [{"sku_id": "sku-1", "gtin14": "04006381333931"}],
        "dim_locations": [],
        "order_attribute_provenance": [
            {
                "order_id": order["order_id"], "attribute": name, "source_system": "shop", "record_key": "1",
                "batch_id": "b", "page_sha256": "0" * 64, "rule": "source_priority",
            }
            for order in orders for name in PROVEN_ATTRIBUTES if order.get(name) is not None
        ],
        "fin_order_ledger": [posting("100", "0"), posting("0", "100")],
        "fin_reconciliation": [{"difference_id": "d-1", "cause": "fee"}],
        "fin_reconciliation_totals": [total()],
        "ops_conservation": [
            {"source_system": "shop", "currency": "EUR", "difference_count": 0, "difference_net_amount": Decimal(0)}
        ],
        **changes,
    }  # fmt: skip
    return {name: table(name, found) for name, found in rows.items()}


def judge(gate: GateContext, frames: Mapping[str, pa.Table], **options: Any) -> dict[str, GateResult]:
    """Results by mart."""
    return {result.name: result for result in gate_release(frames, gate, **options)}


def test_good_marts_pass(gate: GateContext) -> None:
    results = judge(gate, marts([fact(n) for n in range(4)]))
    assert set(results) == set(REQUIRED_COLUMNS)
    assert [result.reasons + result.warnings for result in results.values()] == [()] * len(results)
    assert all(result.passed for result in results.values())
    assert all(finding.error is None for result in results.values() for finding in result.findings)


def test_empty_marts_pass(gate: GateContext) -> None:
    assert all(result.passed for result in judge(gate, marts([], ops_conservation=[])).values())


@pytest.mark.parametrize(
    ("mart", "change", "reason"),
    [
        (
            "fct_orders",
            {"order_id": "ord-0"},
            "order_id: stands on more than one row in 2 of 4 rows; seen: ord-0",
        ),
        ("fct_orders", {"order_id": None}, "order_id: is missing in 1 of 4 rows"),
        ("fct_orders", {"currency": "EURO"}, "currency: is not an ISO 4217 code in 1 of 4 rows; seen: EURO"),
        ("fct_orders", {"net_amount": Decimal("12.91")}, "net_difference_amount: is what net differs by"),
        ("fct_orders", {"completeness_ratio": 1.5}, "completeness_ratio: is not between 0 and 1"),
        ("fct_orders", {"source_count": 0}, "source_count: is below 1: no system knows the order"),
    ],
)
def test_a_bad_order_stops_the_release(
    gate: GateContext, mart: str, change: dict[str, Any], reason: str
) -> None:
    results = judge(gate, marts([fact(0), fact(1), fact(2), fact(3, **change)]))
    assert [name for name, result in results.items() if not result.passed][:1] == [mart]
    assert any(f"release.{mart}: {reason}" in said for said in results[mart].reasons)
    if change.get("order_id", "") is not None:
        assert any(f"rows: {change.get('order_id', 'ord-3')}" in said for said in results[mart].reasons)


def test_money_that_is_not_all_known_is_not_added_up(gate: GateContext) -> None:
    assert judge(gate, marts([fact(1, discount_amount=None)]))["fct_orders"].passed


def test_a_value_without_provenance_stops_the_release(gate: GateContext) -> None:
    frames = marts([fact(1), fact(2)])
    proofs = frames["order_attribute_provenance"].to_pylist()
    kept = [
        row
        for row in proofs
        if (row["order_id"], row["attribute"]) not in {("ord-2", "currency"), ("ord-2", "net_amount")}
    ]
    frames["order_attribute_provenance"] = table("order_attribute_provenance", kept)
    result = judge(gate, frames)["fct_orders"]
    assert not result.passed
    assert "seen: currency, net_amount" in result.reasons[0]
    assert result.reasons[0].endswith("rows: ord-2")


def test_vanished_rows_stop_the_release_unless_allowed(gate: GateContext) -> None:
    frames = marts([fact(n) for n in range(9)])
    before = {"fct_orders": 10, "dim_customers": 3}
    results = judge(gate, frames, previous_counts=before)
    assert not results["fct_orders"].passed
    assert "the current release has 10, and a drop by 5% is allowed" in results["fct_orders"].reasons[0]
    # Two customers may turn out to be one: said, but no reason to stop.
    assert results["dim_customers"].passed
    assert results["dim_customers"].warnings
    assert judge(gate, frames, previous_counts=before, largest_drop=0.1)["fct_orders"].passed


def test_steps_out_of_order_are_only_told(gate: GateContext) -> None:
    early, late = datetime(2026, 1, 1), datetime(2026, 1, 2)
    frames = marts([fact(1, ordered_at=early, dispatched_at=late, delivered_at=early)])
    result = judge(gate, frames)["fct_orders"]
    assert result.passed
    assert (
        "delivered_at, dispatched_at: delivered_at is before dispatched_at in 1 of 1 rows"
        in result.warnings[0]
    )


@pytest.mark.parametrize(
    "change", [{"difference_count": -1}, {"difference_net_amount": Decimal("0.01")}], ids=["orders", "money"]
)
def test_a_broken_conservation_law_stops_the_release(gate: GateContext, change: dict[str, Any]) -> None:
    row = {
        "source_system": "shop",
        "currency": "EUR",
        "difference_count": 0,
        "difference_net_amount": Decimal(0),
        **change,
    }
    result = judge(gate, marts([fact(1)], ops_conservation=[row]))["ops_conservation"]
    assert not result.passed
    assert result.reasons[0].endswith("rows: shop EUR")


@pytest.mark.parametrize(
    ("mart", "rows", "reason"),
    [
        ("fin_order_ledger", [posting("100", "0"), posting("0", "99.9999")], "imbalance_amount: is what debits and credits differ by"),
        ("fin_reconciliation", [{"difference_id": "d", "cause": "gremlins"}], "cause: is no cause of the closed list"),
        ("fin_reconciliation", [{"difference_id": "d", "cause": "fee"}] * 2, "difference_id: stands on more than one row"),
        ("fin_reconciliation_totals", [total(fee_amount="4.9")], "leftover_amount: is left once every cause is taken"),
    ],
)  # fmt: skip
def test_books_that_do_not_add_up_stop_the_release(
    gate: GateContext, mart: str, rows: list[dict[str, Any]], reason: str
) -> None:
    result = judge(gate, marts([fact(1)], **{mart: rows}))[mart]
    assert not result.passed
    assert any(reason in sentence for sentence in result.reasons), result.reasons


def test_a_mart_that_is_not_there_is_an_error(gate: GateContext) -> None:
    frames = marts([fact(1)])
    del frames["dim_skus"]
    with pytest.raises(KeyError, match="dim_skus"):
        gate_release(frames, gate)
