"""Stock of one SKU at one node: lots, what is taken of each, and what is kept back or set aside. Plain arithmetic.

A pool is a SKU at a node; everything that changes what is free there happens to a whole pool at a time, since safety
stock and allotments are said for the pool and not for a lot.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal

from oms_core.fulfilment.unit import usable

ZERO = Decimal(0)
_DAY = timedelta(days=1)
CAP = "cap"
RING_FENCE = "ring_fence"

PoolKey = tuple[str, str]  # (sku_id, location_id)


@dataclass
class Lot:
    """A position: one lot of a SKU at a node; "" is the lot of goods without one.

    Attributes:
        on_hand: what lies there, by the last release and the movements since; negative where books are wrong. Of goods under
            way: what is still to arrive.
        reserved: promised by reservations and allocations; never above what is on hand.
        committed: what the counting system says it has promised itself.
        arrives_on: of goods under way, when they are expected; None: they lie there.
        reference: of the delivery or transfer under way.
    """

    position_id: int
    lot_number: str
    expires_on: date | None
    on_hand: Decimal
    reserved: Decimal = ZERO
    committed: Decimal = ZERO
    arrives_on: date | None = None
    reference: str = ""

    @property
    def name(self) -> str:
        """Its number, and of goods under way what they come with."""
        return self.lot_number if self.arrives_on is None else f"{self.reference} {self.lot_number}".rstrip()

    def free(self, uom: str) -> Decimal:
        """What of the lot nobody was promised."""
        return usable(self.on_hand - self.reserved - self.committed, uom)


@dataclass
class Allotment:
    """What a channel may have of a pool.

    Attributes:
        kind: "cap", the channel gets no more than this; "ring_fence", no other channel gets what it has not used.
        used: what the channel was promised since the allotment was set, shipped goods included.
    """

    channel: str
    kind: str
    qty: Decimal
    used: Decimal = ZERO

    @property
    def left(self) -> Decimal:
        """What the channel has not used of it."""
        return max(self.qty - self.used, ZERO)


@dataclass(frozen=True)
class Inbound:
    """Goods on their way to a pool: ordered from a supplier, or in transit from another node.

    Attributes:
        lot: what is promised of them.
    """

    kind: str
    reference: str
    qty: Decimal
    expected_on: date
    lot_number: str
    expires_on: date | None
    lot: Lot | None = None

    @property
    def reserved(self) -> Decimal:
        """What of them is promised."""
        return ZERO if self.lot is None else self.lot.reserved

    @property
    def due(self) -> date:
        """When they are expected, as last told."""
        return self.expected_on if self.lot is None or self.lot.arrives_on is None else self.lot.arrives_on


@dataclass
class Pool:
    """A SKU at a node.

    Attributes:
        uom: unit of all its quantities, UN/ECE Rec 20.
        needs_expiry: goods that perish (cold chain): a lot whose date nobody knows is not promised.
        safety: quantity kept back from every channel.
        min_shelf_life_days: how long goods stay good after the promised date, where a request does not say.
    """

    sku_id: str
    location_id: str
    uom: str
    needs_expiry: bool = False
    safety: Decimal = ZERO
    min_shelf_life_days: int = 0
    closed_reason: str | None = None
    lots: list[Lot] = field(default_factory=list)
    allotments: dict[str, Allotment] = field(default_factory=dict)
    inbound: list[Inbound] = field(default_factory=list)

    @property
    def key(self) -> PoolKey:
        """What it is locked and found by."""
        return self.sku_id, self.location_id

    def good_until(self, promised_on: date, min_shelf_life_days: int | None) -> date:
        """The day up to which goods promised for a date must be good."""
        days = self.min_shelf_life_days if min_shelf_life_days is None else min_shelf_life_days
        return promised_on + timedelta(days=days)

    def is_good(self, expires_on: date | None, until: date) -> bool:
        """Whether goods with that date are good until a day. Unknown is good enough only where nothing perishes."""
        return not self.needs_expiry if expires_on is None else expires_on >= until

    def good_lots(self, until: date) -> list[Lot]:
        """Lots that are good until a day, first expired first."""
        good = [lot for lot in self.lots if self.is_good(lot.expires_on, until)]
        return sorted(good, key=lambda lot: (lot.expires_on or date.max, lot.lot_number))

    def set_aside(self, channel: str | None) -> Decimal:
        """Safety stock, and what other channels have not used of their ring fences."""
        fences = (
            item.left
            for item in self.allotments.values()
            if item.kind == RING_FENCE and item.channel != channel
        )
        return self.safety + sum(fences, ZERO)

    def available(
        self, channel: str | None, until: date, today: date, coming_by: date | None = None
    ) -> Decimal:
        """Available-to-promise: what a channel can be promised of goods that are good until a day.

        Args:
            channel: None asks for no channel in particular: what is ring-fenced is not for it.
            until: the lots must be good on that day.
            today: lots that are not good today cover neither a promise nor safety stock.
            coming_by: a day after today: also count what is expected by then. What is overdue is counted nowhere.

        Returns:
            Quantity in the pool's unit, zero where there is none.
        """
        coming = [] if coming_by is None else self.coming(today, coming_by)
        fit = sum((lot.free(self.uom) for lot in self.good_lots(until)), ZERO)
        fit += sum(
            (item.qty - item.reserved for item in coming if self.is_good(item.expires_on, until)), ZERO
        )
        whole = sum((lot.free(self.uom) for lot in self.good_lots(today)), ZERO)
        whole += sum(
            (item.qty - item.reserved for item in coming if self.is_good(item.expires_on, today)), ZERO
        )
        free = min(fit, whole - self.set_aside(channel))
        own = self.allotments.get(channel) if channel is not None else None
        if own is not None and own.kind == CAP:
            free = min(free, own.left)
        return usable(free, self.uom)

    def coming(self, today: date, by: date) -> list[Inbound]:
        """What is expected from today to a later day, first expected first; what is overdue counts nowhere."""
        found = [item for item in self.inbound if by > today and today <= item.due <= by]
        return sorted(found, key=lambda item: (item.due, item.reference, item.lot_number))

    def take_coming(self, qty: Decimal, until: date, today: date, by: date) -> list[tuple[Lot, Decimal]]:
        """Reserve up to a quantity of what arrives by a day and is good until another, first expected first."""
        taken: list[tuple[Lot, Decimal]] = []
        for item in self.coming(today, by):
            if item.lot is not None and self.is_good(item.expires_on, until):
                part = min(item.lot.free(self.uom), qty)
                if part > 0:
                    item.lot.reserved += part
                    taken.append((item.lot, part))
                    qty -= part
        return taken

    def take(self, qty: Decimal, until: date) -> list[tuple[Lot, Decimal]]:
        """Reserve a quantity that is available, first expired first.

        Raises:
            ValueError: the good lots hold less; nothing is taken.
        """
        taken: list[tuple[Lot, Decimal]] = []
        for lot in self.good_lots(until):
            part = min(lot.free(self.uom), qty)
            if part > 0:
                taken.append((lot, part))
                qty -= part
        if qty > 0:
            raise ValueError(f"{self.sku_id} at {self.location_id} has {qty} less than was to be taken")
        for lot, part in taken:
            lot.reserved += part
        return taken

    def use(self, channel: str, qty: Decimal) -> None:
        """Count a promise to a channel, or with a negative quantity its end, against the channel's allotment."""
        own = self.allotments.get(channel)
        if own is not None:
            own.used = max(own.used + qty, ZERO)


def profile(
    pool: Pool, channel: str | None, today: date, min_shelf_life_days: int | None
) -> list[tuple[date, Decimal]]:
    """Available-to-promise from day to day: today's, and that of each day on which something is expected.

    Goods must be good on the day they are promised for, and the minimum shelf life longer.
    """
    days = sorted(
        {today, *(max(item.expected_on, today + _DAY) for item in pool.inbound if item.expected_on >= today)}
    )
    return [
        (day, pool.available(channel, pool.good_until(day, min_shelf_life_days), today, coming_by=day))
        for day in days
    ]


def by_free(
    pools: Iterable[Pool], channel: str | None, promised_on: date, days: int | None, today: date
) -> list[Pool]:
    """Pools with most available first; those with equally much in the order of their ids."""
    return sorted(
        pools,
        key=lambda pool: (
            -pool.available(channel, pool.good_until(promised_on, days), today),
            pool.location_id,
        ),
    )
