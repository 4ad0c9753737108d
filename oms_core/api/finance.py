"""The books over HTTP, for finance and auditors: ledger, settlements, reconciliation, refunds, rebates, measures, periods."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel, Field
from sqlalchemy import text

from oms_core.api import keys, problems
from oms_core.api.access import Access, Reading
from oms_core.api.identity import Reason, Text
from oms_core.api.orders import AsOf
from oms_core.finance.close import close, plan
from oms_core.finance.period import Period
from oms_core.finance.reconciliation import CAUSES, booked_periods, reconcile, release_with_books
from oms_core.finance.restatement import restatements
from oms_core.release.history import quoted
from oms_core.release.tables import declared
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released

# Book -> released table, and which of the filters fit it.
_BOOKS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "ledger": ("fin_order_ledger", ("period", "order_id", "currency", "account")),
    "settlements": ("fin_settlements", ("order_id", "currency", "source_system")),
    "differences": ("fin_reconciliation", ("period", "order_id", "currency", "source_system", "cause")),
    "refunds": ("fin_refunds", ("order_id", "currency", "source_system")),
    "rebates": ("fin_rebates", ("order_id", "currency")),
    "measures": ("fin_measures", ("period", "currency")),
}
_MOST_ROWS = 1000
_SILENT = ("row_hash", "release_id")

Book = Literal["ledger", "settlements", "differences", "refunds", "rebates", "measures"]
Month = Annotated[str, Path(max_length=10, description="Year and month, such as 2026-10.")]


class Rows(BaseModel):
    """Rows of one book, by key; columns as in its data contract. `next_after` asks for the page that follows."""

    release_id: int
    rows: list[dict[str, Any]]
    next_after: str | None


class PeriodTotals(BaseModel):
    """One leg beside one system in one unit: both sides, what is open, and what each cause explains."""

    leg: str
    source_system: str
    unit: str
    counts: dict[str, int]
    left: Decimal
    right: Decimal
    open: Decimal
    causes: dict[str, Decimal]
    is_explained: bool


class Reconciled(BaseModel):
    """A period's reconciliation as of a release; `GET /finance/differences` lists the differences."""

    period: str
    release_id: int
    totals: list[PeriodTotals]


class PeriodState(BaseModel):
    """One month of the ledger; what closed it is null while it is open."""

    period: str
    release_id: int | None = None
    closed_at: datetime | None = None
    closed_by: str | None = None
    reason: str | None = None
    residual_amount: Decimal | None = None
    reporting_currency: str | None = None
    control_totals_sha256: str | None = None


class AccountRestated(BaseModel):
    """One account in one currency: balance as booked and now."""

    account: str
    currency: str
    as_booked: Decimal
    restated: Decimal


class OrderRestated(BaseModel):
    """What changed of one order, and why."""

    order_id: str
    order_number: str | None
    releases: list[int]
    causes: list[str]


class Restated(BaseModel):
    """What changed in a closed period since."""

    period: str
    closed_with: int
    as_of: int
    accounts: list[AccountRestated]
    order_count: int
    orders: list[OrderRestated]


class CloseRequest(BaseModel):
    """How to close; a dry run says what would be frozen, and what speaks against it."""

    reason: Reason
    threshold: Decimal = Field(
        Decimal(0),
        ge=0,
        max_digits=18,
        decimal_places=4,
        description="Unexplained tolerated, in the reporting currency.",
    )
    accept_negative_settlements: bool = False
    dry_run: bool = False


class Closed(BaseModel):
    """What was frozen, or would be."""

    period: str
    release_id: int
    is_closed: bool
    control_totals: dict[str, Any]
    control_totals_sha256: str
    residual_amount: Decimal
    reasons: list[str] = Field(description="What speaks against it; only a dry run answers with any.")
    log_entry: int | None = None


def router(database: Database, access: Access) -> APIRouter:
    """The routes under /finance.

    Args:
        database: released tables are read as the caller's role sees them.
        access: lets in finance and auditors; only finance closes.
    """
    routes = APIRouter(prefix="/finance", tags=["finance"])
    reader = Depends(access.of_role(keys.FINANCE, keys.AUDITOR))
    persons = Depends(access.reading)

    @routes.get("/periods", dependencies=[reader], responses=problems.failures(403, 404, 409))
    def periods(
        as_of: AsOf = None,
        after: Annotated[str, Query(max_length=10, description="The last month seen.")] = "",
        limit: Annotated[int, Query(ge=1, le=1200)] = 120,
        reading: Reading = persons,
    ) -> list[PeriodState]:
        """Months of the ledger, oldest first, and how each was closed."""
        release_id = release_with_books(database, as_of)
        with reading.at(release_id) as connection:
            booked = booked_periods(connection)
            closes = {
                row["period"]: row
                for row in connection.execute(text("SELECT * FROM finance_closes")).mappings()
            }
        return [
            PeriodState.model_validate(dict(closes.get(name, {"period": name})))
            for name in sorted(name for name in {*booked, *closes} if name > after)[:limit]
        ]

    @routes.get(
        "/periods/{period}/reconciliation", dependencies=[reader], responses=problems.failures(403, 404, 409)
    )
    def reconciliation(period: Month, as_of: AsOf = None) -> Reconciled:
        """Both sides of every leg in total, and what each cause explains."""
        found = reconcile(database, Period.parse(period), as_of=as_of)
        totals = [
            PeriodTotals(
                leg=item.leg,
                source_system=item.source_system,
                unit=item.unit,
                counts=dict(item.counts),
                left=item.left,
                right=item.right,
                open=item.open,
                causes=dict(item.causes),
                is_explained=item.is_explained,
            )
            for item in found.totals
        ]
        return Reconciled(period=str(found.period), release_id=found.release_id, totals=totals)

    @routes.get(
        "/periods/{period}/restatements", dependencies=[reader], responses=problems.failures(403, 404, 409)
    )
    def restated(
        period: Month,
        as_of: AsOf = None,
        after: Annotated[Text, Query(max_length=200, description="Id of the last order seen.")] = "",
        limit: Annotated[int, Query(ge=0, le=500)] = 50,
    ) -> Restated:
        """What changed in a closed period since, which orders, and because of which batch or decision."""
        found = restatements(database, Period.parse(period), as_of=as_of, limit=limit, after=after)
        return Restated(
            period=str(found.period),
            closed_with=found.closed_with,
            as_of=found.as_of,
            accounts=[
                AccountRestated(
                    account=a.account, currency=a.currency, as_booked=a.as_booked, restated=a.restated
                )
                for a in found.accounts
            ],
            order_count=found.order_count,
            orders=[
                OrderRestated(
                    order_id=o.order_id, order_number=o.order_number, releases=o.releases, causes=o.causes
                )
                for o in found.orders
            ],
        )

    @routes.post("/periods/{period}/close", responses=problems.failures(403, 404, 409))
    def close_period(
        period: Month,
        asked: CloseRequest,
        holder: keys.Holder = Depends(access.of_role(keys.FINANCE)),
    ) -> Closed:
        """Freeze a month as booked; refused, with the list, while more than the threshold is unexplained."""
        found = plan(
            database,
            Period.parse(period),
            threshold=asked.threshold,
            accept_negative_settlements=asked.accept_negative_settlements,
        )
        entry = None
        if not asked.dry_run:
            entry = close(
                database, found, by=holder.name, reason=asked.reason, threshold=asked.threshold
            ).entry
        return Closed(
            period=str(found.period),
            release_id=found.release_id,
            is_closed=entry is not None,
            control_totals=dict(found.control_totals),
            control_totals_sha256=found.digest,
            residual_amount=found.residual_amount,
            reasons=found.reasons,
            log_entry=entry,
        )

    @routes.get("/{book}", dependencies=[reader], responses=problems.failures(403, 404, 409))
    def rows(
        book: Book,
        period: Annotated[Text | None, Query(max_length=10, description="Month, such as 2026-10.")] = None,
        order: Annotated[
            Text | None, Query(min_length=1, max_length=200, description="Any number any system uses.")
        ] = None,
        currency: Annotated[Text | None, Query(max_length=3)] = None,
        source_system: Annotated[Text | None, Query(max_length=63)] = None,
        account: Annotated[Text | None, Query(max_length=20)] = None,
        cause: Annotated[Text | None, Query(max_length=20)] = None,
        after: Annotated[
            Text | None, Query(max_length=600, description="`next_after` of the page before.")
        ] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS)] = 100,
        as_of: AsOf = None,
        reading: Reading = persons,
    ) -> Rows:
        """Rows of one book, a page at a time; a filter that the book does not know is refused."""
        table, known = _BOOKS[book]
        if period is not None:
            Period.parse(period)
        if cause is not None and cause not in CAUSES:
            raise HTTPException(422, f"{cause!r} is no cause: there are {', '.join(CAUSES)}")
        asked = {"period": period, "currency": currency, "source_system": source_system, "account": account, "cause": cause,
                 "order_id": order}  # fmt: skip
        unfit = sorted(name for name, value in asked.items() if value is not None and name not in known)
        if unfit:
            raise HTTPException(
                422, f"{book} cannot be filtered by {', '.join(unfit)}; it can by {', '.join(known)}"
            )
        release_id = release_with_books(database, as_of)
        (key,) = declared(table).key
        with reading.at(release_id) as connection:
            released = Released(connection)
            if table not in released.tables:
                raise NotReleasedError(f"release {release_id} has no {book}: {table} was not part of it")
            if order is not None:
                asked["order_id"] = released.find(ORDER, order).golden_id
            values = {name: value for name, value in asked.items() if value is not None}
            conditions = [f"{quoted(name)} = :{name}" for name in values]
            if after is not None:
                values["after"] = _cursor(after)
                conditions.append(f"{quoted(key)} > :after")
            where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
            found = [
                dict(row)
                for row in connection.execute(
                    text(f"SELECT * FROM {quoted(table)}{where} ORDER BY {quoted(key)} LIMIT :limit"),
                    {**values, "limit": limit + 1},
                ).mappings()
            ]
        shown = [{name: value for name, value in row.items() if name not in _SILENT} for row in found[:limit]]
        more = len(found) > limit
        return Rows(release_id=release_id, rows=shown, next_after=_page(shown[-1][key]) if more else None)

    return routes


def _page(key: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode()


def _cursor(page: str) -> str:
    try:
        key = json.loads(base64.urlsafe_b64decode(page.encode()))
        if not isinstance(key, str) or "\0" in key:
            raise ValueError("no page of ours ends with it")
        return key
    except (ValueError, binascii.Error) as error:
        raise HTTPException(422, "this is no `next_after` that a page gave") from error
