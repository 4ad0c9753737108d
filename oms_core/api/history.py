"""What changed between two releases, over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import BaseModel, Field

from oms_core.api import problems
from oms_core.api.access import Access, Reading
from oms_core.release import read, why
from oms_core.release.persons import masked
from oms_core.release.tables import RELEASED_TABLES
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released

_MOST_ROWS = 1000

Moment = Annotated[
    str,
    Path(
        max_length=40,
        description="Release id, or an instant: the release that was current then.",
        openapi_examples={"release": {"value": "7"}, "instant": {"value": "2026-10-31T18:00:00Z"}},
    ),
]


class ChangedRow(BaseModel):
    """One row that differs, column by column: `columns` maps a name to the value before and after."""

    kind: Literal["added", "removed", "changed"]
    key: dict[str, Any]
    columns: dict[str, tuple[Any, Any]]
    because: list[str] = Field(
        description="The batch, event or decision each change came with; empty: rules or code."
    )


class TableDifference(BaseModel):
    """How one table differs; the counts are whole, `rows` holds the first of them by key."""

    table: str
    added: int
    removed: int
    changed: int
    rows: list[ChangedRow]


class ReleaseDifference(BaseModel):
    """How two releases differ. `code` says which code or rules changed between them."""

    left: int
    right: int
    code: list[str]
    tables: list[TableDifference]


def router(database: Database, access: Access) -> APIRouter:
    """The routes under /releases that compare.

    Args:
        database: read through its owner, as the history is; nothing is written.
        access: lets in look-ups and every key; persons are masked for whom look-ups mask them.
    """
    routes = APIRouter(prefix="/releases", tags=["releases"])

    @routes.get("/{left}/diff/{right}", responses=problems.failures(403, 404, 409, 422))
    def difference(
        left: Moment,
        right: Moment,
        table: Annotated[
            str | None, Query(max_length=63, description="Rows of this released table; else counts of each.")
        ] = None,
        order: Annotated[
            str | None,
            Query(
                min_length=1, max_length=200, description="Rows of one order, by any number any system uses."
            ),
        ] = None,
        limit: Annotated[int, Query(ge=1, le=_MOST_ROWS, description="Rows per table at most.")] = 100,
        offset: Annotated[int, Query(ge=0, lt=2**31, description="Rows of each table seen already.")] = 0,
        reading: Reading = Depends(access.reading),
    ) -> ReleaseDifference:
        """Which rows and columns differ between two releases, and what each difference came from."""
        if table is not None and table not in RELEASED_TABLES:
            raise HTTPException(
                422, f"there is no released table {table!r}; there are {', '.join(sorted(RELEASED_TABLES))}"
            )
        first, second = (read.resolve(database, moment).release_id for moment in (left, right))
        since, until = sorted((first, second))
        where = None
        if order is not None:
            with database.read(until) as connection:
                where = {"order_id": Released(connection).find(ORDER, order).golden_id}
        names = [table] if table else read.released_tables(database, until)
        shown = limit if table or order else 0
        found = [
            read.diff(database, first, second, name, where=where, limit=shown, offset=offset)
            for name in names
        ]
        return ReleaseDifference(
            left=first,
            right=second,
            code=why.code_changes(database, since, until),
            tables=[
                TableDifference(
                    table=item.table,
                    added=item.added,
                    removed=item.removed,
                    changed=item.changed,
                    rows=[
                        ChangedRow(
                            kind=change.kind,
                            key=dict(change.key),
                            columns=_shown(item.table, change.columns, reading),
                            because=because,
                        )
                        for change, because in zip(
                            item.changes, why.reasons(database, since, until, item), strict=True
                        )
                    ],
                )
                for item in found
            ],
        )

    return routes


def _shown(
    table: str, columns: Mapping[str, tuple[Any, Any]], reading: Reading
) -> dict[str, tuple[Any, Any]]:
    """The changed values, of persons only how they begin where the key sees no more."""
    personal = RELEASED_TABLES[table].personal if reading.is_masked else ()
    return {
        name: (masked(before), masked(after)) if name in personal else (before, after)
        for name, (before, after) in columns.items()
    }
