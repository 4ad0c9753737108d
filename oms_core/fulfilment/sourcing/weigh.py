"""What each node would score for an order: the twelve parameters under a policy, and what is forbidden."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from oms_core.fulfilment.errors import RefusedError, RequestError
from oms_core.fulfilment.sourcing import parameters
from oms_core.fulfilment.sourcing.constraints import CONSTRAINTS, Situation
from oms_core.fulfilment.sourcing.network import Flags, Floats, Integers, Network, Order, micro
from oms_core.fulfilment.sourcing.parameters import PARAMETERS, worth
from oms_core.fulfilment.sourcing.policy import Policy


@dataclass(frozen=True, eq=False)
class Weighed:
    """An order before n nodes, l lines. A parcel's score is its node's `fixed` plus, per line, `line` × share it sends.

    Attributes:
        need: (l,) quantities in millionths of their units.
        stock: (n, l) what a node may give of each line, never more than is needed; zero where that is forbidden.
        free: (n, l) what lies there, forbidden or not.
        fixed, line: (n,) and (n, l) score per parcel, and per whole line.
        split: score of each parcel beyond the first.
        values, line_values: parameter -> inputs in the parameter's unit, (n,) per parcel and (n, l) per whole line; NaN where
            nobody knows them.
        scores, line_scores: parameter -> their worth under the policy. What is unknown of a node counts as the worst that is
            known of others, so that ignorance is no advantage; what is known of none tells no node from another, and
            counts nothing.
        forbidden: constraint -> (n,) or (n, l).
    """

    situation: Situation
    need: Integers
    stock: Integers
    free: Integers
    fixed: Floats
    line: Floats
    split: float
    values: Mapping[str, Floats]
    line_values: Mapping[str, Floats]
    scores: Mapping[str, Floats]
    line_scores: Mapping[str, Floats]
    forbidden: Mapping[str, Flags]


def weigh(order: Order, network: Network, policy: Policy) -> Weighed:
    """Weigh every node for an order.

    Raises:
        RequestError: the order makes no sense, its tier is unknown, or costs are in another currency than the policy's.
        UnknownError: no node knows a SKU.
        RefusedError: every node is closed.
    """
    if network.currency != policy.currency:
        raise RequestError(
            "other-currency",
            f"nodes count in {network.currency}, policy {policy.version} in {policy.currency}",
        )
    if order.tier not in policy.tiers:
        raise RequestError(
            "unknown-tier",
            f"order {order.order_id}: policy {policy.version} knows no tier {order.tier!r}, but {', '.join(policy.tiers)}",
        )
    columns = network.columns(order)
    if network.is_closed.all() and "node_closed" in policy.constraints:
        raise RefusedError("node-closed", f"order {order.order_id}: every node is closed")
    figures = network.fixed
    need = np.array([micro(line.qty) for line in order.lines], np.int64)
    units = need / 1e6
    kg = units * np.array(
        [math.nan if line.kg_per_unit is None else line.kg_per_unit for line in order.lines]
    )
    free = np.stack([column.free for column in columns], axis=1)
    daily = np.stack([column.daily for column in columns], axis=1)
    expires = np.stack([column.expires for column in columns], axis=1)
    km = parameters.distance(
        figures["latitude"],
        figures["longitude"],
        math.nan if order.latitude is None else math.radians(order.latitude),
        math.nan if order.longitude is None else math.radians(order.longitude),
    )
    opening, leaving, is_open = network.minutes(order.at, policy.longest_wait_hours * 60)
    travel = parameters.travel_time(
        figures["base_hours"], figures["km_per_hour"], km, figures["near_factor"], figures["near_km"]
    )
    transit = parameters.transit_time(leaving, travel)
    situation = Situation(
        order,
        network,
        columns,
        opening,
        leaving,
        is_open,
        travel,
        transit,
        order.promised_hours,
        policy.customs_territory(order.country),
    )
    prior = policy.reliability_prior
    pick, pick_line = parameters.pick_cost(figures["parcel_pick_cost"], figures["unit_pick_cost"], units)
    carbon, carbon_line = parameters.carbon(figures["parcel_co2e_kg"], figures["co2e_kg_per_tkm"], km, kg)
    values = {
        "shipping_cost": parameters.shipping_cost(figures["parcel_cost"], figures["cost_per_km"], km),
        "distance": km,
        "transit_time": transit,
        "capacity_left": parameters.capacity_left(figures["parcels_per_shift"], network.taken),
        "workload": parameters.workload(network.waiting, figures["lines_per_shift"]),
        "pick_cost": pick,
        "carbon": carbon,
        "reliability": parameters.reliability(
            figures["failed"], figures["offered"], prior.rate, prior.orders
        ),
        "promise": parameters.promise(transit, situation.promised_hours, policy.tiers[order.tier]),
    }
    line_values = {
        "shipping_cost": parameters.shipping_cost_of_lines(figures["cost_per_kg"], kg),
        "days_of_cover": parameters.days_of_cover((free - np.minimum(free, need)) / 1e6, daily),
        "expiry": parameters.expiry(expires, order.needed_on.toordinal()),
        "pick_cost": pick_line,
        "carbon": carbon_line,
    }
    scores = {name: _worth(name, value, policy) for name, value in values.items()}
    line_scores = {name: _worth(name, value, policy) for name, value in line_values.items()}
    for name in MEANS:
        line_scores[name] = line_scores[name] / len(order.lines)
    stock = np.minimum(free, need)
    forbidden: dict[str, Flags] = {}
    for name in policy.constraints:
        found = CONSTRAINTS[name].forbids(situation)
        if found is not None:
            forbidden[name] = found
            stock[found] = 0
    rule = policy.parameters["split_count"]
    return Weighed(
        situation,
        need,
        stock,
        free,
        sum(scores.values(), np.zeros(len(network.nodes))),
        sum(line_scores.values(), np.zeros(free.shape)),
        float(worth(np.array(1.0), PARAMETERS["split_count"].better, rule.weight, rule.scale)),
        values,
        line_values,
        scores,
        line_scores,
        forbidden,
    )


MEANS = ("days_of_cover", "expiry")  # said of each line, and a mean over them; everything else adds up


def _worth(name: str, value: Floats, policy: Policy) -> Floats:
    rule = policy.parameters[name]
    score = worth(value, PARAMETERS[name].better, rule.weight, rule.scale)
    unknown = np.isnan(score)
    if unknown.any():
        worst = np.where(unknown, -np.inf, score).max(axis=0)
        score = np.where(unknown, np.maximum(worst, 0.0), score)
    return score
