"""What carriers and nodes do, measured from released shipments and orders, where no contract is told.

Everything here is a figure with a number of observations behind it; with fewer than are needed it is None: not known.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median

import numpy as np
from scipy.optimize import brentq, nnls
from scipy.stats import theilslopes

from oms_core.fulfilment.sourcing.network import Floats
from oms_core.fulfilment.sourcing.parameters import distance

LEAST_SHIPMENTS = 20  # for a line through them
LEAST_ORDERS = 5  # for a median of a node
_MOST = 2_000  # the newest; a robust line looks at every pair
_TOWN_KM = 5.0  # addresses of a city are known by its centre only


@dataclass(frozen=True)
class Sent:
    """One order that left one node whole; None is not known.

    Attributes:
        km: great circle from the node to the city.
        cost: of its shipment, in the currency sourcing counts in.
        handling_hours: from the order to the carrier having it.
        travel_hours: from there to the door.
        is_kept_cold: whether it needed a cold chain that measurements prove unbroken.
    """

    node_id: str
    country: str | None
    km: float | None
    kg: float | None
    cost: float | None
    co2e_kg: float | None
    handling_hours: float | None
    travel_hours: float | None
    is_kept_cold: bool


@dataclass(frozen=True)
class Measured:
    """What was measured; attributes as of `network.Carrier` and `network.Node`.

    Attributes:
        tariff: parcel_cost, cost_per_kg, cost_per_100_km of all carriers together.
        travel: base_hours and km_per_hour of all carriers together.
        near: node -> near_factor and near_km.
        shipments: how many orders that left one node whole were looked at.
        handling_of_all: median over all nodes, for those that sent too little for one of their own.
        handling_hours, served: of each node; served are the countries it has sent to.
    """

    tariff: tuple[float, float, float] | None = None
    travel: tuple[float, float] | None = None
    near: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    co2e_kg_per_tkm: float | None = None
    cold_chain_hours: float | None = None
    shipments: int = 0
    handling_of_all: float | None = None
    handling_hours: Mapping[str, float] = field(default_factory=dict)
    served: Mapping[str, frozenset[str]] = field(default_factory=dict)


def measure(sent: Iterable[Sent]) -> Measured:
    """Measure what was sent, newest first."""
    rows = list(sent)[:_MOST]
    by_node: dict[str, list[Sent]] = {}
    for row in rows:
        by_node.setdefault(row.node_id, []).append(row)
    cold = [row.travel_hours for row in rows if row.is_kept_cold and row.travel_hours is not None]
    handled = [row.handling_hours for row in rows if row.handling_hours is not None]
    factors = [
        row.co2e_kg / (row.kg / 1000 * row.km)
        for row in rows
        if row.co2e_kg is not None and row.kg and row.km and row.km > 1
    ]
    travel = _travel(rows)
    return Measured(
        _tariff(rows),
        travel,
        {} if travel is None else _near(by_node, *travel),
        median(factors) if len(factors) >= LEAST_SHIPMENTS else None,
        max(cold) if len(cold) >= LEAST_ORDERS else None,
        len(rows),
        median(handled) if len(handled) >= LEAST_SHIPMENTS else None,
        {
            node: median(hours)
            for node, found in by_node.items()
            if len(hours := [row.handling_hours for row in found if row.handling_hours is not None])
            >= LEAST_ORDERS
        },
        {node: frozenset(row.country for row in found if row.country) for node, found in by_node.items()},
    )


def kilometres(here: tuple[float, float], there: tuple[float, float]) -> float:
    """Great-circle distance between places in degrees."""
    latitude, longitude = np.radians([here[0]]), np.radians([here[1]])
    return float(distance(latitude, longitude, math.radians(there[0]), math.radians(there[1]))[0])


def _tariff(rows: Sequence[Sent]) -> tuple[float, float, float] | None:
    """Money for a parcel, a kg and 100 km that explain the costs best (least squares, none of them negative)."""
    told = [(row.kg, row.km, row.cost) for row in rows if None not in (row.kg, row.km, row.cost)]
    if len(told) < LEAST_SHIPMENTS:
        return None
    figures: Floats = np.array(told, float)
    matrix = np.stack([np.ones(len(told)), figures[:, 0], figures[:, 1] / 100], axis=1)
    parcel, kg, km = nnls(matrix, figures[:, 2])[0]
    return float(parcel), float(kg), float(km)


def _travel(rows: Sequence[Sent]) -> tuple[float, float] | None:
    """Hours that every parcel takes, and km an hour (Theil–Sen, which a tenth of late parcels does not move).

    None where those that go further are not longer on their way: then nothing was measured.
    """
    told = [
        (row.km, row.travel_hours)
        for row in rows
        if row.km is not None and row.travel_hours is not None and row.travel_hours > 0
    ]
    if len(told) < LEAST_SHIPMENTS or len({km for km, _ in told}) < 2:
        return None
    figures: Floats = np.array(told, float)
    line = theilslopes(figures[:, 1], figures[:, 0])
    return (max(float(line.intercept), 0.0), 1 / float(line.slope)) if line.slope > 0 else None


def _near(
    by_node: Mapping[str, Sequence[Sent]], base_hours: float, km_per_hour: float
) -> dict[str, tuple[float, float]]:
    """How many times as long as all parcels those of a node take, and up to what distance it was seen to send.

    A node that sent little is believed little: the median of its logarithms is drawn to zero by its own variance against that
    between nodes (random effects about zero; the variance between them by Paule and Mandel). One parcel says nothing.
    """
    times = {
        node: np.array(
            [
                (row.km, row.travel_hours / (base_hours + row.km / km_per_hour))
                for row in found
                if row.km and row.travel_hours is not None and row.travel_hours > 0
            ]
        )
        for node, found in by_node.items()
    }
    times = {node: told for node, told in times.items() if len(told) > 1}
    if len(times) < 2:
        return {}
    logs = [np.log(told[:, 1]) for told in times.values()]
    medians = np.array([np.median(log) for log in logs])
    spread = 1.4826 * float(np.median(np.concatenate([abs(log - np.median(log)) for log in logs])))
    own = np.pi / 2 * max(spread, 1e-6) ** 2 / np.array([log.size for log in logs])

    def excess(between: float) -> float:
        return float((medians**2 / (own + between)).sum() - medians.size)

    between = brentq(excess, 0.0, float((medians**2).sum()) + 1.0) if excess(0.0) > 0 else 0.0
    factors = np.exp(medians * between / (own + between))
    return {
        node: (float(factor), float(told[:, 0].max()) + _TOWN_KM)
        for (node, told), factor in zip(times.items(), factors, strict=True)
    }
