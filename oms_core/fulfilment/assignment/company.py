"""The company as the current release shows it: nodes, what they are measured to do, and an order with its goods.

What people know and systems do not tell comes from the facts (`facts.py`) and outranks what is measured. What neither says
stays unknown, and is listed in words.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from oms_core.fulfilment.errors import RefusedError, RequestError, UnknownError
from oms_core.fulfilment.sourcing.facts import Facts, GoodsFacts, NodeFacts
from oms_core.fulfilment.sourcing.gazetteer import place_of
from oms_core.fulfilment.sourcing.measure import Measured, Sent, kilometres, measure
from oms_core.fulfilment.sourcing.network import AMBIENT, Carrier, Node, Order, OrderLine
from oms_core.fulfilment.stock import ZERO
from oms_core.store.errors import AmbiguousError, NotReleasedError
from oms_core.store.released import LOCATION, ORDER, Released

CHILLED = "chilled"
STANDARD = "standard"
DEMAND_DAYS = 28  # over which a node's own sales are averaged
_FOREIGN = ("third_party", "virtual")
_ORDERS = """
SELECT o.fulfilment_location_ids, o.ship_to_country, o.ship_to_city, o.gross_weight_kg, o.logistics_cost_amount * o.fx_rate AS cost,
    o.transport_co2e_kg, o.ordered_at, o.dispatched_at, o.delivered_at,
    o.needs_cold_chain AND o.is_cold_chain_intact AS is_kept_cold
FROM fct_orders AS o WHERE o.shipment_count = 1 AND o.dispatched_at IS NOT NULL AND o.fulfilment_location_ids IS NOT NULL
ORDER BY o.ordered_at DESC NULLS LAST, o.order_id LIMIT 2000"""
# An order that came late counts against each node that sent some of it.
_HISTORY = """
SELECT n.location_id, count(*) AS offered, count(*) FILTER (WHERE o.delivered_at > o.promised_at) AS late
FROM fct_orders AS o, jsonb_array_elements_text(CAST(o.fulfilment_location_ids AS jsonb)) AS n (location_id)
WHERE o.delivered_at IS NOT NULL AND o.promised_at IS NOT NULL GROUP BY n.location_id"""
_DEMAND = """
SELECT l.sku_id, o.fulfilment_location_ids, sum(l.qty) AS qty FROM fct_order_lines AS l
JOIN fct_orders AS o ON o.order_id = l.order_id
WHERE l.sku_id = ANY(:skus) AND o.order_type = 'pos' AND l.qty > 0
AND o.ordered_at > (SELECT max(ordered_at) FROM fct_orders) - make_interval(days => :days)
GROUP BY l.sku_id, o.fulfilment_location_ids"""


@dataclass(frozen=True)
class Company:
    """Nodes as one release and one set of facts show them; nothing live is in them yet.

    Attributes:
        currency: in which costs are counted, the release's reporting currency.
        unknown: in words, what nobody knows of nodes.
    """

    release_id: int
    currency: str
    nodes: Mapping[str, Node]
    measured: Measured
    facts: Facts
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Wanted:
    """A released order, ready to be sourced.

    Attributes:
        status: as released.
        units: SKU -> unit of its quantity as ordered; None: not said.
        demand: (SKU, node) -> what the node's own customers take a day.
        unknown: in words, what nobody knows of the order and its goods.
    """

    order: Order
    channel: str
    status: str | None
    units: Mapping[str, str | None]
    demand: Mapping[tuple[str, str], Decimal]
    unknown: tuple[str, ...]


def read_company(connection: Connection, facts: Facts) -> Company:
    """Read nodes and measure them.

    Args:
        connection: of `Database.read`.

    Raises:
        NotReleasedError: nothing was released yet.
    """
    released = Released(connection)
    if not {"fct_orders", "dim_locations", "dim_skus", "fct_inventory_positions"} <= released.tables:
        raise NotReleasedError(
            "no orders, SKUs, locations and stock were released yet: run `orderhub run` first"
        )
    rows = [
        dict(row)
        for row in connection.execute(text("SELECT * FROM dim_locations ORDER BY location_id")).mappings()
    ]
    currency = connection.execute(text("SELECT min(reporting_currency) FROM fct_orders")).scalar()
    told, unknown = _facts_of_nodes(released, facts)
    if currency is None:
        raise RefusedError(
            "no-currency", "no released order has a reporting currency, so costs cannot be compared"
        )
    places = {
        row["location_id"]: (float(row["latitude"]), float(row["longitude"]))
        for row in rows
        if row["latitude"] is not None and row["longitude"] is not None
    }
    measured = measure(_sent(connection, places))
    history = {row.location_id: (row.offered, row.late) for row in connection.execute(text(_HISTORY))}
    cold: set[str] = set(
        connection.execute(
            text(
                "SELECT DISTINCT p.location_id FROM fct_inventory_positions AS p "
                "JOIN dim_skus AS s ON s.sku_id = p.sku_id WHERE s.needs_cold_chain AND p.location_id IS NOT NULL"
            )
        ).scalars()
    )
    said = {
        row["location_id"]: facts.of_node(row["location_type"], told.get(row["location_id"])) for row in rows
    }
    nodes = {
        row["location_id"]: _node(
            row,
            said[row["location_id"]],
            measured,
            history.get(row["location_id"], (0, 0)),
            row["location_id"] in cold,
            currency,
        )
        for row in rows
    }
    unknown += [
        f"the time zone of node {node_id}: the hours and collections that the facts say of it do not count"
        for node_id, node in nodes.items()
        if node.time_zone is None and (said[node_id].hours or said[node_id].collections)
    ]
    if measured.handling_of_all is not None:
        unknown += [
            f"how long node {node_id} itself takes to hand an order over; the median of all nodes counts"
            for node_id, node in nodes.items()
            if node_id not in measured.handling_hours and node.handling_hours == measured.handling_of_all
        ]
    assert released.release_id is not None
    return Company(released.release_id, currency, nodes, measured, facts, tuple(unknown))


def read_order(connection: Connection, number: str, facts: Facts, tiers: Sequence[str]) -> Wanted:
    """Read an order by any id, as it is to be sourced at the time it was placed.

    Args:
        tiers: that the policy knows; the customer's is the first of loyalty tier, segment and kind of order among them,
            else "standard".

    Raises:
        NotReleasedError, AmbiguousError: the number leads nowhere, or to several orders.
        RefusedError: "nothing-to-ship", it was handed over at the till, or everything goes back.
        UnknownError: "unknown-sku", a line's goods are linked to no SKU.
        RequestError: "unknown-destination", nobody knows the country it goes to.
    """
    released = Released(connection)
    order_id = released.find(ORDER, number).golden_id
    row = released.rows("fct_orders", {"order_id": order_id}, "order_id")[0]
    lines = [
        line
        for line in released.rows("fct_order_lines", {"order_id": order_id}, "line_number, order_line_id")
        if not line["is_return"] and line["qty"] is not None and line["qty"] > 0
    ]
    if row["order_type"] == "pos" and row["ship_to_country"] is None:
        raise RefusedError("nothing-to-ship", f"order {order_id} was handed over at the till")
    if not lines:
        raise RefusedError("nothing-to-ship", f"order {order_id} has no line that is to be sent")
    lost = [line for line in lines if line["sku_id"] is None]
    if lost:
        raise UnknownError(
            "unknown-sku",
            f"order {order_id}: "
            + "; ".join(
                f"line {line['line_number']} says {line['sku_code']!r}, which is linked to no SKU"
                for line in lost
            ),
        )
    if row["ship_to_country"] is None:
        raise RequestError("unknown-destination", f"order {order_id}: nobody knows the country it goes to")
    at = _aware(row["ordered_at"])
    if at is None:
        raise RequestError("unknown-time", f"order {order_id}: nobody knows when it was ordered")
    unknown: list[str] = []
    place = place_of(row["ship_to_country"], row["ship_to_city"])
    if place is None:
        unknown.append(f"where {row['ship_to_city'] or 'the city'}, {row['ship_to_country']} lies")
    promised = _aware(row["promised_at"])
    if promised is None:
        unknown.append("until when the order was promised")
    said = [row["loyalty_tier"], row["customer_segment"], row["order_type"]]
    tier = next((name for name in said if name in tiers), STANDARD)
    if not any(said):
        unknown.append("the customer's tier, which counts as standard")
    skus = {
        sku["sku_id"]: dict(sku)
        for sku in connection.execute(
            text("SELECT * FROM dim_skus WHERE sku_id = ANY(:skus)"),
            {"skus": sorted({line["sku_id"] for line in lines})},
        ).mappings()
    }
    wanted: dict[str, Decimal] = {}
    for line in lines:
        wanted[line["sku_id"]] = wanted.get(line["sku_id"], ZERO) + line["qty"]
    order = Order(
        order_id,
        at,
        promised,
        None if place is None else place[0],
        None if place is None else place[1],
        row["ship_to_country"],
        tier,
        tuple(_line(sku_id, qty, skus.get(sku_id, {}), facts, unknown) for sku_id, qty in wanted.items()),
    )
    return Wanted(
        order,
        row["channel"] or row["order_type"] or "",
        row["order_status"],
        {line["sku_id"]: line["uom"] for line in lines},
        _demand(connection, list(wanted)),
        tuple(unknown),
    )


def orders_on(connection: Connection, day: date) -> list[str]:
    """Golden ids of the orders that were placed on a day (UTC) to be sent somewhere, tests and returns left out."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return list(
        connection.execute(
            text(
                "SELECT order_id FROM fct_orders WHERE ordered_at >= :start AND ordered_at < :stop "
                "AND ship_to_country IS NOT NULL AND is_test IS NOT TRUE AND order_type IS DISTINCT FROM 'return' "
                "AND order_status IS DISTINCT FROM 'cancelled' ORDER BY ordered_at, order_id"
            ),
            {"start": start, "stop": start + timedelta(days=1)},
        ).scalars()
    )


def unknown_of(node: Node) -> tuple[str, ...]:
    """What nobody knows of a node, by the names of `network`."""
    figures = {**vars(node), **vars(node.carrier)}
    return tuple(name for name, value in figures.items() if value is None and name != "closed_reason")


def _line(sku_id: str, qty: Decimal, sku: Mapping[str, Any], facts: Facts, unknown: list[str]) -> OrderLine:
    goods = facts.goods.get(sku.get("category_code") or "", GoodsFacts())
    weight = sku.get("weight_kg")
    for name, is_missing in (
        ("weight", weight is None),
        ("cold chain", sku.get("needs_cold_chain") is None),
        ("hazard class, so it counts as not hazardous", goods.hazard_class is None),
        ("HS code", goods.hs_code is None),
    ):
        if is_missing:
            unknown.append(f"of SKU {sku_id}: {name}")
    return OrderLine(
        sku_id,
        qty,
        None if weight is None else float(weight),
        CHILLED if sku.get("needs_cold_chain") else AMBIENT,
        goods.hazard_class or None,
        goods.hs_code,
    )


def _node(
    row: Mapping[str, Any],
    facts: NodeFacts,
    measured: Measured,
    history: tuple[int, int],
    is_cold: bool,
    currency: str,
) -> Node:
    node_id = row["location_id"]
    time_zone = _first(facts.time_zone, row["timezone"])
    parcel, kg, km = measured.tariff or (None, None, None)
    base, speed = measured.travel or (None, None)
    is_said = facts.base_hours is not None or facts.km_per_hour is not None
    near_factor, near_km = (1.0, 0.0) if is_said else measured.near.get(node_id, (1.0, 0.0))
    closed = None
    if facts.ships is False or (facts.ships is None and row["location_type"] in _FOREIGN):
        closed = f"a {row['location_type'] or 'place'} that the facts do not say ships our orders"
    return Node(
        node_id,
        _first(facts.latitude, _float(row["latitude"])),
        _first(facts.longitude, _float(row["longitude"])),
        _first(facts.country, row["country"]),
        time_zone,
        currency,
        Carrier(
            _first(facts.parcel_cost, _money(parcel)),
            _first(facts.cost_per_kg, _money(kg)),
            _first(facts.cost_per_100_km, _money(km)),
            _first(facts.base_hours, base),
            _first(facts.km_per_hour, speed),
            _first(facts.co2e_kg_per_tkm, measured.co2e_kg_per_tkm),
            facts.parcel_co2e_kg,
            near_factor,
            near_km,
        ),
        None if time_zone is None else facts.hours,
        None if time_zone is None else facts.collections,
        _first(facts.handling_hours, measured.handling_hours.get(node_id, measured.handling_of_all)),
        facts.parcels_per_shift,
        0,
        facts.lines_per_shift,
        0,
        facts.parcel_pick_cost,
        facts.unit_pick_cost,
        history[0],
        0,
        history[1],
        _first(facts.temperature_classes, frozenset({AMBIENT, CHILLED}) if is_cold else frozenset({AMBIENT})),
        _first(facts.cold_chain_hours, measured.cold_chain_hours),
        facts.hazard_classes,
        _first(facts.clears_customs_to, measured.served.get(node_id, frozenset())),
        closed,
    )


def _facts_of_nodes(released: Released, facts: Facts) -> tuple[dict[str, NodeFacts], list[str]]:
    found: dict[str, NodeFacts] = {}
    lost: list[str] = []
    for number, said in facts.nodes.items():
        try:
            found[released.find(LOCATION, number).golden_id] = said
        except (NotReleasedError, AmbiguousError) as error:
            lost.append(f"which node the facts mean by {number!r}: {error}")
    return found, lost


def _sent(connection: Connection, places: Mapping[str, tuple[float, float]]) -> list[Sent]:
    """Orders that left one node in one shipment; a location without a place, such as a gate, is not the node."""
    found = []
    for row in connection.execute(text(_ORDERS)):
        nodes = [node for node in json.loads(row.fulfilment_location_ids) if node in places]
        if len(nodes) != 1:
            continue
        there = place_of(row.ship_to_country, row.ship_to_city)
        found.append(
            Sent(
                nodes[0],
                row.ship_to_country,
                None if there is None else kilometres(places[nodes[0]], there),
                _float(row.gross_weight_kg),
                _float(row.cost),
                _float(row.transport_co2e_kg),
                _hours(row.ordered_at, row.dispatched_at),
                _hours(row.dispatched_at, row.delivered_at),
                bool(row.is_kept_cold),
            )
        )
    return found


def _demand(connection: Connection, skus: list[str]) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = {}
    for row in connection.execute(text(_DEMAND), {"skus": skus, "days": DEMAND_DAYS}):
        for node in json.loads(row.fulfilment_location_ids or "[]"):
            found[row.sku_id, node] = found.get((row.sku_id, node), ZERO) + row.qty / DEMAND_DAYS
    return found


def _hours(start: datetime | None, stop: datetime | None) -> float | None:
    return None if start is None or stop is None else (stop - start).total_seconds() / 3600


def _aware(moment: datetime | None) -> datetime | None:
    return moment if moment is None or moment.tzinfo is not None else moment.replace(tzinfo=UTC)


def _first(said: Any, measured: Any) -> Any:
    return measured if said is None else said


def _float(value: Any) -> float | None:
    return None if value is None else float(value)


def _money(value: float | None) -> Decimal | None:
    return None if value is None else Decimal(value).quantize(Decimal("0.000001"))
