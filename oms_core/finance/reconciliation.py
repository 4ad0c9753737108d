"""Reconciliation of one period, read from a release: both sides in total, and every difference with its cause.

The causes are found in dbt/models/marts/finance; here they are only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from oms_core.finance.period import FinanceError, Period, require_booked
from oms_core.release.read import resolve
from oms_core.store.postgres import Database

CAUSES = (
    "timing", "fx", "missing", "duplicate", "tax_rounding", "fee", "partial_return", "amount_mismatch", "unexplained",
)  # fmt: skip
TABLES = (
    "fin_order_ledger",
    "fin_settlements",
    "fin_reconciliation",
    "fin_reconciliation_totals",
    "fin_measures",
    "fin_refunds",
)


@dataclass(frozen=True)
class Total:
    """Both sides of one leg with one system in one unit.

    Attributes:
        leg: payment, settlement, billing, credit, receipt or promise.
        unit: ISO 4217 code; a unit of measure for receipts.
        counts: items by state: matched, open, different, not_compared.
        left, right: both sides, without what is not compared.
        open: not due yet.
        causes: cause -> what it explains; left - open - all of them but timing = right.
        not_compared: left side of what lacks an amount or a dated rate.
    """

    leg: str
    source_system: str
    unit: str
    counts: Mapping[str, int]
    left: Decimal
    right: Decimal
    open: Decimal
    causes: Mapping[str, Decimal]
    not_compared: Decimal

    @property
    def is_explained(self) -> bool:
        """Whether both sides are equal to the cent once explained; timing is on both sides by now."""
        explained = sum((amount for cause, amount in self.causes.items() if cause != "timing"), Decimal(0))
        return self.left - self.open - explained == self.right


@dataclass(frozen=True)
class Reconciliation:
    """One period as of one release. `differences` are rows of fin_reconciliation."""

    period: Period
    release_id: int
    totals: list[Total]
    differences: list[dict[str, Any]]


def reconcile(
    database: Database, period: Period, *, cause: str | None = None, as_of: int | str | None = None
) -> Reconciliation:
    """Read the reconciliation of a period.

    Args:
        database: the operational store.
        period: the month of the left side.
        cause: only differences of this cause.
        as_of: release number or time; the newest by default.

    Raises:
        FinanceError: the cause is not on the closed list, or the release holds no books.
        UnknownPeriodError: nothing was booked in the period.
    """
    if cause is not None and cause not in CAUSES:
        raise FinanceError(f"{cause!r} is no cause: there are {', '.join(CAUSES)}")
    release_id = release_with_books(database, as_of)
    with database.read(release_id) as connection:
        totals = [
            _total(dict(row))
            for row in connection.execute(
                text(
                    "SELECT * FROM fin_reconciliation_totals WHERE period = :period "
                    "ORDER BY leg, source_system, currency"
                ),
                {"period": str(period)},
            ).mappings()
        ]
        if not totals:
            require_booked(period, booked_periods(connection))
        found = connection.execute(
            text(
                "SELECT * FROM fin_reconciliation WHERE period = :period AND cause = coalesce(:cause, cause) "
                "ORDER BY leg, source_system, order_number, rule_order, difference_id"
            ),
            {"period": str(period), "cause": cause},
        ).mappings()
        differences = [
            {name: value for name, value in row.items() if name not in ("row_hash", "release_id")}
            for row in found
        ]
    return Reconciliation(period, release_id, totals, differences)


def release_with_books(database: Database, as_of: int | str | None) -> int:
    """The release as of then, or the newest.

    Raises:
        FinanceError: it holds no books yet.
        NotReleasedError: there is none.
    """
    release_id = resolve(database, as_of).release_id if as_of is not None else _newest(database)
    with database.read(release_id) as connection:
        missing = [
            name
            for name in TABLES
            if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None
        ]
    if missing:
        raise FinanceError(
            f"release {release_id} holds no books ({', '.join(missing)} missing): run orderhub unify --force first"
        )
    return release_id


def _newest(database: Database) -> int:
    with database.read() as connection:
        newest: int | None = connection.execute(text("SELECT max(id) FROM releases")).scalar()
    if newest is None:
        raise FinanceError("nothing was released yet: run orderhub run first")
    return newest


def booked_periods(connection: Connection) -> list[str]:
    """Periods of the ledger that a reading connection shows, oldest first."""
    return list(connection.execute(text("SELECT DISTINCT period FROM fin_order_ledger ORDER BY 1")).scalars())


def _total(row: Mapping[str, Any]) -> Total:
    return Total(
        leg=row["leg"],
        source_system=row["source_system"],
        unit=row["currency"],
        counts={name: row[f"{name}_count"] for name in ("matched", "open", "different", "not_compared")},
        left=row["left_amount"],
        right=row["right_amount"],
        open=row["open_amount"],
        causes={cause: row[f"{cause}_amount"] for cause in CAUSES},
        not_compared=row["not_compared_amount"],
    )
