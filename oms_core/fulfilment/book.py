"""Movements in PostgreSQL: each is kept, applied once, and settled with what is promised in the same transaction."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import ledger, movement
from oms_core.fulfilment.errors import RefusedError, RequestError
from oms_core.fulfilment.ledger import RepeatNeededError, Stock, happening
from oms_core.fulfilment.movement import Movement, Step
from oms_core.fulfilment.reservation import Reservation, check_tenant, unknown_reservation
from oms_core.fulfilment.stock import ZERO, PoolKey
from oms_core.fulfilment.unit import check_quantity, plain_quantity
from oms_core.store.pipelined import together

APPLIED = "applied"
KNOWN = "known"
COUNTED = "counted"

_ADD_NODES = """
INSERT INTO orderhub.stock_nodes (location_id) SELECT DISTINCT location_id FROM unnest(%(nodes)s::text[]) AS v (location_id)
ORDER BY location_id ON CONFLICT DO NOTHING"""
_ADD_POOLS = """
INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry)
SELECT * FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(uoms)s::text[], %(perish)s::boolean[]) AS v (sku, node, uom, perish)
ORDER BY sku, node ON CONFLICT DO NOTHING"""
ADD_POSITIONS = """
INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, expires_on, on_hand_qty)
SELECT *, 0 FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(lots)s::text[], %(dates)s::date[]) AS v (sku, node, lot, day)
ORDER BY sku, node, lot ON CONFLICT DO NOTHING"""
_ADD_INBOUND = """
INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, expires_on, on_hand_qty, inbound, arrives_on)
SELECT sku, node, lot, expires, 0, inbound, day FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(lots)s::text[],
    %(expires)s::date[], %(inbound)s::text[], %(days)s::date[]) AS v (sku, node, lot, expires, inbound, day)
ORDER BY sku, node, lot, inbound ON CONFLICT DO NOTHING"""
_SET_ARRIVAL = "UPDATE orderhub.stock_positions SET arrives_on = :day, expires_on = :expires WHERE id = :id"
_SET_ON_HAND = """
UPDATE orderhub.stock_positions AS p SET on_hand_qty = v.qty
FROM unnest(%(ids)s::bigint[], %(qty)s::numeric[]) AS v (id, qty) WHERE p.id = v.id"""
_HOLDERS = """
SELECT DISTINCT reservation_id FROM orderhub.reservation_holds WHERE position_id = ANY(%(ids)s::bigint[])"""
_BASES = """
SELECT id, sku_id, location_id, lot_number, expires_on, base_qty, base_counted_at, last_recorded_at
FROM orderhub.stock_positions WHERE id = ANY(%(ids)s::bigint[])"""
STEPS = """
SELECT p.id, m.recorded_at, m.seq, m.kind, m.qty FROM orderhub.stock_positions AS p
JOIN orderhub.stock_movements AS m ON m.sku_id = p.sku_id AND m.location_id = p.location_id AND m.lot_number = p.lot_number
WHERE p.id = ANY(%(ids)s::bigint[]) AND NOT m.is_absorbed AND m.kind <> 'announcement'"""
_KNOWN = """
SELECT m.source_system, m.movement_id, m.body_sha256 FROM orderhub.stock_movements AS m
JOIN unnest(%(sources)s::text[], %(ids)s::text[]) AS v (source, id) ON m.source_system = v.source AND m.movement_id = v.id"""
_ADD = """
INSERT INTO orderhub.stock_movements (source_system, movement_id, kind, sku_id, location_id, lot_number, qty, recorded_at,
    body_sha256, told_by, is_absorbed)
SELECT source, id, kind, sku, node, lot, qty, at, body, %(by)s, absorbed FROM unnest(%(sources)s::text[], %(ids)s::text[],
    %(kinds)s::text[], %(skus)s::text[], %(nodes)s::text[], %(lots)s::text[], %(qty)s::numeric[], %(at)s::timestamptz[],
    %(bodies)s::bytea[], %(absorbed)s::boolean[]) WITH ORDINALITY
    AS v (source, id, kind, sku, node, lot, qty, at, body, absorbed, place) ORDER BY place"""
_APPLIED = """
UPDATE orderhub.stock_positions AS p SET last_recorded_at = greatest(p.last_recorded_at, v.at),
    expires_on = coalesce(p.expires_on, v.day)
FROM unnest(%(ids)s::bigint[], %(at)s::timestamptz[], %(days)s::date[]) AS v (id, at, day) WHERE p.id = v.id"""
_EXPECT = """
INSERT INTO orderhub.stock_inbound AS i (source_system, reference, sku_id, location_id, lot_number, kind, qty, expected_on,
    expires_on, recorded_at)
VALUES (:source, :reference, :sku, :node, :lot, :kind, :qty, :day, :expires, :at)
ON CONFLICT (source_system, reference, sku_id, location_id, lot_number) DO UPDATE SET
    qty = CASE WHEN excluded.kind = 'transfer' THEN i.qty + excluded.qty ELSE excluded.qty END,
    expected_on = excluded.expected_on, expires_on = excluded.expires_on, recorded_at = excluded.recorded_at
WHERE excluded.kind = 'transfer' OR excluded.recorded_at >= i.recorded_at
RETURNING greatest(qty - received_qty, 0) AS left_qty, expected_on, expires_on"""
_ARRIVE = """
UPDATE orderhub.stock_inbound SET received_qty = received_qty + :qty
WHERE source_system = :source AND reference = :reference AND sku_id = :sku AND location_id = :node AND lot_number = :lot
RETURNING greatest(qty - received_qty, 0) AS left_qty, expected_on, expires_on"""


@dataclass(frozen=True)
class Place:
    """A pool that may have to be made: its unit where somebody says it, and whether its goods perish."""

    sku_id: str
    location_id: str
    uom: str | None
    needs_expiry: bool


def record(
    connection: Connection,
    movements: Sequence[Movement],
    places: Collection[Place],
    *,
    by: str,
    tenant: str,
    also: Collection[PoolKey] = (),
) -> list[str]:
    """Keep movements and apply those that are on top of what was counted; all of them or none.

    Args:
        places: the pools they happen in and go to, to be made where they are not there yet.
        tenant: whose reservations issues may name.
        also: pools to be locked, too.

    Returns:
        For each: applied; counted, where the count of the position is newer; known, where it was told before.

    Raises:
        RequestError, UnknownError, ForeignError: one of them makes no sense; nothing is kept.
        RefusedError: a movement's id was used for another movement.
        RepeatNeededError: roll back and call again with the pools it names.
    """
    make_places(connection, places, movements)
    named = {item.reservation_id for item in movements if item.reservation_id is not None}
    keys = {(place.sku_id, place.location_id) for place in places}
    stock = ledger.lock(connection, keys | set(also) | ledger.pools_of(connection, named), ())
    told = {
        (row.source_system, row.movement_id): bytes(row.body_sha256)
        for row in together(
            connection,
            [
                (
                    _KNOWN,
                    {
                        "sources": [m.source_system for m in movements],
                        "ids": [m.movement_id for m in movements],
                    },
                )
            ],
        )[0].rows
    }
    made = ledger.read_reservations(connection, named, stock)
    require_locked(made.values(), stock)
    lots = {(key, lot.lot_number): lot for key, pool in stock.pools.items() for lot in pool.lots}
    touched = [lots[item.key, item.lot_number].position_id for item in movements]
    (bases,) = together(connection, [(_BASES, {"ids": touched})])
    base = {row.id: row for row in bases.rows}
    late = _late(movements, touched, base)
    (before,) = together(connection, [(STEPS, {"ids": sorted(late)})])
    steps: dict[int, list[Step]] = {key: [] for key in late}
    for row in before.rows:
        steps[row.id].append(Step(row.recorded_at, row.seq, row.kind, row.qty))
    outcomes: list[str] = []
    new: list[tuple[Movement, bool]] = []
    issued: dict[str, Reservation] = {}
    on_hand: dict[int, Decimal] = {}
    arrived: dict[int, Decimal] = {}
    delayed: set[int] = set()
    ahead = 1 + max((step.seq for found in steps.values() for step in found), default=0)
    for place, item in enumerate(movements):
        known = told.get((item.source_system, item.movement_id))
        if known is not None:
            if known != item.body_sha256:
                raise RefusedError(
                    "movement-reused",
                    f"{item.source_system} told another movement under the id {item.movement_id!r}: correct it by a "
                    "movement of its own",
                )
            outcomes.append(KNOWN)
            continue
        told[item.source_system, item.movement_id] = item.body_sha256
        movement.check(item, stock.now)
        pool = stock.pools[item.key]
        check_quantity(
            abs(item.qty) if item.kind == movement.ADJUSTMENT else item.qty,
            pool.uom,
            asked_uom=item.uom,
            may_be_zero=item.kind in (movement.COUNT, movement.ANNOUNCEMENT),
        )
        if item.reservation_id is not None:
            reserved = made.get(item.reservation_id)
            if reserved is None:
                raise unknown_reservation(item.reservation_id)
            check_tenant(reserved, tenant)
            movement.issue_for(reserved, item)
            issued[reserved.reservation_id] = reserved
        lot = lots[item.key, item.lot_number]
        row = base[lot.position_id]
        if row.expires_on is not None and item.expires_on not in (None, row.expires_on):
            raise RequestError(
                "other-expiry",
                f"lot {item.lot_number!r} is good until {row.expires_on}, not {item.expires_on}",
            )
        is_counted = row.base_counted_at is not None and item.recorded_at <= row.base_counted_at
        if not is_counted and item.kind != movement.ANNOUNCEMENT:
            step = Step(item.recorded_at, ahead + place, item.kind, item.qty)
            if lot.position_id in late:
                steps[lot.position_id].append(step)
            else:
                on_hand[lot.position_id] = step.on(on_hand.get(lot.position_id, lot.on_hand))
        _expect(connection, item, stock, on_hand, arrived, delayed)
        new.append((item, is_counted))
        outcomes.append(COUNTED if is_counted else APPLIED)
    for key in late:
        on_hand[key] = movement.fold(base[key].base_qty, base[key].base_counted_at, steps[key])
    if new:
        together(connection, [(_ADD, _rows(new, by)), (_APPLIED, _marks(new, lots))])
    changed = settle(
        connection, stock, on_hand, made, issued.values(), by=by, arrived=arrived, delayed=delayed
    )
    log.append(
        connection,
        [
            log.Happening(
                f"stock.{item.kind}",
                by,
                f"sku/{item.sku_id}",
                {
                    "movement": f"{item.source_system}/{item.movement_id}",
                    "location": item.location_id,
                    "lot": item.lot_number,
                    "qty": plain_quantity(item.qty),
                    "recorded_at": item.recorded_at.isoformat(),
                },
            )
            for item, _ in new
        ]
        + changed,
    )
    return outcomes


def settle(
    connection: Connection,
    stock: Stock,
    on_hand: Mapping[int, Decimal],
    made: Mapping[str, Reservation],
    issued: Collection[Reservation],
    *,
    by: str,
    arrived: Mapping[int, Decimal] | None = None,
    delayed: Collection[int] = (),
) -> list[log.Happening]:
    """Write what is on hand now, and make what is promised true again where less is there than was.

    Args:
        on_hand: position id -> quantity, of locked pools.
        made: reservations read already, by id; they share the stock's lots.
        issued: those of them that changed.
        arrived: position of goods under way -> what came of them, which goes to those it was promised to.
        delayed: positions of goods under way that are expected later than before.

    Returns:
        Entries for the audit log.
    """
    before = {key: stock.lots[key].on_hand for key in on_hand}
    for key, qty in on_hand.items():
        stock.lots[key].on_hand = qty
    over = {lot.position_id for lot in stock.lots.values() if lot.reserved > max(lot.on_hand, ZERO)}
    over |= {key for key in arrived or () if stock.lots[key].reserved}
    lost: list[Reservation] = []
    late: list[log.Happening] = []
    if over or delayed:
        (rows,) = together(connection, [(_HOLDERS, {"ids": sorted(over | set(delayed))})])
        missing = [row.reservation_id for row in rows.rows if row.reservation_id not in made]
        holders = {**made, **ledger.read_reservations(connection, missing, stock)}
        require_locked(holders.values(), stock)
        for pool in stock.pools.values():
            coming = [item.lot for item in pool.inbound if item.lot is not None]
            if any(lot.position_id in over for lot in [*pool.lots, *coming]):
                lost += movement.cover(pool, list(holders.values()), stock.now, arrived)
        late = [
            happening("reservation.delayed", by, item, log.request_id.get())
            for item in holders.values()
            if delayed and movement.is_late(item)
        ]
    changed = {item.reservation_id: item for item in [*issued, *lost]}
    # In this order no statement leaves a position with more reserved than there is.
    _put(connection, {key: qty for key, qty in on_hand.items() if qty > before[key]})
    ledger.write(connection, stock, (), list(changed.values()))
    _put(connection, {key: qty for key, qty in on_hand.items() if qty < before[key]})
    return (
        [happening("reservation.issued", by, item, log.request_id.get()) for item in issued]
        + [
            happening(
                "reservation.lost" if any(line.lost for line in item.lines) else "reservation.moved",
                by,
                item,
                log.request_id.get(),
            )
            for item in {item.reservation_id: item for item in lost}.values()
        ]
        + late
    )


def make_places(
    connection: Connection, places: Collection[Place], movements: Sequence[Movement] = ()
) -> None:
    """Make nodes, pools and positions that are not there yet.

    Raises:
        RequestError: a new pool needs a unit.
    """
    known = ledger.look(connection, {(place.sku_id, place.location_id) for place in places}, ()).pools
    fresh = sorted(
        (place for place in places if (place.sku_id, place.location_id) not in known),
        key=lambda place: (place.sku_id, place.location_id),
    )
    for place in fresh:
        if place.uom is None:
            raise RequestError(
                "unit-needed",
                f"nothing was counted of {place.sku_id} at {place.location_id} yet: say the unit (`uom`) it is kept in",
            )
    lots: dict[tuple[str, str, str], date | None] = {}
    for item in movements:
        key = (item.sku_id, item.location_id, item.lot_number)
        lots[key] = lots.get(key) or item.expires_on
    together(
        connection,
        [
            (_ADD_NODES, {"nodes": [place.location_id for place in fresh]}),
            (
                _ADD_POOLS,
                {
                    "skus": [place.sku_id for place in fresh],
                    "nodes": [place.location_id for place in fresh],
                    "uoms": [place.uom for place in fresh],
                    "perish": [place.needs_expiry for place in fresh],
                },
            ),
            (
                ADD_POSITIONS,
                {
                    "skus": [key[0] for key in lots],
                    "nodes": [key[1] for key in lots],
                    "lots": [key[2] for key in lots],
                    "dates": list(lots.values()),
                },
            ),
            (_ADD_INBOUND, _announced(movements)),
        ],
    )


def require_locked(reservations: Collection[Reservation], stock: Stock) -> None:
    """Whoever changes a reservation holds the locks of all its pools.

    Raises:
        RepeatNeededError: one holds from a pool that is not locked.
    """
    missing = {hold.key for item in reservations for hold in item.holds} - stock.pools.keys()
    if missing:
        raise RepeatNeededError("a reservation holds from further pools", missing)


def _late(movements: Sequence[Movement], touched: Sequence[int], base: Mapping[int, Any]) -> set[int]:
    """Positions where a movement is older than one before it: only there the books are gone through again."""
    newest = {key: row.last_recorded_at for key, row in base.items()}
    late: set[int] = set()
    for item, key in zip(movements, touched, strict=True):
        if newest[key] is not None and item.recorded_at < newest[key]:
            late.add(key)
        else:
            newest[key] = item.recorded_at
    return late


def _put(connection: Connection, on_hand: Mapping[int, Decimal]) -> None:
    if on_hand:
        together(connection, [(_SET_ON_HAND, {"ids": list(on_hand), "qty": list(on_hand.values())})])


def _announced(movements: Sequence[Movement]) -> dict[str, Any]:
    told = [item for item in movements if item.expected_on is not None]
    return {
        "skus": [item.sku_id for item in told],
        "nodes": [item.to_location_id or item.location_id for item in told],
        "lots": [item.lot_number for item in told],
        "expires": [item.expires_on for item in told],
        "inbound": [f"{item.source_system}/{item.reference}" for item in told],
        "days": [item.expected_on for item in told],
    }


def _expect(
    connection: Connection,
    item: Movement,
    stock: Stock,
    on_hand: dict[int, Decimal],
    arrived: dict[int, Decimal],
    delayed: set[int],
) -> None:
    """Goods under way: announced, shipped, or arrived. What is left of them is what can be promised of them."""
    if item.reference is None:
        return
    values = {
        "source": item.source_system, "reference": item.reference, "sku": item.sku_id, "node": item.location_id,
        "lot": item.lot_number, "qty": item.qty,
    }  # fmt: skip
    node = item.location_id
    if item.kind in (movement.RECEIPT, movement.TRANSFER_RECEIVED):
        row = connection.execute(text(_ARRIVE), values).one_or_none()
    elif item.kind in (movement.ANNOUNCEMENT, movement.TRANSFER_SHIPPED):
        is_transfer = item.kind == movement.TRANSFER_SHIPPED
        node = item.to_location_id or node
        row = connection.execute(
            text(_EXPECT),
            {
                **values,
                "node": item.to_location_id if is_transfer else item.location_id,
                "kind": "transfer" if is_transfer else "purchase",
                "day": item.expected_on,
                "expires": item.expires_on,
                "at": item.recorded_at,
            },
        ).one_or_none()
    else:
        return
    if row is None:  # never announced, or a newer announcement holds
        return
    lot = stock.coming[item.sku_id, node, f"{item.source_system}/{item.reference}", item.lot_number]
    on_hand[lot.position_id] = row.left_qty
    if node == item.location_id and item.expected_on is None:
        arrived[lot.position_id] = arrived.get(lot.position_id, ZERO) + item.qty
    if lot.arrives_on != row.expected_on or lot.expires_on != row.expires_on:
        if lot.arrives_on is not None and row.expected_on > lot.arrives_on:
            delayed.add(lot.position_id)
        lot.arrives_on, lot.expires_on = row.expected_on, row.expires_on
        connection.execute(
            text(_SET_ARRIVAL), {"id": lot.position_id, "day": lot.arrives_on, "expires": lot.expires_on}
        )


def _rows(new: Sequence[tuple[Movement, bool]], by: str) -> dict[str, Any]:
    return {
        "by": by,
        "sources": [item.source_system for item, _ in new],
        "ids": [item.movement_id for item, _ in new],
        "kinds": [item.kind for item, _ in new],
        "skus": [item.sku_id for item, _ in new],
        "nodes": [item.location_id for item, _ in new],
        "lots": [item.lot_number for item, _ in new],
        "qty": [item.qty for item, _ in new],
        "at": [item.recorded_at for item, _ in new],
        "bodies": [item.body_sha256 for item, _ in new],
        "absorbed": [is_counted for _, is_counted in new],
    }


def _marks(new: Sequence[tuple[Movement, bool]], lots: Mapping[tuple[PoolKey, str], Any]) -> dict[str, Any]:
    """Newest movement and best-before date of each position touched."""
    at: dict[int, datetime] = {}
    days: dict[int, date | None] = {}
    for item, is_counted in new:
        key = lots[item.key, item.lot_number].position_id
        if not is_counted and item.kind != movement.ANNOUNCEMENT:
            at[key] = max(at.get(key, item.recorded_at), item.recorded_at)
        days[key] = days.get(key) or item.expires_on
    return {"ids": list(days), "at": [at.get(key) for key in days], "days": list(days.values())}
