"""A past day to be replayed under other weights or stock: its decisions as they were kept, or the orders placed on it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import date
from decimal import ROUND_FLOOR, Decimal
from typing import Literal

from oms_core.fulfilment.assignment import record
from oms_core.fulfilment.assignment.assign import Sourcing
from oms_core.fulfilment.assignment.company import orders_on
from oms_core.fulfilment.errors import RequestError, UnknownError
from oms_core.fulfilment.sourcing.document import Day
from oms_core.fulfilment.sourcing.network import Shelf
from oms_core.fulfilment.unit import DIVISIBLE
from oms_core.store.postgres import Database


@dataclass(frozen=True)
class Past:
    """A day, and how it was found.

    Attributes:
        told_by: "decisions", stock and nodes as the day's first decision about each saw them; or "orders", those placed on
            the day, with stock and nodes as they are now.
        left_out: order -> why it cannot be replayed.
    """

    day: Day
    told_by: Literal["decisions", "orders"]
    left_out: Mapping[str, str]


def past_day(database: Database, on: date, *, of_orders: bool = False) -> Past:
    """A day (UTC) as it was decided; where nothing was decided on it, or on demand, the orders that were placed.

    Raises:
        RequestError: "no-orders", there are none, or none that can be sourced.
        NotReleasedError: nothing was released yet.
    """
    if not of_orders:
        with database.begin() as connection:
            days = [stored.day for stored in record.of_day(connection, on)]
        if days:
            return Past(joined(days), "decisions", {})
    with database.read() as connection:
        numbers = orders_on(connection, on)
    found, left_out = Sourcing(database).inputs(numbers)
    if not found:
        because = "".join(f"; {order}: {why}" for order, why in sorted(left_out.items())[:3])
        raise RequestError("no-orders", f"no order of {on} can be replayed{because}")
    return Past(joined(inputs.day for inputs in found), "orders", left_out)


def joined(days: Iterable[Day]) -> Day:
    """Days of one order each as one; of a node or shelf told twice the first holds."""
    listed = list(days)
    shelves: dict[tuple[str, str], Shelf] = {}
    for day in listed:
        for shelf in day.shelves:
            shelves.setdefault((shelf.sku_id, shelf.node_id), shelf)
    nodes = {node.node_id: node for day in reversed(listed) for node in day.nodes}
    return Day(
        tuple(nodes[key] for key in sorted(nodes)),
        tuple(shelves[key] for key in sorted(shelves)),
        tuple(order for day in listed for order in day.orders),
    )


def varied(day: Day, stock_factor: Decimal = Decimal(1), without: Collection[str] = ()) -> Day:
    """The day with more or less on every shelf, and with some nodes closed.

    Raises:
        RequestError: "bad-factor", it is below zero or above 100.
        UnknownError: "unknown-node", the day has no such node.
    """
    if not (stock_factor.is_finite() and 0 <= stock_factor <= 100):
        raise RequestError("bad-factor", f"stock cannot be {stock_factor} times what it is: 0 to 100")
    strange = set(without) - {node.node_id for node in day.nodes}
    if strange:
        raise UnknownError("unknown-node", f"the day has no node {', '.join(sorted(strange))}")
    return replace(
        day,
        nodes=tuple(
            replace(node, closed_reason="closed to see what if") if node.node_id in without else node
            for node in day.nodes
        ),
        shelves=tuple(replace(shelf, free_qty=_times(shelf, stock_factor)) for shelf in day.shelves),
    )


def _times(shelf: Shelf, factor: Decimal) -> Decimal:
    step = Decimal("0.000001") if shelf.uom in DIVISIBLE else Decimal(1)
    return (shelf.free_qty * factor).quantize(step, ROUND_FLOOR)
