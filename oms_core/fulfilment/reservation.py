"""Promises: what is asked for, what was reserved, and the rules by which stock is given out and taken back.

Plain functions on pools that the caller holds; `ledger.py` reads them, locks them and writes them back. A function that
raises has changed nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal

from oms_core.fulfilment.errors import ForeignError, RefusedError, RequestError, UnknownError
from oms_core.fulfilment.stock import ZERO, Lot, Pool, PoolKey, by_free
from oms_core.fulfilment.unit import check_quantity, plain_quantity

HELD = "held"
ALLOCATED = "allocated"
FULFILLED = "fulfilled"
RELEASED = "released"
EXPIRED = "expired"
LONGEST_TTL = timedelta(days=30)
MOST_LINES = 200


@dataclass(frozen=True)
class Line:
    """One line of a request.

    Attributes:
        location_ids: nodes it may come from, best first; none: any open node, the one with most first.
        promised_on: date the customer is promised; None: today.
        min_shelf_life_days: how long goods must stay good after that date; None: as the SKU's policy says.
    """

    sku_id: str
    qty: Decimal
    uom: str | None = None
    location_ids: tuple[str, ...] = ()
    promised_on: date | None = None
    min_shelf_life_days: int | None = None


@dataclass(frozen=True)
class Ask:
    """A request for a reservation.

    Attributes:
        key: the tenant's own name for the request; the same key with another body is refused.
        body_sha256: of what was asked, in canonical form.
        is_partial: give what there is; otherwise everything or nothing.
        from_inbound: what does not lie there may be promised of what arrives by the promised date.
    """

    tenant: str
    key: str
    body_sha256: bytes
    by: str
    channel: str
    lines: tuple[Line, ...]
    ttl: timedelta
    is_partial: bool = False
    order_reference: str | None = None
    from_inbound: bool = False


@dataclass
class Hold:
    """A quantity of one lot, there or under way, that a line of a reservation holds."""

    line_number: int
    sku_id: str
    location_id: str
    lot: Lot
    qty: Decimal

    @property
    def key(self) -> PoolKey:
        """The pool it holds from."""
        return self.sku_id, self.location_id


@dataclass
class ReservedLine:
    """One line of a reservation.

    Attributes:
        asked, granted: granted is less than asked in partial reservations only.
        issued: what left the node for it.
        lost: what was granted, and then turned out not to be there (a count, a release), nor anywhere else at the node.
        good_until: the goods must be good on that day.
    """

    line_number: int
    sku_id: str
    uom: str
    asked: Decimal
    granted: Decimal
    promised_on: date
    min_shelf_life_days: int | None
    issued: Decimal = ZERO
    lost: Decimal = ZERO


@dataclass
class Reservation:
    """What a tenant was promised.

    Attributes:
        state: held (until `expires_at`), allocated, fulfilled or released; a held one whose time is over is expired.
    """

    reservation_id: str
    tenant: str
    key: str
    body_sha256: bytes
    channel: str
    order_reference: str | None
    state: str
    made_at: datetime
    made_by: str
    expires_at: datetime | None
    lines: list[ReservedLine] = field(default_factory=list)
    holds: list[Hold] = field(default_factory=list)

    def state_at(self, now: datetime) -> str:
        """State at an instant."""
        is_over = self.state == HELD and self.expires_at is not None and self.expires_at <= now
        return EXPIRED if is_over else self.state


def check_ttl(ttl: timedelta) -> None:
    """Refuse a time to live that is none, or longer than stock may be kept from others.

    Raises:
        RequestError: it is not above zero and up to `LONGEST_TTL`.
    """
    if not timedelta(0) < ttl <= LONGEST_TTL:
        raise RequestError(
            "bad-ttl",
            f"a reservation lasts more than 0 and at most {LONGEST_TTL.days} days, not {ttl.total_seconds():g} s",
        )


def reserve(
    ask: Ask,
    pools: Mapping[PoolKey, Pool],
    known_nodes: Mapping[str, str | None],
    reservation_id: str,
    now: datetime,
) -> Reservation:
    """Give out stock for a request.

    Args:
        pools: every pool the lines may come from, held by the caller; changed by what is given out.
        known_nodes: location_id -> why it is closed, None while it is open.
        now: aware UTC; its date is today.

    Raises:
        RequestError: a quantity, unit or time makes no sense.
        UnknownError: a SKU has no stock record anywhere, or a node is none.
        RefusedError: a named node is closed, or there is too little (of everything, for a partial request).
    """
    check_ttl(ask.ttl)
    if not 0 < len(ask.lines) <= MOST_LINES:
        raise RequestError("bad-request", f"a reservation has 1 to {MOST_LINES} lines, not {len(ask.lines)}")
    today = now.date()
    candidates = [_candidates(line, pools, known_nodes) for line in ask.lines]
    for line, found in zip(ask.lines, candidates, strict=True):
        check_quantity(line.qty, found[0].uom, asked_uom=line.uom)
        if line.promised_on is not None and line.promised_on < today:
            raise RequestError("bad-date", f"{line.promised_on} is past: promise today or later")
    holds: list[Hold] = []
    lines: list[ReservedLine] = []
    for number, (line, found) in enumerate(zip(ask.lines, candidates, strict=True), 1):
        promised_on = line.promised_on or today
        days = line.min_shelf_life_days
        left = line.qty
        open_pools = [pool for pool in found if pool.closed_reason is None]
        if not line.location_ids:
            open_pools = by_free(open_pools, ask.channel, promised_on, days, today)
        for pool in open_pools:
            until = pool.good_until(promised_on, days)
            part = min(left, pool.available(ask.channel, until, today))
            if part > 0:
                taken = pool.take(part, until)
                pool.use(ask.channel, part)
                holds += [Hold(number, pool.sku_id, pool.location_id, lot, qty) for lot, qty in taken]
                left -= part
            if not left:
                break
        for pool in open_pools if ask.from_inbound and left else ():
            until = pool.good_until(promised_on, days)
            part = min(left, pool.available(ask.channel, until, today, coming_by=promised_on))
            taken = pool.take_coming(part, until, today, promised_on)
            for lot, qty in taken:
                pool.use(ask.channel, qty)
                holds.append(Hold(number, pool.sku_id, pool.location_id, lot, qty))
                left -= qty
        lines.append(
            ReservedLine(number, line.sku_id, found[0].uom, line.qty, line.qty - left, promised_on, days)
        )
    is_short = any(line.granted < line.asked for line in lines)
    if not holds or (is_short and not ask.is_partial):
        give_back(holds, pools, ask.channel)
        raise RefusedError(
            "insufficient-stock",
            "there is too little: "
            + "; ".join(
                f"line {line.line_number} of {line.sku_id} asks {plain_quantity(line.asked)} {line.uom}, {plain_quantity(line.granted)} can be had"
                for line in lines
                if line.granted < line.asked
            ),
            {
                "lines": [
                    {"line_number": line.line_number, "asked_qty": plain_quantity(line.asked), "available_qty": plain_quantity(line.granted)}
                    for line in lines
                ]
            },
        )  # fmt: skip
    return Reservation(
        reservation_id, ask.tenant, ask.key, ask.body_sha256, ask.channel, ask.order_reference, HELD, now, ask.by,
        now + ask.ttl, lines, holds,
    )  # fmt: skip


def replay(ask: Ask, made: Reservation) -> Reservation:
    """The reservation that a request made before.

    Raises:
        RefusedError: it was another request under the same key.
    """
    if ask.body_sha256 != made.body_sha256:
        raise RefusedError(
            "key-reused",
            f"the idempotency key {ask.key!r} was used for another request, which made {made.reservation_id}: "
            "take a new key for a new request",
            {"reservation_id": made.reservation_id},
        )
    return made


def give_back(holds: Sequence[Hold], pools: Mapping[PoolKey, Pool], channel: str) -> None:
    """Free what holds hold."""
    for hold in holds:
        hold.lot.reserved -= hold.qty
        pools[hold.key].use(channel, -hold.qty)


def release(made: Reservation, pools: Mapping[PoolKey, Pool], now: datetime) -> bool:
    """Give a reservation or an allocation up. What was issued stays issued; ending it twice changes nothing.

    Returns:
        Whether anything changed.

    Raises:
        RefusedError: it is fulfilled; goods that left come back as a receipt.
    """
    if made.state == FULFILLED:
        raise RefusedError(
            "reservation-state", f"{made.reservation_id} is fulfilled: goods that come back are a receipt"
        )
    if made.state_at(now) in (RELEASED, EXPIRED):
        return False
    give_back(made.holds, pools, made.channel)
    made.holds = []
    made.state = RELEASED
    made.expires_at = None
    return True


def extend(made: Reservation, ttl: timedelta, now: datetime, seen: datetime | None = None) -> None:
    """Let a reservation last until `ttl` from now, if that is later than it lasts anyway.

    Args:
        seen: when it was to expire, as the caller saw it; None: whenever.

    Raises:
        RefusedError: it does not hold any more, is allocated and so has no end, or expires at another time than was seen.
    """
    check_ttl(ttl)
    _check_holding(made, now)
    if made.state == ALLOCATED or made.expires_at is None:
        raise RefusedError("reservation-state", f"{made.reservation_id} is allocated: it does not expire")
    if seen is not None and seen != made.expires_at:
        raise RefusedError(
            "revision-past",
            f"{made.reservation_id} expires at {made.expires_at.isoformat()}, and was seen to at {seen.isoformat()}: "
            "it was extended since",
            {"expires_at": made.expires_at.isoformat()},
        )
    made.expires_at = max(made.expires_at, now + ttl)


def allocate(made: Reservation, pools: Mapping[PoolKey, Pool], now: datetime) -> bool:
    """Turn a reservation into an allocation: lots are chosen anew, first expired first, and it no longer expires.

    What it holds of goods under way it goes on holding; when they arrive it holds the lots that came.

    Returns:
        Whether anything changed; an allocation is one already.

    Raises:
        RefusedError: it does not hold any more, a node closed since, or a lot is no longer good and no other is left.
    """
    _check_holding(made, now)
    if made.state == ALLOCATED:
        return False
    lines = {line.line_number: line for line in made.lines}
    wanted: dict[tuple[int, PoolKey], Decimal] = {}
    coming = [hold for hold in made.holds if hold.lot.arrives_on is not None]
    there = [hold for hold in made.holds if hold.lot.arrives_on is None]
    for hold in there:
        wanted[hold.line_number, hold.key] = wanted.get((hold.line_number, hold.key), ZERO) + hold.qty
    for _number, key in wanted:
        if pools[key].closed_reason is not None:
            raise _closed(key[1], pools[key].closed_reason)
    for hold in there:
        hold.lot.reserved -= hold.qty
    chosen: list[Hold] = []
    # The most demanding first: what must last longest has fewest lots to choose from.
    order = sorted(wanted, key=lambda item: _until(lines[item[0]], pools[item[1]], now.date()), reverse=True)
    try:
        for number, key in order:
            taken = pools[key].take(wanted[number, key], _until(lines[number], pools[key], now.date()))
            chosen += [Hold(number, *key, lot, qty) for lot, qty in taken]
    except ValueError as error:
        for hold in chosen:
            hold.lot.reserved -= hold.qty
        for hold in there:
            hold.lot.reserved += hold.qty
        raise RefusedError(
            "insufficient-stock",
            f"{made.reservation_id} holds a lot that is no longer good, and no other is free: {error}. "
            "Release it and reserve anew.",
        ) from error
    made.holds = [*chosen, *coming]
    made.state = ALLOCATED
    made.expires_at = None
    return True


def check_tenant(made: Reservation, tenant: str) -> None:
    """Refuse another tenant's reservation.

    Raises:
        ForeignError: it is not the tenant's.
    """
    if made.tenant != tenant:
        raise ForeignError("other-tenant", f"{made.reservation_id} was made by another tenant")


def unknown_reservation(reservation_id: str) -> UnknownError:
    """There is no such reservation."""
    return UnknownError("unknown-reservation", f"there is no reservation {reservation_id!r}")


def _until(line: ReservedLine, pool: Pool, today: date) -> date:
    return pool.good_until(max(line.promised_on, today), line.min_shelf_life_days)


def _check_holding(made: Reservation, now: datetime) -> None:
    state = made.state_at(now)
    if state == EXPIRED:
        raise RefusedError(
            "reservation-expired",
            f"{made.reservation_id} expired at {made.expires_at:%Y-%m-%dT%H:%M:%SZ}, and what it held may be promised "
            "to others: reserve anew, under a new key",
        )
    if state not in (HELD, ALLOCATED):
        raise RefusedError("reservation-state", f"{made.reservation_id} is {state} and holds nothing")


def _candidates(
    line: Line, pools: Mapping[PoolKey, Pool], known_nodes: Mapping[str, str | None]
) -> list[Pool]:
    if line.min_shelf_life_days is not None and not 0 <= line.min_shelf_life_days <= 36_500:
        raise RequestError("bad-request", f"a shelf life of {line.min_shelf_life_days} days makes no sense")
    for location_id in line.location_ids:
        if location_id not in known_nodes:
            raise UnknownError("unknown-node", f"{location_id!r} is no node that keeps stock")
        if known_nodes[location_id] is not None:
            raise _closed(location_id, known_nodes[location_id])
    if line.location_ids:
        found = [
            pools[line.sku_id, node]
            for node in dict.fromkeys(line.location_ids)
            if (line.sku_id, node) in pools
        ]
    else:
        found = [pool for key, pool in sorted(pools.items()) if key[0] == line.sku_id]
    if not found:
        where = f" at {', '.join(line.location_ids)}" if line.location_ids else ""
        raise UnknownError("unknown-sku", f"nothing was ever counted of SKU {line.sku_id!r}{where}")
    return found


def _closed(location_id: str, reason: str | None) -> RefusedError:
    return RefusedError(
        "node-closed", f"node {location_id} is closed ({reason}): name another, or wait until it opens"
    )
