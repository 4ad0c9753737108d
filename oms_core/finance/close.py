"""Closing a period: the figures as booked in one release are frozen with control totals, once and for all.

What changes later does not change them: it is a restatement beside them (`restatement.py`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import rfc8785
from sqlalchemy import Connection, insert, select, text

from oms_core.audit import log
from oms_core.finance.period import FinanceError, Period, require_booked
from oms_core.finance.reconciliation import CAUSES, booked_periods, release_with_books
from oms_core.store.postgres import Database
from oms_core.store.tables import finance_close_balances, finance_closes

_CLOSE_LOCK = 7_301_008  # advisory lock key, ours alone
_SHOWN = 20


class CloseRefusedError(FinanceError):
    """A period cannot be closed. `reasons` says each fault, `residuals` lists what is unreconciled."""

    def __init__(self, period: Period, reasons: Sequence[str], residuals: Sequence[Residual]) -> None:
        lines = [f"{period} cannot be closed:", *(f"  - {reason}" for reason in reasons)]
        if residuals:
            lines.append("  unreconciled:")
            lines += [f"    {residual.sentence}" for residual in residuals[:_SHOWN]]
            if len(residuals) > _SHOWN:
                lines.append(f"    and {len(residuals) - _SHOWN:,} more (orderhub reconcile lists all)")
        super().__init__("\n".join(lines))
        self.reasons = list(reasons)
        self.residuals = list(residuals)


class AlreadyClosedError(FinanceError):
    """A period was closed before; a closed period stays as it is."""


@dataclass(frozen=True)
class Balance:
    """Sums of one account in one currency over a period."""

    account: str
    currency: str
    debit: Decimal
    credit: Decimal
    postings: int


@dataclass(frozen=True)
class Residual:
    """A difference nobody explained, or that cannot be compared.

    Attributes:
        amount: unexplained, in `currency`; None when it could not be compared.
        reporting_amount: its absolute value in the reporting currency; None without a dated rate.
    """

    difference_id: str
    order_number: str | None
    leg: str
    source_system: str
    amount: Decimal | None
    currency: str | None
    reporting_amount: Decimal | None

    @property
    def sentence(self) -> str:
        """As a person reads it."""
        what = (
            "not comparable" if self.amount is None else f"{self.amount:,.2f} {self.currency or ''}".strip()
        )
        return f"{self.leg} of order {self.order_number or 'unknown'} in {self.source_system}: {what}"


@dataclass(frozen=True)
class Plan:
    """What closing a period would freeze, and what speaks against it; nothing is changed by making one.

    Attributes:
        release_id: the release whose figures are frozen.
        balances: the ledger of the period, per account and currency.
        control_totals: JSON values, amounts as text; `digest` is the SHA-256 of their canonical JSON.
        residual_amount: unexplained differences without signs, in the reporting currency.
        reasons: why it cannot be closed; empty when it can.
    """

    period: Period
    release_id: int
    balances: list[Balance]
    control_totals: Mapping[str, Any]
    digest: str
    residuals: list[Residual]
    residual_amount: Decimal
    reporting_currency: str | None
    reasons: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Close:
    """A period that is closed."""

    period: Period
    release_id: int
    closed_at: datetime
    closed_by: str
    reason: str
    threshold_amount: Decimal
    residual_amount: Decimal
    reporting_currency: str | None
    digest: str
    control_totals: Mapping[str, Any]
    entry: int


def plan(
    database: Database,
    period: Period,
    *,
    threshold: Decimal = Decimal(0),
    accept_negative_settlements: bool = False,
) -> Plan:
    """Say what closing a period would freeze and what speaks against it.

    Args:
        database: the operational store.
        period: to be closed.
        threshold: unexplained differences that are tolerated, without signs, in the reporting currency.
        accept_negative_settlements: whether payouts that took money are known and right.

    Raises:
        UnknownPeriodError: nothing was booked in the period.
        AlreadyClosedError: it is closed.
        FinanceError: there are no books yet, or the threshold is negative.
    """
    if threshold < 0:
        raise FinanceError(f"the threshold is {threshold}; give 0 or more")
    release_id = release_with_books(database, None)
    with database.begin() as connection:
        _refuse_if_closed(connection, period)
    with database.read(release_id) as connection:
        require_booked(period, booked_periods(connection))
        asked = {"period": str(period)}
        balances = _balances(connection, period)
        residuals = _residuals(connection, asked)
        reporting = connection.execute(
            text("SELECT max(reporting_currency) FROM fct_orders WHERE reporting_currency IS NOT NULL")
        ).scalar()
        measures = _sums(
            connection,
            "SELECT currency, sum(order_count) AS orders, sum(sold_count) AS sold, sum(returned_count) AS returned, "
            "sum(gross_amount) AS gross, sum(net_amount) AS net, sum(margin_amount) AS margin "
            "FROM fin_measures WHERE period = :period GROUP BY currency ORDER BY currency",
            asked,
        )
        reconciled = _sums(
            connection,
            "SELECT leg || '/' || source_system || '/' || currency AS side, item_count AS items, "
            "left_amount AS left, right_amount AS right, unexplained_absolute_amount AS unexplained "
            "FROM fin_reconciliation_totals WHERE period = :period ORDER BY 1",
            asked,
        )
        faults = _faults(connection, asked, accept_negative_settlements)
    for currency in sorted({balance.currency for balance in balances}):
        debit, credit = (
            sum((getattr(b, side) for b in balances if b.currency == currency), Decimal(0))
            for side in ("debit", "credit")
        )
        if debit != credit:
            faults.append(f"the ledger does not balance in {currency}: debits {debit}, credits {credit}")
    incomparable = [item for item in residuals if item.amount is None]
    unrated = [item for item in residuals if item.amount is not None and item.reporting_amount is None]
    if incomparable:
        faults.append(
            f"{len(incomparable):,} items could not be compared: an amount or a dated exchange rate is missing"
        )
    if unrated:
        faults.append(
            f"{len(unrated):,} unexplained differences have no dated exchange rate to weigh them with"
        )
    amount = sum((item.reporting_amount or Decimal(0) for item in residuals), Decimal(0))
    if amount > threshold:
        faults.append(
            f"{amount:,.2f} {reporting or ''} are unexplained, more than the threshold of {threshold:,.2f}: explain "
            "them, or accept them with --threshold"
        )
    totals: dict[str, Any] = {
        "ledger": {
            f"{b.account}/{b.currency}": {
                "debit": str(b.debit),
                "credit": str(b.credit),
                "postings": b.postings,
            }
            for b in balances
        },
        "measures": measures,
        "reconciliation": reconciled,
    }
    return Plan(
        period=period,
        release_id=release_id,
        balances=balances,
        control_totals=totals,
        digest=hashlib.sha256(rfc8785.dumps(totals)).hexdigest(),
        residuals=residuals,
        residual_amount=amount,
        reporting_currency=reporting,
        reasons=faults,
    )


def close(database: Database, found: Plan, *, by: str, reason: str, threshold: Decimal = Decimal(0)) -> Close:
    """Freeze what a plan shows: figures, control totals and an audit entry in one transaction.

    Args:
        database: the operational store.
        found: the plan, made with the same threshold.
        by, reason: who closes and why; not empty.
        threshold: as in `plan`; kept with the close.

    Raises:
        CloseRefusedError: the plan names reasons against it.
        AlreadyClosedError: somebody closed the period meanwhile.
        FinanceError: by or reason is missing.
    """
    if not by.strip() or not reason.strip():
        raise FinanceError("a close says who made it and why: give --by and --reason")
    if found.reasons:
        raise CloseRefusedError(found.period, found.reasons, found.residuals)
    with database.begin() as connection:
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _CLOSE_LOCK})
        _refuse_if_closed(connection, found.period)
        closed_at: datetime = connection.execute(
            insert(finance_closes)
            .values(
                period=str(found.period),
                release_id=found.release_id,
                closed_by=by.strip(),
                reason=reason.strip(),
                threshold_amount=threshold,
                residual_amount=found.residual_amount,
                reporting_currency=found.reporting_currency,
                control_totals=found.control_totals,
                control_totals_sha256=found.digest,
            )
            .returning(finance_closes.c.closed_at)
        ).scalar_one()
        connection.execute(
            insert(finance_close_balances),
            [
                {
                    "period": str(found.period),
                    "account": balance.account,
                    "currency": balance.currency,
                    "debit_amount": balance.debit,
                    "credit_amount": balance.credit,
                    "posting_count": balance.postings,
                }
                for balance in found.balances
            ],
        )
        said = {
            "release": found.release_id,
            "reason": reason.strip(),
            "threshold": str(threshold),
            "residual": str(found.residual_amount),
            "reporting_currency": found.reporting_currency,
            "postings": sum(balance.postings for balance in found.balances),
            "control_totals_sha256": found.digest,
        }
        entry = log.append(
            connection, [log.Happening("period.closed", by.strip(), f"period/{found.period}", said)]
        )[0]
    return Close(
        period=found.period,
        release_id=found.release_id,
        closed_at=closed_at,
        closed_by=by.strip(),
        reason=reason.strip(),
        threshold_amount=threshold,
        residual_amount=found.residual_amount,
        reporting_currency=found.reporting_currency,
        digest=found.digest,
        control_totals=found.control_totals,
        entry=entry,
    )


def closed(connection: Connection, period: Period) -> Mapping[str, Any] | None:
    """The row of a closed period, or None."""
    row = connection.execute(
        select(finance_closes).where(finance_closes.c.period == str(period))
    ).one_or_none()
    return None if row is None else dict(row._asdict())


def _refuse_if_closed(connection: Connection, period: Period) -> None:
    row = closed(connection, period)
    if row is not None:
        raise AlreadyClosedError(
            f"{period} was closed by {row['closed_by']} at {row['closed_at']:%Y-%m-%d %H:%M} UTC with release "
            f"{row['release_id']}, and stays as it is; orderhub restatements --period {period} shows what changed since"
        )


def _balances(connection: Connection, period: Period) -> list[Balance]:
    rows = connection.execute(
        text(
            "SELECT account, currency, sum(debit_amount) AS debit, sum(credit_amount) AS credit, count(*) AS postings "
            "FROM fin_order_ledger WHERE period = :period GROUP BY account, currency ORDER BY account, currency"
        ),
        {"period": str(period)},
    )
    return [Balance(row.account, row.currency, row.debit, row.credit, row.postings) for row in rows]


def _residuals(connection: Connection, asked: Mapping[str, str]) -> list[Residual]:
    rows = connection.execute(
        text(
            "SELECT r.difference_id, r.order_number, r.leg, r.source_system, r.explained_amount, r.currency, "
            "CASE WHEN r.currency = o.currency THEN round(abs(r.explained_amount) * o.fx_rate, 4) END AS reporting "
            "FROM fin_reconciliation AS r LEFT JOIN fct_orders AS o ON o.order_id = r.order_id "
            "WHERE r.period = :period AND r.cause = 'unexplained' "
            "ORDER BY abs(r.explained_amount) DESC NULLS FIRST, r.difference_id"
        ),
        dict(asked),
    )
    return [
        Residual(
            row.difference_id, row.order_number, row.leg, row.source_system, row.explained_amount, row.currency, row.reporting,
        )
        for row in rows
    ]  # fmt: skip


def _faults(connection: Connection, asked: Mapping[str, str], accept_negative: bool) -> list[str]:
    """What speaks against a close besides residuals, one sentence each."""
    faults = []
    for what, amount, source in (
        (
            "net sales",
            "unconverted_net_amount",
            "fin_measures WHERE period = :period AND unconverted_net_amount <> 0",
        ),
        ("refunds", "amount", "fin_refunds WHERE refund_period = :period AND NOT is_converted"),
    ):
        unrated = connection.execute(
            text(
                f"SELECT currency, sum({amount}) AS amount FROM {source} GROUP BY currency ORDER BY currency"
            ),
            dict(asked),
        ).all()
        if unrated:
            listed = ", ".join(f"{row.amount:,.2f} {row.currency}" for row in unrated)
            faults.append(
                f"rates are missing: {listed} of {what} are not converted; pull the rates (orderhub pull ecb_fx), then unify"
            )
    told = connection.execute(
        text("SELECT DISTINCT cause FROM fin_reconciliation WHERE period = :period"), dict(asked)
    )
    unknown = sorted({str(row.cause) for row in told} - set(CAUSES))
    if unknown:
        faults.append(
            f"differences carry causes that are not on the closed list: {', '.join(map(str, unknown))}"
        )
    negative = connection.execute(
        text(
            "SELECT DISTINCT settlement_id, settlement_net_amount, currency FROM fin_settlements "
            "WHERE settlement_net_amount < 0 AND to_char(settled_on, 'YYYY-MM') = :period ORDER BY settlement_id"
        ),
        dict(asked),
    ).all()
    if negative and not accept_negative:
        listed = "; ".join(
            f"{row.settlement_id} {row.settlement_net_amount:,.2f} {row.currency}" for row in negative[:5]
        )
        faults.append(
            f"{len(negative):,} settlements are negative, the provider took money: {listed}; if that is right, accept "
            "it with --accept-negative-settlements"
        )
    return faults


def _sums(connection: Connection, sql: str, asked: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """First column -> the others; amounts and counts as text, null stays null."""
    found: dict[str, dict[str, Any]] = {}
    answer = connection.execute(text(sql), dict(asked))
    _, *names = answer.keys()
    for key, *values in answer:
        found[str(key)] = {
            name: None if value is None else str(value) for name, value in zip(names, values, strict=True)
        }
    return found
