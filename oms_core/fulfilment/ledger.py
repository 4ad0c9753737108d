"""Stock in PostgreSQL: pools are read under their locks, changed by plain functions, and written back with the audit log.

One order of locks for everybody, so that nobody waits in a circle: pools by (SKU, node), then the idempotency keys of new
reservations, then the audit log. Whatever changes stock, a reservation or an allotment holds the locks of all pools
concerned. A reservation that expired stops counting at once: whoever holds the lock of a pool frees what lapsed in it.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

from sqlalchemy import Connection

from oms_core.audit import log
from oms_core.fulfilment import reservation
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.reservation import HELD, Ask, Hold, Reservation, ReservedLine
from oms_core.fulfilment.stock import Allotment, Inbound, Lot, Pool, PoolKey
from oms_core.fulfilment.unit import plain_quantity
from oms_core.store.pipelined import Result, together

LOCK_SECONDS = 10

_LIMITS = """
SELECT set_config('lock_timeout', %(limit)s, true) AS waiting,
    set_config('idle_in_transaction_session_timeout', %(limit)s, true) AS idle
"""
_CHOSEN = """(sku_id, location_id) IN (
    SELECT * FROM unnest(%(skus)s::text[], %(nodes)s::text[])
    UNION SELECT w.sku_id, w.location_id FROM orderhub.stock_pools AS w WHERE w.sku_id = ANY(%(whole)s::text[]))"""
_POOLS = f"""
SELECT p.sku_id, p.location_id, p.uom, p.needs_expiry, p.safety_qty, p.min_shelf_life_days, n.closed_reason
FROM orderhub.stock_pools AS p JOIN orderhub.stock_nodes AS n ON n.location_id = p.location_id
WHERE {_CHOSEN.replace("(sku_id, location_id)", "(p.sku_id, p.location_id)", 1)} ORDER BY p.sku_id, p.location_id"""
_NOW = "SELECT now FROM (SELECT clock_timestamp() AS now) AS clock"
_ENDED = f"WHERE {_CHOSEN} AND expires_at <= statement_timestamp()"
_FREE_LAPSED = f"DELETE FROM orderhub.reservation_holds {_ENDED} RETURNING sku_id, location_id, position_id, channel, qty"
_LAPSED = f"SELECT sku_id, location_id, position_id, channel, qty FROM orderhub.reservation_holds {_ENDED}"
_POSITIONS = f"""
SELECT id, sku_id, location_id, lot_number, expires_on, on_hand_qty, reserved_qty, committed_qty, inbound, arrives_on
FROM orderhub.stock_positions WHERE {_CHOSEN}"""
_ALLOTMENTS = f"""
SELECT sku_id, location_id, channel, kind, qty, used_qty FROM orderhub.channel_allotments WHERE {_CHOSEN}"""
_NODES = (
    "SELECT location_id, closed_reason FROM orderhub.stock_nodes WHERE location_id = ANY(%(named)s::text[])"
)
_INBOUND = f"""
SELECT sku_id, location_id, kind, reference, qty - received_qty AS left_qty, expected_on, lot_number, expires_on,
    source_system || '/' || reference AS inbound
FROM orderhub.stock_inbound WHERE {_CHOSEN} AND qty > received_qty ORDER BY expected_on, reference"""
_BY_KEY = """
SELECT r.reservation_id FROM unnest(%(tenants)s::text[], %(keys)s::text[]) AS v (tenant, key)
JOIN orderhub.reservations AS r ON r.tenant = v.tenant AND r.key = v.key"""
_POOLS_OF = "SELECT DISTINCT sku_id, location_id FROM orderhub.reservation_holds WHERE reservation_id = ANY(%(ids)s::text[])"
_HEADS = """
SELECT reservation_id, tenant, key, body_sha256, channel, order_reference, state, made_at, made_by, expires_at
FROM orderhub.reservations WHERE reservation_id = ANY(%(ids)s::text[])"""
_LINES = """
SELECT * FROM orderhub.reservation_lines WHERE reservation_id = ANY(%(ids)s::text[]) ORDER BY reservation_id, line_number"""
_HOLDS = """
SELECT h.*, p.lot_number, p.expires_on AS best_before, p.arrives_on, p.inbound FROM orderhub.reservation_holds AS h
JOIN orderhub.stock_positions AS p ON p.id = h.position_id WHERE h.reservation_id = ANY(%(ids)s::text[])
ORDER BY h.reservation_id, h.line_number, h.position_id"""
# Conditional once more, and the table's own constraint behind it.
_RESERVE = """
UPDATE orderhub.stock_positions AS p SET reserved_qty = v.qty
FROM unnest(%(ids)s::bigint[], %(qty)s::numeric[], %(was)s::numeric[]) AS v (id, qty, was)
WHERE p.id = v.id AND p.reserved_qty = v.was AND v.qty <= greatest(p.on_hand_qty, 0)"""
_USE = """
UPDATE orderhub.channel_allotments AS a SET used_qty = v.qty
FROM unnest(%(skus)s::text[], %(nodes)s::text[], %(channels)s::text[], %(qty)s::numeric[])
AS v (sku_id, location_id, channel, qty)
WHERE a.sku_id = v.sku_id AND a.location_id = v.location_id AND a.channel = v.channel"""
_DROP_HOLDS = "DELETE FROM orderhub.reservation_holds WHERE reservation_id = ANY(%(ids)s::text[])"
_SET_STATES = """
UPDATE orderhub.reservations AS r SET state = v.state, expires_at = v.expires_at
FROM unnest(%(ids)s::text[], %(states)s::text[], %(ends)s::timestamptz[]) AS v (id, state, expires_at)
WHERE r.reservation_id = v.id"""
_SET_LINES = """
UPDATE orderhub.reservation_lines AS l SET issued_qty = v.issued, lost_qty = v.lost
FROM unnest(%(ids)s::text[], %(numbers)s::integer[], %(issued)s::numeric[], %(lost)s::numeric[])
AS v (id, number, issued, lost)
WHERE l.reservation_id = v.id AND l.line_number = v.number
AND (l.issued_qty, l.lost_qty) IS DISTINCT FROM (v.issued, v.lost)"""
_ADD = """
INSERT INTO orderhub.reservations (reservation_id, tenant, key, body_sha256, channel, order_reference, state, made_at,
    made_by, expires_at)
SELECT * FROM unnest(%(ids)s::text[], %(tenants)s::text[], %(keys)s::text[], %(bodies)s::bytea[], %(channels)s::text[],
    %(orders)s::text[], %(states)s::text[], %(at)s::timestamptz[], %(by)s::text[], %(ends)s::timestamptz[])
ON CONFLICT (tenant, key) DO NOTHING"""
# Where a key was taken meanwhile, its lines have no head: left out, and the whole is repeated.
_ADD_LINES = """
INSERT INTO orderhub.reservation_lines (reservation_id, line_number, sku_id, uom, asked_qty, granted_qty, promised_on,
    min_shelf_life_days)
SELECT v.* FROM unnest(%(ids)s::text[], %(numbers)s::integer[], %(skus)s::text[], %(uoms)s::text[], %(asked)s::numeric[],
    %(granted)s::numeric[], %(promised)s::date[], %(days)s::integer[]) AS v (id, number, sku, uom, asked, granted, day, days)
WHERE EXISTS (SELECT FROM orderhub.reservations AS r WHERE r.reservation_id = v.id)"""
_ADD_HOLDS = """
INSERT INTO orderhub.reservation_holds (reservation_id, line_number, position_id, sku_id, location_id, channel, qty,
    expires_at)
SELECT v.* FROM unnest(%(ids)s::text[], %(numbers)s::integer[], %(positions)s::bigint[], %(skus)s::text[],
    %(nodes)s::text[], %(channels)s::text[], %(qty)s::numeric[], %(ends)s::timestamptz[])
    AS v (id, number, position, sku, node, channel, qty, ends)
WHERE EXISTS (SELECT FROM orderhub.reservations AS r WHERE r.reservation_id = v.id)"""


class LedgerError(Exception):
    """Stock changed although it was locked; nothing of the transaction is kept."""


class RepeatNeededError(Exception):
    """What was read before the locks were held is no longer so; the transaction is to be repeated.

    Attributes:
        also: pools to be locked, too.
    """

    def __init__(self, message: str, also: Collection[PoolKey] = ()) -> None:
        super().__init__(message)
        self.also = frozenset(also)


@dataclass
class Stock:
    """Pools as one transaction sees them.

    Attributes:
        now: instant at which they were read, by the database's clock (aware UTC).
        nodes: location_id -> why it is closed, None while it is open; the nodes of the pools and those asked for.
        lots: position id -> lot, of all pools, goods under way among them.
        coming: (SKU, node, delivery or transfer as its system names it, lot number) -> position of goods under way.
    """

    now: datetime
    pools: dict[PoolKey, Pool]
    nodes: dict[str, str | None]
    lots: dict[int, Lot] = field(default_factory=dict)
    coming: dict[tuple[str, str, str, str], Lot] = field(default_factory=dict)
    _reserved: dict[int, Decimal] = field(default_factory=dict)
    _used: dict[tuple[PoolKey, str], Decimal] = field(default_factory=dict)


@dataclass(frozen=True)
class Change:
    """What is to happen to a reservation.

    Attributes:
        verb: release it, extend it until `ttl` from now, or turn it into an allocation.
        seen: when what is to be extended expires, as its caller saw it; None: whenever.
    """

    verb: Literal["release", "extend", "allocate"]
    tenant: str
    reservation_id: str
    by: str
    ttl: timedelta = timedelta(0)
    seen: datetime | None = None


Command = Ask | Change


@dataclass(frozen=True)
class Answer:
    """A reservation after a command.

    Attributes:
        state: as of the command.
        is_replayed: the command was carried out before, and this is what came of it.
    """

    reservation: Reservation
    state: str
    is_replayed: bool = False


def lock(
    connection: Connection, keys: Collection[PoolKey], skus: Collection[str], nodes: Collection[str] = ()
) -> Stock:
    """Lock pools for the rest of the transaction, and free what lapsed in them.

    Args:
        keys: pools by SKU and node; those that do not exist are left out.
        skus: all pools of these SKUs.
        nodes: nodes to be told of, whether they have one of the pools or not.
    """
    return _read(connection, keys, skus, nodes, is_locking=True)[0]


def look(connection: Connection, keys: Collection[PoolKey], skus: Collection[str]) -> Stock:
    """Read pools without waiting for anybody; what lapsed counts as free. The transaction should be repeatable read."""
    return _read(connection, keys, skus, (), is_locking=False)[0]


def apply(
    connection: Connection, commands: Sequence[Command], requests: Sequence[str | None] = ()
) -> list[Answer | FulfilmentError]:
    """Carry commands out, in their order, in this transaction.

    A command that is refused has changed nothing; the others are carried out all the same. Every change is an entry of the
    audit log.

    Args:
        requests: names of the requests that the commands came with, where it was not all the one that runs.

    Returns:
        For each command its answer, or why it was refused.

    Raises:
        RepeatNeededError: roll back and call again.
        LedgerError: see there.
    """
    asks = [item for item in commands if isinstance(item, Ask)]
    changes = [item for item in commands if isinstance(item, Change)]
    ids = sorted({item.reservation_id for item in changes})
    keys = {(line.sku_id, node) for ask in asks for line in ask.lines for node in line.location_ids}
    skus = {line.sku_id for ask in asks for line in ask.lines if not line.location_ids}
    named = {node for ask in asks for line in ask.lines for node in line.location_ids}
    stock, (earlier,) = _read(
        connection, keys | pools_of(connection, ids), skus, named, is_locking=True, also=[_earlier(asks)]
    )
    made = read_reservations(connection, ids, stock)
    if any(hold.key not in stock.pools for item in made.values() for hold in item.holds):
        raise RepeatNeededError("a reservation moved to another pool before its locks were held")
    before = read_reservations(connection, [row.reservation_id for row in earlier.rows], stock)
    by_key = {(item.tenant, item.key): item for item in before.values()}
    new: list[Reservation] = []
    changed: dict[str, Reservation] = {}
    happenings: list[log.Happening] = []
    answers: list[Answer | FulfilmentError] = []
    for place, command in enumerate(commands):
        request = requests[place] if requests else log.request_id.get()
        try:
            if isinstance(command, Ask):
                known = by_key.get((command.tenant, command.key))
                if known is None:
                    item = reservation.reserve(command, stock.pools, stock.nodes, _new_id(), stock.now)
                    by_key[command.tenant, command.key] = made[item.reservation_id] = item
                    new.append(item)
                    happenings.append(happening("reservation.made", command.by, item, request))
                else:
                    item = reservation.replay(command, known)
                answers.append(_answer(item, stock.now, is_replayed=known is not None))
            else:
                item = _known(made, command)
                if _change(item, command, stock):
                    changed[item.reservation_id] = item
                    happenings.append(happening(_VERBS[command.verb], command.by, item, request))
                answers.append(_answer(item, stock.now))
        except FulfilmentError as refusal:
            answers.append(refusal)
    born = {item.reservation_id for item in new}
    write(connection, stock, new, [item for key, item in changed.items() if key not in born], happenings)
    return answers


def pools_of(connection: Connection, reservation_ids: Collection[str]) -> set[PoolKey]:
    """Pools that reservations hold from."""
    if not reservation_ids:
        return set()
    (found,) = together(connection, [(_POOLS_OF, {"ids": list(reservation_ids)})])
    return {(row.sku_id, row.location_id) for row in found.rows}


def read_reservations(
    connection: Connection, reservation_ids: Collection[str], stock: Stock
) -> dict[str, Reservation]:
    """Reservations with their lines and holds; holds share the lots of the stock, where it has them."""
    if not reservation_ids:
        return {}
    ids = {"ids": list(reservation_ids)}
    heads, lines, holds = together(connection, [(_HEADS, ids), (_LINES, ids), (_HOLDS, ids)])
    found = {
        row.reservation_id: Reservation(**{**row._asdict(), "body_sha256": bytes(row.body_sha256)})
        for row in heads.rows
    }
    for row in lines.rows:
        found[row.reservation_id].lines.append(
            ReservedLine(
                row.line_number,
                row.sku_id,
                row.uom,
                row.asked_qty,
                row.granted_qty,
                row.promised_on,
                row.min_shelf_life_days,
                row.issued_qty,
                row.lost_qty,
            )
        )
    for row in holds.rows:
        lot = stock.lots.get(row.position_id) or Lot(
            row.position_id, row.lot_number, row.best_before, Decimal(0), arrives_on=row.arrives_on,
            reference=row.inbound,
        )  # fmt: skip
        found[row.reservation_id].holds.append(
            Hold(row.line_number, row.sku_id, row.location_id, lot, row.qty)
        )
    return found


def write(
    connection: Connection,
    stock: Stock,
    new: Sequence[Reservation] = (),
    changed: Sequence[Reservation] = (),
    happenings: Sequence[log.Happening] = (),
) -> None:
    """Write what is reserved, what channels used, and reservations: new ones, and those that were there already. Log it.

    Raises:
        LedgerError: what the locks should have prevented.
        RepeatNeededError: another process used an idempotency key meanwhile.
    """
    moved = [lot for lot in stock.lots.values() if lot.reserved != stock._reserved[lot.position_id]]
    used = [
        (pool.key, item)
        for pool in stock.pools.values()
        for item in pool.allotments.values()
        if item.used != stock._used[pool.key, item.channel]
    ]
    # In the order of their keys: two transactions that offer the same keys wait for each other one way only.
    new = sorted(new, key=lambda item: (item.tenant, item.key))
    statements: list[tuple[str, dict[str, Any]]] = []
    if moved:
        statements.append((_RESERVE, _reserved(moved, stock)))
    if used:
        statements.append((_USE, _used(used)))
    if changed:
        ids = {"ids": [item.reservation_id for item in changed]}
        statements += [(_DROP_HOLDS, ids), (_SET_STATES, _states(changed)), (_SET_LINES, _line_ends(changed))]
    if new:
        statements += [(_ADD, _heads(new)), (_ADD_LINES, _lines(new))]
    if new or changed:
        statements.append((_ADD_HOLDS, _holds([*new, *changed])))

    def check(results: list[Result]) -> None:
        done = dict(zip([statement for statement, _ in statements], results, strict=True))
        if moved and done[_RESERVE].count != len(moved):
            raise LedgerError(
                f"{len(moved) - done[_RESERVE].count} of {len(moved)} positions changed while they were locked: "
                "something writes to orderhub.stock_positions past the locks"
            )
        if new and done[_ADD].count != len(new):
            raise RepeatNeededError("another process used an idempotency key first")

    log.append(connection, happenings, after=statements, check=check)


def happening(kind: str, by: str, item: Reservation, request_id: str | None) -> log.Happening:
    """The audit entry of a change: what the reservation holds after it, as [SKU, node, lot, quantity]."""
    return log.Happening(
        kind,
        by,
        f"reservation/{item.reservation_id}",
        {
            "tenant": item.tenant,
            "channel": item.channel,
            "state": item.state,
            "expires_at": None if item.expires_at is None else item.expires_at.isoformat(),
            "holds": [
                [hold.sku_id, hold.location_id, hold.lot.name, plain_quantity(hold.qty)]
                for hold in item.holds
            ],
        },
        request_id,
    )


_VERBS = {
    "release": "reservation.released",
    "extend": "reservation.extended",
    "allocate": "reservation.allocated",
}


def _change(item: Reservation, command: Change, stock: Stock) -> bool:
    match command.verb:
        case "release":
            return reservation.release(item, stock.pools, stock.now)
        case "allocate":
            return reservation.allocate(item, stock.pools, stock.now)
        case "extend":
            before = item.expires_at
            reservation.extend(item, command.ttl, stock.now, command.seen)
            return item.expires_at != before


def _known(made: Mapping[str, Reservation], command: Change) -> Reservation:
    item = made.get(command.reservation_id)
    if item is None:
        raise reservation.unknown_reservation(command.reservation_id)
    reservation.check_tenant(item, command.tenant)
    return item


def _answer(item: Reservation, now: datetime, *, is_replayed: bool = False) -> Answer:
    """The reservation as it is now: a later command of the transaction may change it."""
    return Answer(replace(item, holds=list(item.holds)), item.state_at(now), is_replayed)


def _new_id() -> str:
    """Begins with the time, so that new rows stand together in the index; the rest cannot be guessed."""
    return f"rsv_{time.time_ns() // 1000:014x}{secrets.token_hex(6)}"


def _earlier(asks: Sequence[Ask]) -> tuple[str, dict[str, Any]]:
    """Statement that finds the reservations these requests made before."""
    return _BY_KEY, {"tenants": [ask.tenant for ask in asks], "keys": [ask.key for ask in asks]}


def _reserved(moved: Sequence[Lot], stock: Stock) -> dict[str, Any]:
    return {
        "ids": [lot.position_id for lot in moved],
        "qty": [lot.reserved for lot in moved],
        "was": [stock._reserved[lot.position_id] for lot in moved],
    }


def _used(used: Sequence[tuple[PoolKey, Allotment]]) -> dict[str, Any]:
    return {
        "skus": [key[0] for key, _ in used],
        "nodes": [key[1] for key, _ in used],
        "channels": [item.channel for _, item in used],
        "qty": [item.used for _, item in used],
    }


def _states(changed: Sequence[Reservation]) -> dict[str, Any]:
    return {
        "ids": [item.reservation_id for item in changed],
        "states": [item.state for item in changed],
        "ends": [item.expires_at for item in changed],
    }


def _line_ends(changed: Sequence[Reservation]) -> dict[str, Any]:
    lines = [(item.reservation_id, line) for item in changed for line in item.lines]
    return {
        "ids": [key for key, _ in lines],
        "numbers": [line.line_number for _, line in lines],
        "issued": [line.issued for _, line in lines],
        "lost": [line.lost for _, line in lines],
    }


def _heads(new: Sequence[Reservation]) -> dict[str, Any]:
    return {
        "ids": [item.reservation_id for item in new],
        "tenants": [item.tenant for item in new],
        "keys": [item.key for item in new],
        "bodies": [item.body_sha256 for item in new],
        "channels": [item.channel for item in new],
        "orders": [item.order_reference for item in new],
        "states": [item.state for item in new],
        "at": [item.made_at for item in new],
        "by": [item.made_by for item in new],
        "ends": [item.expires_at for item in new],
    }


def _lines(new: Sequence[Reservation]) -> dict[str, Any]:
    lines = [(item.reservation_id, line) for item in new for line in item.lines]
    return {
        "ids": [key for key, _ in lines],
        "numbers": [line.line_number for _, line in lines],
        "skus": [line.sku_id for _, line in lines],
        "uoms": [line.uom for _, line in lines],
        "asked": [line.asked for _, line in lines],
        "granted": [line.granted for _, line in lines],
        "promised": [line.promised_on for _, line in lines],
        "days": [line.min_shelf_life_days for _, line in lines],
    }


def _holds(reservations: Sequence[Reservation]) -> dict[str, Any]:
    holds = [(item, hold) for item in reservations for hold in item.holds]
    return {
        "ids": [item.reservation_id for item, _ in holds],
        "numbers": [hold.line_number for _, hold in holds],
        "positions": [hold.lot.position_id for _, hold in holds],
        "skus": [hold.sku_id for _, hold in holds],
        "nodes": [hold.location_id for _, hold in holds],
        "channels": [item.channel for item, _ in holds],
        "qty": [hold.qty for _, hold in holds],
        "ends": [item.expires_at if item.state == HELD else None for item, _ in holds],
    }


def _read(
    connection: Connection,
    keys: Collection[PoolKey],
    skus: Collection[str],
    nodes: Collection[str],
    *,
    is_locking: bool,
    also: Sequence[tuple[str, Mapping[str, Any]]] = (),
) -> tuple[Stock, list[Result]]:
    """Pools with all that is in them, in one round trip; and what else was to be read with them."""
    asked = sorted(keys)
    chosen = {
        "skus": [sku for sku, _ in asked],
        "nodes": [node for _, node in asked],
        "whole": sorted(skus),
        "named": sorted(set(nodes)),
    }
    first = [(_LIMITS, {"limit": f"{LOCK_SECONDS}s"})] if is_locking else []
    lapsed = _FREE_LAPSED if is_locking else _LAPSED
    results = together(
        connection,
        [
            *first,
            (_POOLS + (" FOR NO KEY UPDATE OF p" if is_locking else ""), chosen),
            # Only now, with the locks held, is it known what others left and what time it is.
            (lapsed, chosen),
            (_NOW, {}),
            (_POSITIONS, chosen),
            (_ALLOTMENTS, chosen),
            (_NODES, chosen),
            (_INBOUND, chosen),
            *also,
        ],
    )[len(first) :]
    rows, ended, now, positions, allotments, named, inbound = results[:7]
    pools = {
        (row.sku_id, row.location_id): Pool(
            row.sku_id,
            row.location_id,
            row.uom,
            row.needs_expiry,
            row.safety_qty,
            row.min_shelf_life_days,
            row.closed_reason,
        )
        for row in rows.rows
    }
    closed = {pool.location_id: pool.closed_reason for pool in pools.values()}
    stock = Stock(now.rows[0].now, pools, closed | {row.location_id: row.closed_reason for row in named.rows})
    for row in positions.rows:
        lot = Lot(
            row.id, row.lot_number, row.expires_on, row.on_hand_qty, row.reserved_qty, row.committed_qty,
            row.arrives_on, row.inbound,
        )  # fmt: skip
        if row.inbound:
            stock.coming[row.sku_id, row.location_id, row.inbound, row.lot_number] = lot
        else:
            pools[row.sku_id, row.location_id].lots.append(lot)
        stock.lots[row.id] = lot
        stock._reserved[row.id] = row.reserved_qty
    for row in allotments.rows:
        pool = pools[row.sku_id, row.location_id]
        pool.allotments[row.channel] = Allotment(row.channel, row.kind, row.qty, row.used_qty)
        stock._used[pool.key, row.channel] = row.used_qty
    for row in ended.rows:
        stock.lots[row.position_id].reserved -= row.qty
        pools[row.sku_id, row.location_id].use(row.channel, -row.qty)
    for row in inbound.rows:
        under_way = stock.coming.get((row.sku_id, row.location_id, row.inbound, row.lot_number))
        pools[row.sku_id, row.location_id].inbound.append(
            Inbound(
                row.kind,
                row.reference,
                row.left_qty,
                row.expected_on,
                row.lot_number,
                row.expires_on,
                under_way,
            )
        )
    return stock, results[7:]
