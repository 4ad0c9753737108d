"""`orderhub inventory` and `orderhub reservation`: what lies where, what is free to promise, and who was promised what."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from oms_core import pipeline
from oms_core.cli.terminal import AsJson, Home, fail, open_store, out, plain_errors, print_json
from oms_core.fulfilment import look
from oms_core.fulfilment.desk import Desk
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Change
from oms_core.fulfilment.stock import Pool
from oms_core.fulfilment.sweep import sweep as sweep_expired
from oms_core.fulfilment.unit import plain_quantity
from oms_core.settings import Settings
from oms_core.store.released import SKU, Released

app = typer.Typer(help="Stock: what lies where, and what of it is free to promise.", no_args_is_help=True)
reservations = typer.Typer(help="Reservations: who was promised what.", no_args_is_help=True)

ReservationId = Annotated[str, typer.Argument(help="Id of the reservation, rsv_….", show_default=False)]


@app.command(epilog="Example: `orderhub inventory show LIP-07 --channel shopify`")
@plain_errors
def show(
    sku: Annotated[str, typer.Argument(help="Any id of the SKU.", show_default=False)],
    channel: Annotated[
        str | None, typer.Option(help="Free for this channel; without one, what is ring-fenced is not.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show where a SKU lies, lot by lot: on hand, reserved, free to promise, and whose count that is."""
    with open_store(Settings.from_environment(home)) as database:
        with database.read() as connection:
            sku_id = Released(connection).find(SKU, sku).golden_id
            offers = look.offers(connection, sku_id)
        with look.looking(database) as connection:
            stock = look.stock_of(connection, sku_id)
            origins = look.origins(connection, sku_id)
    today = stock.now.date()
    rows: list[dict[str, Any]] = [
        {
            "location_id": pool.location_id,
            "lot_number": lot.lot_number or None,
            "expires_on": lot.expires_on,
            "on_hand_qty": plain_quantity(lot.on_hand),
            "reserved_qty": plain_quantity(lot.reserved),
            "committed_qty": plain_quantity(lot.committed),
            "uom": pool.uom,
            "source_system": origins[lot.position_id].source_system or None,
            "release_id": origins[lot.position_id].release_id,
        }
        for _, pool in sorted(stock.pools.items())
        for lot in sorted(pool.lots, key=lambda lot: lot.lot_number)
    ]
    free = {pool.location_id: _free(pool, channel, today) for pool in stock.pools.values()}
    if as_json:
        print_json(
            {
                "sku_id": sku_id,
                "positions": rows,
                "available_qty": free,
                "offers": [vars(offer) for offer in offers],
            }
        )
        return
    table = Table(
        "node", "lot", "good until", "on hand", "reserved", "committed", "unit", "counted by", title=sku_id
    )
    for row in rows:
        table.add_row(
            row["location_id"], escape(row["lot_number"] or ""), str(row["expires_on"] or ""), row["on_hand_qty"],
            row["reserved_qty"], row["committed_qty"], row["uom"],
            f"{row['source_system']}, release {row['release_id']}" if row["source_system"] else "movements",
        )  # fmt: skip
    out.print(table)
    for node, qty in sorted(free.items()):
        out.print(f"free to promise at {escape(node)}: {qty}", highlight=False)
    for offer in offers:
        shown = plain_quantity(offer.offered_qty)
        out.print(f"{escape(offer.channel)} shows {shown} {escape(offer.uom)} for sale", highlight=False)


@app.command(epilog="Example: `orderhub inventory load`")
@plain_errors
def load(home: Home = None, as_json: AsJson = False) -> None:
    """Put stock on the current release, as each run does at its end; movements and promises stay on top."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        done = pipeline.put_stock(settings, database)
    if as_json:
        print_json({**vars(done), "left_out": dict(done.left_out)})
        return
    out.print(
        f"{done.positions:,} positions of release {done.release_id}: {done.changed:,} changed",
        highlight=False,
    )
    for reason, count in sorted(done.left_out.items()):
        out.print(f"  left out, {escape(reason)}: {count:,}", highlight=False)


@reservations.command("show", epilog="Example: `orderhub reservation show rsv_0645d1e1c0a2b4c8d0e1f2a3`")
@plain_errors
def show_reservation(reservation_id: ReservationId, home: Home = None, as_json: AsJson = False) -> None:
    """Show a reservation: its state, and which lot at which node each line holds."""
    with open_store(Settings.from_environment(home)) as database, look.looking(database) as connection:
        try:
            answer = look.reservation_of(connection, reservation_id, None)
        except FulfilmentError as error:
            fail(str(error), 2)
    _show(answer, as_json)


@reservations.command(epilog="Example: `orderhub reservation release rsv_0645d1e1c0a2b4c8d0e1f2a3`")
@plain_errors
def release(reservation_id: ReservationId, home: Home = None, as_json: AsJson = False) -> None:
    """Give a reservation up, or cancel an allocation, whoever made it; what it held is free again."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        try:
            with look.looking(database) as connection:
                tenant = look.tenant_of(connection, reservation_id)
            answer = Desk(database).ask(Change("release", tenant, reservation_id, settings.actor))
        except FulfilmentError as error:
            fail(str(error), 2 if error.code == "unknown-reservation" else 1)
    _show(answer, as_json)


@reservations.command(epilog="Example: `orderhub reservation sweep`")
@plain_errors
def sweep(home: Home = None, as_json: AsJson = False) -> None:
    """Free what expired reservations still hold where nobody asked since; where somebody did, it is free already."""
    settings = Settings.from_environment(home)
    with open_store(settings) as database:
        pools = sweep_expired(database, by=settings.actor)
    if as_json:
        print_json({"pools": pools})
    else:
        out.print(f"freed what had expired in {pools:,} places")


def _free(pool: Pool, channel: str | None, today: Any) -> str:
    if pool.closed_reason is not None:
        return f"0, closed: {pool.closed_reason}"
    return plain_quantity(pool.available(channel, pool.good_until(today, None), today))


def _show(answer: Answer, as_json: bool) -> None:
    made = answer.reservation
    holds = [
        {
            "line_number": hold.line_number,
            "sku_id": hold.sku_id,
            "location_id": hold.location_id,
            "lot_number": hold.lot.lot_number or None,
            "qty": plain_quantity(hold.qty),
        }
        for hold in made.holds
    ]
    told = {
        "reservation_id": made.reservation_id, "tenant": made.tenant, "state": answer.state, "channel": made.channel,
        "order_reference": made.order_reference, "made_at": made.made_at, "made_by": made.made_by,
        "expires_at": made.expires_at, "holds": holds,
    }  # fmt: skip
    if as_json:
        print_json(told)
        return
    for name, value in told.items():
        if name != "holds" and value is not None:
            out.print(f"{name:16} {escape(str(value))}", highlight=False)
    for hold in holds:
        out.print(
            "  holds " + ", ".join(escape(str(value)) for value in hold.values() if value), highlight=False
        )
