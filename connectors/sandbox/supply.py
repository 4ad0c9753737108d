"""Where the sandbox company's goods come from: raw materials, bulk batches and lots, and how cold parcels were kept.

Pure in the world's seed, and true: systems look at it through their own windows. A lot of a product is filled from one of
two bulk batches of its line; a bulk is made of raw-material lots, half of the lines by way of a base; a kit's lot is
packed from lots of what is in it.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property

from connectors.sandbox.catalog import gs1_check_digit
from connectors.sandbox.world import Lot, Order, Product, Shipment, World

READING_EVERY = timedelta(minutes=30)
# A parcel that never arrives is measured until its logger's battery is empty.
LONGEST_LOG = timedelta(days=10)
# Degrees Celsius that goods of a category bear.
RANGES = {
    "FOOD-DAIRY": (Decimal(1), Decimal(8)),
    "FOOD-DRINK": (Decimal(1), Decimal(10)),
    "FOOD-FISH": (Decimal(0), Decimal(5)),
    "FOOD-PASTA": (Decimal(1), Decimal(8)),
    "FOOD-READY": (Decimal(1), Decimal(8)),
}
_MATERIALS = {
    "COS": ("plant oil", "plant extract", "hydrosol"),
    "FOO": ("milk", "meat and fish", "flour", "pulses", "fruit"),
}
_AUXILIARIES = {
    "COS": (
        ("glycerin", "MY"),
        ("shea butter", "GH"),
        ("beeswax", "ET"),
        ("sea salt", "PT"),
        ("citric acid", "CN"),
    ),
    "FOO": (
        ("sea salt", "PT"),
        ("cane sugar", "BR"),
        ("olive oil", "GR"),
        ("cultures", "DK"),
        ("spices", "IN"),
    ),
}
_SCHEMES = ("ecocert", "fairtrade", "rspo", "msc", "organic-eu")


@dataclass(frozen=True)
class Supplier:
    """A party that sells raw material."""

    supplier_id: str
    name: str
    gln: str
    country: str


@dataclass(frozen=True)
class RawLot:
    """A lot of raw material as its supplier shipped it."""

    lot_number: str
    gtin14: str
    material: str
    country: str
    supplier: Supplier
    certificate: str | None


@dataclass(frozen=True)
class Batch:
    """What was mixed from other lots: (gtin14, lot number) of what went in and of itself."""

    key: tuple[str, str]
    inputs: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Reading:
    """One temperature inside a parcel."""

    measured_at: datetime
    celsius: Decimal


def gtin(body: str) -> str:
    """GTIN-14 of 13 digits."""
    return body + gs1_check_digit(body)


class Supply:
    """The way of every lot of a world, from raw material to the shelf."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lines: dict[str, list[Product]] = {}
        for product in world.products.values():
            if not product.components:
                self.lines.setdefault(product.mpn.partition("-")[0], []).append(product)
        # Everything was made before the first order: what happens later changes no lot.
        first = min((order.placed_at for order in world.orders.values()), default=world.now)
        self.made_before = first.replace(hour=0, minute=0, second=0, microsecond=0)

    def _rng(self, what: str) -> random.Random:
        return random.Random(f"{self.world.seed}/supply/{what}")

    @cached_property
    def raw_lots(self) -> dict[str, tuple[RawLot, ...]]:
        """Raw-material lots of each bulk batch, by `<line>/<batch>`."""
        found = {}
        for number, (line, products) in enumerate(self.lines.items()):
            kind = products[0].category[:3]
            for batch in "AB":
                rng = self._rng(f"recipe/{line}/{batch}")
                main = (rng.choice(_MATERIALS[kind]), products[0].origin_country)
                parts = [main, *rng.sample(_AUXILIARIES[kind], rng.randrange(1, 3))]
                found[f"{line}/{batch}"] = tuple(
                    self._raw_lot(rng, f"{number:02d}{batch}{place}", material, country)
                    for place, (material, country) in enumerate(parts)
                )
        return found

    def _raw_lot(self, rng: random.Random, code: str, material: str, country: str) -> RawLot:
        digits = f"{int(code[:2]):02d}{'AB'.index(code[2])}{code[3]}"
        certificate = f"https://certificates.example/{rng.choice(_SCHEMES)}/{rng.randrange(10**6):06d}"
        return RawLot(
            lot_number=f"R{code}-26{rng.randrange(1000):03d}",
            gtin14=gtin(f"0698810{digits}00"),
            material=material,
            country=country,
            supplier=self._supplier(material, country),
            certificate=certificate if rng.random() < 0.6 else None,
        )

    def _supplier(self, material: str, country: str) -> Supplier:
        number = self._rng(f"supplier/{material}/{country}").randrange(10**5)
        body = f"6988200{number:05d}"
        return Supplier(
            f"S{number:05d}",
            f"{material.title()} of {country} {number}",
            body + gs1_check_digit(body),
            country,
        )

    @cached_property
    def batches(self) -> dict[str, tuple[Batch, ...]]:
        """What was mixed for each bulk, in order: half of the lines make a base first."""
        found = {}
        for number, line in enumerate(self.lines):
            for batch in "AB":
                name = f"{line}/{batch}"
                raws = tuple((raw.gtin14, raw.lot_number) for raw in self.raw_lots[name])
                steps = []
                if number % 2:
                    base = (gtin(f"069883{number:03d}{'AB'.index(batch)}000"), f"E{number:02d}{batch}")
                    steps.append(Batch(base, raws[:-1]))
                    raws = (base, raws[-1])
                steps.append(
                    Batch((gtin(f"069884{number:03d}{'AB'.index(batch)}000"), f"B{number:02d}{batch}"), raws)
                )
                found[name] = tuple(steps)
        return found

    def bulk_of(self, lot: Lot) -> str | None:
        """Which bulk a lot was filled from, `<line>/<batch>`; None for a kit."""
        product = self.world.products[lot.product_id]
        if product.components:
            return None
        batch = self._rng(f"filling/{lot.lot_id}").choice("AB")
        return f"{product.mpn.partition('-')[0]}/{batch}"

    def parts_of(self, lot: Lot) -> list[Lot]:
        """The lots a kit's lot was packed from: of each component the first one there, else anywhere."""
        found = []
        for component, _ in self.world.products[lot.product_id].components:
            lots = self.lots_by_product[component]
            here = [other for other in lots if other.location_id == lot.location_id]
            found.append((here or lots)[0])
        return found

    @cached_property
    def lots_by_product(self) -> dict[str, list[Lot]]:
        found: dict[str, list[Lot]] = {}
        for lot in self.world.lots.values():
            found.setdefault(lot.product_id, []).append(lot)
        return found

    def raw_of(self, lot_id: str) -> set[RawLot]:
        """Every raw-material lot that is in a lot."""
        lot = self.world.lots[lot_id]
        bulk = self.bulk_of(lot)
        if bulk is not None:
            return set(self.raw_lots[bulk])
        return {raw for part in self.parts_of(lot) for raw in self.raw_of(part.lot_id)}


def is_chilled(world: World, order: Order, shipment: Shipment) -> bool:
    """Whether something in a parcel must be kept cold, so that a logger travels with it."""
    inside = {line_number for line_number, _ in shipment.lines}
    return any(
        world.products[line.product_id].needs_cold_chain for line in order.lines if line.line_number in inside
    )


def readings(world: World, shipment: Shipment) -> Iterator[Reading]:
    """What is measured inside a chilled parcel from dispatch to delivery, as far as the world's now.

    One parcel in eight gets warm for a while; in one in ten the logger is silent for some hours.
    """
    rng = random.Random(f"{world.seed}/cold/{shipment.shipment_id}")
    level = Decimal(rng.choice((4, 5, 6, 7))) / 2
    warm_from = rng.randrange(1, 30) if rng.random() < 0.125 else None
    warm_until = (warm_from or 0) + rng.randrange(2, 8)
    warmth = Decimal(rng.randrange(22, 30)) / 2
    silent_from = rng.randrange(1, 30) if rng.random() < 0.1 else None
    silent_until = (silent_from or 0) + rng.randrange(4, 12)
    end = shipment.delivered_at or min(world.now, shipment.dispatched_at + LONGEST_LOG)
    number = 0
    while (at := shipment.dispatched_at + number * READING_EVERY) <= end:
        drift = Decimal(rng.choice((-1, 0, 0, 1))) / 2
        is_warm = warm_from is not None and warm_from <= number < warm_until
        if silent_from is None or not silent_from <= number < silent_until:
            yield Reading(at, warmth if is_warm else level + drift)
        number += 1
