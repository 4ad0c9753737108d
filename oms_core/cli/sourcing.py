"""`orderhub sourcing`: which node ships an order and why, and what a day would have come to under other rules."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Column, Table

from oms_core.cli.terminal import AsJson, fail, out, plain_errors, print_json
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.sourcing import document, policy
from oms_core.fulfilment.sourcing.decide import source_order
from oms_core.fulfilment.sourcing.network import Network
from oms_core.fulfilment.sourcing.replay import Outcome, replay
from oms_core.fulfilment.unit import plain_quantity

app = typer.Typer(help="Sourcing: which node ships, why, and what if.", no_args_is_help=True)

DayFile = Annotated[
    Path,
    typer.Argument(help="Nodes, shelves and orders as JSON; see `example`.", exists=True, dir_okay=False),
]


@app.command("example", epilog="Example: `orderhub sourcing example > day.json`")
def show_example() -> None:
    """Print a small day to start from: nodes, shelves and orders."""
    typer.echo(document.example(), nl=False)


@app.command("policy", epilog="Example: `orderhub sourcing policy > green.json`")
def show_policy() -> None:
    """Print the weights and constraints that are shipped, to start others from."""
    shipped = resources.files("oms_core.fulfilment.sourcing").joinpath("default_policy.json")
    typer.echo(shipped.read_text("utf-8"), nl=False)


@app.command(epilog="Example: `orderhub sourcing order day.json SO-1002 --policy green.json`")
@plain_errors
def order(
    day: DayFile,
    order_id: Annotated[str, typer.Argument(help="Id of an order of that day.", show_default=False)],
    policy_file: Annotated[
        Path | None,
        typer.Option("--policy", help="Weights and constraints; else the shipped ones.", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Source one order as the day began: what each node sends, and for every other node why not."""
    try:
        read = document.load_day(day.read_bytes())
        found = [item for item in read.orders if item.order_id == order_id]
        if not found:
            fail(f"{day} has no order {order_id!r}", 2)
        decided = source_order(found[0], read.network(), _policy(policy_file))
    except FulfilmentError as error:
        fail(f"{error} ({error.code})", 2)
    if as_json:
        print_json(decided.document())
        return
    if decided.plan is None:
        out.print(f"{escape(order_id)} cannot be sent whole", highlight=False)
    for parcel in decided.parcels:
        takes = ", ".join(f"{plain_quantity(qty)} {sku}" for sku, qty in parcel.takes.items())
        out.print(
            f"{escape(parcel.node_id)} sends {escape(takes)}: score {parcel.score:.4f}", highlight=False
        )
    for other in decided.counterfactuals:
        out.print(f"  not {escape(other.node_id)}: {escape(other.because)}", highlight=False, soft_wrap=True)


@app.command(
    "what-if", epilog="Example: `orderhub sourcing what-if day.json --policy green.json --policy cheap.json`"
)
@plain_errors
def what_if(
    day: DayFile,
    policies: Annotated[
        list[Path] | None,
        typer.Option(
            "--policy",
            help="Weights and constraints, any number; the shipped ones stand beside.",
            exists=True,
        ),
    ] = None,
    other_stock: Annotated[
        Path | None,
        typer.Option("--stock", help="A day whose nodes and shelves are tried as well.", exists=True),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Replay a day under several policies, and other stock: fill rate, splits, cost, promises, carbon, stores emptied."""
    rows: list[tuple[str, Outcome]] = []
    try:
        read = document.load_day(day.read_bytes())
        stocks: list[tuple[str, Network]] = [(day.name, read.network())]
        if other_stock is not None:
            stocks.append((other_stock.name, document.load_day(other_stock.read_bytes()).network()))
        tried = [policy.default(), *(_policy(path) for path in policies or ())]
        for name, stock in stocks:
            rows += [(name, replay(read.orders, rules, stock)) for rules in tried]
    except FulfilmentError as error:
        fail(f"{error} ({error.code})", 2)
    if as_json:
        print_json(
            [
                {"stock": name, **vars(row), "fill_rate": row.fill_rate, "promise_rate": row.promise_rate}
                for name, row in rows
            ]
        )
        return
    table = Table(
        Column("policy", no_wrap=True), "stock", "filled", "splits", "cost", "kept", "kg CO2e", "emptied"
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
        )
    out.print(table)


def _policy(path: Path | None) -> policy.Policy:
    return policy.default() if path is None else policy.load(path.read_bytes())
