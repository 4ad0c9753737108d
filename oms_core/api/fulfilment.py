"""Stock, what is free to promise, and reservations, over HTTP, for the OMS services.

Looking needs what look-ups need; changing needs a key of the role `oms_service`, whose tenant owns what it reserves.
"""

from __future__ import annotations

import hashlib
import json
import time
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Header, Path, Query, Response
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, StringConstraints

from oms_core.api import keys
from oms_core.api.access import Access
from oms_core.api.identity import Text
from oms_core.api.problems import failures
from oms_core.fulfilment import book, look, policy
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import Desk, repeat
from oms_core.fulfilment.errors import RequestError, UnknownError
from oms_core.fulfilment.ledger import Answer, Change
from oms_core.fulfilment.movement import Movement
from oms_core.fulfilment.reservation import MOST_LINES, Ask, Line
from oms_core.fulfilment.stock import ZERO, Pool, profile
from oms_core.fulfilment.unit import plain_quantity
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import LOCATION, SKU, Entity, Released

_MOST_MOVEMENTS = 500
_REMEMBER_SECONDS = 10

Name = Annotated[Text, StringConstraints(min_length=1, max_length=200)]
Quantity = Annotated[Decimal, Field(description="In the SKU's unit; a decimal number, best as a string.")]
# As short as it is exact: 2 and 2.000000 are told alike, and so is the same answer told twice.
Qty = Annotated[Decimal, PlainSerializer(plain_quantity, return_type=str)]
ReservationId = Annotated[Text, Path(min_length=1, max_length=60, examples=["rsv_0645d1e1c0a2b4c8d0e1f2a3"])]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class LotAnswer(BaseModel):
    """One lot of the SKU at the node: what lies there, what of it is taken, and where that is known from."""

    position_id: int
    lot_number: str | None = Field(description="Null: goods without a lot.")
    expires_on: date | None
    on_hand_qty: Qty
    reserved_qty: Qty = Field(description="By reservations and allocations made here.")
    committed_qty: Qty = Field(description="By the counting system itself.")
    base_qty: Qty = Field(description="As released; newer movements stand on top of it.")
    source_system: str | None = Field(description="Who counted it; null: known from movements only.")
    release_id: int | None = Field(description="In which that count began.")
    released_position_ids: list[str]
    counted_at: datetime | None
    moved_at: datetime | None


class AllotmentAnswer(BaseModel):
    """What a channel may have."""

    channel: str
    kind: Literal["cap", "ring_fence"]
    qty: Qty
    used_qty: Qty


class InboundAnswer(BaseModel):
    """Goods on their way: ordered from a supplier, or in transit from another node."""

    kind: Literal["purchase", "transfer"]
    reference: str
    qty: Qty
    reserved_qty: Qty
    expected_on: date
    lot_number: str | None
    expires_on: date | None


class PoolAnswer(BaseModel):
    """The SKU at one node."""

    location_id: str
    uom: str
    is_open: bool
    closed_reason: str | None
    on_hand_qty: Qty
    reserved_qty: Qty
    committed_qty: Qty
    safety_qty: Qty
    min_shelf_life_days: int
    needs_expiry: bool = Field(description="Goods perish: a lot without a date is not promised.")
    in_transit_qty: Qty
    lots: list[LotAnswer]
    allotments: list[AllotmentAnswer]
    inbound: list[InboundAnswer]


class OfferAnswer(BaseModel):
    """What a channel shows for sale, by the last release. It lies nowhere: what is behind it is at the nodes."""

    position_id: str
    channel: str
    offered_qty: Qty
    held_qty: Qty | None = Field(description="Held there for buyers who have not paid; null: not told.")
    uom: str
    read_at: datetime


class Inventory(BaseModel):
    """A SKU wherever it lies, as of one instant, and what channels show of it."""

    sku_id: str
    as_of: datetime
    nodes: list[PoolAnswer]
    offers: list[OfferAnswer]


class Day(BaseModel):
    """What can be promised for a day and after it, until the next one listed."""

    on: date
    available_qty: Qty


class NodeAvailability(BaseModel):
    """Available-to-promise at one node; nothing while it is closed."""

    location_id: str
    uom: str
    is_open: bool
    available_qty: Qty
    days: list[Day]


class Availability(BaseModel):
    """Available-to-promise of a SKU. Reservations take from what is there now, and with `from_inbound` from what `days` also count: what is expected."""

    sku_id: str
    channel: str | None
    promised_on: date
    as_of: datetime
    available_qty: Qty = Field(description="Over all open nodes.")
    nodes: list[NodeAvailability]


class LineAsk(_Body):
    """One line to be reserved."""

    sku: Name = Field(description="Any id of the SKU.")
    qty: Quantity
    uom: Name | None = Field(None, description="UN/ECE Rec 20; refused unless it is the SKU's.")
    locations: list[Name] = Field(
        default_factory=list,
        max_length=50,
        description="Any ids of nodes, best first; none: any open node, fullest first.",
    )
    promised_on: date | None = Field(None, description="Today by default.")
    min_shelf_life_days: int | None = Field(
        None,
        ge=0,
        le=36_500,
        description="The goods stay good so long after the promised date; as the policy by default.",
    )


class ReservationAsk(_Body):
    """What is to be reserved: everything or nothing, unless `partial`."""

    model_config = ConfigDict(
        extra="forbid",
        json_schema_extra={
            "examples": [{"channel": "shopify", "lines": [{"sku": "LIP-07", "qty": "2"}], "ttl_seconds": 900}]
        },
    )

    channel: Name
    lines: list[LineAsk] = Field(min_length=1, max_length=MOST_LINES)
    ttl_seconds: int = Field(
        900, description="How long it holds unless allocated; more than 0, at most 30 days."
    )
    partial: bool = Field(False, description="Give what there is, line by line.")
    from_inbound: bool = Field(
        False, description="What does not lie there may be promised of goods that arrive by `promised_on`."
    )
    order_reference: Name | None = Field(
        None,
        description="The order it is for, by its id or its number: its look-up shows what is held for it.",
    )


class Extension(_Body):
    """How long from now the reservation is to last; it is never shortened."""

    ttl_seconds: int
    expires_at: AwareDatetime | None = Field(
        None,
        description="When it expires, as seen; refused when that is another time by now, as of a repeated request.",
    )


class HoldAnswer(BaseModel):
    """What a line holds of one lot, there or under way."""

    location_id: str
    lot_number: str | None
    expires_on: date | None
    qty: Qty
    arrives_on: date | None = Field(
        description="Of goods under way: when they are expected; later than `promised_on`, they come late."
    )
    inbound: str | None = Field(
        description="Of goods under way: system and reference of what they come with."
    )


class LineAnswer(BaseModel):
    """One line: what was asked and granted, what left, and what turned out not to be there after all."""

    line_number: int
    sku_id: str
    uom: str
    asked_qty: Qty
    granted_qty: Qty
    issued_qty: Qty
    lost_qty: Qty
    promised_on: date
    min_shelf_life_days: int | None
    holds: list[HoldAnswer]


class ReservationAnswer(BaseModel):
    """A reservation; allocated ones do not expire."""

    reservation_id: str
    state: Literal["held", "allocated", "fulfilled", "released", "expired"]
    channel: str
    order_reference: str | None
    made_at: datetime
    expires_at: datetime | None
    lines: list[LineAnswer]


class MovementAsk(_Body):
    """A movement, as a WMS, a till or the OMS tells it."""

    source_system: Name
    movement_id: Name = Field(description="Its own name there; told again it changes nothing.")
    kind: Literal[
        "receipt", "issue", "adjustment", "count", "announcement", "transfer_shipped", "transfer_received"
    ]
    sku: Name
    location: Name
    qty: Quantity
    recorded_at: AwareDatetime = Field(description="When the system's books took it up.")
    lot_number: Annotated[Text, StringConstraints(max_length=200)] = ""
    uom: Name | None = Field(None, description="Needed where nothing was counted of the SKU at the node yet.")
    expires_on: date | None = None
    reference: Name | None = Field(None, description="Of the delivery or transfer.")
    expected_on: date | None = Field(None, description="When what is announced or shipped arrives.")
    to_location: Name | None = Field(None, description="Where a shipped transfer goes.")
    reservation_id: Name | None = Field(None, description="Whose goods are issued.")


class MovementsAsk(_Body):
    """Movements to be kept, all or none."""

    movements: list[MovementAsk] = Field(min_length=1, max_length=_MOST_MOVEMENTS)


class MovementOutcome(BaseModel):
    """applied; counted: the position's count is newer and has it already; known: told before."""

    movement_id: str
    outcome: Literal["applied", "counted", "known"]


class Movements(BaseModel):
    """What became of each movement."""

    movements: list[MovementOutcome]


class PolicyAsk(_Body):
    """What is kept back of a SKU at a node, and how long goods must stay good after the promised date."""

    sku: Name
    location: Name
    safety_qty: Quantity
    min_shelf_life_days: int = Field(0, ge=0, le=36_500)


class AllotmentAsk(_Body):
    """A cap or a ring fence of a channel; a quantity of null ends it."""

    sku: Name
    location: Name
    channel: Name
    kind: Literal["cap", "ring_fence"]
    qty: Quantity | None


class ClosureAsk(_Body):
    """Why a node is closed; null opens it."""

    location: Name
    reason: Annotated[Text, StringConstraints(min_length=1, max_length=500)] | None


def router(database: Database, access: Access) -> APIRouter:
    """The routes of stock and reservations."""
    routes = APIRouter(tags=["fulfilment"])
    desk = Desk(database)
    names = _Names(database)
    looking = [Depends(access.look_up_or(*_EVERY_ROLE))]
    service = access.of_role(keys.OMS_SERVICE)

    @routes.get("/inventory/{sku:path}", dependencies=looking, responses=failures(404, 409))
    def inventory(sku: Annotated[Name, Path(description="Any id of the SKU.")]) -> Inventory:
        """Where a SKU lies: each node, each lot, what is reserved, and from which count of which release that is known."""
        sku_id = names.find(SKU, sku)
        with database.read() as connection:
            offers = look.offers(connection, sku_id)
        with look.looking(database) as connection:
            stock = look.stock_of(connection, sku_id)
            origins = look.origins(connection, sku_id)
        return Inventory(
            sku_id=sku_id,
            as_of=stock.now,
            nodes=[_pool(pool, origins) for _, pool in sorted(stock.pools.items())],
            offers=[OfferAnswer.model_validate(vars(offer)) for offer in offers],
        )

    @routes.get("/availability", dependencies=looking, responses=failures(404, 409))
    def availability(
        sku: Annotated[Name, Query(description="Any id of the SKU.")],
        location: Annotated[Name | None, Query(description="Any id of one node.")] = None,
        channel: Annotated[
            Name | None, Query(description="Without one, what is ring-fenced is not counted.")
        ] = None,
        on: Annotated[date | None, Query(description="Date to promise for; today by default.")] = None,
        min_shelf_life_days: Annotated[int | None, Query(ge=0, le=36_500)] = None,
    ) -> Availability:
        """What can be promised: now and by date, for a channel, of goods that are good long enough."""
        sku_id = names.find(SKU, sku)
        node = None if location is None else names.find(LOCATION, location)
        with look.looking(database) as connection:
            stock = look.stock_of(connection, sku_id)
        today = stock.now.date()
        day = on or today
        if day < today:
            raise RequestError("bad-date", f"{day} is past: ask for today or later")
        nodes = [
            _availability(pool, channel, day, today, min_shelf_life_days)
            for key, pool in sorted(stock.pools.items())
            if node in (None, key[1])
        ]
        return Availability(
            sku_id=sku_id,
            channel=channel,
            promised_on=day,
            as_of=stock.now,
            available_qty=sum((item.available_qty for item in nodes), ZERO),
            nodes=nodes,
        )

    @routes.post(
        "/inventory/movements",
        responses=failures(403, 404, 409, 413, _404="An id leads nowhere", _409=_REFUSED),
    )
    def movements(body: MovementsAsk, caller: keys.Holder = Depends(service)) -> Movements:
        """Tell what happened to goods. Told again under the same ids it changes nothing."""
        told = [_movement(item, names) for item in body.movements]
        places = _places(told, names)
        tenant = _tenant(caller)
        outcomes = repeat(
            database,
            lambda connection, also: book.record(
                connection, told, places, by=caller.name, tenant=tenant, also=also
            ),
        )
        return Movements(
            movements=[
                MovementOutcome.model_validate({"movement_id": item.movement_id, "outcome": outcome})
                for item, outcome in zip(told, outcomes, strict=True)
            ]
        )

    @routes.put("/inventory/policies", status_code=204, responses=failures(403, 404, 409, 413))
    def set_policy(body: PolicyAsk, caller: keys.Holder = Depends(service)) -> None:
        """Set the safety stock and the minimum shelf life of a SKU at a node."""
        sku_id, node = names.find(SKU, body.sku), names.find(LOCATION, body.location)
        with database.begin() as connection:
            policy.set_policy(
                connection, sku_id, node, body.safety_qty, body.min_shelf_life_days, by=caller.name
            )

    @routes.put(
        "/inventory/allotments", status_code=204, responses=failures(403, 404, 409, 413, _409=_REFUSED)
    )
    def set_allotment(body: AllotmentAsk, caller: keys.Holder = Depends(service)) -> None:
        """Cap what a channel may have of a SKU at a node, or ring-fence a quantity for it.

        Set again while it is in force, it changes nothing: to begin a new one of the same size, end the old one first.
        """
        sku_id, node = names.find(SKU, body.sku), names.find(LOCATION, body.location)
        with database.begin() as connection:
            policy.set_allotment(connection, sku_id, node, body.channel, body.kind, body.qty, by=caller.name)

    @routes.put("/inventory/closures", status_code=204, responses=failures(403, 404, 409, 413))
    def close(body: ClosureAsk, caller: keys.Holder = Depends(service)) -> None:
        """Close a node, or open it again."""
        node = names.find(LOCATION, body.location)
        with database.begin() as connection:
            policy.close_node(connection, node, body.reason, by=caller.name)

    @routes.post(
        "/reservations",
        status_code=201,
        responses=failures(
            403, 404, 409, 413, _404="An id leads nowhere, or nothing was ever counted of it", _409=_REFUSED
        ),
    )
    def reserve(
        response: Response,
        body: ReservationAsk,
        idempotency_key: Annotated[
            str, Header(min_length=1, max_length=200, description="The caller's own name for the request.")
        ],
        caller: keys.Holder = Depends(service),
    ) -> ReservationAnswer:
        """Reserve stock. The same key with the same body gives the same reservation; with another body it is refused.

        A refusal changes nothing and is not remembered: asked again, it is decided anew.
        """
        answer = desk.ask(
            Ask(
                tenant=_tenant(caller),
                key=_plain(idempotency_key),
                body_sha256=_digest(body),
                by=caller.name,
                channel=body.channel,
                lines=tuple(_line(line, names) for line in body.lines),
                ttl=_seconds(body.ttl_seconds),
                is_partial=body.partial,
                from_inbound=body.from_inbound,
                order_reference=body.order_reference,
            )
        )
        response.headers["Location"] = f"/reservations/{answer.reservation.reservation_id}"
        if answer.is_replayed:
            response.headers["Idempotency-Replayed"] = "true"
        return _reservation(answer)

    @routes.get(
        "/reservations/{reservation_id}", responses=failures(403, 404, _404="There is no such reservation")
    )
    def reservation(
        reservation_id: ReservationId, caller: keys.Holder = Depends(service)
    ) -> ReservationAnswer:
        """A reservation as it is now."""
        with look.looking(database) as connection:
            return _reservation(look.reservation_of(connection, reservation_id, _tenant(caller)))

    @routes.delete(
        "/reservations/{reservation_id}",
        responses=failures(403, 404, 409, _404="There is no such reservation", _409="It is fulfilled"),
    )
    def release(reservation_id: ReservationId, caller: keys.Holder = Depends(service)) -> ReservationAnswer:
        """Give a reservation up, or cancel an allocation. Done twice it changes nothing."""
        return _reservation(desk.ask(Change("release", _tenant(caller), reservation_id, caller.name)))

    @routes.post(
        "/reservations/{reservation_id}/extension",
        responses=failures(
            403,
            404,
            409,
            413,
            _404="There is no such reservation",
            _409="It holds nothing any more, or was extended since",
        ),
    )
    def extend(
        reservation_id: ReservationId, body: Extension, caller: keys.Holder = Depends(service)
    ) -> ReservationAnswer:
        """Let a reservation last longer. With the expiry that was seen, a repeated request extends it once."""
        change = Change(
            "extend",
            _tenant(caller),
            reservation_id,
            caller.name,
            _seconds(body.ttl_seconds),
            body.expires_at,
        )
        return _reservation(desk.ask(change))

    @routes.post(
        "/reservations/{reservation_id}/allocation",
        responses=failures(
            403, 404, 409, _404="There is no such reservation", _409="It holds nothing any more"
        ),
    )
    def allocate(reservation_id: ReservationId, caller: keys.Holder = Depends(service)) -> ReservationAnswer:
        """Turn a reservation into an allocation: lots are chosen first expired first, and it does not expire."""
        return _reservation(desk.ask(Change("allocate", _tenant(caller), reservation_id, caller.name)))

    return routes


_EVERY_ROLE = (keys.OMS_SERVICE, keys.DATA_ENGINEER, keys.FINANCE, keys.AUDITOR, keys.STEWARD)
_REFUSED = (
    "It cannot be had: too little stock, a closed node, a key used before; the type of the problem says which"
)


class _Names:
    """Leads any id to the golden one; what was found is remembered for some seconds, and no longer."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._found: dict[tuple[str, str], str] = {}
        self._since = time.monotonic()

    def find(self, entity: Entity, number: str) -> str:
        """Golden id.

        Raises:
            UnknownError: the id leads nowhere.
            AmbiguousError: it leads to several.
        """
        if time.monotonic() - self._since > _REMEMBER_SECONDS:
            self._found, self._since = {}, time.monotonic()
        known = self._found.get((entity.name, number))
        if known is None:
            try:
                with self._database.read() as connection:
                    known = Released(connection).find(entity, number).golden_id
            except NotReleasedError as error:
                code = "unknown-sku" if entity is SKU else "unknown-node"
                raise UnknownError(code, str(error)) from error
            self._found[entity.name, number] = known
        return known

    def perishing(self, sku_ids: set[str]) -> dict[str, bool]:
        """SKU -> whether it must be kept cold, as the release says it."""
        with self._database.read() as connection:
            released = Released(connection)
            return {
                sku_id: bool(row.get("needs_cold_chain"))
                for sku_id in sku_ids
                for row in released.rows("dim_skus", {"sku_id": sku_id}, "sku_id")
            }


def _tenant(caller: keys.Holder) -> str:
    assert caller.tenant is not None  # the table of keys demands it of the role
    return caller.tenant


def _plain(key: str) -> str:
    if "\0" in key:
        raise RequestError("bad-request", "the idempotency key holds a NUL character")
    return key


def _seconds(ttl_seconds: int) -> timedelta:
    if abs(ttl_seconds) > 10**9:
        raise RequestError("bad-ttl", f"a reservation cannot last {ttl_seconds} seconds")
    return timedelta(seconds=ttl_seconds)


def _digest(body: BaseModel) -> bytes:
    """Over what was said, however it was spelled: "2" and 2.0 are one quantity.

    A field that came later counts only where it is said, so that a request repeated over an upgrade is still the same.
    """
    later = {"from_inbound"} - body.model_fields_set
    said = json.dumps(body.model_dump(exclude=later), sort_keys=True, default=_spelled, ensure_ascii=False)
    return hashlib.sha256(said.encode()).digest()


def _spelled(value: Any) -> str:
    return plain_quantity(value) if isinstance(value, Decimal) else str(value)


def _line(line: LineAsk, names: _Names) -> Line:
    return Line(
        names.find(SKU, line.sku),
        line.qty,
        line.uom,
        tuple(names.find(LOCATION, item) for item in line.locations),
        line.promised_on,
        line.min_shelf_life_days,
    )


def _movement(item: MovementAsk, names: _Names) -> Movement:
    return Movement(
        source_system=item.source_system,
        movement_id=item.movement_id,
        kind=item.kind,
        sku_id=names.find(SKU, item.sku),
        location_id=names.find(LOCATION, item.location),
        qty=item.qty,
        recorded_at=item.recorded_at,
        body_sha256=_digest(item),
        lot_number=item.lot_number,
        uom=item.uom,
        expires_on=item.expires_on,
        reference=item.reference,
        expected_on=item.expected_on,
        to_location_id=None if item.to_location is None else names.find(LOCATION, item.to_location),
        reservation_id=item.reservation_id,
    )


def _places(told: list[Movement], names: _Names) -> list[Place]:
    perishing = names.perishing({item.sku_id for item in told})
    found: dict[tuple[str, str], str | None] = {}
    for item in told:
        for node in (item.location_id, item.to_location_id):
            if node is not None:
                found[item.sku_id, node] = found.get((item.sku_id, node)) or item.uom
    return [Place(sku_id, node, uom, perishing.get(sku_id, False)) for (sku_id, node), uom in found.items()]


def _pool(pool: Pool, origins: dict[int, look.Origin]) -> PoolAnswer:
    return PoolAnswer(
        location_id=pool.location_id,
        uom=pool.uom,
        is_open=pool.closed_reason is None,
        closed_reason=pool.closed_reason,
        on_hand_qty=sum((lot.on_hand for lot in pool.lots), ZERO),
        reserved_qty=sum((lot.reserved for lot in pool.lots), ZERO),
        committed_qty=sum((lot.committed for lot in pool.lots), ZERO),
        safety_qty=pool.safety,
        min_shelf_life_days=pool.min_shelf_life_days,
        needs_expiry=pool.needs_expiry,
        in_transit_qty=sum((item.qty for item in pool.inbound if item.kind == "transfer"), ZERO),
        lots=[
            LotAnswer(
                position_id=lot.position_id,
                lot_number=lot.lot_number or None,
                expires_on=lot.expires_on,
                on_hand_qty=lot.on_hand,
                reserved_qty=lot.reserved,
                committed_qty=lot.committed,
                base_qty=origins[lot.position_id].base_qty,
                source_system=origins[lot.position_id].source_system,
                release_id=origins[lot.position_id].release_id,
                released_position_ids=origins[lot.position_id].position_ids or [],
                counted_at=origins[lot.position_id].counted_at,
                moved_at=origins[lot.position_id].moved_at,
            )
            for lot in sorted(pool.lots, key=lambda lot: (lot.expires_on or date.max, lot.lot_number))
        ],
        allotments=[
            AllotmentAnswer.model_validate(
                {"channel": item.channel, "kind": item.kind, "qty": item.qty, "used_qty": item.used}
            )
            for _, item in sorted(pool.allotments.items())
        ],
        inbound=[
            InboundAnswer.model_validate(
                {**vars(item), "lot_number": item.lot_number or None, "reserved_qty": item.reserved}
            )
            for item in pool.inbound
        ],
    )


def _availability(
    pool: Pool, channel: str | None, day: date, today: date, min_shelf_life_days: int | None
) -> NodeAvailability:
    is_open = pool.closed_reason is None
    until = pool.good_until(day, min_shelf_life_days)
    return NodeAvailability(
        location_id=pool.location_id,
        uom=pool.uom,
        is_open=is_open,
        available_qty=pool.available(channel, until, today, coming_by=day) if is_open else ZERO,
        days=[Day(on=on, available_qty=qty) for on, qty in profile(pool, channel, today, min_shelf_life_days)]
        if is_open
        else [],
    )


def _reservation(answer: Answer) -> ReservationAnswer:
    made = answer.reservation
    return ReservationAnswer.model_validate(
        {
            **vars(made),
            "state": answer.state,
            "lines": [
                {
                    "line_number": line.line_number,
                    "sku_id": line.sku_id,
                    "uom": line.uom,
                    "asked_qty": line.asked,
                    "granted_qty": line.granted,
                    "issued_qty": line.issued,
                    "lost_qty": line.lost,
                    "promised_on": line.promised_on,
                    "min_shelf_life_days": line.min_shelf_life_days,
                    "holds": [
                        {
                            "location_id": hold.location_id,
                            "lot_number": hold.lot.lot_number or None,
                            "expires_on": hold.lot.expires_on,
                            "qty": hold.qty,
                            "arrives_on": hold.lot.arrives_on,
                            "inbound": hold.lot.reference or None,
                        }
                        for hold in made.holds
                        if hold.line_number == line.line_number and answer.state != "expired"
                    ],
                }
                for line in made.lines
            ],
        }
    )
