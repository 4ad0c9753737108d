"""Differences between the company's systems, planted one document at a time: what a reconciliation has to find.

What dirt does to documents makes differences, too: one that names no order, or an order that cannot be read, a promise that
nobody kept. They are as true as the planted ones, and stand on the same list.

Orders stay what they truly are. What others hold of them (payment, settlement, invoice, credit note, receipt of goods)
is at times late, doubled, missing or wrong. Each document draws for itself from (seed, system, document, key), so that
nothing changes when time passes or another system looks. A twin asks `draw`, changes what it shows and keeps what it
`plants`; the list is served apart, like the truth, to the scorer alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from connectors.sandbox import vocabulary as words
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.world import Channel, Order, World


class Cause(StrEnum):
    """The closed list of causes."""

    TIMING = "timing"
    FEE = "fee"
    FX = "fx"
    PARTIAL_RETURN = "partial_return"
    MISSING = "missing"
    DUPLICATE = "duplicate"
    TAX_ROUNDING = "tax_rounding"
    AMOUNT_MISMATCH = "amount_mismatch"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True)
class Planted:
    """One difference that a system shows against the order.

    Attributes:
        order_id: truth id of the order; of a document that reaches none, its own record id.
        system: whose document is late, doubled, missing or wrong.
        document: payment, settlement, refund, invoice, credit_note or receipt.
        amount: what the document shows too little, in `currency`; negative where it shows too much. For timing it is what is
            late, for fx what the rates make of it (0 where only the rates can tell).
    """

    order_id: str
    system: str
    document: str
    cause: Cause
    amount: Decimal
    currency: str


# How often a document is drawn, and how often each cause among those drawn.
_ODDS: Mapping[str, tuple[float, Mapping[Cause, int]]] = {
    "payment": (0.08, {Cause.MISSING: 2, Cause.DUPLICATE: 2, Cause.UNEXPLAINED: 1}),
    "settlement": (0.2, {Cause.MISSING: 2, Cause.DUPLICATE: 2, Cause.UNEXPLAINED: 1}),
    "invoice": (
        0.3,
        {
            Cause.TIMING: 2,
            Cause.FEE: 5,
            Cause.FX: 5,
            Cause.MISSING: 2,
            Cause.DUPLICATE: 2,
            Cause.TAX_ROUNDING: 3,
            Cause.AMOUNT_MISMATCH: 2,
            Cause.UNEXPLAINED: 1,
        },
    ),
    "credit_note": (0.6, {Cause.MISSING: 1, Cause.DUPLICATE: 1, Cause.TIMING: 1}),
    "receipt": (0.8, {Cause.PARTIAL_RETURN: 3, Cause.MISSING: 1}),
}
# A document is not missing before it is overdue; one that comes late does so after that. Marketplaces hold money back for two
# weeks from the day the goods leave.
_OVERDUE_DAYS = {"settlement": 21}
_USUALLY_OVERDUE_DAYS = 10
_LATE_DAYS = (16, 28)
_BOOKS = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True)
class Bill:
    """An invoice as an ERP booked it: `lines` are net amounts by line number, `copies` how often it is there."""

    posted_at: datetime
    net: Decimal
    tax: Decimal
    lines: Mapping[int, Decimal]
    copies: int = 1


@dataclass
class Differences:
    """The differences of one system over one world; `listed` holds what was planted so far."""

    world: World
    dirt: Dirt
    listed: list[Planted] = field(default_factory=list)

    def draw(self, document: str, order: Order, key: str = "") -> Cause | None:
        """Decide which cause, if any, a document of an order shows.

        Args:
            document: a document of `Planted`.
            order: the order it belongs to; what is only practised is left alone.
            key: tells several documents of one order apart.
        """
        if not self.dirt.has_differences or order.is_test:
            return None
        key = f"difference/{document}/{order.order_id}/{key}"
        share, weights = _ODDS[document]
        if self.dirt.fraction(key) >= share:
            return None
        drawn = self.dirt.fraction(f"{key}/cause") * sum(weights.values())
        for cause, weight in weights.items():
            drawn -= weight
            if drawn < 0:
                return cause
        raise AssertionError("a fraction below one is below the sum of the weights")

    def plant(
        self, document: str, order: Order, cause: Cause, amount: Decimal, due_from: datetime | None = None
    ) -> None:
        """Keep a difference on the list, if it shows by now: something missing does once it is overdue.

        Args:
            document, order, cause, amount: as in `Planted`.
            due_from: when the document could be expected first; when the order was placed by default.
        """
        if cause is Cause.MISSING and not self.is_overdue(document, order, due_from):
            return
        self.listed.append(Planted(order.order_id, self.dirt.system, document, cause, amount, order.currency))

    def is_overdue(self, document: str, order: Order, due_from: datetime | None = None) -> bool:
        """Whether a document that is not there counts as missing by now; arguments as in `plant`."""
        days = _OVERDUE_DAYS.get(document, _USUALLY_OVERDUE_DAYS)
        return (due_from or order.placed_at) + timedelta(days=days) <= self.world.now

    def astray(self, document: str, record_id: str, order: Order, amount: Decimal) -> None:
        """Keep a document that reaches no order, since it names none or one that cannot be read: its order is missing.

        Args:
            document, order: as in `Planted`.
            record_id: of the document.
            amount: what it states.
        """
        self.listed.append(
            Planted(record_id, self.dirt.system, document, Cause.MISSING, -amount, order.currency)
        )

    def billed(
        self, order: Order, posted_at: datetime, cause: Cause | None, fee: Decimal | None
    ) -> Bill | None:
        """Book an order's invoice with a cause drawn for it; None where it is missing.

        Args:
            order: what is billed.
            posted_at: when it is without a difference.
            cause: as drawn; fx is the caller's.
            fee: what the payment provider told the shop it keeps; None where nobody is told.
        """
        # Books keep the duty that was collected among the taxes.
        net, tax, key = order.net_amount, order.tax_amount + order.duty_amount, f"invoice/{order.order_id}"
        lines = {line.line_number: line.list_amount - line.discount_amount for line in order.lines}
        match cause:
            case Cause.MISSING:
                self.plant("invoice", order, cause, net + tax)
                return None
            case Cause.DUPLICATE:
                self.plant("invoice", order, cause, -(net + tax))
                return Bill(posted_at, net, tax, lines, copies=2)
            case Cause.TIMING:  # nobody knows when goods that are fetched ex works became due
                late_at = self.late(key, posted_at)
                if late_at is not None and order.channel is not Channel.DEALER:
                    self.plant("invoice", order, cause, net + tax)
                    return Bill(late_at, net, tax, lines)
            case Cause.FEE:  # booked is what the payment provider paid out
                if fee:
                    self.plant("invoice", order, cause, fee)
                    return Bill(posted_at, net - fee, tax, lines)
            case Cause.TAX_ROUNDING:  # tax on the sum instead of the sum of the lines' taxes
                if tax:
                    off = self._unit(order.currency) * self.dirt.number(f"{key}/off", 1, len(order.lines))
                    off = off if self.dirt.fraction(f"{key}/sign") < 0.5 or off >= tax else -off
                    self.plant("invoice", order, cause, -off)
                    return Bill(posted_at, net, tax + off, lines)
            case Cause.AMOUNT_MISMATCH:  # somebody typed another price on one line
                number = order.lines[self.dirt.number(f"{key}/line", 1, len(order.lines)) - 1].line_number
                off = self.part(key, lines[number], order.currency)
                self.plant("invoice", order, cause, -off)
                return Bill(posted_at, net + off, tax, lines | {number: lines[number] + off})
            case Cause.UNEXPLAINED:
                off = self.part(key, net, order.currency)
                self.plant("invoice", order, cause, off)
                return Bill(posted_at, net - off, tax, lines)
        return Bill(posted_at, net, tax, lines)

    def late(self, key: str, at: datetime) -> datetime | None:
        """When a document comes that is late; None if that is not by now."""
        late_at = at + timedelta(days=self.dirt.number(f"{key}/late-days", *_LATE_DAYS))
        return late_at if late_at <= self.world.now else None

    def part(self, key: str, amount: Decimal, currency: str) -> Decimal:
        """Draw an odd part of an amount, 1 to 9 %: at least three minor units more than rounding could make."""
        unit = self._unit(currency)
        share = Decimal(self.dirt.number(f"{key}/part", 1_037, 8_963)) / 100_000
        return max((amount * share).quantize(unit), 17 * unit)

    @staticmethod
    def _unit(currency: str) -> Decimal:
        return Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[currency])


def week_end(at: datetime) -> datetime:
    """Ten in the evening of a week's Sunday at the head office: when what is billed by the week is billed."""
    day = at.astimezone(_BOOKS)
    sunday = (day + timedelta(days=6 - day.weekday())).replace(hour=22, minute=0, second=0, microsecond=0)
    return sunday if at <= sunday else sunday + timedelta(days=7)


def dump_lines(planted: Iterable[Planted]) -> Iterator[str]:
    """Yield one JSON object per line, ending in a newline; amounts are text."""
    for item in planted:
        yield json.dumps({**vars(item), "amount": str(item.amount)}) + "\n"


def load_lines(lines: Iterable[str]) -> Iterator[Planted]:
    """Read what `dump_lines` wrote; blank lines are passed over."""
    for line in lines:
        if line.strip():
            found = json.loads(line)
            yield Planted(**{**found, "cause": Cause(found["cause"]), "amount": Decimal(found["amount"])})
