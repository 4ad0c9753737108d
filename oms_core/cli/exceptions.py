"""`orderhub exceptions`: orders that need a person, what is suggested, and what was decided."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.markup import escape
from rich.table import Column, Table

from oms_core.cli.terminal import AsJson, Home, Live, fail, open_store, out, plain_errors, print_json
from oms_core.exceptions import queue
from oms_core.exceptions.detect import KINDS, RESOLUTIONS
from oms_core.settings import Settings
from oms_core.store.released import ORDER, Released
from oms_core.store.tables import EXCEPTION_STATES

app = typer.Typer(help="Orders that need a person, with a suggestion each.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Id of the exception, EXC-….", show_default=False)]
Reason = Annotated[str, typer.Option(help="Why, for the record.", show_default=False)]
Revision = Annotated[int | None, typer.Option(help="The revision you saw; refused when it changed since.")]


@app.command(epilog="Example: `orderhub exceptions detect`")
@plain_errors
def detect(home: Home = None, as_json: AsJson = False) -> None:
    """Look for orders that need a person, as each run does at its end; found again they are the same."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database, Live(as_json) as live:
        done = queue.detect(database, by=settings.actor, say=live.say)
    if as_json:
        print_json({**vars(done), "found": dict(done.found)})
        return
    for kind, count in done.found.items():
        out.print(f"{count:>6,} {kind}", highlight=False)
    out.print(f"{done.opened:,} opened, {done.closed:,} gone by themselves", highlight=False)
    if done.not_looked:
        out.print(
            f"not looked for, since nothing is released to tell them from: {', '.join(done.not_looked)}"
        )


@app.command("list", epilog="Example: `orderhub exceptions list --kind stuck`")
@plain_errors
def list_exceptions(
    kind: Annotated[str | None, typer.Option(help=f"Only of this kind: {', '.join(KINDS)}.")] = None,
    state: Annotated[str, typer.Option(help="open, accepted, changed, rejected, gone, or all.")] = "open",
    order: Annotated[str | None, typer.Option(help="Only of this order, by any number.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many.")] = 200,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what waits for a person, kind by kind, oldest first."""
    if kind is not None and kind not in KINDS:
        fail(f"--kind {kind!r}: choose {', '.join(KINDS)}", 2)
    if state not in (*EXCEPTION_STATES, "all"):
        fail(f"--state {state!r}: choose {', '.join(EXCEPTION_STATES)} or all", 2)
    with open_store(Settings.from_environment(home)) as database:
        order_id = None
        if order is not None:
            with database.read() as connection:
                order_id = Released(connection).find(ORDER, order).golden_id
        with database.begin() as connection:
            asked = None if state == "all" else state
            found = queue.look(connection, kind=kind, state=asked, order_id=order_id, limit=limit + 1)
    shown = found[:limit]
    if as_json:
        print_json([vars(item) for item in shown])
        return
    table = Table(Column("exception", no_wrap=True), Column("order", no_wrap=True), "suggestion", "because")
    for name in KINDS:
        some = [item for item in shown if item.kind == name]
        if some:
            table.add_row(f"[bold]{name}[/]", "", "", f"[dim]{len(some):,}[/]", end_section=False)
        for item in some:
            told = (
                item.state
                if item.state in ("open", "gone")
                else f"{item.state}, {item.outcome or 'not looked since'}"
            )
            table.add_row(
                item.exception_id, item.order_id, item.suggestion["resolution"] + ("" if item.state == "open" else f" ({told})"),
                escape(item.suggestion["because"]),
            )  # fmt: skip
    out.print(table if shown else "nothing waits for a person")
    if len(found) > limit:
        out.print(f"only the first {limit:,} are shown; raise --limit for more")


@app.command(epilog="Example: `orderhub exceptions show EXC-2R27SXOKIP7VQSTF`")
@plain_errors
def show(exception_id: Id, home: Home = None, as_json: AsJson = False) -> None:
    """Show an exception: what was seen, what is suggested, what else could be done, and all that happened to it."""
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        item = queue.one(connection, exception_id)
        past = queue.history(connection, exception_id)
    if as_json:
        print_json({**vars(item), "resolutions": dict(RESOLUTIONS[item.kind]), "history": past})
        return
    out.print(
        f"[bold]{item.exception_id}[/] {item.kind} of {item.order_id}: {item.state}, revision {item.revision}",
        highlight=False,
    )
    for name, value in item.evidence.items():
        if value is not None:
            out.print(f"  {name:22} {escape(str(value))}", highlight=False, soft_wrap=True)
    for name, meaning in RESOLUTIONS[item.kind].items():
        mark = "[green]suggested[/]" if name == item.suggestion["resolution"] else "         "
        out.print(f"{mark} {name:18} {meaning}", highlight=False)
    out.print(f"because {escape(item.suggestion['because'])}", highlight=False, soft_wrap=True)
    for each in past:
        told = "" if each["resolution"] is None else f" {each['resolution']}"
        reason = "" if each["reason"] is None else f", {each['reason']}"
        out.print(
            f"[dim]{each['at']:%Y-%m-%d %H:%M}Z {each['happened']}{told} by {escape(each['by'])}{escape(reason)}[/]",
            highlight=False,
        )


@app.command(
    epilog='Example: `orderhub exceptions accept EXC-2R27SXOKIP7VQSTF --reason "second invoice cancelled"`'
)
@plain_errors
def accept(
    exception_id: Id, reason: Reason, revision: Revision = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Take the suggestion up."""
    _decide(exception_id, "accept", reason, None, revision, home, as_json)


@app.command(
    epilog='Example: `orderhub exceptions change EXC-2R27SXOKIP7VQSTF reclaim --reason "theirs to pay"`'
)
@plain_errors
def change(
    exception_id: Id,
    resolution: Annotated[
        str, typer.Argument(help="What is done instead; `show` lists it.", show_default=False)
    ],
    reason: Reason,
    revision: Revision = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Decide for another resolution than the suggested one."""
    _decide(exception_id, "change", reason, resolution, revision, home, as_json)


@app.command(
    epilog='Example: `orderhub exceptions reject EXC-2R27SXOKIP7VQSTF --reason "two deliveries, two invoices"`'
)
@plain_errors
def reject(
    exception_id: Id, reason: Reason, revision: Revision = None, home: Home = None, as_json: AsJson = False
) -> None:
    """Say that nothing is to be done; it is not asked again until what it rests on changes."""
    _decide(exception_id, "reject", reason, None, revision, home, as_json)


@app.command(epilog="Example: `orderhub exceptions stats`")
@plain_errors
def stats(home: Home = None, as_json: AsJson = False) -> None:
    """Show how each kind's suggestions fared: how many were taken up, and what became of them."""
    with open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        found = queue.statistics(connection)
    if as_json:
        print_json([vars(item) for item in found])
        return
    table = Table(
        Column("kind", no_wrap=True), "open", "accepted\nchanged\nrejected", "adoption", "solved\npersists", "gone",
        "median\nhours",
    )  # fmt: skip
    for item in found:
        adoption = "" if item.adoption is None else f"{item.adoption:.0%}"
        hours = "" if item.median_hours is None else f"{item.median_hours:.1f}"
        decided = f"{item.accepted} / {item.changed} / {item.rejected}" if item.adoption is not None else ""
        outcome = f"{item.solved} / {item.persists}" if item.adoption is not None else ""
        table.add_row(item.kind, str(item.open), decided, adoption, outcome, str(item.gone), hours)
    out.print(table)


def _decide(
    exception_id: str,
    decision: Literal["accept", "change", "reject"],
    reason: str,
    resolution: str | None,
    revision: int | None,
    home: Path | None,
    as_json: bool,
) -> None:
    settings = Settings.from_environment(home)
    with open_store(settings) as database, database.begin() as connection:
        item = queue.decide(
            connection, exception_id, decision, by=settings.actor, reason=reason, resolution=resolution, revision=revision
        )  # fmt: skip
    if as_json:
        print_json(vars(item))
    else:
        out.print(
            f"{item.exception_id} {item.state}: {item.resolution or 'nothing is done'}", highlight=False
        )
