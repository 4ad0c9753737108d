"""Read stock and reservations: nobody is waited for, nothing is changed, and everything shown is of one instant."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from oms_core.fulfilment import ledger, reservation
from oms_core.fulfilment.ledger import Answer, Stock
from oms_core.store.postgres import READ_SECONDS, Database
from oms_core.store.released import Released


@dataclass(frozen=True)
class Origin:
    """Where what a position says comes from.

    Attributes:
        source_system, release_id, position_ids: whose count of which release its base is, and the released rows; None: no
            release counted it, it is known from movements.
        counted_at: movements newer than this stand on top of the base.
        moved_at: the newest of them; None: there are none.
    """

    base_qty: Any
    source_system: str | None
    release_id: int | None
    position_ids: list[str] | None
    counted_at: datetime | None
    moved_at: datetime | None


@dataclass(frozen=True)
class Offer:
    """What a channel shows for sale, as a release read it. It lies nowhere: what is behind it is in the pools.

    Attributes:
        held_qty: what the channel holds for buyers who have not paid; None: it does not tell.
    """

    position_id: str
    channel: str
    offered_qty: Decimal
    held_qty: Decimal | None
    uom: str
    read_at: datetime


@contextlib.contextmanager
def looking(database: Database) -> Iterator[Connection]:
    """A transaction that sees one instant and cannot write."""
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"))
        connection.execute(
            text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(READ_SECONDS * 1000)}
        )
        yield connection


def stock_of(connection: Connection, sku_id: str) -> Stock:
    """Every pool of a SKU, with lots, allotments and what is on its way. What lapsed counts as free."""
    return ledger.look(connection, (), {sku_id})


def origins(connection: Connection, sku_id: str) -> dict[int, Origin]:
    """Position id -> where it comes from."""
    rows = connection.execute(
        text(
            "SELECT id, base_qty, base_source, base_release_id, base_position_ids, base_counted_at, last_recorded_at "
            "FROM orderhub.stock_positions WHERE sku_id = :sku"
        ),
        {"sku": sku_id},
    )
    return {row[0]: Origin(*row[1:]) for row in rows}


def offers(connection: Connection, sku_id: str) -> list[Offer]:
    """What channels show of a SKU; `connection` is of `Database.read`."""
    rows = Released(connection).rows("fct_inventory_positions", {"sku_id": sku_id}, "position_id")
    return [
        Offer(
            row["position_id"],
            row["channel"],
            row["offered_qty"],
            row["reserved_qty"],
            row["uom"],
            row["_extracted_at"],
        )
        for row in rows
        if row.get("channel") is not None  # a release of an earlier version has no offers
    ]


def reservation_of(connection: Connection, reservation_id: str, tenant: str | None) -> Answer:
    """A reservation as it is now.

    Args:
        tenant: whose it must be; None: anybody's.

    Raises:
        UnknownError: there is none.
        ForeignError: it is another tenant's.
    """
    now: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    made = ledger.read_reservations(connection, [reservation_id], Stock(now, {}, {})).get(reservation_id)
    if made is None:
        raise reservation.unknown_reservation(reservation_id)
    if tenant is not None:
        reservation.check_tenant(made, tenant)
    return Answer(made, made.state_at(now), is_replayed=True)


def tenant_of(connection: Connection, reservation_id: str) -> str:
    """Whose reservation it is.

    Raises:
        UnknownError: there is none.
    """
    found = connection.execute(
        text("SELECT tenant FROM orderhub.reservations WHERE reservation_id = :id"), {"id": reservation_id}
    ).scalar()
    if found is None:
        raise reservation.unknown_reservation(reservation_id)
    return str(found)
