"""What if: a past day's orders under other weights, constraints or stock, and what would have come of it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

import numpy as np

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.sourcing.decide import Decision, source_order
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
        promises_kept: filled orders of which every parcel arrives by the promised time.
        co2e_kg: kg CO2e of moving and packing, well to wheel.
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
    co2e_kg: float
    shelves_emptied: int
    stores_emptied: int

    @property
    def fill_rate(self) -> float:
        """Share of orders sent whole."""
        return self.filled / self.orders

    @property
    def promise_rate(self) -> float:
        """Share of all orders that arrive as promised; one that is not sent is not kept."""
        return self.promises_kept / self.orders


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
    cost = carbon = 0.0
    for order in sorted(day, key=lambda order: (order.at, order.order_id)):
        decided = source_order(order, left, policy)
        if decided.plan is None:
            continue
        filled += 1
        lines_filled += len(order.lines)
        splits += split_count(len(decided.plan.nodes))
        cost += _sum(decided, ("shipping_cost", "pick_cost"))
        carbon += _sum(decided, ("carbon",))
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
        Decimal(cost).quantize(_CENT),
        stock.currency,
        kept,
        carbon,
        int(emptied.sum()),
        int(emptied.any(axis=1).sum()),
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


def _sum(decided: Decision, names: tuple[str, ...]) -> float:
    assert decided.plan is not None
    weighed = decided.weighed
    total = 0.0
    for node, takes in zip(decided.plan.nodes, decided.plan.takes, strict=True):
        share = takes / weighed.need
        for name in names:
            total += float(weighed.values[name][node] + (weighed.line_values[name][node] * share).sum())
    return total
