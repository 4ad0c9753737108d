"""The twelve parameters by which nodes are weighed: each a plain function with its unit and its source.

They take and give columns over n nodes (or n nodes × lines), so that one call weighs them all. What a value is worth
is not said here but in the policy: `weight × value ÷ scale` (see `worth`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from oms_core.fulfilment.sourcing.network import NO_DATE, Floats, Integers

EARTH_KM = 6371.0088  # mean radius, IUGG


class Better(StrEnum):
    """Which way a parameter is better, and how it grows.

    LESS: in proportion. MORE: in proportion, and nothing is gained beyond the scale. SOONER: less is better, and beyond
    the scale everything is equally bad.
    """

    LESS = "less"
    MORE = "more"
    SOONER = "sooner"


@dataclass(frozen=True)
class Parameter:
    """What a parameter measures, in what unit, and where its figures come from."""

    name: str
    unit: str
    better: Better
    source: str


PARAMETERS = {
    parameter.name: parameter
    for parameter in (
        Parameter("shipping_cost", "currency", Better.LESS, "carrier contracts of the node"),
        Parameter("distance", "km", Better.LESS, "golden locations, great circle"),
        Parameter("transit_time", "hours", Better.LESS, "node hours, carrier collections, carrier's times"),
        Parameter("capacity_left", "ratio", Better.MORE, "WMS: parcels per shift and parcels taken"),
        Parameter("workload", "ratio", Better.LESS, "WMS: lines waiting and lines per shift"),
        Parameter("days_of_cover", "days", Better.MORE, "available-to-promise and the node's own sales"),
        Parameter("expiry", "days", Better.SOONER, "lots of the WMS, first expired first out"),
        Parameter("split_count", "parcels", Better.LESS, "the plan itself"),
        Parameter("pick_cost", "currency", Better.LESS, "cost of the node's labour, per parcel and unit"),
        Parameter("carbon", "kg CO2e", Better.LESS, "emission factors, ISO 14083, well to wheel"),
        Parameter(
            "reliability", "ratio", Better.LESS, "orders offered to the node, refused by it and sent late"
        ),
        Parameter("promise", "hours late", Better.LESS, "promised time and the customer's tier"),
    )
}


def shipping_cost(parcel_cost: Floats, cost_per_km: Floats, km: Floats) -> Floats:
    """What a parcel costs before its mass, in currency. Source: carrier contract."""
    return parcel_cost + cost_per_km * km


def shipping_cost_of_lines(cost_per_kg: Floats, kg: Floats) -> Floats:
    """What the mass of each line adds, (n, lines) in currency. Source: carrier contract."""
    return cost_per_kg[:, None] * kg


def distance(latitude: Floats, longitude: Floats, to_latitude: float, to_longitude: float) -> Floats:
    """Great-circle distance in km between places in radians. Source: haversine formula on the mean earth radius."""
    half = np.sin((latitude - to_latitude) / 2) ** 2
    half += np.cos(latitude) * np.cos(to_latitude) * np.sin((longitude - to_longitude) / 2) ** 2
    return np.asarray(2 * EARTH_KM * np.arcsin(np.sqrt(np.minimum(half, 1.0))))


def travel_time(
    base_hours: Floats, km_per_hour: Floats, km: Floats, near_factor: Floats, near_km: Floats
) -> Floats:
    """Hours between the carrier's collection and the customer's door, times a factor within `near_km`. Source: carrier's times."""
    return (base_hours + km / km_per_hour) * np.where(km <= near_km, near_factor, 1.0)


def transit_time(leaving_minutes: Floats, travel_hours: Floats) -> Floats:
    """Hours from the decision to the door: waiting, handling, waiting for the carrier, travelling."""
    return leaving_minutes / 60 + travel_hours


def capacity_left(parcels_per_shift: Floats, taken: Integers) -> Floats:
    """Ratio of the shift's parcels still free once this one is taken; below zero: there is no room. Source: WMS."""
    return 1 - (taken + 1) / np.maximum(parcels_per_shift, 1e-9)


def workload(waiting: Integers, lines_per_shift: Floats) -> Floats:
    """Lines that wait over lines a shift can pick; above one: more than a shift of work. Source: WMS."""
    return waiting / np.maximum(lines_per_shift, 1e-9)


def days_of_cover(left_qty: Floats, daily_qty: Floats) -> Floats:
    """Days the node's own customers can be served with what is left; infinite where nobody buys. Source: ATP, sales."""
    days: Floats = np.full(left_qty.shape, np.inf)
    np.divide(left_qty, daily_qty, out=days, where=daily_qty > 0)
    return days


def expiry(expires: Integers, promised: int) -> Floats:
    """Days the goods are good after the promised date; zero where goods of the kind carry no date. Source: lots of the WMS.

    Where some nodes tell a date and others do not, theirs is unknown. Less is better: what expires first leaves first.
    Goods that expire too soon are a constraint, not a matter of weight.
    """
    undated = expires == NO_DATE
    days = np.where(undated, 0, np.maximum(expires - promised, 0)).astype(float)
    if undated.any():
        days[undated & ~undated.all(axis=0)] = np.nan
    return days


def split_count(parcels: int) -> int:
    """Parcels beyond the first."""
    return max(parcels - 1, 0)


def pick_cost(parcel_pick_cost: Floats, unit_pick_cost: Floats, units: Floats) -> tuple[Floats, Floats]:
    """What packing a parcel costs (n,), and picking each line (n, lines), in currency. Source: cost of labour."""
    return parcel_pick_cost, unit_pick_cost[:, None] * units


def carbon(parcel_co2e_kg: Floats, co2e_kg_per_tkm: Floats, km: Floats, kg: Floats) -> tuple[Floats, Floats]:
    """kg CO2e of packing a parcel (n,) and of moving each line (n, lines). Source: ISO 14083, tonne-kilometres × factor."""
    return parcel_co2e_kg, (co2e_kg_per_tkm * km)[:, None] * kg / 1000


def reliability(failed: Floats, offered: Floats, prior_rate: float, prior_orders: float) -> Floats:
    """Share of orders a node refuses or sends late, drawn to a prior rate while its history is short.

    Source: the node's history; the posterior mean of a beta-binomial, whose prior counts as `prior_orders` orders.
    """
    return (failed + prior_rate * prior_orders) / (offered + prior_orders)


def promise(transit_hours: Floats, promised_hours: float, tier_factor: float) -> Floats:
    """Hours late, each counted as often as the customer's tier says. Source: promise and policy."""
    return np.maximum(transit_hours - promised_hours, 0.0) * tier_factor


def worth(value: Floats, better: Better, weight: float, scale: float) -> Floats:
    """What a value costs in the score, zero or more: `weight` at one scale away from the best possible.

    The scale is fixed by the policy and not by the nodes compared, so that adding a node never reorders the others.
    """
    if better is Better.LESS:
        return value * (weight / scale)
    if better is Better.MORE:
        return np.maximum(1 - value / scale, 0.0) * weight
    return np.minimum(value / scale, 1.0) * weight
