"""Sourcing of released orders against the sandbox's truth: `make bench`.

The sandbox draws parcels by chance, so what it shipped is no optimum. But it knows what is true of every node: where it
stands, what lies there, what a parcel costs and how long it takes. The best plan under the policy in force is found by trying
every set of nodes on these true figures, and compared with what sourcing chose from the release, where costs and times are
measured, coordinates are those of the city, and stock is what systems counted.
"""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import ROUND_FLOOR, Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from connectors.sandbox import vocabulary
from connectors.sandbox.generate import generate
from connectors.sandbox.places import COLD_LOCATIONS, DARK_STORES
from connectors.sandbox.world import Location, World
from connectors.sandbox.world import Order as TrueOrder
from oms_core.demo import run_demo
from oms_core.fulfilment.assignment import rules
from oms_core.fulfilment.assignment.assign import Sourcing
from oms_core.fulfilment.assignment.live import Inputs
from oms_core.fulfilment.assignment.past import varied
from oms_core.fulfilment.sourcing import facts, policy
from oms_core.fulfilment.sourcing.decide import Decision, source_order
from oms_core.fulfilment.sourcing.network import Carrier, Network, Node, Shelf, micro
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
    known["every_node"]["cold_chain_hours"] = _travel("L07", _COLD_KM)
    return json.dumps(known)


def _travel(location_id: str, km: float) -> float:
    """Mean hours from the node's gate to the door, as the sandbox plays them."""
    days = 0.15 if location_id in DARK_STORES.values() else 0.6 + (km * _ROAD + 1.5) / 900
    return _TO_SCAN + days * 24


def _true_node(place: Location, seen: Node) -> Node:
    """A node as it truly is; what no system plays (capacity, costs of picking) is as the facts say it."""
    is_dark = place.location_id in DARK_STORES.values()
    served = _SERVED.get(place.location_id, (place.address.country,))
    return replace(
        seen,
        latitude=place.address.latitude,
        longitude=place.address.longitude,
        country=place.address.country,
        carrier=Carrier(
            Decimal((8 + 1.8 * 0.15 + 0.01 * 1.5) * _EUR),
            Decimal(1.8 * _EUR),
            Decimal(_ROAD * _EUR),
            _travel(place.location_id, 0),
            1e9 if is_dark else 900 / 24 / _ROAD,
            seen.carrier.co2e_kg_per_tkm,
            seen.carrier.parcel_co2e_kg,
        ),
        handling_hours=_HANDLING,
        offered=100,
        refused=0,
        late=9,
        temperature_classes=frozenset(
            {"ambient", "chilled"} if place.location_id in COLD_LOCATIONS else {"ambient"}
        ),
        clears_customs_to=frozenset(served),
    )


def _truth(
    world: World, order: TrueOrder, seen: Inputs, factor: Decimal, ids: dict[str, str], skus: dict[str, str]
) -> Weighed:
    """The order before the nodes as they truly are."""
    asked = seen.day.orders[0]
    assert order.ship_to is not None
    nodes = []
    by_id = {node.node_id: node for node in seen.day.nodes}
    for place in world.locations.values():
        if place.location_id in ids:
            nodes.append(_true_node(place, by_id[ids[place.location_id]]))
    wanted = {line.sku_id for line in asked.lines}
    free = {(sku, node): Decimal(0) for sku in wanted for node in ids.values()}
    first: dict[tuple[str, str], date] = {}
    until = max(asked.needed_on, datetime.now(UTC).date())
    for lot in world.lots.values():
        sku = skus.get(world.products[lot.product_id].gtin14)
        if sku in wanted and lot.location_id in ids and (lot.expires_on is None or lot.expires_on >= until):
            key = (sku, ids[lot.location_id])
            free[key] = free.get(key, Decimal(0)) + max(lot.on_hand_qty - lot.reserved_qty, Decimal(0))
            if lot.expires_on is not None:
                first[key] = min(first.get(key, lot.expires_on), lot.expires_on)
    told = {(shelf.sku_id, shelf.node_id): shelf for shelf in seen.day.shelves}
    shelves = [
        Shelf(
            sku, node, (qty * factor).quantize(Decimal(1), ROUND_FLOOR), "C62",
            told[sku, node].daily_qty if (sku, node) in told else Decimal(0), first.get((sku, node)),
        )
        for (sku, node), qty in free.items()
    ]  # fmt: skip
    true_order = replace(asked, latitude=order.ship_to.latitude, longitude=order.ship_to.longitude)
    return weigh(true_order, Network.of(nodes, shelves), policy.default())


def _seen(decided: Decision, truth: Weighed) -> float:
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


@pytest.mark.parametrize("factor", [Decimal(1), Decimal("0.02")], ids=["stock as it is", "a fiftieth of it"])
def test_released_orders_against_what_is_true(hub: Database, factor: Decimal) -> None:
    world = generate(SEED, ORDERS)
    chosen = policy.default()
    with hub.begin() as connection:
        rules.activate(connection, "facts", _facts(), by="bench", reason="what people know")
    with hub.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT location_id, latitude, longitude FROM dim_locations WHERE latitude IS NOT NULL"
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
        skus = dict(
            tuple(row)
            for row in connection.exec_driver_sql(
                "SELECT gtin14, sku_id FROM dim_skus WHERE gtin14 IS NOT NULL"
            )
        )
        numbers = dict(
            tuple(row)
            for row in connection.exec_driver_sql("SELECT order_number, order_id FROM order_numbers")
        )
    desk = Sourcing(hub)
    compared = equal = as_split = split = unsendable = disagreed = unnamed = 0
    gaps = []
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
        if not found:
            continue
        goods = [skus.get(world.products[line.product_id].gtin14) for line in order.lines]
        if None in goods:
            unnamed += 1
            continue
        if set(goods) != {line.sku_id for line in found[0].day.orders[0].lines}:
            disagreed += 1
            continue
        day = varied(found[0].day, factor)
        truth = _truth(world, order, found[0], factor, ids, skus)
        decided = source_order(day.orders[0], day.network(), chosen)
        best, parcels = sourced.optimum(truth, chosen.most_parcels)
        if not np.isfinite(best) or decided.plan is None:
            disagreed += np.isfinite(best) != (decided.plan is not None)
            continue
        compared += 1
        split += len(decided.plan.nodes) > 1
        as_split += len(decided.plan.nodes) == parcels
        mine = _seen(decided, truth)
        if not np.isfinite(mine):
            unsendable += 1
            continue
        equal += mine <= best + 1e-9
        gaps.append((mine - best) / best)
    table = Table(
        "what",
        "measured",
        "aim",
        title=f"{compared} released orders, stock × {factor}, {split} split",
        title_justify="left",
    )
    table.add_row("equal to the true optimum", f"{equal / compared:.1%}", "98.3 %")
    table.add_row("split into as many parcels as it", f"{as_split / compared:.1%}", "98.3 %")
    table.add_row("mean gap to it", f"{np.mean(gaps):.3%}", "0.5 %")
    table.add_row("plans that could not truly be sent", str(unsendable), "0")
    table.add_row("orders of which only one side says that they can be sent", str(disagreed), "0")
    table.add_row("left out: goods without a GTIN to know them by", str(unnamed), "")
    Console(width=110).print(table)
