"""What happens to goods between two releases: receipts, issues, counts, goods under way. Plain arithmetic.

A release says what lay somewhere when it was counted. A movement that the source's books took up later stands on top of it;
one that is older is in the count already. Movements are taken in the order in which books took them up, not in the order
in which they arrive here, so that a late one changes nothing it should not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.reservation import ALLOCATED, HELD, Hold, Reservation
from oms_core.fulfilment.stock import ZERO, Pool, PoolKey

RECEIPT = "receipt"
ISSUE = "issue"
ADJUSTMENT = "adjustment"
COUNT = "count"
ANNOUNCEMENT = "announcement"
TRANSFER_SHIPPED = "transfer_shipped"
TRANSFER_RECEIVED = "transfer_received"
_SIGNS: Mapping[str, int] = {
    RECEIPT: 1,
    ISSUE: -1,
    ADJUSTMENT: 1,
    TRANSFER_SHIPPED: -1,
    TRANSFER_RECEIVED: 1,
    ANNOUNCEMENT: 0,
}
MOST_AHEAD = timedelta(minutes=5)  # clocks of two systems differ by less


@dataclass(frozen=True)
class Movement:
    """One movement, as a WMS, a till or the OMS tells it.

    Attributes:
        source_system, movement_id: who tells it and its own name there; told again it changes nothing.
        kind: receipt, issue, adjustment (signed), count (what lies there), announcement (a supplier's delivery to come; the
            newest of a reference holds, 0 calls it off), transfer_shipped (leaves here, is in transit to `to_location_id`),
            transfer_received.
        qty: in the SKU's unit.
        recorded_at: when the source's books took it up (aware).
        reference: of the delivery or transfer; a receipt with one is taken off what is expected.
        expected_on: when an announced or shipped quantity arrives.
        reservation_id: whose goods are issued.
    """

    source_system: str
    movement_id: str
    kind: str
    sku_id: str
    location_id: str
    qty: Decimal
    recorded_at: datetime
    body_sha256: bytes
    lot_number: str = ""
    uom: str | None = None
    expires_on: date | None = None
    reference: str | None = None
    expected_on: date | None = None
    to_location_id: str | None = None
    reservation_id: str | None = None

    @property
    def key(self) -> PoolKey:
        """The pool it happens in."""
        return self.sku_id, self.location_id


@dataclass(frozen=True)
class Step:
    """What a movement does to what is on hand: sets it, or changes it."""

    recorded_at: datetime
    seq: int
    kind: str
    qty: Decimal

    def on(self, before: Decimal) -> Decimal:
        """On hand after it."""
        return self.qty if self.kind == COUNT else before + _SIGNS[self.kind] * self.qty


def fold(base: Decimal, counted_at: datetime | None, steps: Iterable[Step]) -> Decimal:
    """What is on hand: the base, and on top of it the steps that are newer than its count, in the order of the books.

    Args:
        counted_at: watermark of the base; None: nothing was counted, every step is on top.
    """
    newer = [step for step in steps if counted_at is None or step.recorded_at > counted_at]
    for step in sorted(newer, key=lambda item: (item.recorded_at, item.seq)):
        base = step.on(base)
    return base


def check(movement: Movement, now: datetime) -> None:
    """Refuse what cannot have happened.

    Raises:
        RequestError: it is from the future, or says too little or too much for its kind.
    """
    if movement.recorded_at > now + MOST_AHEAD:
        raise RequestError(
            "from-the-future",
            f"movement {movement.movement_id} was recorded at {movement.recorded_at.isoformat()}, and it is "
            f"{now.isoformat(timespec='seconds')}: check the clock of {movement.source_system}",
        )
    is_under_way = movement.kind in (ANNOUNCEMENT, TRANSFER_SHIPPED)
    if is_under_way != (movement.expected_on is not None):
        raise RequestError(
            "bad-movement",
            f"`expected_on` belongs to what is under way, and to nothing else: {movement.kind}",
        )
    if (movement.kind == TRANSFER_SHIPPED) != (movement.to_location_id is not None):
        raise RequestError(
            "bad-movement", f"`to_location` belongs to transfer_shipped, and to nothing else: {movement.kind}"
        )
    if movement.to_location_id == movement.location_id:
        raise RequestError("bad-movement", f"movement {movement.movement_id} goes to where it comes from")
    if movement.kind in (ANNOUNCEMENT, TRANSFER_SHIPPED, TRANSFER_RECEIVED) and not movement.reference:
        raise RequestError("bad-movement", f"{movement.kind} needs the reference of the delivery or transfer")
    if movement.reservation_id is not None and movement.kind != ISSUE:
        raise RequestError("bad-movement", "only an issue names a reservation")


def issue_for(made: Reservation, movement: Movement) -> None:
    """Take issued goods off what a reservation holds: of their own lot first, then of others at the node.

    Raises:
        RequestError: it does not hold so much there; nothing changed.
    """
    held = [hold for hold in made.holds if hold.key == movement.key and hold.lot.arrives_on is None]
    held.sort(
        key=lambda hold: (hold.lot.lot_number != movement.lot_number, hold.lot.lot_number, hold.line_number)
    )
    if sum((hold.qty for hold in held), ZERO) < movement.qty:
        raise RequestError(
            "not-held",
            f"{made.reservation_id} holds less than {movement.qty:f} of {movement.sku_id} at {movement.location_id}",
        )
    left = movement.qty
    lines = {line.line_number: line for line in made.lines}
    for hold in held:
        part = min(hold.qty, left)
        hold.qty -= part
        hold.lot.reserved -= part
        lines[hold.line_number].issued += part
        left -= part
    made.holds = [hold for hold in made.holds if hold.qty > 0]
    if not made.holds:
        made.state = "fulfilled"
        made.expires_at = None


def is_late(made: Reservation) -> bool:
    """Whether it holds goods under way that arrive after the date for which they are promised."""
    days = {line.line_number: line.promised_on for line in made.lines}
    return any(
        hold.lot.arrives_on is not None and hold.lot.arrives_on > days[hold.line_number]
        for hold in made.holds
    )


def cover(
    pool: Pool, holders: Sequence[Reservation], now: datetime, arrived: Mapping[int, Decimal] | None = None
) -> list[Reservation]:
    """Make what is promised of a pool true again, after goods arrived or less turned out to be there or to come.

    What arrived goes to those who were promised it, allocations first and then the earliest reservation. Each lot that holds
    more than there is loses holds, the latest reservation first and allocations last. A lost hold moves to another good lot
    of the pool, or to goods that arrive by its date, if one has it free; what none has is lost to its line, which says so.

    Args:
        arrived: position of goods under way -> what came of them.

    Returns:
        The reservations that changed.
    """
    changed: dict[str, Reservation] = {}
    order = sorted(
        holders, key=lambda item: (item.state == ALLOCATED, -item.made_at.timestamp(), item.reservation_id)
    )
    coming = [item.lot for item in pool.inbound if item.lot is not None]
    for lot in coming:
        left = max((arrived or {}).get(lot.position_id, ZERO), lot.reserved - max(lot.on_hand, ZERO))
        for made in reversed(order):
            for hold in [item for item in made.holds if item.lot is lot]:
                moved = _refill(pool, made, hold, min(left, hold.qty), now)
                hold.qty -= moved
                lot.reserved -= moved
                left -= moved
                if moved:
                    changed[made.reservation_id] = made
    for lot in [*pool.lots, *coming]:
        over = lot.reserved - max(lot.on_hand, ZERO)
        for made in order:
            for hold in [item for item in made.holds if item.lot is lot]:
                if over <= 0:
                    break
                part = min(over, hold.qty)
                over -= part
                hold.qty -= part
                lot.reserved -= part
                _move(pool, made, hold, part, now)
                changed[made.reservation_id] = made
    for made in changed.values():
        merged: dict[tuple[int, int], Hold] = {}
        for hold in made.holds:
            known = merged.setdefault((hold.line_number, hold.lot.position_id), hold)
            if known is not hold:
                known.qty += hold.qty
        made.holds = [hold for hold in merged.values() if hold.qty > 0]
        if not made.holds and made.state in (HELD, ALLOCATED):
            made.state = "fulfilled" if any(line.issued for line in made.lines) else "released"
            made.expires_at = None
    return list(changed.values())


def _move(pool: Pool, made: Reservation, hold: Hold, part: Decimal, now: datetime) -> None:
    line = next(item for item in made.lines if item.line_number == hold.line_number)
    part -= _refill(pool, made, hold, part, now)
    until = pool.good_until(max(line.promised_on, now.date()), line.min_shelf_life_days)
    for lot, qty in pool.take_coming(part, until, now.date(), line.promised_on):
        made.holds.append(Hold(hold.line_number, *pool.key, lot, qty))
        part -= qty
    line.lost += part
    pool.use(made.channel, -part)


def _refill(pool: Pool, made: Reservation, hold: Hold, part: Decimal, now: datetime) -> Decimal:
    """Hold up to a quantity of good lots that lie there instead; how much it was."""
    line = next(item for item in made.lines if item.line_number == hold.line_number)
    until = pool.good_until(max(line.promised_on, now.date()), line.min_shelf_life_days)
    left = part
    for lot in pool.good_lots(until):
        moved = min(lot.free(pool.uom), left)
        if moved > 0:
            lot.reserved += moved
            made.holds.append(Hold(hold.line_number, *pool.key, lot, moved))
            left -= moved
    return part - left
