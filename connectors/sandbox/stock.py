"""What each location sells, how often, and from which lots."""

from __future__ import annotations

import math
import random
from bisect import bisect_left
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from itertools import accumulate

from connectors.sandbox.places import COLD_LOCATIONS
from connectors.sandbox.world import Location, Lot, Product, World


class Shelves:
    """What each location sells, how often, and from which lots."""

    def __init__(
        self, seed: int, products: dict[str, Product], locations: dict[str, Location], anchor: date
    ) -> None:
        self.products = products
        popularity = {
            p: 1.0 / (1 + random.Random(f"{seed}/popularity/{p}").randrange(60)) ** 0.6 for p in products
        }
        self.assortment: dict[str, list[str]] = {}
        self._cumulated: dict[str, list[float]] = {}
        self.lots: dict[tuple[str, str], list[Lot]] = {}
        self.used: dict[str, int] = {}
        self.reserved: dict[str, int] = {}
        for location_id in locations:
            sold = [p for p in products.values() if location_id in COLD_LOCATIONS or not p.needs_cold_chain]
            if locations[location_id].kind == "dark_store":  # few things, mostly food
                sold = [p for i, p in enumerate(sold) if p.needs_cold_chain or i % 4 == 0]
            self.assortment[location_id] = [p.product_id for p in sold]
            self._cumulated[location_id] = list(accumulate(popularity[p.product_id] for p in sold))
            for product in sold:
                rng = random.Random(f"{seed}/lot/{product.product_id}/{location_id}")
                self.lots[product.product_id, location_id] = [
                    Lot(
                        lot_id=f"{product.product_id[1:]}{location_id}26{'AB'[n]}{rng.randrange(1000):03d}",
                        product_id=product.product_id,
                        location_id=location_id,
                        expires_on=None
                        if product.shelf_life_days is None
                        else anchor
                        + timedelta(days=math.ceil(product.shelf_life_days * rng.uniform(0.3, 1.0))),
                        on_hand_qty=Decimal(
                            rng.randrange(0, 60) if rng.random() < 0.2 else rng.randrange(40, 400)
                        ),
                        reserved_qty=Decimal(0),
                    )
                    for n in range(2 if product.needs_cold_chain else 1)
                ]

    def pick(self, rng: random.Random, location_id: str, count: int) -> list[Product]:
        """Choose `count` products (fewer when the same comes up twice), popular ones more often."""
        sold, cumulated = self.assortment[location_id], self._cumulated[location_id]
        chosen = dict.fromkeys(
            sold[bisect_left(cumulated, rng.random() * cumulated[-1])] for _ in range(count)
        )
        return [self.products[p] for p in chosen]

    def counted(self) -> dict[str, Lot]:
        """Return every lot, refilled by the hundred for what has left it, with what open orders hold."""
        return {
            lot.lot_id: replace(
                lot,
                on_hand_qty=lot.on_hand_qty
                + (-self.used.get(lot.lot_id, 0) % 100)
                + self.reserved.get(lot.lot_id, 0),
                reserved_qty=Decimal(self.reserved.get(lot.lot_id, 0)),
            )
            for lots in self.lots.values()
            for lot in lots
        }


def moved_at(world: World) -> dict[tuple[str, str], datetime]:
    """When stock last moved or was last promised: (location_id, product_id) -> instant; untouched stock is absent."""
    found: dict[tuple[str, str], datetime] = {}
    for order in world.orders.values():
        for line in order.lines:
            if line.lot_id is not None:
                spot = (world.lots[line.lot_id].location_id, line.product_id)
                found[spot] = max(found.get(spot, order.updated_at), order.updated_at)
    return found


def free_at(world: World, location_id: str) -> Counter[str]:
    """Units of each product at a place that no order holds: product_id -> units, all a shop that sends from there can sell."""
    free: Counter[str] = Counter()
    for lot in world.lots.values():
        if lot.location_id == location_id:
            free[lot.product_id] += int(lot.on_hand_qty - lot.reserved_qty)
    return free
