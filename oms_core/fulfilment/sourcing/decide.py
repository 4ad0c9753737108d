"""Source one order, and say why: inputs, scores, and for every node not chosen why not, on what, and by how much."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np

from oms_core.fulfilment.sourcing.choose import TIE, Plan, best
from oms_core.fulfilment.sourcing.constraints import CONSTRAINTS
from oms_core.fulfilment.sourcing.network import Floats, Integers, Network, Order, micro, quantity
from oms_core.fulfilment.sourcing.parameters import PARAMETERS, split_count
from oms_core.fulfilment.sourcing.policy import Policy
from oms_core.fulfilment.sourcing.weigh import MEANS, Weighed, weigh
from oms_core.fulfilment.unit import plain_quantity


@dataclass(frozen=True)
class Value:
    """A parameter's input, in its unit, and what it adds to the score; NaN is unknown, and may be infinite."""

    input: float
    score: float


@dataclass(frozen=True)
class Parcel:
    """What one node sends: SKU -> quantity, and the parameters it was chosen by."""

    node_id: str
    takes: Mapping[str, Decimal]
    score: float
    values: Mapping[str, Value]


@dataclass(frozen=True)
class Counterfactual:
    """Why a node was not chosen.

    Attributes:
        verdict: "forbidden" by a constraint, "short" of stock, "worse", or "kept": better for this order, and kept for
            others of its batch.
        instead_of: node whose parcel it would have sent; None: there was none it could have.
        decided_by: the constraint, "stock", or the parameter that speaks most against it.
        score_gap: how much worse the whole plan would score; None where it could not be.
        input_gap: the deciding parameter's input less that of the chosen node, None where either is unknown or infinite; or
            the quantity it is short of.
        unit: of input_gap.
        because: in words.
    """

    node_id: str
    verdict: str
    instead_of: str | None
    decided_by: str
    score_gap: float | None
    input_gap: float | None
    unit: str | None
    because: str


@dataclass(frozen=True, eq=False)
class Decision:
    """What was decided for an order. The figures it rests on are kept whole, and put into words when asked for.

    Attributes:
        plan: None: no plan of at most `most_parcels` parcels was found that fills the order.
        bound: no plan scores less, infinite where none fills the order; None: decided in a batch, which has a bound for
            all its orders together.
        policy_version, policy_sha256: the weights and constraints it was made under.
    """

    order: Order
    plan: Plan | None
    bound: float | None
    weighed: Weighed
    policy_version: str
    policy_sha256: str
    most_parcels: int

    @property
    def is_filled(self) -> bool:
        """Whether the order can be sent, whole."""
        return self.plan is not None

    @property
    def is_best(self) -> bool:
        """Whether it is proven that the order, looked at alone, cannot be sent any better."""
        return (
            self.bound is not None
            and self.bound >= (math.inf if self.plan is None else self.plan.score) - TIE
        )

    @cached_property
    def parcels(self) -> tuple[Parcel, ...]:
        """What each chosen node sends; empty where the order cannot be filled."""
        if self.plan is None:
            return ()
        return tuple(
            self._parcel(node, takes) for node, takes in zip(self.plan.nodes, self.plan.takes, strict=True)
        )

    @cached_property
    def counterfactuals(self) -> tuple[Counterfactual, ...]:
        """For every node not chosen, in the order of their ids: why not."""
        chosen = set(self.plan.nodes) if self.plan is not None else set()
        shares = self._shares()
        network = self.weighed.situation.network
        return tuple(self._why_not(node, shares) for node in range(len(network.nodes)) if node not in chosen)

    @cached_property
    def unknown(self) -> tuple[str, ...]:
        """Parameters that are not known of any node, and so told none from another."""
        return tuple(
            name
            for name in PARAMETERS
            if any(
                name in values and np.isnan(values[name]).all()
                for values in (self.weighed.values, self.weighed.line_values)
            )
        )

    def document(self) -> dict[str, Any]:
        """All of it as JSON values, to be stored."""
        return {
            "order_id": self.order.order_id,
            "decided_at": self.order.at.isoformat(),
            "policy_version": self.policy_version,
            "policy_sha256": self.policy_sha256,
            "is_filled": self.is_filled,
            "score": None if self.plan is None else self.plan.score,
            "bound": self.bound if self.bound is not None and math.isfinite(self.bound) else None,
            "is_best": self.is_best,
            "unknown": list(self.unknown),
            "split_score": None
            if self.plan is None
            else self.weighed.split * split_count(len(self.plan.nodes)),
            "parcels": [
                {
                    "node_id": parcel.node_id,
                    "takes": {sku: plain_quantity(qty) for sku, qty in parcel.takes.items()},
                    "score": parcel.score,
                    "values": {
                        name: {
                            "input": _said(value.input),
                            "unit": PARAMETERS[name].unit,
                            "score": value.score,
                        }
                        for name, value in parcel.values.items()
                    },
                }
                for parcel in self.parcels
            ],
            "counterfactuals": [dict(item.__dict__) for item in self.counterfactuals],
            "unfillable": [
                {
                    **item.__dict__,
                    "qty": plain_quantity(item.qty),
                    "sendable_qty": plain_quantity(item.sendable_qty),
                    "forbidden": {name: list(nodes) for name, nodes in item.forbidden.items()},
                }
                for item in unfillable(self)
            ],
        }

    def _shares(self) -> list[Floats]:
        return [] if self.plan is None else [takes / self.weighed.need for takes in self.plan.takes]

    def _parcel(self, node: int, takes: Integers) -> Parcel:
        share = takes / self.weighed.need
        values = {}
        for name in PARAMETERS:
            if name != "split_count":
                values[name] = Value(
                    _input(self.weighed, name, node, share), _score(self.weighed, name, node, share)
                )
        return Parcel(
            self.weighed.situation.network.nodes[node].node_id,
            {
                line.sku_id: quantity(int(qty))
                for line, qty in zip(self.order.lines, takes, strict=True)
                if qty
            },
            float(self.weighed.fixed[node] + (self.weighed.line[node] * share).sum()),
            values,
        )

    def _why_not(self, node: int, shares: list[Floats]) -> Counterfactual:
        weighed = self.weighed
        nodes = weighed.situation.network.nodes
        node_id = nodes[node].node_id
        swaps = []
        if self.plan is not None:
            for other, takes, share in zip(self.plan.nodes, self.plan.takes, shares, strict=True):
                if (weighed.stock[node] >= takes).all():
                    gap = weighed.fixed[node] - weighed.fixed[other]
                    gap += ((weighed.line[node] - weighed.line[other]) * share).sum()
                    swaps.append((float(gap), other, share))
        if swaps:
            gap, other, share = min(swaps, key=lambda swap: swap[:2])
            against = {
                name: _score(weighed, name, node, share) - _score(weighed, name, other, share)
                for name in PARAMETERS
                if name != "split_count"
            }
            if gap < -TIE:
                words = (
                    f"would score {-gap:.4g} better than {nodes[other].node_id}, and is kept for other orders"
                )
                return Counterfactual(node_id, "kept", nodes[other].node_id, "batch", gap, None, None, words)
            name = max(against, key=lambda key: against[key])
            mine, theirs = _input(weighed, name, node, share), _input(weighed, name, other, share)
            apart = mine - theirs if math.isfinite(mine) and math.isfinite(theirs) else None
            unit = PARAMETERS[name].unit
            if gap <= TIE:
                words = f"scores the same as {nodes[other].node_id}; ties go to the id that comes first"
            else:
                words = f"scores {gap:.4g} worse than {nodes[other].node_id}, most of all on {name}"
                words += f" ({_plain(mine)} against {_plain(theirs)} {unit})"
            return Counterfactual(node_id, "worse", nodes[other].node_id, name, gap, apart, unit, words)
        for line in range(weighed.need.size):
            for name, flags in weighed.forbidden.items():
                if flags[node] if flags.ndim == 1 else flags[node, line]:
                    reason = CONSTRAINTS[name].reason(weighed.situation, node, line)
                    return Counterfactual(node_id, "forbidden", None, name, None, None, None, reason)
        missing = weighed.need - weighed.stock[node]
        line = int(np.argmax(missing / weighed.need))
        sku = self.order.lines[line].sku_id
        uom = weighed.situation.columns[line].uom
        short = quantity(int(missing[line]))
        asked = plain_quantity(self.order.lines[line].qty)
        held = plain_quantity(quantity(int(weighed.stock[node, line])))
        words = f"holds {held} of {asked} {uom} of {sku}"
        return Counterfactual(node_id, "short", None, "stock", None, float(short), uom, words)


def source_order(order: Order, nodes: Network, policy: Policy) -> Decision:
    """Choose the node or nodes that send an order, whole, in at most as many parcels as the policy allows.

    Args:
        nodes: made once by `Network.of`; unchanged. `Network.draw` takes out what was decided.

    Returns:
        A decision; unfilled where the order cannot be sent whole, with the reason per node. The same order, nodes and
        policy give the same decision, in whatever order the nodes were named.

    Raises:
        RequestError, UnknownError, RefusedError: the order makes no sense; see `weigh`.
    """
    weighed = weigh(order, nodes, policy)
    plan, bound = best(
        weighed.fixed, weighed.line, weighed.stock, weighed.need, weighed.split, policy.most_parcels
    )
    return decision(order, plan, bound, weighed, policy)


def decision(
    order: Order, plan: Plan | None, bound: float | None, weighed: Weighed, policy: Policy
) -> Decision:
    """A decision for a plan, however it was found."""
    return Decision(order, plan, bound, weighed, policy.version, policy.sha256, policy.most_parcels)


@dataclass(frozen=True)
class Unfillable:
    """A line that keeps its order from being sent whole.

    Attributes:
        sendable_qty: what all nodes together could send of it; at least `qty` where only the number of parcels stands
            against it.
        reason: in words.
        forbidden: constraint -> nodes that hold some of it and may not send it.
    """

    sku_id: str
    qty: Decimal
    sendable_qty: Decimal
    reason: str
    forbidden: Mapping[str, tuple[str, ...]]


def unfillable(decided: Decision) -> tuple[Unfillable, ...]:
    """Why an order cannot be sent whole, line by line; nothing where it can."""
    if decided.plan is not None:
        return ()
    weighed = decided.weighed
    nodes = weighed.situation.network.nodes
    found = []
    for line, asked in enumerate(decided.order.lines):
        sendable = int(weighed.stock[:, line].sum())
        if sendable >= weighed.need[line]:
            continue
        forbidden: dict[str, list[str]] = {}
        for node in np.flatnonzero((weighed.free[:, line] > 0) & (weighed.stock[:, line] == 0)):
            for name, flags in weighed.forbidden.items():
                if flags[node] if flags.ndim == 1 else flags[node, line]:
                    forbidden.setdefault(name, []).append(nodes[node].node_id)
        uom = weighed.situation.columns[line].uom
        reason = f"{plain_quantity(quantity(sendable))} of {plain_quantity(asked.qty)} {uom} of {asked.sku_id} can be sent"
        reason += "".join(f"; forbidden by {name} at {', '.join(ids)}" for name, ids in forbidden.items())
        found.append(
            Unfillable(
                asked.sku_id,
                asked.qty,
                quantity(sendable),
                reason,
                {name: tuple(ids) for name, ids in forbidden.items()},
            )
        )
    if found:
        return tuple(found)
    reason = (
        f"no {decided.most_parcels} nodes together hold the whole order, and it is split into no more parcels"
    )
    return tuple(
        Unfillable(asked.sku_id, asked.qty, quantity(int(weighed.stock[:, line].sum())), reason, {})
        for line, asked in enumerate(decided.order.lines)
    )


@dataclass(frozen=True)
class Review:
    """What became of a decision when it was looked at again before picking.

    Attributes:
        keeps: the plan still stands: it can be sent, and no other one is better by the policy's switch_gain.
        score: what the plan scores now; None: it can no longer be sent.
        fresh: what would be decided now.
    """

    keeps: bool
    score: float | None
    fresh: Decision


def review(earlier: Decision, order: Order, nodes: Network, policy: Policy) -> Review:
    """Look at a decision again before picking, with stock and capacity as they are now.

    Args:
        order: the same order at the present time.
        nodes: with what the earlier decision took still in it, as free as everything else.
    """
    fresh = source_order(order, nodes, policy)
    if earlier.plan is None:
        return Review(not fresh.is_filled, None, fresh)
    weighed = fresh.weighed
    places = {node.node_id: number for number, node in enumerate(nodes.nodes)}
    score = weighed.split * split_count(len(earlier.parcels))
    for parcel in earlier.parcels:
        place = places.get(parcel.node_id)
        takes = np.array([micro(parcel.takes.get(line.sku_id, Decimal(0))) for line in order.lines], np.int64)
        if place is None or (weighed.stock[place] < takes).any():
            return Review(False, None, fresh)
        score += float(weighed.fixed[place] + (weighed.line[place] * (takes / weighed.need)).sum())
    now = fresh.plan.score if fresh.plan is not None else math.inf
    return Review(score - now <= policy.switch_gain * score, score, fresh)


def _score(weighed: Weighed, name: str, node: int, share: Floats) -> float:
    total = float(weighed.scores[name][node]) if name in weighed.scores else 0.0
    if name in weighed.line_scores:
        total += float((weighed.line_scores[name][node] * share).sum())
    return total


def _input(weighed: Weighed, name: str, node: int, share: Floats) -> float:
    if name in MEANS:
        sent = share > 0
        value = float((weighed.line_values[name][node][sent] * share[sent]).sum() / share[sent].sum())
    else:
        value = float(weighed.values[name][node])
        if name in weighed.line_values:
            value += float((weighed.line_values[name][node] * share).sum())
    return value


def _said(value: float) -> float | str | None:
    """As JSON: null is unknown, and "infinite" what has no end, such as the cover of goods nobody buys."""
    return None if math.isnan(value) else value if math.isfinite(value) else "infinite"


def _plain(value: float) -> str:
    return "unknown" if math.isnan(value) else f"{value:.4g}" if math.isfinite(value) else "without end"
