"""Gate 2: the marts are checked before a release; nothing that fails reaches a reader.

What dbt tests already (relations between tables, accepted values) is not asked again. Here stand the questions about a
whole table at the door: is a row doubled, does the money add up, did rows vanish since the last release, can every
value say where it came from.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from expectations.context import GateContext
from expectations.frame import to_frame
from expectations.suite import Expect, Finding, GateResult, Given, Severity, Suite, expect_currency

LARGEST_DROP = 0.05
_SHOWN_KEYS = 5

# Attributes that some record states: each value must name it. The others are derived or counted.
PROVEN_ATTRIBUTES = (
    "order_number", "channel", "store_code", "order_type", "customer_id", "bill_to_party_id",
    "ordered_at", "payment_verified_at", "stock_reserved_at", "picked_at", "packed_at", "dispatched_at",
    "first_carrier_scan_at", "delivered_at", "cancelled_at", "closed_at", "promised_at",
    "currency", "gross_amount", "discount_amount", "shipping_amount", "tax_amount", "duty_amount", "net_amount",
    "ship_to_country", "ship_to_region", "ship_to_city", "ship_to_postcode",
    "preference_tags", "loyalty_tier", "customer_segment", "marketing_consent",
)  # fmt: skip

# The closed list; timing stands on both sides by now, so it is no part of what differs.
_CAUSES = (
    "timing", "fx", "missing", "duplicate", "tax_rounding", "fee", "partial_return", "amount_mismatch", "unexplained",
)  # fmt: skip


@cache
def release_suites() -> Mapping[str, Suite]:
    """Suite of each mart that gate 2 checks. Columns a suite names and a mart lacks are made by `_derived`."""
    tables = {
        "fct_orders": (
            *_key("order_id"),
            expect_currency("currency"),
            Expect(
                "expect_column_values_to_be_between",
                "is what net differs by from gross - discount + shipping",
                "net_difference_amount",
                {"min_value": 0, "max_value": 0},
            ),
            Expect(
                "expect_column_values_to_be_null", "have a value but no provenance", "unproven_attributes"
            ),
            Expect(
                "expect_column_values_to_be_between",
                "is not between 0 and 1",
                "completeness_ratio",
                {"min_value": 0, "max_value": 1},
            ),
            Expect(
                "expect_column_values_to_be_between",
                "is below 1: no system knows the order",
                "source_count",
                {"min_value": 1},
            ),
            _in_order("ordered_at", "dispatched_at"),
            _in_order("dispatched_at", "delivered_at"),
            _mostly_known("ordered_at"),
            _mostly_known("net_amount"),
        ),
        "fct_order_lines": (
            *_key("order_line_id"),
            Expect("expect_column_values_to_not_be_null", "is missing", "order_id"),
            expect_currency("currency"),
            _mostly_known("sku_id"),
        ),
        "dim_customers": (
            *_key("customer_id"),
            _form("country", r"^[A-Z]{2}$", "is not an ISO 3166-1 alpha-2 code"),
        ),
        "dim_skus": (*_key("sku_id"), _form("gtin14", r"^\d{14}$", "is not a GTIN-14")),
        "dim_locations": (
            *_key("location_id"),
            _form("country", r"^[A-Z]{2}$", "is not an ISO 3166-1 alpha-2 code"),
            _form("gln", r"^\d{13}$", "is not a GLN"),
        ),
        "order_attribute_provenance": tuple(
            Expect("expect_column_values_to_not_be_null", "is missing", column)
            for column in (
                "order_id",
                "attribute",
                "source_system",
                "record_key",
                "batch_id",
                "page_sha256",
                "rule",
            )
        ),
        # The ledger is judged by month and currency: that each set of postings balances, dbt has tested.
        "fin_order_ledger": (
            Expect(
                "expect_column_values_to_be_between",
                "is what debits and credits differ by",
                "imbalance_amount",
                {"min_value": 0, "max_value": 0},
            ),
        ),
        "fin_reconciliation": (
            *_key("difference_id"),
            Expect(
                "expect_column_values_to_be_in_set",
                "is no cause of the closed list",
                "cause",
                {"value_set": list(_CAUSES)},
            ),
        ),
        "fin_reconciliation_totals": (
            *_key("total_id"),
            Expect(
                "expect_column_values_to_be_between",
                "is left once every cause is taken",
                "leftover_amount",
                {"min_value": 0, "max_value": 0},
            ),
        ),
        "ops_conservation": (
            Expect(
                "expect_column_values_to_be_between",
                "order documents were lost or doubled",
                "difference_count",
                {"min_value": 0, "max_value": 0},
            ),
            Expect(
                "expect_column_values_to_be_between",
                "of money was lost or doubled",
                "difference_net_amount",
                {"min_value": 0, "max_value": 0},
            ),
        ),
    }
    return {
        table: Suite(f"release.{table}", (*(() if table in _SUMMED else (_row_count(table),)), *expects))
        for table, expects in tables.items()
    }


def _row_count(table: str) -> Expect:
    return Expect(
        "expect_table_row_count_to_be_between",
        "has lost rows since the current release",
        arguments={"min_value": Given("fewest_rows")},
        # Golden records become fewer whenever two turn out to be one; orders do not vanish.
        severity=Severity.FAIL if table.startswith("fct_") else Severity.WARN,
        is_structural=True,
    )


def _key(column: str) -> tuple[Expect, Expect]:
    return (
        Expect("expect_column_values_to_not_be_null", "is missing", column),
        Expect("expect_column_values_to_be_unique", "stands on more than one row", column),
    )


def _in_order(earlier: str, later: str) -> Expect:
    # Clocks of different systems disagree by a little, and some people book late: told, not refused.
    return Expect(
        "expect_column_pair_values_a_to_be_greater_than_b",
        f"{later} is before {earlier}",
        arguments={
            "column_A": later,
            "column_B": earlier,
            "or_equal": True,
            "ignore_row_if": "either_value_is_missing",
            "mostly": 0.98,
        },
        severity=Severity.WARN,
    )


def _mostly_known(column: str) -> Expect:
    return Expect(
        "expect_column_values_to_not_be_null", "is unknown", column, {"mostly": 0.95}, severity=Severity.WARN
    )


def _form(column: str, pattern: str, fault: str) -> Expect:
    return Expect(
        "expect_column_values_to_match_regex", fault, column, {"regex": pattern}, severity=Severity.WARN
    )


_SUMMED = ("fin_order_ledger",)
_BOTH_SIDES = (
    "left_amount",
    "right_amount",
    "open_amount",
    *(f"{cause}_amount" for cause in _CAUSES if cause != "timing"),
)
_NET = ("gross_amount", "discount_amount", "shipping_amount", "net_amount")
# Columns that are made here: (table, column) -> columns they are made of.
_DERIVED: Mapping[tuple[str, str], tuple[str, ...]] = {
    ("fct_orders", "net_difference_amount"): _NET,
    ("fct_orders", "unproven_attributes"): ("order_id", *PROVEN_ATTRIBUTES),
    ("fin_order_ledger", "imbalance_amount"): ("debit_amount", "credit_amount"),
    ("fin_reconciliation_totals", "leftover_amount"): _BOTH_SIDES,
}
# First column: what a row is called by in messages.
_NAMED_BY = {
    "fin_order_ledger": ("period", "currency"),
    "ops_conservation": ("source_system", "currency"),
    "order_attribute_provenance": ("order_id", "attribute"),
}


def _required_columns() -> dict[str, tuple[str, ...]]:
    required = {}
    for table, suite in release_suites().items():
        names: list[str] = [*_NAMED_BY.get(table, ())]
        for column in suite.columns:
            names += _DERIVED.get((table, column), (column,))
        required[table] = tuple(dict.fromkeys(names))
    return required


REQUIRED_COLUMNS: Mapping[str, tuple[str, ...]] = _required_columns()
"""Mart -> the columns `gate_release` reads of it."""


def gate_release(
    frames: Mapping[str, pa.Table],
    context: GateContext,
    *,
    previous_counts: Mapping[str, int] | None = None,
    largest_drop: float = LARGEST_DROP,
    run_name: str = "release candidate",
) -> list[GateResult]:
    """Check the marts and build the data docs.

    Args:
        frames: mart -> its rows, with at least the columns of `REQUIRED_COLUMNS`; every mart named there.
        context: where suites run.
        previous_counts: rows per mart in the current release; a mart not named was not in it.
        largest_drop: share of rows a mart may lose against it, 0 to 1; 1 when rows were taken out on purpose.
        run_name: shown in the data docs.

    Returns:
        One result per mart. A release may follow only when every one has passed.

    Raises:
        KeyError: a mart or a column is not there.
    """
    results = []
    for table, suite in release_suites().items():
        started = time.perf_counter()
        rows = frames[table].select(list(REQUIRED_COLUMNS[table]))
        if table == "fct_orders":
            rows = _with_derived(rows, frames["order_attribute_provenance"])
        elif table == "fin_order_ledger":
            rows = _by_month(rows)
        elif table == "fin_reconciliation_totals":
            rows = rows.append_column("leftover_amount", _leftover(rows))
        labels = _NAMED_BY.get(table, suite.columns[:1])
        before = (previous_counts or {}).get(table, 0)
        fewest = math.ceil(before * (1 - largest_drop))
        frame = to_frame(rows.select(list(dict.fromkeys((*labels, *suite.columns)))))
        findings = context.check(suite, frame, run_name, {"fewest_rows": fewest})
        names = {
            position: " ".join(str(frame[label].iloc[position]) for label in labels)
            for finding in findings
            for position in finding.positions[:_SHOWN_KEYS]
        }
        faults: dict[Severity, list[str]] = {Severity.FAIL: [], Severity.WARN: []}
        for finding in findings:
            if not finding.passed:
                faults[finding.expect.severity].append(_told(finding, names, before, largest_drop))
        results.append(
            GateResult(
                "release",
                table,
                table,
                passed=not faults[Severity.FAIL],
                reasons=tuple(faults[Severity.FAIL]),
                warnings=tuple(faults[Severity.WARN]),
                findings=tuple(findings),
                row_count=len(frame),
                seconds=time.perf_counter() - started,
            )
        )
    context.build_docs()
    return results


def _told(finding: Finding, names: Mapping[int, str], before: int, largest_drop: float) -> str:
    sentence = finding.sentence()
    if finding.expect.is_structural:
        return (
            f"{sentence}; the current release has {before}, and a drop by {largest_drop:.0%} is allowed. "
            "If rows were taken out on purpose, allow a larger one"
        )
    shown = ", ".join(dict.fromkeys(names[position] for position in finding.positions[:_SHOWN_KEYS]))
    return f"{sentence}; rows: {shown}" if shown else sentence


def _with_derived(orders: pa.Table, provenance: pa.Table) -> pa.Table:
    gross, discount, shipping, net = (orders.column(name) for name in _NET)
    difference = pc.subtract(net, pc.add(pc.subtract(gross, discount), shipping))
    return orders.append_column("net_difference_amount", difference).append_column(
        "unproven_attributes", _unproven(orders, provenance)
    )


def _by_month(ledger: pa.Table) -> pa.Table:
    sums = ledger.group_by(["period", "currency"]).aggregate(
        [("debit_amount", "sum"), ("credit_amount", "sum")]
    )
    sides = (sums.column(name).to_pylist() for name in ("debit_amount_sum", "credit_amount_sum"))
    # A sum has as many digits as Arrow's decimals can have, so that Arrow would not subtract it.
    off = [(debit or 0) - (credit or 0) for debit, credit in zip(*sides, strict=True)]
    return sums.append_column("imbalance_amount", pa.array(off, pa.decimal128(38, 4)))


def _leftover(totals: pa.Table) -> pa.Array[Any]:
    left = totals.column("left_amount").to_pylist()
    others = zip(*(totals.column(name).to_pylist() for name in _BOTH_SIDES[1:]), strict=True)
    return pa.array(
        [
            None if amount is None else amount - sum(filter(None, rest))
            for amount, rest in zip(left, others, strict=True)
        ],
        pa.decimal128(38, 4),
    )


def _unproven(orders: pa.Table, provenance: pa.Table) -> pa.StringArray:
    """For each order the attributes that have a value but no provenance, as one text; null when all have one."""
    order_ids = orders.column("order_id")
    missing: list[list[str]] = [[] for _ in range(orders.num_rows)]
    for attribute in PROVEN_ATTRIBUTES:
        proven = provenance.filter(pc.equal(provenance.column("attribute"), pa.scalar(attribute))).column(
            "order_id"
        )
        lacks = pc.and_(
            pc.is_valid(orders.column(attribute)), pc.invert(pc.is_in(order_ids, value_set=proven))
        )
        for position in pc.indices_nonzero(lacks).to_numpy():
            missing[position].append(attribute)
    return pa.array([", ".join(names) or None for names in missing], pa.string())
