"""Sourcing of released orders against the sandbox's truth: `make bench`.

The sandbox draws parcels by chance, so what it shipped is no optimum. But it knows what is true of every node: where it
stands, what lies there, what a parcel costs, how long it takes, and what it sent late. The best plan under the policy in
force is found by trying every set of nodes on these true figures, and compared with what sourcing chooses

- from the release as it is: costs and times are measured, buyers live in the middle of their city, and stock is what
  systems counted, without what is in quarantine;
- with the truth's stock in place of what was counted;
- with all that is true, where only the search itself could go wrong.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from connectors.sandbox import vocabulary
from connectors.sandbox.generate import generate
from connectors.sandbox.places import COLD_LOCATIONS, transit_days
from connectors.sandbox.world import Location, World
from connectors.sandbox.world import Order as TrueOrder
from oms_core.demo import run_demo
from oms_core.fulfilment.assignment import rules
from oms_core.fulfilment.assignment.assign import Sourcing
from oms_core.fulfilment.assignment.past import varied
from oms_core.fulfilment.sourcing import facts, policy
from oms_core.fulfilment.sourcing.decide import Decision, source_order
from oms_core.fulfilment.sourcing.document import Day
from oms_core.fulfilment.sourcing.network import Carrier, Node, Shelf, micro
from oms_core.fulfilment.sourcing.weigh import Weighed, weigh
from oms_core.settings import Settings
from oms_core.store.postgres import Database

_helpers = Path(__file__).parent.parent / "oms_core" / "fulfilment" / "sourced.py"
_spec = importlib.util.spec_from_file_location("sourced", _helpers)
assert _spec is not None and _spec.loader is not None
sourced: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sourced)

ORDERS, SEED = 300, 7
_SERVED = {"L07": ("CN", "JP", "SG"), "L08": ("GB", "DE", "FR", "ES"), "L09": ("US",)}
_EUR = float(vocabulary.PRICE_LIST_RATE["EUR"])
_ROAD = 1.27  # road km to a km of great circle
_HANDLING = (20_450 + 3_660 + 25_300) / 3600  # means of picking, packing and dispatching
_TO_SCAN = 15_150 / 3600
_FROM_DOOR = 1.5  # km
_COLD_KM = 1_500


@pytest.fixture(scope="module")
def hub() -> Iterator[Database]:
    """The demo company, released, with facts in force that say no more than people know."""
    with tempfile.TemporaryDirectory(prefix="orderhub-bench-") as folder:
        settings = Settings.from_environment(Path(folder), {})
        run_demo(settings, orders=ORDERS, seed=SEED)
        with Database.from_environment(settings.home, settings.values) as database:
            yield database


def _facts() -> str:
    known = json.loads(facts.example()) | {"version": "bench"}
    for said in (*known["kinds"].values(), *known["nodes"].values()):
        said.pop("handling_hours", None)
    known["every_node"]["cold_chain_hours"] = _TO_SCAN + (0.6 + (_COLD_KM * _ROAD + _FROM_DOOR) / 900) * 24
    return json.dumps(known)


def history(world: World) -> dict[str, tuple[int, int]]:
    """Orders that each location sent some of and that arrived whole, and how many of them late; a till promises no day."""
    found: dict[str, tuple[int, int]] = {}
    for order in world.orders.values():
        arrivals = [shipment.delivered_at for shipment in order.shipments]
        if order.promised_at is None or order.selling_location_id is not None or None in arrivals:
            continue
        is_late = (
            max((at for at in arrivals if at is not None), default=order.promised_at) > order.promised_at
        )
        for location_id in {shipment.location_id for shipment in order.shipments}:
            offered, late = found.get(location_id, (0, 0))
            found[location_id] = (offered + 1, late + is_late)
    return found


def _true_node(place: Location, seen: Node, order: TrueOrder, past: dict[str, tuple[int, int]]) -> Node:
    """A node as it truly is; what no system plays (capacity, costs of picking) is as the facts say it."""
    assert order.ship_to is not None
    served = _SERVED.get(place.location_id, (place.address.country,))
    near = transit_days(place.location_id, order.ship_to, _FROM_DOOR)
    is_slower = transit_days(place.location_id, order.ship_to, _FROM_DOOR + 1) > near
    offered, late = past.get(place.location_id, (0, 0))
    return replace(
        seen,
        latitude=place.address.latitude,
        longitude=place.address.longitude,
        country=place.address.country,
        carrier=Carrier(
            Decimal((8 + 1.8 * 0.15 + 0.01 * _FROM_DOOR) * _EUR),
            Decimal(1.8 * _EUR),
            Decimal(_ROAD * _EUR),
            _TO_SCAN + near * 24,
            900 / 24 / _ROAD if is_slower else 1e9,
            seen.carrier.co2e_kg_per_tkm,
            seen.carrier.parcel_co2e_kg,
        ),
        handling_hours=_HANDLING,
        offered=offered,
        refused=0,
        late=late,
        temperature_classes=frozenset(
            {"ambient", "chilled"} if place.location_id in COLD_LOCATIONS else {"ambient"}
        ),
        clears_customs_to=frozenset(served),
    )


def true_day(
    world: World,
    order: TrueOrder,
    seen: Day,
    past: dict[str, tuple[int, int]],
    ids: dict[str, str],
    skus: dict[str, str],
) -> Day:
    """The order, the nodes and what lies there as they truly are; where the sandbox knows more than the facts, it counts."""
    asked = seen.orders[0]
    assert order.ship_to is not None
    by_id = {node.node_id: node for node in seen.nodes}
    nodes = tuple(
        _true_node(place, by_id[ids[place.location_id]], order, past)
        for place in world.locations.values()
        if place.location_id in ids
    )
    wanted = {line.sku_id for line in asked.lines}
    free = {(sku, node): Decimal(0) for sku in wanted for node in ids.values()}
    first: dict[tuple[str, str], date] = {}
    until = max(asked.needed_on, datetime.now(UTC).date())
    for lot in world.lots.values():
        sku = skus.get(world.products[lot.product_id].gtin14)
        if sku in wanted and lot.location_id in ids and (lot.expires_on is None or lot.expires_on >= until):
            key = (sku, ids[lot.location_id])
            free[key] += max(lot.on_hand_qty - lot.reserved_qty, Decimal(0))
            if lot.expires_on is not None:
                first[key] = min(first.get(key, lot.expires_on), lot.expires_on)
    told = {(shelf.sku_id, shelf.node_id): shelf for shelf in seen.shelves}
    shelves = tuple(
        Shelf(
            sku, node, qty, "C62", told[sku, node].daily_qty if (sku, node) in told else Decimal(0), first.get((sku, node)),
        )
        for (sku, node), qty in free.items()
    )  # fmt: skip
    return Day(
        nodes, shelves, (replace(asked, latitude=order.ship_to.latitude, longitude=order.ship_to.longitude),)
    )


def seen_score(decided: Decision, truth: Weighed) -> float:
    """What the chosen plan truly scores."""
    places = {node.node_id: number for number, node in enumerate(truth.situation.network.nodes)}
    if any(parcel.node_id not in places for parcel in decided.parcels):
        return float("inf")
    takes = np.array(
        [
            [micro(parcel.takes.get(line.sku_id, Decimal(0))) for line in decided.order.lines]
            for parcel in decided.parcels
        ]
    )
    found: float = sourced.score_of(truth, tuple(places[parcel.node_id] for parcel in decided.parcels), takes)
    return found


@dataclass
class Tally:
    """Decisions from one kind of figures against the true optimum."""

    compared: int = 0
    equal: int = 0
    split: int = 0
    as_split: int = 0
    unsendable: int = 0
    disagreed: int = 0
    gaps: list[float] = field(default_factory=list)

    def add(self, decided: Decision, truth: Weighed, best: float, parcels: int) -> None:
        """Hold a decision against the optimum."""
        if not np.isfinite(best) or decided.plan is None:
            self.disagreed += bool(np.isfinite(best)) != (decided.plan is not None)
            return
        self.compared += 1
        self.split += len(decided.plan.nodes) > 1
        self.as_split += len(decided.plan.nodes) == parcels
        mine = seen_score(decided, truth)
        if not np.isfinite(mine):
            self.unsendable += 1
            return
        self.equal += mine <= best + 1e-9
        self.gaps.append((mine - best) / best)


def compare(hub: Database, world: World, factor: Decimal) -> dict[str, Tally]:
    """Source every released order from the release, with the truth's stock, and with all that is true."""
    chosen, past = policy.default(), history(world)
    with hub.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT location_id, latitude, longitude FROM dim_locations WHERE latitude IS NOT NULL"
        ).fetchall()
        numbers = dict(
            tuple(row)
            for row in connection.exec_driver_sql("SELECT order_number, order_id FROM order_numbers")
        )
        skus = dict(
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT gtin14, sku_id FROM dim_skus WHERE gtin14 IS NOT NULL"
            )
        )
    ids = {}
    for golden, latitude, longitude in rows:
        near = [
            place.location_id
            for place in world.locations.values()
            if abs(place.address.latitude - float(latitude)) < 1e-4
            and abs(place.address.longitude - float(longitude)) < 1e-4
        ]
        if len(near) == 1:
            ids[near[0]] = golden
    desk = Sourcing(hub)
    tallies = {"as released": Tally(), "with the truth's stock": Tally(), "with all that is true": Tally()}
    for order in world.orders.values():
        golden = numbers.get(order.number)
        if (
            order.ship_to is None
            or order.cancelled_at is not None
            or order.is_fulfilled_by_marketplace
            or golden is None
        ):
            continue
        found, _ = desk.inputs([golden])
        goods = {skus.get(world.products[line.product_id].gtin14) for line in order.lines}
        if not found or goods != {line.sku_id for line in found[0].day.orders[0].lines}:
            continue
        seen = found[0].day
        truth_day = true_day(world, order, seen, past, ids, skus)
        stocked = replace(
            seen,
            shelves=(
                *truth_day.shelves,
                *(shelf for shelf in seen.shelves if shelf.node_id not in ids.values()),
            ),
        )
        true = varied(truth_day, factor)
        truth = weigh(true.orders[0], true.network(), chosen)
        best, parcels = sourced.optimum(truth, chosen.most_parcels)
        for tally, day in zip(tallies.values(), (seen, stocked, truth_day), strict=True):
            day = varied(day, factor)
            tally.add(source_order(day.orders[0], day.network(), chosen), truth, best, parcels)
    return tallies


@pytest.mark.parametrize("factor", [Decimal(1), Decimal("0.02")], ids=["stock as it is", "a fiftieth of it"])
def test_released_orders_against_what_is_true(hub: Database, factor: Decimal) -> None:
    with hub.begin() as connection:
        rules.activate(connection, "facts", _facts(), by="bench", reason="what people know")
    tallies = compare(hub, generate(SEED, ORDERS), factor)
    table = Table("released orders", *tallies, "aim", title=f"stock × {factor}", title_justify="left")
    rows = [
        ("compared, split", [f"{tally.compared}, {tally.split}" for tally in tallies.values()], ""),
        ("equal, of those both sides can send", [f"{tally.equal / tally.compared:.1%}" for tally in tallies.values()], "98.3 %"),
        ("equal, of all", [f"{tally.equal / (tally.compared + tally.disagreed):.1%}" for tally in tallies.values()], ""),
        ("split into as many parcels as it", [f"{tally.as_split / tally.compared:.1%}" for tally in tallies.values()], ""),
        ("mean gap to it", [f"{np.mean(tally.gaps):.3%}" for tally in tallies.values()], "0.5 %"),
        ("plans that could not truly be sent", [str(tally.unsendable) for tally in tallies.values()], "0"),
        ("only one side says it can be sent", [str(tally.disagreed) for tally in tallies.values()], "0"),
    ]  # fmt: skip
    for what, measured, aim in rows:
        table.add_row(what, *measured, aim)
    Console(width=120).print(table)
    assert tallies["with all that is true"].equal == tallies["with all that is true"].compared > 0
