"""Seeded worlds to source in: nodes over Europe, shelves, orders."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import combinations
from typing import Any

import numpy as np

from oms_core.fulfilment.sourcing.network import Carrier, Network, Node, Order, OrderLine, Shelf
from oms_core.fulfilment.sourcing.weigh import Weighed

AT = datetime(2026, 11, 2, 9, 30, tzinfo=UTC)
DAILY = tuple((day, 8 * 60, 20 * 60) for day in range(6))
PICKUPS = tuple((day, 17 * 60) for day in range(6))


def node(node_id: str = "N1", draw: random.Random | None = None, **changed: Any) -> Node:
    """A node with plain figures, or drawn ones."""
    draw = draw or random.Random(node_id)
    carrier = Carrier(
        parcel_cost=Decimal(draw.randint(300, 700)).scaleb(-2),
        cost_per_kg=Decimal(draw.randint(20, 90)).scaleb(-2),
        cost_per_100_km=Decimal(draw.randint(10, 60)).scaleb(-2),
        base_hours=draw.uniform(6, 18),
        km_per_hour=draw.uniform(30, 60),
        co2e_kg_per_tkm=draw.choice([0.15, 0.71]),
        parcel_co2e_kg=draw.uniform(0.1, 0.4),
    )
    offered = draw.randint(0, 500)
    figures: dict[str, Any] = {
        "node_id": node_id,
        "latitude": draw.uniform(44, 55),
        "longitude": draw.uniform(0, 20),
        "country": "DE",
        "time_zone": draw.choice(["Europe/Berlin", "Europe/Paris", "Europe/London"]),
        "currency": "EUR",
        "carrier": carrier,
        "hours": DAILY,
        "collections": PICKUPS,
        "handling_hours": draw.uniform(1, 4),
        "parcels_per_shift": draw.randint(40, 400),
        "parcels_taken": draw.randint(0, 20),
        "lines_per_shift": 400,
        "lines_waiting": draw.randint(0, 300),
        "parcel_pick_cost": Decimal(draw.randint(80, 250)).scaleb(-2),
        "unit_pick_cost": Decimal(draw.randint(10, 60)).scaleb(-2),
        "offered": offered,
        "refused": draw.randint(0, offered // 10),
        "late": draw.randint(0, offered // 10),
        "temperature_classes": frozenset({"ambient", "chilled"}),
        "cold_chain_hours": 72.0,
        "hazard_classes": frozenset({"3"}),
        "clears_customs_to": frozenset({"CH"}),
    }
    return Node(**(figures | changed))


def shelf(sku: str, node_id: str, qty: int | str, **changed: Any) -> Shelf:
    """A shelf of pieces."""
    figures: dict[str, Any] = {"uom": "H87", "daily_qty": Decimal(1), "expires_on": None}
    return Shelf(sku, node_id, Decimal(qty), **(figures | changed))


def order(order_id: str = "O1", wanted: dict[str, int | str] | None = None, **changed: Any) -> Order:
    """An order from Frankfurt, promised in four days."""
    figures: dict[str, Any] = {
        "at": AT,
        "promised_at": AT + timedelta(days=4),
        "latitude": 50.11,
        "longitude": 8.68,
        "country": "DE",
        "tier": "standard",
        "lines": tuple(OrderLine(sku, Decimal(qty), 0.8) for sku, qty in (wanted or {"S1": 2}).items()),
    }
    return Order(order_id, **(figures | changed))


def network(seed: int, nodes: int, skus: int, stocked: float, deepest: int) -> Network:
    """Nodes N000…, SKUs S000…, each on a share of the shelves."""
    draw = random.Random(seed)
    places = [node(f"N{number:03}", draw) for number in range(nodes)]
    shelves = [
        shelf(
            f"S{number:03}",
            place.node_id,
            draw.randint(1, deepest) if draw.random() < stocked else 0,
            daily_qty=Decimal(draw.randint(0, 50)).scaleb(-1),
            expires_on=date(2026, 12, 1) + timedelta(days=draw.randint(0, 200)) if number % 3 == 0 else None,
        )
        for number in range(skus)
        for place in places
    ]
    return Network.of(places, shelves)


def orders(seed: int, count: int, skus: int, most_lines: int, most_units: int) -> list[Order]:
    """Orders of a day for SKUs S000…, the first of which are wanted most."""
    draw = random.Random(seed)
    made = []
    for number in range(count):
        wanted = {
            f"S{min(int(draw.expovariate(4 / skus)), skus - 1):03}": draw.randint(1, most_units)
            for _ in range(draw.randint(1, most_lines))
        }
        at = AT + timedelta(minutes=draw.uniform(0, 600))
        made.append(
            order(
                f"O{number:05}",
                wanted,
                at=at,
                promised_at=at + timedelta(hours=draw.choice([48, 72, 120])),
                latitude=draw.uniform(45, 54),
                longitude=draw.uniform(1, 19),
                tier=draw.choice(["standard", "plus", "business"]),
            )
        )
    return made


def score_of(weighed: Weighed, nodes: tuple[int, ...], takes: np.ndarray) -> float:
    """What a plan scores; infinite where it cannot be sent."""
    if any((weighed.stock[node] < take).any() for node, take in zip(nodes, takes, strict=True)):
        return float("inf")
    score = weighed.split * (len(nodes) - 1)
    for node, take in zip(nodes, takes, strict=True):
        score += weighed.fixed[node] + (weighed.line[node] * take / weighed.need).sum()
    return float(score)


def optimum(weighed: Weighed, most: int) -> tuple[float, int]:
    """The least score by trying every set of nodes, and its number of parcels; infinite where none fills the order."""
    least, parcels = float("inf"), 0
    for size in range(1, most + 1):
        for nodes in combinations(range(len(weighed.fixed)), size):
            if (weighed.stock[list(nodes)].sum(axis=0) < weighed.need).any():
                continue
            takes = np.zeros((size, weighed.need.size), np.int64)
            for number, need in enumerate(weighed.need):
                left = need
                for row in sorted(range(size), key=lambda row: weighed.line[nodes[row], number]):
                    takes[row, number] = min(left, weighed.stock[nodes[row], number])
                    left -= takes[row, number]
            if takes.any(axis=1).all():
                score = score_of(weighed, nodes, takes)
                if score < least:
                    least, parcels = score, size
    return least, parcels
