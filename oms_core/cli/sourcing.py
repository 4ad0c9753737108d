"""`orderhub sourcing`: which node ships an order and why, and what a day would have come to under other rules."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from decimal import Decimal
from enum import StrEnum
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Column, Table

from oms_core.cli.terminal import AsJson, Home, fail, open_store, out, plain_errors, print_json
from oms_core.fulfilment.assignment import record, rules
from oms_core.fulfilment.assignment.assign import Request, Sourcing
from oms_core.fulfilment.assignment.past import past_day, varied
from oms_core.fulfilment.assignment.record import Stored
from oms_core.fulfilment.assignment.together import source_together
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.sourcing import document, facts, policy
from oms_core.fulfilment.sourcing.decide import source_order
from oms_core.fulfilment.sourcing.replay import replay
from oms_core.settings import Settings

app = typer.Typer(help="Sourcing: which node ships, why, and what if.", no_args_is_help=True)


class Kind(StrEnum):
    """What is versioned: weights and constraints, or what no source tells."""

    POLICY = "policy"
    FACTS = "facts"


PolicyFile = Annotated[
    Path | None,
    typer.Option(
        "--policy", help="Weights and constraints to try; else those in force.", exists=True, dir_okay=False
    ),
]
DecisionId = Annotated[str, typer.Argument(help="Id of the decision, src_….", show_default=False)]


@app.command("example", epilog="Example: `orderhub sourcing example > day.json`")
def show_example() -> None:
    """Print a small day to start from: nodes, shelves and orders."""
    typer.echo(document.example(), nl=False)


@app.command("policy", epilog="Example: `orderhub sourcing policy > green.json`")
def show_policy() -> None:
    """Print the weights and constraints that are shipped, to start others from."""
    shipped = resources.files("oms_core.fulfilment.sourcing").joinpath("default_policy.json")
    typer.echo(shipped.read_text("utf-8"), nl=False)


@app.command("schema", epilog="Example: `orderhub sourcing schema facts`")
def show_schema(
    kind: Annotated[Kind, typer.Argument(help="What the schema is of.", show_default=False)],
) -> None:
    """Print the JSON Schema of a policy or of facts: node hours, carriers' cut-offs, capacities, hazards and the rest."""
    model = policy.Policy if kind is Kind.POLICY else facts.Facts
    print_json(model.model_json_schema())


@app.command("facts", epilog="Example: `orderhub sourcing facts > facts.json`")
def show_facts() -> None:
    """Print facts no source tells, those of the demo company, to start others from."""
    typer.echo(facts.example(), nl=False)


@app.command(
    epilog="Example: `orderhub sourcing activate policy green.json --reason 'less carbon in November'`"
)
@plain_errors
def activate(
    kind: Annotated[Kind, typer.Argument(help="What the document is.", show_default=False)],
    file: Annotated[Path, typer.Argument(help="The document, JSON.", exists=True, dir_okay=False)],
    reason: Annotated[str, typer.Option(help="Why; it is logged.", show_default=False)],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Put weights and constraints, or facts, into force; earlier decisions keep what they were made by."""
    settings = Settings.from_environment(home)
    with _plainly(), open_store(settings) as database, database.begin() as connection:
        done = rules.activate(connection, kind.value, file.read_bytes(), by=settings.actor, reason=reason)
    if as_json:
        print_json(vars(done))
    else:
        out.print(
            f"{kind.value} {escape(done.version)} is in force since {done.activated_at:%Y-%m-%d %H:%M:%S}Z",
            highlight=False,
        )


@app.command(
    epilog="Example: `orderhub sourcing order 1042`, or `orderhub sourcing order SO-1002 --day day.json`"
)
@plain_errors
def order(
    order_id: Annotated[str, typer.Argument(help="Any id of the order.", show_default=False)],
    day: Annotated[
        Path | None,
        typer.Option(
            help="A document with the order, nodes and shelves, see `example`, instead of the released ones.",
            exists=True,
        ),
    ] = None,
    policy_file: PolicyFile = None,
    commit: Annotated[
        bool, typer.Option("--commit", help="Reserve and allocate what the plan takes.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose the reservation is.")] = "orderhub",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Source one order: what each node sends, and for every other node why not. Dry, unless it is to be committed."""
    if day is not None:
        if commit:
            fail("a document has no stock to be reserved: leave --commit or --day out", 2)
        with _plainly():
            read = document.load_day(day.read_bytes())
            found = [item for item in read.orders if item.order_id == order_id]
            if not found:
                fail(f"{day} has no order {order_id!r}", 2)
            said = source_order(found[0], read.network(), _policy(policy_file) or policy.default()).document()
        if as_json:
            print_json(said)
        else:
            _show(said)
        return
    settings = Settings.from_environment(home)
    request = None
    if commit:
        key = f"command {record.new_id()}"
        request = Request(tenant, key, hashlib.sha256(key.encode()).digest())
    with _plainly(), open_store(settings) as database:
        stored = Sourcing(database).source(
            order_id, by=settings.actor, request=request, policy=_policy(policy_file)
        )
    _show_stored(stored, as_json)


@app.command(epilog="Example: `orderhub sourcing show src_0660ef4186310e6be4b229de3b`")
@plain_errors
def show(decision_id: DecisionId, home: Home = None, as_json: AsJson = False) -> None:
    """Show a decision as it was kept: parameters of each parcel, and why every other node was not chosen."""
    with _plainly(), open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        stored = record.read(connection, decision_id)
    _show_stored(stored, as_json)


@app.command("replay", epilog="Example: `orderhub sourcing replay src_0660ef4186310e6be4b229de3b`")
@plain_errors
def replay_decision(decision_id: DecisionId, home: Home = None) -> None:
    """Decide once more from the inputs that were kept; fails unless every figure and word is the same."""
    with _plainly(), open_store(Settings.from_environment(home)) as database, database.begin() as connection:
        stored = record.read(connection, decision_id)
        if not stored.is_same(stored.replay()):
            fail(f"{decision_id} is decided differently from the same inputs today", 1)
    out.print(f"{decision_id}: the same inputs give the same decision", highlight=False)


@app.command(epilog="Example: `orderhub sourcing review src_0660ef4186310e6be4b229de3b --commit`")
@plain_errors
def review(
    decision_id: DecisionId,
    commit: Annotated[bool, typer.Option("--commit", help="Change to the better plan at once.")] = False,
    home: Home = None,
) -> None:
    """Look at a decision again before picking, with stock and nodes as they are now."""
    settings = Settings.from_environment(home)
    with _plainly(), open_store(settings) as database:
        looked = Sourcing(database).review(decision_id, by=settings.actor, tenant=None, is_carried_out=commit)
    if looked.keeps:
        out.print(f"{decision_id} stands", highlight=False)
        return
    now = "can no longer be sent" if looked.score is None else f"scores {looked.score:.4f} now"
    out.print(f"{decision_id} {now}", highlight=False)
    if looked.fresh is not None:
        out.print(f"{looked.fresh.decision_id} takes its place", highlight=False)
    _show(looked.proposed.document())


@app.command(
    epilog="Example: `orderhub sourcing batch --day 2026-10-26`, or `orderhub sourcing batch --released --commit`"
)
@plain_errors
def batch(
    day: Annotated[
        datetime | None, typer.Option(help="Open orders placed on that day, UTC.", formats=["%Y-%m-%d"])
    ] = None,
    released: Annotated[bool, typer.Option("--released", help="All open orders of the release.")] = False,
    seconds: Annotated[float, typer.Option(help="Time limit of the optimisation.")] = 60.0,
    commit: Annotated[
        bool, typer.Option("--commit", help="Keep the decisions, reserve and allocate what they take.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose the reservations are.")] = "orderhub",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Source open orders together, with a bound. Dry, unless it is to be committed; each is looked at again before that."""
    if (day is None) != released:
        fail("give a day (--day) or all open orders (--released), and not both", 2)
    settings = Settings.from_environment(home)
    with _plainly(), open_store(settings) as database:
        done = source_together(
            database, None if day is None else day.date(), by=settings.actor,
            tenant=tenant if commit else None, seconds=seconds, say=lambda line: typer.echo(line, err=True),
        )  # fmt: skip
    filled = [item for item in done.batch.decisions if item.is_filled]
    said = {
        "orders": len(done.batch.decisions),
        "filled": len(filled),
        "split": sum(len(item.parcels) > 1 for item in filled),
        "score": done.batch.score,
        "bound": done.batch.bound,
        "gap": done.batch.gap,
        "seconds": done.batch.seconds,
        "decisions": {order_id: stored.decision_id for order_id, stored in done.kept.items()},
        "changed": done.changed,
        "refused": dict(done.refused),
        "left_out": dict(done.left_out),
    }
    if as_json:
        print_json(said)
        return
    for name in ("orders", "filled", "split"):
        out.print(f"{name}: {said[name]}", highlight=False)
    out.print(
        f"score {done.batch.score:.4f}, bound {done.batch.bound:.4f}, gap {done.batch.gap:.2%}",
        highlight=False,
    )
    out.print(
        f"{len(done.kept)} decisions kept" if commit else "a dry run: nothing is kept or reserved",
        highlight=False,
    )
    for what, orders in (("left out", done.left_out), ("refused", done.refused)):
        for order_id, why in sorted(orders.items()):
            out.print(f"{what} {escape(order_id)}: {escape(why)}", highlight=False, soft_wrap=True)
    for order_id in done.changed:
        out.print(f"{escape(order_id)} could no longer be sent as planned", highlight=False)


@app.command(epilog="Example: `orderhub sourcing day 2026-10-26 > day.json`")
@plain_errors
def day(
    on: Annotated[datetime, typer.Argument(help="Day, UTC.", formats=["%Y-%m-%d"], show_default=False)],
    orders: Annotated[
        bool, typer.Option("--orders", help="Orders placed, even where decisions are kept.")
    ] = False,
    home: Home = None,
) -> None:
    """Print a past day as a document: its decisions as they were kept, else its orders with stock as it is now."""
    with _plainly(), open_store(Settings.from_environment(home)) as database:
        past = past_day(database, on.date(), of_orders=orders)
    typer.echo(document.dump_day(past.day))


@app.command(
    "what-if",
    epilog="Example: `orderhub sourcing what-if --on 2026-10-26 --policy green.json --stock-factor 0.5`",
)
@plain_errors
def what_if(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="Nodes, shelves and orders as JSON; see `example` and `day`.", exists=True, dir_okay=False
        ),
    ] = None,
    on: Annotated[
        datetime | None, typer.Option(help="Instead of a document: a past day, UTC.", formats=["%Y-%m-%d"])
    ] = None,
    policies: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy", help="Weights and constraints, any number; those in force stand beside.", exists=True
        ),
    ] = None,
    other_stock: Annotated[
        Path | None,
        typer.Option("--stock", help="A day whose nodes and shelves are tried as well.", exists=True),
    ] = None,
    stock_factor: Annotated[
        Decimal, typer.Option(help="Try so many times what lies on every shelf, too.", parser=Decimal)
    ] = Decimal(1),
    without: Annotated[list[str] | None, typer.Option(help="Id of a node to close; any number.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Replay a day under several policies, and other stock: fill rate, splits, cost, promises, carbon, stores emptied."""
    if (file is None) == (on is None):
        fail("give a document or a day (--on), and not both", 2)
    with _plainly():
        known = policy.default()
        if file is not None:
            read, name = document.load_day(file.read_bytes()), file.name
        else:
            assert on is not None
            with open_store(Settings.from_environment(home)) as database:
                past = past_day(database, on.date())
                with database.begin() as connection:
                    known, _ = rules.in_force(connection)
            read, name = past.day, f"{on:%Y-%m-%d}, {past.told_by}"
            for left, why in sorted(past.left_out.items()):
                typer.echo(f"left out {left}: {why}", err=True)
        stocks = [(name, read.network())]
        if other_stock is not None:
            stocks.append((other_stock.name, document.load_day(other_stock.read_bytes()).network()))
        if stock_factor != 1 or without:
            closed = f", without {', '.join(without)}" if without else ""
            stocks.append(
                (f"{stock_factor} times{closed}", varied(read, stock_factor, without or ()).network())
            )
        tried = [known, *(policy.load(path.read_bytes()) for path in policies or ())]
        rows = [(name, replay(read.orders, item, stock)) for name, stock in stocks for item in tried]
    if as_json:
        print_json(
            [
                {"stock": name, **vars(row), "fill_rate": row.fill_rate, "promise_rate": row.promise_rate}
                for name, row in rows
            ]
        )
        return
    table = Table(
        Column("policy", no_wrap=True),
        "stock",
        "filled",
        "splits",
        "cost",
        "kept",
        "kg CO2e",
        "emptied",
        "not known",
    )
    for name, row in rows:
        table.add_row(
            escape(row.policy_version),
            escape(name),
            f"{row.fill_rate:.1%}",
            str(row.splits),
            f"{row.cost_amount} {row.currency}",
            f"{row.promise_rate:.1%}",
            f"{row.co2e_kg:.2f}",
            str(row.stores_emptied),
            ", ".join(f"{name} of {count} parcels" for name, count in row.unknown.items()),
        )
    out.print(table)


def _show_stored(stored: Stored, as_json: bool) -> None:
    about = {
        name: value
        for name, value in vars(stored).items()
        if name not in ("inputs", "decision", "body_sha256", "key")
    }
    if as_json:
        print_json({**stored.decision, **about, "not_compared": stored.decision["unknown"]})
        return
    out.print(
        f"{stored.decision_id}: order {escape(stored.order_id)}, release {stored.release_id}, policy "
        f"{escape(stored.policy_version)}, facts {escape(stored.facts_version or 'none')}, decided by {escape(stored.decided_by)} "
        f"at {stored.decided_at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z"
        + (f", reserved by {stored.reservation_id}" if stored.reservation_id else ", nothing reserved"),
        highlight=False,
        soft_wrap=True,
    )
    _show(stored.decision)
    for line in stored.unknown:
        out.print(f"  nobody knows {escape(line)}", highlight=False, soft_wrap=True)


def _show(said: dict[str, Any] | Any) -> None:
    """A decision's document as tables: parcels and their parameters, and why not the others."""
    if not said["parcels"]:
        out.print(f"{escape(said['order_id'])} cannot be sent whole", highlight=False)
        for line in said["unfillable"]:
            out.print(f"  {escape(line['reason'])}", highlight=False, soft_wrap=True)
    for parcel in said["parcels"]:
        takes = ", ".join(f"{qty} {sku}" for sku, qty in parcel["takes"].items())
        out.print(
            f"{escape(parcel['node_id'])} sends {escape(takes)}: score {parcel['score']:.4f}",
            highlight=False,
            soft_wrap=True,
        )
        table = Table("parameter", Column("input", justify="right"), "unit", Column("score", justify="right"))
        for name, value in parcel["values"].items():
            shown = "unknown" if value["input"] is None else value["input"]
            table.add_row(
                name,
                shown if isinstance(shown, str) else f"{shown:.4g}",
                value["unit"],
                f"{value['score']:.4f}",
            )
        out.print(table)
    if said["counterfactuals"]:
        table = Table(
            Column("not chosen", no_wrap=True),
            "verdict",
            "decided by",
            Column("worse by", justify="right"),
            Column("because", overflow="fold"),
        )
        for other in said["counterfactuals"]:
            gap = other["score_gap"]
            table.add_row(
                escape(other["node_id"]),
                other["verdict"],
                other["decided_by"],
                "" if gap is None else f"{gap:.4f}",
                escape(other["because"]),
            )
        out.print(table)
    if said["unknown"]:
        out.print(f"known of no node, and so not compared: {', '.join(said['unknown'])}", highlight=False)


@contextmanager
def _plainly() -> Iterator[None]:
    try:
        yield
    except FulfilmentError as error:
        fail(f"{error} ({error.code})", 2)


def _policy(path: Path | None) -> policy.Policy | None:
    return None if path is None else policy.load(path.read_bytes())
