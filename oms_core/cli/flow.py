"""`orderhub flow`: order flows as documents, and where each order is in its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table
from sqlalchemy import Connection

from oms_core.cli.terminal import AsJson, Home, Live, fail, instant, open_store, out, plain_errors, print_json
from oms_core.flows import book, draw, lanes, versions
from oms_core.flows.definition import Flow, load, schema
from oms_core.flows.fold import Event
from oms_core.flows.follow import follow as follow_release
from oms_core.flows.lint import lint as find_faults
from oms_core.flows.migrate import migrate as migrate_orders
from oms_core.flows.sweep import sweep as sweep_orders
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.store.released import ORDER, Released

app = typer.Typer(help="Order flows as data, and where each order is in its own.", no_args_is_help=True)

Document = Annotated[
    str,
    typer.Argument(help="File of a flow (YAML or JSON), or the name of a shipped one.", show_default=False),
]
Order = Annotated[str, typer.Argument(help="Any number of the order.", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, for the record.", show_default=False)]
Revision = Annotated[
    int | None, typer.Option(help="The revision you saw; refused when the order has changed since.")
]


@app.command("list", epilog="Example: `orderhub flow list`")
@plain_errors
def list_flows(home: Home = None, as_json: AsJson = False) -> None:
    """Show the flows in force, in the order in which they are asked, and how many orders are in which state."""
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        active = versions.active(connection)
        rows: list[dict[str, Any]] = [
            {
                "flow": name,
                "version": version,
                "is_active": version == item.flow.version,
                "applies_to": flow.applies_to,
                "precedence": flow.precedence,
                "title": flow.title,
                "states": versions.standing(connection, name, version),
            }
            for name, item in active.items()
            for version, flow in versions.known(connection, name).items()
        ]
    idle = [name for name in _shipped() if name not in active]
    if as_json:
        print_json({"flows": rows, "shipped_not_active": idle})
        return
    table = Table("flow", "version", "orders it applies to", "in each state")
    for row in rows:
        states = ", ".join(f"{state} {orders:,}" for state, orders in row["states"].items())
        version = row["version"] if row["is_active"] else f"{row['version']}, no new orders"
        table.add_row(row["flow"], version, escape(row["applies_to"]), states or "no order yet")
    out.print(table)
    if idle:
        out.print(f"shipped and not active: {', '.join(idle)}; `orderhub flow activate {idle[0]}`")


@app.command(epilog="Example: `orderhub flow lint returns.yaml`")
@plain_errors
def lint(document: Document, as_json: AsJson = False) -> None:
    """Say what is wrong with a flow, where, and what to do; exit code 1 when it may not be activated."""
    flow = _read(document)
    found = find_faults(flow)
    if as_json:
        print_json([vars(finding) for finding in found])
    else:
        for finding in found:
            out.print(f"[bold]{finding.severity}[/] {escape(str(finding))}", highlight=False, soft_wrap=True)
        if not found:
            out.print(
                f"flow {flow.flow} {flow.version}: {len(flow.leaves)} states, nothing to find fault with"
            )
    if any(finding.severity == "error" for finding in found):
        raise typer.Exit(1)


@app.command("schema", epilog="Example: `orderhub flow schema > flow.schema.json`")
def show_schema() -> None:
    """Print the JSON Schema of flow documents, for editors."""
    print_json(schema())


@app.command("example", epilog="Example: `orderhub flow example b2b > b2b.yaml`")
@plain_errors
def show_example(
    name: Annotated[str, typer.Argument(help="Name of a shipped flow.", show_default=False)] = "b2c",
) -> None:
    """Print a shipped flow, to start another from."""
    typer.echo(_text(name), nl=False)


@app.command("draw", epilog="Example: `orderhub flow draw b2b --svg b2b.svg`")
@plain_errors
def draw_flow(
    document: Document,
    order: Annotated[
        str | None, typer.Option(help="Highlight where this order is; draws its version.")
    ] = None,
    svg: Annotated[
        Path | None, typer.Option(help="Draw it as a picture into this file: a lane for each state.")
    ] = None,
    home: Home = None,
) -> None:
    """Draw a flow: as a Mermaid state diagram, or as a picture."""
    if order is None:
        _draw(_read(document), None, svg)
        return
    with open_store(Settings.from_environment(home)) as database:
        order_id = _find(database, order)
        with database.begin() as connection:
            item = book.placed(connection, order_id, document)
            flow = versions.one(connection, item.flow, item.version)
    _draw(flow, item.state, svg)


def _draw(flow: Flow, at: str | None, into: Path | None) -> None:
    if into is None:
        typer.echo(draw.mermaid(flow, at), nl=False)
    else:
        into.write_text(lanes.svg(flow, at), "utf-8")
        out.print(f"drawn: {into}", highlight=False, soft_wrap=True)


@app.command(epilog='Example: `orderhub flow activate b2b.yaml --reason "limit raised"`')
@plain_errors
def activate(document: Document, reason: Reason, home: Home = None, as_json: AsJson = False) -> None:
    """Put a version in force: new orders follow it, those under way keep theirs. The lint must find no error."""
    settings = Settings.from_environment(home)
    flow = _read(document)
    with open_store(settings) as database, database.begin() as connection:
        warnings = versions.activate(connection, flow, by=settings.actor, reason=reason)
        counts = {
            version: sum(versions.standing(connection, flow.flow, version).values())
            for version in versions.known(connection, flow.flow)
        }
    if as_json:
        told = {"flow": flow.flow, "version": flow.version, "sha256": flow.sha256, "orders": counts}
        print_json(told | {"warnings": [vars(finding) for finding in warnings]})
        return
    for finding in warnings:
        out.print(f"[yellow]warning[/] {escape(str(finding))}", highlight=False, soft_wrap=True)
    out.print(f"flow {flow.flow} {flow.version} is in force", highlight=False)
    for version, orders in counts.items():
        if orders and version != flow.version:
            out.print(
                f"{orders:,} orders stay in version {version}; `orderhub flow migrate {flow.flow}` moves them"
            )


@app.command(epilog="Example: `orderhub flow follow`")
@plain_errors
def follow(home: Home = None, as_json: AsJson = False) -> None:
    """Put every order where the current release says it is, as each run does at its end once a flow is active."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database, Live(as_json) as live:
        done = follow_release(database, by=settings.actor, say=live.say)
    if as_json:
        print_json({**vars(done), "begun": dict(done.begun)})
        return
    for name, orders in done.begun.items():
        out.print(f"{orders:,} orders began {escape(name)}", highlight=False)
    out.print(
        f"release {done.release_id}: {done.events:,} events differ from before, {done.moved:,} orders moved, "
        f"{done.in_none:,} orders are in no flow",
        highlight=False,
    )


@app.command(epilog="Example: `orderhub flow show 1042`")
@plain_errors
def show(order: Order, home: Home = None, as_json: AsJson = False) -> None:
    """Show where an order is in its flow, the way it took, what changed nothing, and what was known when."""
    with open_store(Settings.from_environment(home)) as database:
        order_id = _find(database, order)
        with database.begin() as connection:
            item = book.placed(connection, order_id)
            flow = versions.known(connection, item.flow)[item.version]
            folded = book.history(connection, item)
            changes = book.changes(connection, order_id)
    if as_json:
        print_json(
            {
                **vars(item),
                "steps": [_step(step) for step in folded.steps],
                "idle": [
                    {**_event(each.event), "state": each.state, "because": each.because}
                    for each in folded.idle
                ],
                "changes": changes,
            }
        )
        return
    state = flow.leaves[item.state]
    out.print(
        f"[bold]{order_id}[/] is in [bold]{item.state}[/] ({escape(state.title)}) of {item.flow} {item.version}"
        + ("" if item.entered_at is None else f" since {item.entered_at:%Y-%m-%d %H:%M}Z")
        + f", revision {item.revision}",
        highlight=False,
    )
    if item.due_at is not None and state.timeout is not None:
        out.print(f"{state.timeout.event} at {item.due_at:%Y-%m-%d %H:%M}Z", highlight=False)
    if state.approval is not None:
        out.print(f"waits for {state.approval.role} to approve or reject", highlight=False)
    table = Table("when (UTC)", "event", "from", "to", "told by", "why", title="Way", title_justify="left")
    for step in folded.steps:
        table.add_row(
            f"{step.event.occurred_at:%Y-%m-%d %H:%M}", step.event.kind, step.from_state, step.to_state,
            escape(step.event.by or step.event.source), escape(step.event.reason or ""),
        )  # fmt: skip
    out.print(table)
    for each in folded.idle:
        out.print(
            f"changed nothing: {each.event.kind} of {each.event.source} at {each.event.occurred_at:%Y-%m-%d %H:%M}Z, "
            f"{escape(each.because)}",
            highlight=False,
        )
    for change in changes:
        out.print(
            f"[dim]revision {change['revision']} at {change['changed_at']:%Y-%m-%d %H:%M}Z by "
            f"{escape(change['changed_by'])}: {change['from_state'] or 'new'} → {change['to_state']}, "
            f"{escape(change['reason'])}[/]",
            highlight=False,
        )


@app.command(
    epilog="Example: `orderhub flow event 1042 delivered --at 2026-11-20T14:05:00+01:00 --source karrio`"
)
@plain_errors
def event(
    order: Order,
    kind: Annotated[str, typer.Argument(help="The event, as the order's flow names it.", show_default=False)],
    at: Annotated[str | None, typer.Option(help="When it happened, ISO 8601; now by default.")] = None,
    data: Annotated[
        list[str] | None, typer.Option(help="name=value that it carries; repeat for more.")
    ] = None,
    source: Annotated[str, typer.Option(help="System that tells it.")] = "cli",
    reason: Annotated[str | None, typer.Option(help="Why, for the record.")] = None,
    key: Annotated[str | None, typer.Option(help="Its own id: told again under it, it counts once.")] = None,
    revision: Revision = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Tell what happened to an order; it is put where it belongs, however late it comes."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        order_id = _find(database, order)
        with database.begin() as connection:
            declared = _declared(connection, order_id, kind)
            told = book.tell(
                connection,
                order_id,
                Event(
                    f"{source}:{key or uuid.uuid4()}", kind, instant(at, "--at") or datetime.now(UTC), source,
                    settings.actor, reason, data=dict(_pair(item, declared) for item in data or ()),
                ),
                by=settings.actor,
                revision=revision,
            )  # fmt: skip
    _show_told(told, as_json)


@app.command(epilog='Example: `orderhub flow approve 4500012 --reason "limit checked"`')
@plain_errors
def approve(
    order: Order, reason: Reason, revision: Revision = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Approve an order that waits for it."""
    _decide(order, True, reason, revision, home, as_json)


@app.command(epilog='Example: `orderhub flow reject 4500012 --reason "three invoices are open"`')
@plain_errors
def reject(
    order: Order, reason: Reason, revision: Revision = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Reject an order that waits for approval."""
    _decide(order, False, reason, revision, home, as_json)


@app.command(
    epilog="Example: `orderhub flow migrate b2b --from 1 --to 2 --map escalated=to_approve --dry-run`"
)
@plain_errors
def migrate(
    flow: Annotated[str, typer.Argument(help="Name of the flow.", show_default=False)],
    from_version: Annotated[str, typer.Option("--from", help="Version they are in.", show_default=False)],
    to_version: Annotated[str, typer.Option("--to", help="Version they go to.", show_default=False)],
    mapped: Annotated[
        list[str] | None,
        typer.Option("--map", help="old=new state; the same name by default; repeat for more."),
    ] = None,
    reason: Annotated[str | None, typer.Option(help="Why; needed unless --dry-run.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; change nothing.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take the orders under way from one version of their flow to another."""
    if reason is None and not dry_run:
        fail("--reason says why orders are moved; or try --dry-run first", 2)
    settings = Settings.from_environment(home)
    with open_store(settings) as database, database.begin() as connection:
        done = migrate_orders(
            connection, flow, from_version, to_version, dict(_split(item) for item in mapped or ()),
            by=settings.actor, reason=reason or "dry run", dry_run=dry_run,
        )  # fmt: skip
    if as_json:
        print_json({**vars(done), "states": {name: list(pair) for name, pair in done.states.items()}})
        return
    for state, (target, orders) in done.states.items():
        out.print(f"{orders:,} orders from {state} to {target}", highlight=False)
    word = "moved" if done.is_done else "would move"
    out.print(
        f"{done.orders:,} orders under way {word} from {flow} {from_version} to {to_version}", highlight=False
    )


@app.command(epilog="Example: `orderhub flow sweep`")
@plain_errors
def sweep(home: Home = None, as_json: AsJson = False) -> None:
    """Let the timeouts happen whose time is up; run it every minute or so."""
    settings = Settings.from_environment(home)
    count = 0
    with open_store(settings) as database:
        while True:
            with database.begin() as connection:
                swept = sweep_orders(connection, by=settings.actor)
            count += len(swept)
            if not swept:
                break
    if as_json:
        print_json({"timeouts": count})
    else:
        out.print(f"{count:,} timeouts happened")


def _decide(
    order: str, is_approved: bool, reason: str, revision: int | None, home: Path | None, as_json: bool
) -> None:
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        order_id = _find(database, order)
        with database.begin() as connection:
            told = book.decide(
                connection, order_id, is_approved=is_approved, by=settings.actor, reason=reason, role=None,
                key=str(uuid.uuid4()), revision=revision,
            )  # fmt: skip
    _show_told(told, as_json)


def _show_told(told: book.Told, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                **vars(told.placed),
                "steps": [_step(step) for step in told.steps],
                "because": told.because,
                "is_replayed": told.is_replayed,
            }
        )
        return
    for step in told.steps:
        out.print(f"{step.from_state} → {step.to_state} on {step.event.kind}", highlight=False)
    if told.is_replayed:
        out.print("told before; nothing happened", highlight=False)
    if told.because is not None:
        out.print(f"kept, and changed nothing: {escape(told.because)}", highlight=False)
    out.print(
        f"{told.placed.order_id} is in {told.placed.state}, revision {told.placed.revision}", highlight=False
    )


def _step(step: Any) -> dict[str, Any]:
    return {
        **_event(step.event),
        "from_state": step.from_state,
        "to_state": step.to_state,
        "version": step.version,
    }


def _event(event: Event) -> dict[str, Any]:
    return {
        "event_id": event.event_id, "event": event.kind, "occurred_at": event.occurred_at, "source": event.source,
        "by": event.by, "reason": event.reason,
    }  # fmt: skip


def _find(database: Database, order: str) -> str:
    with database.read() as connection:
        return Released(connection).find(ORDER, order).golden_id


def _shipped() -> list[str]:
    folder = resources.files("oms_core.flows").joinpath("shipped")
    return sorted(item.name.removesuffix(".yaml") for item in folder.iterdir() if item.name.endswith(".yaml"))


def _text(document: str) -> str:
    if document in _shipped():
        return resources.files("oms_core.flows").joinpath("shipped", f"{document}.yaml").read_text("utf-8")
    try:
        return Path(document).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{document!r} is no shipped flow ({', '.join(_shipped())}) and no file to be read: {error}", 2)


def _read(document: str) -> Flow:
    return load(_text(document))


def _split(item: str) -> tuple[str, str]:
    name, is_there, value = item.partition("=")
    if not is_there or not name:
        fail(f"{item!r} is not written name=value", 2)
    return name, value


def _declared(connection: Connection, order_id: str, kind: str) -> Mapping[str, str]:
    """What an event of the order's flow may carry; nothing where the flow does not know it."""
    item = book.placed(connection, order_id)
    event = versions.known(connection, item.flow)[item.version].events.get(kind)
    return {} if event is None else event.data


def _pair(item: str, declared: Mapping[str, str]) -> tuple[str, Any]:
    name, value = _split(item)
    if declared.get(name) == "text":
        return name, value
    try:
        return name, json.loads(value)  # numbers and flags; anything else is text
    except json.JSONDecodeError:
        return name, value
