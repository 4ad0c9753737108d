"""What sourcing looks at: an order, the nodes that could ship it, and what lies on their shelves.

Nodes are kept column by column, in the order of their ids, so that one order is weighed against all of them at once and
the answer does not depend on the order in which they were named. What nobody knows is None here and NaN in a column: a
parameter that needs it is unknown of the node, and is said to be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, ClassVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
from numpy.typing import NDArray

from oms_core.fulfilment.errors import RequestError, UnknownError
from oms_core.fulfilment.stock import ZERO
from oms_core.fulfilment.unit import check_quantity, usable

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Flags = NDArray[np.bool_]

AMBIENT = "ambient"
WEEK_MINUTES = 7 * 24 * 60
NO_DATE = -1  # of a shelf whose goods carry no expiry date; ordinals of dates start at 1
MOST_LINES = 200
_DAY_MINUTES = 24 * 60
_ALWAYS = ((0, 0, WEEK_MINUTES),)
_NO_ZONE = "UTC"  # of nodes of which no time is known that would need one
_STRICT = {"extra": "forbid"}  # a document with a field nobody knows is refused


@dataclass(frozen=True)
class Carrier:
    """How a node's parcels travel, by the carrier's contract.

    Attributes:
        parcel_cost, cost_per_kg, cost_per_100_km: money in the node's currency. None, here and below: not known.
        base_hours, km_per_hour: a parcel travels base_hours + distance / km_per_hour.
        near_factor: to places within `near_km` it takes so many times as long, such as 0.4 by a courier in town.
        co2e_kg_per_tkm: kg CO2e per tonne-kilometre, well to wheel.
        parcel_co2e_kg: kg CO2e of packing one parcel.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    parcel_cost: Decimal | None
    cost_per_kg: Decimal | None
    cost_per_100_km: Decimal | None
    base_hours: float | None
    km_per_hour: float | None
    co2e_kg_per_tkm: float | None
    parcel_co2e_kg: float | None
    near_factor: float = 1.0
    near_km: float = 0.0


@dataclass(frozen=True)
class Node:
    """A place that ships: a warehouse or a shop.

    Attributes:
        latitude, longitude: degrees, WGS 84.
        country: ISO 3166-1 alpha-2.
        time_zone: IANA name; `hours` and `collections` are said in it.
        currency: ISO 4217, of its costs.
        hours: (weekday, opens, closes): Monday is 0, minutes after midnight; closes may be 1440, later is the next day's.
            None: not known; then what is waited for them is in handling_hours.
        collections: (weekday, minute) by which a parcel must be ready for the carrier: the carrier's cut-off. None: as above.
        handling_hours: from the order reaching an open node to the parcel being ready; where hours or collections are not
            known, to the carrier having it.
        parcels_per_shift, parcels_taken: how many parcels it can send, and how many of them are spoken for.
        lines_per_shift, lines_waiting: how many lines it can pick, and how many wait to be picked.
        parcel_pick_cost, unit_pick_cost: money in `currency`, per parcel and per unit picked.
        offered, refused, late: orders offered to it, refused by it and sent late, over the same past.
        temperature_classes: what it can keep and send unbroken, such as "ambient", "chilled", "frozen".
        cold_chain_hours: how long its packing keeps goods that are not ambient.
        hazard_classes: UN classes of hazardous goods it may send, such as "3" or "9".
        clears_customs_to: countries beyond its customs union it may send to.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    node_id: str
    latitude: float | None
    longitude: float | None
    country: str | None
    time_zone: str | None
    currency: str
    carrier: Carrier
    hours: tuple[tuple[int, int, int], ...] | None
    collections: tuple[tuple[int, int], ...] | None
    handling_hours: float | None
    parcels_per_shift: int | None
    parcels_taken: int
    lines_per_shift: float | None
    lines_waiting: int
    parcel_pick_cost: Decimal | None
    unit_pick_cost: Decimal | None
    offered: int
    refused: int
    late: int
    temperature_classes: frozenset[str] = frozenset({AMBIENT})
    cold_chain_hours: float | None = 0.0
    hazard_classes: frozenset[str] = frozenset()
    clears_customs_to: frozenset[str] = frozenset()
    closed_reason: str | None = None


@dataclass(frozen=True)
class Shelf:
    """What is free to promise of a SKU at a node (`Pool.available`).

    Attributes:
        uom: unit of its quantities, UN/ECE Rec 20.
        daily_qty: what the node's own customers take a day; zero where nobody does.
        expires_on: of the goods that leave first; None: they carry no date.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    sku_id: str
    node_id: str
    free_qty: Decimal
    uom: str
    daily_qty: Decimal
    expires_on: date | None = None


@dataclass(frozen=True)
class OrderLine:
    """One line to be shipped.

    Attributes:
        qty: in the unit the SKU is kept in.
        kg_per_unit: gross mass of one unit; None: not known.
        temperature_class: what the goods need.
        hazard_class: UN class of hazardous goods; None: not hazardous.
        hs_code: of the Harmonised System; None: not classified, so it cannot cross a customs border.
        min_shelf_life_days: how long goods must stay good after the promised date; None: undated goods will do.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    sku_id: str
    qty: Decimal
    kg_per_unit: float | None
    temperature_class: str = AMBIENT
    hazard_class: str | None = None
    hs_code: str | None = None
    min_shelf_life_days: int | None = None


@dataclass(frozen=True)
class Order:
    """What is to be shipped, to where, by when.

    Attributes:
        at: when it is decided, with its offset.
        promised_at: when the customer was promised it, with its offset; None: nothing was promised.
        latitude, longitude: degrees, WGS 84; None: nobody knows where it goes.
        tier: the customer's, one the policy knows.
        is_promise_firm: a node that would be late is not asked at all.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    order_id: str
    at: datetime
    promised_at: datetime | None
    latitude: float | None
    longitude: float | None
    country: str
    tier: str
    lines: tuple[OrderLine, ...]
    is_promise_firm: bool = False

    @property
    def promised_hours(self) -> float:
        """Hours from the decision to the promise; NaN where nothing was promised."""
        return math.nan if self.promised_at is None else (self.promised_at - self.at).total_seconds() / 3600

    @property
    def needed_on(self) -> date:
        """The day on which the goods must be good: that of the promise, else today."""
        return (self.promised_at or self.at).date()


@dataclass(eq=False)
class Column:
    """A SKU over all nodes, (n,) each: what is free (in millionths of the unit), demand a day, expiry as ordinal day."""

    uom: str
    free: Integers
    daily: Floats
    expires: Integers


@dataclass(eq=False)
class Network:
    """Nodes and shelves, column by column; n nodes in the order of their ids.

    Made by `of`; `draw` takes a plan's goods and capacity out of it, `copy` gives one to draw from.
    """

    nodes: tuple[Node, ...]
    currency: str
    stock: dict[str, Column]
    taken: Integers
    waiting: Integers
    fixed: Mapping[str, Floats]
    zones: tuple[ZoneInfo, ...]
    zone_of: Integers
    opens: Floats
    open_minutes: Floats
    collected: Floats
    is_closed: Flags
    never_collected: Flags
    collects_at_once: Flags
    flags: dict[tuple[str, str], Flags] = field(default_factory=dict)

    @classmethod
    def of(cls, nodes: Iterable[Node], shelves: Iterable[Shelf]) -> Network:
        """Check nodes and shelves, and lay them out in columns.

        Raises:
            RequestError: no nodes, one named twice, other currencies, or a figure that makes no sense.
            UnknownError: a shelf at no node.
        """
        listed = tuple(sorted(nodes, key=lambda node: node.node_id))
        if not listed:
            raise RequestError("no-nodes", "there is no node to ship from: name at least one")
        for node, following in pairwise(listed):
            if node.node_id == following.node_id:
                raise RequestError("node-twice", f"node {node.node_id!r} is named twice")
        for node in listed:
            _check(node)
        currencies = sorted({node.currency for node in listed})
        if len(currencies) > 1:
            raise RequestError(
                "other-currency",
                f"nodes count in {', '.join(currencies)}: convert their costs to one currency",
            )
        names = sorted({node.time_zone or _NO_ZONE for node in listed})
        zones = {name: number for number, name in enumerate(names)}
        windows = [
            [
                (day * _DAY_MINUTES + start, end - start)
                for day, start, end in (_ALWAYS if node.hours is None else node.hours)
            ]
            for node in listed
        ]
        wide = max(1, *(len(row) for row in windows))
        pickups = [[day * _DAY_MINUTES + minute for day, minute in node.collections or ()] for node in listed]
        # Rows are filled up with windows of no length, and with a repeated collection, which changes no minimum.
        opens = np.array([[start for start, _ in row] + [0] * (wide - len(row)) for row in windows], float)
        lasts = np.array([[long for _, long in row] + [0] * (wide - len(row)) for row in windows], float)
        most = max(1, *(len(row) for row in pickups))
        collected = np.array(
            [(row or [0]) + [(row or [0])[0]] * (most - max(1, len(row))) for row in pickups], float
        )
        return cls(
            nodes=listed,
            currency=currencies[0],
            stock=_columns(listed, shelves),
            taken=np.array([node.parcels_taken for node in listed], np.int64),
            waiting=np.array([node.lines_waiting for node in listed], np.int64),
            fixed=_figures(listed),
            zones=tuple(ZoneInfo(name) for name in names),
            zone_of=np.array([zones[node.time_zone or _NO_ZONE] for node in listed], np.int64),
            opens=opens,
            open_minutes=lasts,
            collected=collected,
            is_closed=np.array([node.closed_reason is not None for node in listed]),
            never_collected=np.array([node.collections == () for node in listed]),
            collects_at_once=np.array([node.collections is None for node in listed]),
        )

    def flag(self, kind: str, value: str) -> Flags:
        """(n,) whether a node has something among its `temperature_classes`, `hazard_classes` or `clears_customs_to`, or is in `countries`."""
        known = self.flags.get((kind, value))
        if known is None:
            if kind == "countries":
                known = np.array([node.country in value.split(",") for node in self.nodes])
            else:
                known = np.array([value in getattr(node, kind) for node in self.nodes])
            self.flags[kind, value] = known
        return known

    def columns(self, order: Order) -> list[Column]:
        """The order's SKUs over the nodes, line by line, once the order makes sense.

        Raises:
            RequestError: no lines, a SKU twice, a quantity or a time that makes no sense.
            UnknownError: a SKU no node has ever had on a shelf.
        """
        if not 1 <= len(order.lines) <= MOST_LINES:
            raise RequestError(
                "bad-request", f"order {order.order_id} has {len(order.lines)} lines: 1 to {MOST_LINES}"
            )
        if any(moment is not None and moment.utcoffset() is None for moment in (order.at, order.promised_at)):
            raise RequestError(
                "no-offset",
                f"order {order.order_id}: times need their offset, such as 2026-11-02T10:00:00+01:00",
            )
        check_place(f"order {order.order_id}", order.latitude, order.longitude)
        found = []
        for line in order.lines:
            column = self.stock.get(line.sku_id)
            if column is None:
                raise UnknownError(
                    "unknown-sku", f"order {order.order_id}: no node knows SKU {line.sku_id!r}"
                )
            check_quantity(line.qty, column.uom)
            if line.kg_per_unit is not None and not 0 <= line.kg_per_unit < math.inf:
                raise RequestError("bad-weight", f"SKU {line.sku_id}: {line.kg_per_unit} kg is no mass")
            found.append(column)
        if len({line.sku_id for line in order.lines}) < len(order.lines):
            raise RequestError(
                "sku-twice", f"order {order.order_id} has a SKU in two lines: add their quantities up"
            )
        return found

    def copy(self) -> Network:
        """Another one to draw from; what never changes is shared."""
        stock = {
            sku: Column(column.uom, column.free.copy(), column.daily, column.expires)
            for sku, column in self.stock.items()
        }
        return Network(
            **{**self.__dict__, "stock": stock, "taken": self.taken.copy(), "waiting": self.waiting.copy()}
        )

    def draw(self, node: int, takes: Mapping[str, int]) -> None:
        """Take a parcel out of a node: SKU -> millionths of its unit.

        Raises:
            ValueError: it does not hold that much; nothing is taken.
        """
        for sku, qty in takes.items():
            if self.stock[sku].free[node] < qty:
                raise ValueError(f"{self.nodes[node].node_id} holds less of {sku} than is to be taken")
        for sku, qty in takes.items():
            self.stock[sku].free[node] -= qty
        self.taken[node] += 1
        self.waiting[node] += len(takes)

    def minutes(self, at: datetime, longest_wait_minutes: float) -> tuple[Floats, Floats, Flags]:
        """How long a parcel waits at each node.

        Local time is taken with the offset in force at `at`; handling that runs past closing time is not interrupted.

        Returns:
            (n,) minutes until the node is open; (n,) minutes until the carrier takes the parcel, NaN where nobody knows;
            (n,) whether the node is open within the longest wait.
        """
        local = np.array([_minute_of_week(at.astimezone(zone)) for zone in self.zones])[self.zone_of][:, None]
        since = (local - self.opens) % WEEK_MINUTES
        waits = np.where(since < self.open_minutes, 0.0, WEEK_MINUTES - since)
        waits[self.open_minutes <= 0] = np.inf
        opening = waits.min(axis=1)
        is_open = opening <= longest_wait_minutes
        opening = np.minimum(opening, WEEK_MINUTES)
        ready = opening + self.fixed["handling_minutes"]
        waits = ((self.collected - (local[:, 0] + ready)[:, None]) % WEEK_MINUTES).min(axis=1)
        return opening, ready + np.where(self.collects_at_once, 0.0, waits), is_open


def micro(qty: Decimal) -> int:
    """A quantity in millionths of its unit, in which sums are exact."""
    return int(qty.scaleb(6))


def quantity(micros: int) -> Decimal:
    """Millionths of a unit as a quantity."""
    return Decimal(micros).scaleb(-6)


def _minute_of_week(local: datetime) -> float:
    return local.weekday() * _DAY_MINUTES + local.hour * 60 + local.minute + local.second / 60


def _figures(nodes: tuple[Node, ...]) -> dict[str, Floats]:
    def column(values: Iterable[Any]) -> Floats:
        return np.array([math.nan if value is None else float(value) for value in values])

    latitude = np.radians(column(node.latitude for node in nodes))
    return {
        "latitude": latitude,
        "longitude": np.radians(column(node.longitude for node in nodes)),
        "parcel_cost": column(node.carrier.parcel_cost for node in nodes),
        "cost_per_kg": column(node.carrier.cost_per_kg for node in nodes),
        "cost_per_km": column(node.carrier.cost_per_100_km for node in nodes) / 100,
        "base_hours": column(node.carrier.base_hours for node in nodes),
        "km_per_hour": column(node.carrier.km_per_hour for node in nodes),
        "near_factor": column(node.carrier.near_factor for node in nodes),
        "near_km": column(node.carrier.near_km for node in nodes),
        "co2e_kg_per_tkm": column(node.carrier.co2e_kg_per_tkm for node in nodes),
        "parcel_co2e_kg": column(node.carrier.parcel_co2e_kg for node in nodes),
        "handling_minutes": column(node.handling_hours for node in nodes) * 60,
        "parcels_per_shift": column(node.parcels_per_shift for node in nodes),
        "lines_per_shift": column(node.lines_per_shift for node in nodes),
        "parcel_pick_cost": column(node.parcel_pick_cost for node in nodes),
        "unit_pick_cost": column(node.unit_pick_cost for node in nodes),
        "offered": column(node.offered for node in nodes),
        "failed": column(node.refused + node.late for node in nodes),
        "cold_chain_hours": column(node.cold_chain_hours for node in nodes),
    }


def _columns(nodes: tuple[Node, ...], shelves: Iterable[Shelf]) -> dict[str, Column]:
    position = {node.node_id: number for number, node in enumerate(nodes)}
    columns: dict[str, Column] = {}
    seen: set[tuple[str, str]] = set()
    for shelf in shelves:
        where = f"SKU {shelf.sku_id!r} at {shelf.node_id!r}"
        number = position.get(shelf.node_id)
        if number is None:
            raise UnknownError("unknown-node", f"{where}: there is no such node")
        if (shelf.sku_id, shelf.node_id) in seen:
            raise RequestError("shelf-twice", f"{where} is named twice: add its lots up")
        seen.add((shelf.sku_id, shelf.node_id))
        column = columns.get(shelf.sku_id)
        if column is None:
            column = columns[shelf.sku_id] = Column(
                shelf.uom,
                np.zeros(len(nodes), np.int64),
                np.zeros(len(nodes)),
                np.full(len(nodes), NO_DATE, np.int64),
            )
        check_quantity(shelf.free_qty, column.uom, asked_uom=shelf.uom, may_be_zero=True)
        if not shelf.daily_qty.is_finite() or shelf.daily_qty < ZERO:
            raise RequestError("bad-quantity", f"{where}: {shelf.daily_qty} a day is no demand")
        column.free[number] = micro(usable(shelf.free_qty, shelf.uom))
        column.daily[number] = float(shelf.daily_qty)
        if shelf.expires_on is not None:
            column.expires[number] = shelf.expires_on.toordinal()
    return columns


def check_place(what: str, latitude: float | None, longitude: float | None) -> None:
    """Refuse a place that is none; one that nobody knows is not refused.

    Raises:
        RequestError: "bad-place".
    """
    if latitude is None and longitude is None:
        return
    if latitude is None or longitude is None or not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        raise RequestError("bad-place", f"{what}: {latitude}, {longitude} is no place on earth, in degrees")


def check_week(
    where: str,
    time_zone: str | None,
    hours: Iterable[tuple[int, int, int]] | None,
    collections: Iterable[tuple[int, int]] | None,
) -> None:
    """Refuse times of a week that make no sense; see `Node` for what they mean.

    Raises:
        RequestError: "bad-node".
    """
    try:
        ZoneInfo(time_zone or _NO_ZONE)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise RequestError("bad-node", f"{where}: {time_zone!r} is no IANA time zone") from error
    for day, start, end in hours or ():
        if not (0 <= day <= 6 and 0 <= start < end <= 2 * _DAY_MINUTES and start < _DAY_MINUTES):
            raise RequestError("bad-node", f"{where}: hours {(day, start, end)} are no weekday and minutes")
    for day, minute in collections or ():
        if not (0 <= day <= 6 and 0 <= minute < _DAY_MINUTES):
            raise RequestError("bad-node", f"{where}: collection {(day, minute)} is no weekday and minute")


def _check(node: Node) -> None:
    where = f"node {node.node_id!r}"
    check_place(where, node.latitude, node.longitude)
    if node.time_zone is None and (node.hours is not None or node.collections is not None):
        raise RequestError("bad-node", f"{where}: hours and collections need its time zone")
    check_week(where, node.time_zone, node.hours, node.collections)
    carrier = node.carrier
    figures: dict[str, float | Decimal | None] = {
        "parcel_cost": carrier.parcel_cost,
        "cost_per_kg": carrier.cost_per_kg,
        "cost_per_100_km": carrier.cost_per_100_km,
        "base_hours": carrier.base_hours,
        "km_per_hour": carrier.km_per_hour,
        "co2e_kg_per_tkm": carrier.co2e_kg_per_tkm,
        "parcel_co2e_kg": carrier.parcel_co2e_kg,
        "near_factor": carrier.near_factor,
        "near_km": carrier.near_km,
        "handling_hours": node.handling_hours,
        "parcels_per_shift": node.parcels_per_shift,
        "parcels_taken": node.parcels_taken,
        "lines_per_shift": node.lines_per_shift,
        "lines_waiting": node.lines_waiting,
        "parcel_pick_cost": node.parcel_pick_cost,
        "unit_pick_cost": node.unit_pick_cost,
        "offered": node.offered,
        "refused": node.refused,
        "late": node.late,
        "cold_chain_hours": node.cold_chain_hours,
    }
    for name, value in figures.items():
        if value is not None and not (np.isfinite(float(value)) and value >= 0):
            raise RequestError("bad-node", f"{where}: {name} is {value}; it is a finite number, zero or more")
    if carrier.km_per_hour == 0:
        raise RequestError("bad-node", f"{where}: its carrier's km_per_hour is zero, so nothing would arrive")
    if node.refused > node.offered or node.late > node.offered:
        raise RequestError("bad-node", f"{where}: more orders refused or late than offered")
