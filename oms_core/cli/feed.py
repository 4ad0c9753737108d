"""`orderhub feed`: what releases changed, for services that follow."""

from __future__ import annotations

import os
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, Live, fail, open_store, out, plain_errors, print_json
from oms_core.settings import Settings

app = typer.Typer(help="What releases changed, in order, for services that follow.", no_args_is_help=True)


@app.command("show", epilog="Example: `orderhub feed show --entity order --limit 20 --json`")
@plain_errors
def show(
    after: Annotated[str | None, typer.Option(help="Cursor of the last change you dealt with.")] = None,
    entity: Annotated[
        list[str] | None, typer.Option(help="order, customer, sku or location; repeat for more.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Changes at most.")] = 50,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what changed after a cursor, as CloudEvents with --json; GET /changes does the same."""
    from oms_core.release.feed import FOLLOWED, read_changes

    unknown = [name for name in entity or () if name not in FOLLOWED]
    if unknown:
        fail(f"--entity {unknown[0]!r}: choose {', '.join(FOLLOWED)}", 2)
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        changes = read_changes(connection, after, entities=entity or (), limit=limit)
    if as_json:
        print_json(
            {
                "changes": [c.cloud_event() for c in changes],
                "cursor": changes[-1].cursor if changes else after,
            }
        )
        return
    table = Table("release", "what", "id", "happened")
    for change in changes:
        table.add_row(str(change.release_id), change.entity, escape(change.golden_id), change.kind)
    out.print(table)
    if changes:
        out.print(f"go on with --after {changes[-1].cursor}", soft_wrap=True)


@app.command("deliver", epilog="Example: `orderhub feed deliver oms https://oms.example/hooks/orderhub`")
@plain_errors
def deliver(
    name: Annotated[str, typer.Argument(help="Of the follower; where it stands is kept under it.")],
    url: Annotated[str, typer.Argument(help="Where batches of CloudEvents are posted.")],
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Changes per request.")] = 100,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Post a follower every change it does not have yet, at least once and in order.

    ORDERHUB_FEED_TOKEN is sent as a bearer token where it is set.
    """
    from oms_core.outbox import deliver as run

    token = os.environ.get("ORDERHUB_FEED_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    with open_store(Settings.from_environment(home)) as database, Live(as_json) as live:
        done = run(database, name, url, headers=headers, batch=batch, say=live.say)
    if as_json:
        print_json(vars(done))
    else:
        out.print(f"{escape(name)} took {done.changes:,} changes")
