"""Hard constraints: what forbids a node to send a line, whatever the weights say, and the reason in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from oms_core.fulfilment.sourcing.network import AMBIENT, NO_DATE, Column, Flags, Floats, Network, Order


@dataclass(frozen=True, eq=False)
class Situation:
    """An order before the nodes: what constraints look at. n nodes, l lines.

    Attributes:
        columns: per line, the SKU over the nodes.
        opening, leaving: (n,) minutes until the node opens, and until the carrier takes the parcel.
        is_open: (n,) whether it opens soon enough.
        travel_hours, transit_hours: (n,) from collection to door, and from decision to door.
        promised_hours: from the decision; NaN where nothing was promised.
        customs_territory: countries that send to the customer without customs, with commas between.
    """

    order: Order
    network: Network
    columns: list[Column]
    opening: Floats
    leaving: Floats
    is_open: Flags
    travel_hours: Floats
    transit_hours: Floats
    promised_hours: float
    customs_territory: str


@dataclass(frozen=True)
class Constraint:
    """What it forbids, (n,) or (n, l), None where it cannot forbid anything, and why for a node and a line."""

    forbids: Callable[[Situation], Flags | None]
    reason: Callable[[Situation, int, int], str]


def _closed(at: Situation) -> Flags | None:
    return at.network.is_closed if at.network.is_closed.any() else None


def _hours(at: Situation) -> Flags | None:
    return None if at.is_open.all() else ~at.is_open


def _cut_off(at: Situation) -> Flags | None:
    missed = at.network.never_collected
    if at.order.is_promise_firm:
        missed = missed | ~(at.transit_hours <= at.promised_hours)  # unknown is not in time
    return missed if missed.any() else None


def _capacity(at: Situation) -> Flags | None:
    full = at.network.taken + 1 > at.network.fixed["parcels_per_shift"]
    return full if full.any() else None


def _cold_chain(at: Situation) -> Flags | None:
    if all(line.temperature_class == AMBIENT for line in at.order.lines):
        return None
    too_long = ~(at.travel_hours <= at.network.fixed["cold_chain_hours"])  # unknown is not kept
    return np.stack(
        [
            ~at.network.flag("temperature_classes", line.temperature_class)
            | (too_long if line.temperature_class != AMBIENT else False)
            for line in at.order.lines
        ],
        axis=1,
    )


def _hazard(at: Situation) -> Flags | None:
    if all(line.hazard_class is None for line in at.order.lines):
        return None
    nobody = np.zeros(len(at.network.nodes), bool)
    return np.stack(
        [
            nobody if line.hazard_class is None else ~at.network.flag("hazard_classes", line.hazard_class)
            for line in at.order.lines
        ],
        axis=1,
    )


def _customs(at: Situation) -> Flags | None:
    abroad = ~at.network.flag("countries", at.customs_territory)
    if not abroad.any():
        return None
    barred = abroad & ~at.network.flag("clears_customs_to", at.order.country)
    return np.stack([abroad if line.hs_code is None else barred for line in at.order.lines], axis=1)


def _shelf_life(at: Situation) -> Flags | None:
    promised = at.order.needed_on.toordinal()
    short = []
    for line, column in zip(at.order.lines, at.columns, strict=True):
        days = line.min_shelf_life_days
        dated = column.expires != NO_DATE
        short.append((dated & (column.expires < promised + (days or 0))) | (~dated & (days is not None)))
    found = np.stack(short, axis=1)
    return found if found.any() else None


def _why_cold(at: Situation, node: int, line: int) -> str:
    needed = at.order.lines[line]
    if needed.temperature_class not in at.network.nodes[node].temperature_classes:
        return f"{needed.sku_id} is {needed.temperature_class}, which the node cannot keep"
    if at.network.nodes[node].cold_chain_hours is None or np.isnan(at.travel_hours[node]):
        return f"nobody knows how long {needed.sku_id} travels, or how long the packing keeps it {needed.temperature_class}"
    return (
        f"{needed.sku_id} travels {at.travel_hours[node]:.1f} h, "
        f"and the packing keeps it {needed.temperature_class} for {at.network.nodes[node].cold_chain_hours:g} h"
    )


def _why_cut_off(at: Situation, node: int, _line: int) -> str:
    if at.network.never_collected[node]:
        return "no carrier collects there"
    late = at.transit_hours[node] - at.promised_hours
    if np.isnan(late):
        return "the promise is firm, and nobody knows whether the node keeps it"
    return f"the next collection it can make is in {at.leaving[node] / 60:.1f} h: {late:.1f} h late on a firm promise"


def _why_customs(at: Situation, node: int, line: int) -> str:
    own = at.network.nodes[node].country
    if own is None:
        return "nobody knows in which country the node is"
    if at.order.country not in at.network.nodes[node].clears_customs_to:
        return f"the node in {own} clears no customs to {at.order.country}"
    return f"{at.order.lines[line].sku_id} has no HS code, and crosses from {own} to {at.order.country}"


def _why_shelf_life(at: Situation, node: int, line: int) -> str:
    asked = at.order.lines[line]
    expires = int(at.columns[line].expires[node])
    if expires == NO_DATE:
        return f"nobody knows until when {asked.sku_id} is good there"
    days = expires - at.order.needed_on.toordinal()
    return f"{asked.sku_id} is good for {days} days after the promised date, {asked.min_shelf_life_days or 0} are asked"


CONSTRAINTS: Mapping[str, Constraint] = {
    "node_closed": Constraint(
        _closed, lambda at, node, line: f"the node is closed: {at.network.nodes[node].closed_reason}"
    ),
    "node_hours": Constraint(
        _hours, lambda at, node, line: f"the node opens in {at.opening[node] / 60:.1f} h at the earliest"
        if at.network.nodes[node].hours
        else "the node has no opening hours",
    ),
    "carrier_cut_off": Constraint(_cut_off, _why_cut_off),
    "capacity": Constraint(
        _capacity,
        lambda at, node, line: f"all {at.network.nodes[node].parcels_per_shift} parcels of the shift are taken",
    ),
    "cold_chain": Constraint(_cold_chain, _why_cold),
    "hazardous_goods": Constraint(
        _hazard,
        lambda at, node, line: f"{at.order.lines[line].sku_id} is of UN class {at.order.lines[line].hazard_class}, "
        "which the node may not send",
    ),
    "customs": Constraint(_customs, _why_customs),
    "shelf_life": Constraint(_shelf_life, _why_shelf_life),
}  # fmt: skip
