"""`orderhub feed`: what releases changed, for services that follow."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from oms_core.cli.terminal import AsJson, Home, Live, fail, open_store, out, plain_errors, print_json
from oms_core.settings import Settings

app = typer.Typer(help="What releases changed, in order, for services that follow.", no_args_is_help=True)


class Followed(StrEnum):
    """What can be followed."""

    RELEASES = "releases"
    OMS = "oms"


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
    url: Annotated[
        str,
        typer.Argument(
            help="https://… for a webhook, tls://host/prefix for NATS, kafka://host/topic for Kafka."
        ),
    ],
    follow: Annotated[
        Followed, typer.Option(help="Changes of releases, or what happens in the OMS.")
    ] = Followed.RELEASES,
    batch: Annotated[int, typer.Option(min=1, max=1000, help="Events per request.")] = 100,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Send a follower every event it does not have yet, at least once and in order.

    ORDERHUB_FEED_TOKEN authorises with a webhook or NATS where it is set. ORDERHUB_FEED_SETTINGS names a file of `name=value`
    lines: settings of librdkafka for Kafka, `credentials=<path of a .creds file>` for NATS.
    """
    from oms_core.outbox.deliver import deliver as run

    token = os.environ.get("ORDERHUB_FEED_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    said = os.environ.get("ORDERHUB_FEED_SETTINGS")
    lines = Path(said).read_text().splitlines() if said else []
    pairs = [line.partition("=") for line in lines if line.strip() and not line.startswith("#")]
    settings = {name.strip(): value.strip() for name, _, value in pairs}
    with open_store(Settings.from_environment(home)) as database, Live(as_json) as live:
        done = run(
            database,
            name,
            url,
            headers=headers,
            settings=settings,
            feed=follow.value,
            batch=batch,
            say=live.say,
        )
    if as_json:
        print_json(vars(done))
    else:
        out.print(f"{escape(name)} took {done.changes:,} changes")
