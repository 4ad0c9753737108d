"""What if: a past day's orders under other weights, constraints or stock, and what would have come of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.sourcing.decide import source_order
from oms_core.fulfilment.sourcing.network import Network, Order
from oms_core.fulfilment.sourcing.parameters import split_count
from oms_core.fulfilment.sourcing.policy import Policy

_CENT = Decimal("0.01")


@dataclass(frozen=True)
class Outcome:
    """What a day came to under a policy.

    Attributes:
        orders, filled: how many there were, and how many could be sent whole.
        lines_filled: lines of the filled orders, of `lines` in all.
        splits: parcels beyond the first of an order.
        cost_amount: shipping and picking, in `currency`, rounded to the cent at the end.
        promises_kept: filled orders of which every parcel arrives by the promised time, as far as that is known.
        promised: orders that were promised for a time.
        co2e_kg: kg CO2e of moving and packing, well to wheel.
        unknown: parameter -> parcels of which it is not known; they are missing from the sums.
        shelves_emptied: SKUs at nodes of which the day took the last.
        stores_emptied: nodes with such a shelf.
    """

    policy_version: str
    orders: int
    filled: int
    lines: int
    lines_filled: int
    splits: int
    cost_amount: Decimal
    currency: str
    promises_kept: int
    promised: int
    co2e_kg: float
    shelves_emptied: int
    stores_emptied: int
    unknown: Mapping[str, int]

    @property
    def fill_rate(self) -> float:
        """Share of orders sent whole."""
        return self.filled / self.orders

    @property
    def promise_rate(self) -> float:
        """Share of the promised orders that arrive as promised; one that is not sent is not kept. One where none was."""
        return self.promises_kept / self.promised if self.promised else 1.0


def replay(day: Sequence[Order], policy: Policy, stock: Network) -> Outcome:
    """Source a day's orders one after the other, each from what those before it left.

    Args:
        day: decided in the order of their times, then ids.
        stock: nodes and shelves as the day begins; unchanged.

    Raises:
        RequestError: no orders, or one named twice; and all that `source_order` refuses.
    """
    if not day:
        raise RequestError("no-orders", "there is nothing to replay: the day has no orders")
    if len({order.order_id for order in day}) < len(day):
        raise RequestError("order-twice", "an order stands in the day twice")
    left = stock.copy()
    filled = lines_filled = splits = kept = 0
    sums = dict.fromkeys(("shipping_cost", "pick_cost", "carbon"), 0.0)
    unknown = dict.fromkeys((*sums, "promise"), 0)
    for order in sorted(day, key=lambda order: (order.at, order.order_id)):
        decided = source_order(order, left, policy)
        if decided.plan is None:
            continue
        filled += 1
        lines_filled += len(order.lines)
        splits += split_count(len(decided.plan.nodes))
        for parcel in decided.parcels:
            for name in sums:
                value = parcel.values[name].input
                if math.isnan(value):
                    unknown[name] += 1
                else:
                    sums[name] += value
            unknown["promise"] += order.promised_at is not None and math.isnan(parcel.values["promise"].input)
        situation = decided.weighed.situation
        kept += bool((situation.transit_hours[list(decided.plan.nodes)] <= situation.promised_hours).all())
        for node, takes in zip(decided.plan.nodes, decided.plan.takes, strict=True):
            left.draw(
                node,
                {line.sku_id: int(qty) for line, qty in zip(order.lines, takes, strict=True) if qty},
            )
    emptied = np.stack(
        [(stock.stock[sku].free > 0) & (left.stock[sku].free == 0) for sku in sorted(stock.stock)], axis=1
    )
    return Outcome(
        policy.version,
        len(day),
        filled,
        sum(len(order.lines) for order in day),
        lines_filled,
        splits,
        Decimal(sums["shipping_cost"] + sums["pick_cost"]).quantize(_CENT),
        stock.currency,
        kept,
        sum(order.promised_at is not None for order in day),
        sums["carbon"],
        int(emptied.sum()),
        int(emptied.any(axis=1).sum()),
        {name: count for name, count in unknown.items() if count},
    )


def compare(day: Sequence[Order], policies: Iterable[Policy], stock: Network) -> list[Outcome]:
    """The same day from the same stock under each policy, in their order.

    Raises:
        RequestError: fewer than two policies; and all that `replay` refuses.
    """
    listed = list(policies)
    if len(listed) < 2:
        raise RequestError("bad-request", "a comparison needs two policies")
    return [replay(day, policy, stock) for policy in listed]
