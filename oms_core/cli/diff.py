"""`orderhub diff`: what changed between two releases, and why."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import (
    AsJson,
    Home,
    err,
    fail,
    open_store,
    out,
    plain_errors,
    print_json,
    release_or_instant,
)
from oms_core.settings import Settings

EPILOG = "Example: `orderhub diff 3 4 --table fct_orders`, `orderhub diff 2026-10-01 2026-11-01 --order 1042`"
_SILENT = ("row_hash", "release_id")


@plain_errors
def diff(
    left: Annotated[str, typer.Argument(help="Release number or ISO 8601 time.")],
    right: Annotated[str, typer.Argument(help="Release number or ISO 8601 time.")],
    table: Annotated[str | None, typer.Option(help="Show the rows of one released table.")] = None,
    order: Annotated[
        str | None, typer.Option(help="Show the rows of one order, by any number any system uses.")
    ] = None,
    limit: Annotated[int, typer.Option(help="Rows shown per table at most.", min=1, max=100_000)] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Compare two releases: counts per table, or rows and columns, each with the batch or decision behind it."""
    from oms_core.release import read, why
    from oms_core.release.tables import RELEASED_TABLES
    from oms_core.store.released import ORDER, Released

    if table is not None and table not in RELEASED_TABLES:
        fail(f"there is no released table {table!r}; there are {', '.join(sorted(RELEASED_TABLES))}", 2)
    with open_store(Settings.from_environment(home)) as database:
        first, second = (
            read.resolve(database, wanted).release_id
            for wanted in (release_or_instant(left), release_or_instant(right))
            if wanted is not None
        )
        since, until = sorted((first, second))
        where = None
        if order is not None:
            with database.read(until) as connection:
                where = {"order_id": Released(connection).find(ORDER, order).golden_id}
        names = [table] if table else read.released_tables(database, until)
        is_shown = bool(table or order)
        found = [
            read.diff(database, first, second, name, where=where, limit=limit if is_shown else 0)
            for name in names
        ]
        because = [why.reasons(database, since, until, item) for item in found]
        code = why.code_changes(database, since, until)
    if as_json:
        print_json(
            {
                "left": first,
                "right": second,
                "code": code,
                "tables": [
                    {
                        "table": item.table,
                        "added": item.added,
                        "removed": item.removed,
                        "changed": item.changed,
                        "rows": [
                            {
                                "kind": change.kind,
                                "key": change.key,
                                "columns": change.columns,
                                "because": reasons,
                            }
                            for change, reasons in zip(item.changes, whys, strict=True)
                        ],
                    }
                    for item, whys in zip(found, because, strict=True)
                ],
            }
        )
        return
    counts = Table(
        "table", "added", "removed", "changed", title=f"release {first} → {second}", title_justify="left"
    )
    for item in found:
        if item.added or item.removed or item.changed:
            counts.add_row(item.table, *(f"{count:,}" for count in (item.added, item.removed, item.changed)))
    out.print(counts if counts.row_count else f"release {first} and release {second} show the same")
    for item, whys in zip(found, because, strict=True):
        for change, reasons in zip(item.changes, whys, strict=True):
            key = ", ".join(str(value) for value in change.key.values())
            out.print(f"[bold]{escape(item.table)} {escape(key)}[/] {change.kind}", soft_wrap=True)
            if change.kind == "changed":
                for column, (before, after) in change.columns.items():
                    if column not in _SILENT:
                        out.print(
                            f"    {column}: {escape(str(before))} → {escape(str(after))}", soft_wrap=True
                        )
            for reason in reasons:
                out.print(f"    [dim]because {escape(reason)}[/]", soft_wrap=True)
        more = item.added + item.removed + item.changed - len(item.changes)
        if item.changes and more:
            err.print(f"[yellow]{item.table}: {more:,} more rows; raise --limit[/]")
    for sentence in code:
        out.print(f"[dim]{escape(sentence)}[/]", soft_wrap=True)
