"""Restatements: what changed in a closed period since it was closed, beside the figures as booked, each with its cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, select, text

from oms_core.finance.close import closed
from oms_core.finance.period import FinanceError, Period
from oms_core.finance.reconciliation import release_with_books
from oms_core.release import read, why
from oms_core.release.history import history_table
from oms_core.store.postgres import Database
from oms_core.store.tables import finance_close_balances

# Where the causes of a changed posting are told: what it is booked from.
_BOOKED_FROM = ("fct_orders", "fct_payments", "fct_refunds", "fin_settlements", "fct_rebates")
ORDERS_SHOWN = 200


@dataclass(frozen=True)
class AccountRestated:
    """One account of one currency: balance (debits less credits) as booked and as it would be booked now."""

    account: str
    currency: str
    as_booked: Decimal
    restated: Decimal

    @property
    def change(self) -> Decimal:
        """Restated less as booked."""
        return self.restated - self.as_booked


@dataclass(frozen=True)
class OrderRestated:
    """What changed in the postings of one order.

    Attributes:
        changes: (entry type, account, currency, as booked, restated), balances as debits less credits.
        releases: releases that brought it.
        causes: one sentence each: the batch, decision or code behind it.
    """

    order_id: str
    order_number: str | None
    changes: list[tuple[str, str, str, Decimal, Decimal]]
    releases: list[int]
    causes: list[str]


@dataclass(frozen=True)
class Restatements:
    """A closed period now beside as it was booked. `order_count` counts all orders, `orders` holds the first of them."""

    period: Period
    closed_with: int
    as_of: int
    accounts: list[AccountRestated]
    order_count: int
    orders: list[OrderRestated]


def restatements(
    database: Database,
    period: Period,
    *,
    as_of: int | str | None = None,
    limit: int = ORDERS_SHOWN,
    after: str = "",
) -> Restatements:
    """Compare a closed period with a later release.

    Args:
        database: the operational store.
        period: a closed one.
        as_of: release number or time; the newest by default.
        limit: orders shown at most, by id.
        after: only orders whose id comes after this one.

    Raises:
        FinanceError: the period is not closed, the release is older than its close, or the frozen figures are not those
            of the release they were booked from: somebody changed one of the two.
    """
    now = release_with_books(database, as_of)
    with database.begin() as connection:
        row = closed(connection, period)
        if row is None:
            raise FinanceError(f"{period} is not closed: orderhub close {period} closes it")
        booked = int(row["release_id"])
        if now < booked:
            raise FinanceError(f"{period} was closed with release {booked}, release {now} is older")
        frozen = {
            (line.account, line.currency): line.debit_amount - line.credit_amount
            for line in connection.execute(
                select(finance_close_balances).where(finance_close_balances.c.period == str(period))
            )
        }
        as_booked = _balances(connection, period, booked)
        if as_booked != frozen:
            differ = sorted(
                key for key in as_booked.keys() | frozen.keys() if as_booked.get(key) != frozen.get(key)
            )
            raise FinanceError(
                f"the figures frozen for {period} are not those of release {booked} any more (account "
                f"{' '.join(differ[0])}): run orderhub audit verify"
            )
        restated = _balances(connection, period, now)
        changed = _changed(connection, period, booked, now)
    accounts = [
        AccountRestated(*key, as_booked.get(key, Decimal(0)), restated.get(key, Decimal(0)))
        for key in sorted(as_booked.keys() | restated.keys())
        if as_booked.get(key, Decimal(0)) != restated.get(key, Decimal(0))
    ]
    return Restatements(
        period,
        booked,
        now,
        accounts,
        len(changed),
        [
            _order(database, order_id, rows, booked, now)
            for order_id, rows in sorted(item for item in changed.items() if item[0] > after)[: max(limit, 0)]
        ],
    )


def _shown(release_id: int) -> str:
    return f"release_from <= {release_id} AND (release_to IS NULL OR release_to > {release_id})"


def _balances(connection: Connection, period: Period, release_id: int) -> dict[tuple[str, str], Decimal]:
    rows = connection.execute(
        text(
            "SELECT account, currency, sum(debit_amount - credit_amount) AS balance "
            f"FROM {history_table('fin_order_ledger')} WHERE period = :period AND {_shown(release_id)} "
            "GROUP BY account, currency"
        ),
        {"period": str(period)},
    )
    return {(row.account, row.currency): row.balance for row in rows}


def _changed(
    connection: Connection, period: Period, booked: int, now: int
) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    """Order -> its postings of the period that differ between two releases."""
    ledger = history_table("fin_order_ledger")
    rows = connection.execute(
        text(
            "SELECT coalesce(new.order_id, old.order_id) AS order_id, coalesce(new.entry_type, old.entry_type) AS entry_type, "
            "coalesce(new.account, old.account) AS account, coalesce(new.currency, old.currency) AS currency, "
            "coalesce(old.debit_amount - old.credit_amount, 0) AS before, "
            "coalesce(new.debit_amount - new.credit_amount, 0) AS after, "
            "coalesce(new.release_from, old.release_to) AS release_id "
            f"FROM (SELECT * FROM {ledger} WHERE period = :period AND {_shown(booked)}) AS old "
            f"FULL JOIN (SELECT * FROM {ledger} WHERE period = :period AND {_shown(now)}) AS new USING (posting_id) "
            "WHERE old.row_hash IS DISTINCT FROM new.row_hash ORDER BY 1, 2, 3, 4"
        ),
        {"period": str(period)},
    ).mappings()
    found: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        found[row["order_id"]].append(dict(row))
    return found


def _order(
    database: Database, order_id: str, rows: Sequence[Mapping[str, Any]], booked: int, now: int
) -> OrderRestated:
    causes: dict[str, None] = {}
    with database.read(now) as connection:
        number = connection.execute(
            text("SELECT order_number FROM fct_orders WHERE order_id = :id"), {"id": order_id}
        ).scalar()
    for table in sorted(set(_BOOKED_FROM) & set(read.released_tables(database, booked))):
        difference = read.diff(database, booked, now, table, where={"order_id": order_id}, limit=20)
        for sentences in why.reasons(database, booked, now, difference):
            causes |= dict.fromkeys(sentences)
    if not causes:
        causes |= dict.fromkeys(why.code_changes(database, booked, now))
    if not causes:
        causes["rules, seeds or settings changed between the releases; no record and no decision did"] = None
    return OrderRestated(
        order_id,
        number,
        [
            (row["entry_type"], row["account"], row["currency"], row["before"], row["after"])
            for row in rows
            if row["before"] != row["after"]
        ],
        sorted({row["release_id"] for row in rows}),
        list(causes),
    )
