"""The dealers' rebates as files: agreements, a claim per dealer and month, our answers to the claims.

Dealers in Europe whose currency is the euro write EDIFACT; of the others, those whose number leaves 0 when divided by three
write X12, the rest CSV, or XLSX where they are in China. We answer in the form of the claim. Claims of
a month are sent on the 5th of the next one and answered on the 25th: most are paid, some in part, some disputed. Beside
them lie files that nothing can be made of: an interchange cut off, and one whose trailer counts wrongly; both are bad
copies of good ones.

Source: ANSI ASC X12 005010, transaction sets 844, 845, 849; UN/EDIFACT directory D.96A, messages INVOIC and REMADV.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path
from typing import Any

import openpyxl

from connectors.sandbox import vocabulary as words
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.edifact import Segment, write_interchange
from connectors.sandbox.files import saved_workbook
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Customer, Order, OrderLine, World

_AGREEMENT_HEADERS = (
    "Agreement", "Dealer Code", "Dealer", "Country", "Scope", "Scope Code", "Basis", "Rate", "From Amount", "Currency",
    "Valid From", "Valid Until",
)  # fmt: skip
_CLAIM_HEADERS = (
    "Claim No.", "Line", "Agreement", "Dealer Code", "Order No.", "Item Code", "Qty", "Net Amount", "Claimed", "Currency",
    "Claim Date",
)  # fmt: skip
_CLAIM_HEADERS_ZH = (
    "返利单号", "行号", "协议号", "经销商编码", "订单号", "商品编码", "数量", "净额", "申请金额", "币种", "申请日期",
)  # fmt: skip
_SETTLEMENT_HEADERS = (
    "Settlement No.", "Claim No.", "Line", "Dealer Code", "Status", "Settled", "Currency", "Settled On", "Reason",
)  # fmt: skip
_YEAR = 2026
_US = "LUNABEAUTY"


@dataclass(frozen=True)
class Agreement:
    """What a dealer gets back: (net sales of the month from which a rate counts, rate) per tier, lowest first."""

    code: str
    dealer: Customer
    scope_type: str
    scope_code: str | None
    basis: str
    tiers: tuple[tuple[Decimal, Decimal], ...]
    currency: str


@dataclass(frozen=True)
class ClaimLine:
    """One line of a claim, and its answer once there is one."""

    claim_number: str
    line_number: int
    agreement: Agreement
    order: Order
    line: OrderLine
    order_number: str  # as the dealer writes it
    sku_code: str
    base_amount: Decimal
    claimed_amount: Decimal
    claimed_on: date
    settled_on: date | None
    status: str  # claimed, paid, partial or disputed
    settled_amount: Decimal | None


def dealer_code(dealer: Customer) -> str:
    """The dealer's code, as in its order exports."""
    return f"DLR-{int(dealer.customer_id[1:]):04d}"


def known_number(order: Order) -> str:
    """The number the dealer has of an order: its own, or what our books confirmed it by."""
    return order.number if order.channel is Channel.DEALER else order.erp_number or order.number


def agreements(world: World, dirt: Dirt) -> list[Agreement]:
    """Every agreement of the year: dealers all have one, three in five other business customers do."""
    found: dict[str, Agreement] = {}
    for order in world.orders.values():
        if order.channel not in (Channel.DEALER, Channel.B2B) or order.customer_id is None:
            continue
        dealer = world.customers[order.customer_id]
        key = f"agreement/{dealer.customer_id}"
        if order.channel is Channel.B2B and dirt.fraction(f"{key}/has") >= 0.6:
            continue
        if dealer.customer_id not in found:
            found[dealer.customer_id] = _agreement(world, dirt, dealer, order.currency, key)
    return [found[key] for key in sorted(found)]


def _agreement(world: World, dirt: Dirt, dealer: Customer, currency: str, key: str) -> Agreement:
    code = f"AGR-{_YEAR}-{int(dealer.customer_id[1:]):04d}"
    unit = words.PRICE_LIST_RATE[currency]
    match dirt.number(f"{key}/kind", 0, 3):
        case 0:
            tiers = ((Decimal(0), Decimal("2.00")), ((20000 * unit).quantize(Decimal("1")), Decimal("4.50")))
            return Agreement(code, dealer, "all", None, "percent", tiers, currency)
        case 1:
            categories = sorted({product.category for product in world.products.values()})
            return Agreement(
                code, dealer, "category", dirt.pick(f"{key}/category", categories), "percent",
                ((Decimal(0), Decimal("6.00")),), currency,
            )  # fmt: skip
        case 2:
            per_unit = max((unit * Decimal("1.5")).quantize(_unit(currency)), _unit(currency))
            return Agreement(code, dealer, "all", None, "per_unit", ((Decimal(0), per_unit),), currency)
        case _:
            return Agreement(code, dealer, "all", None, "percent", ((Decimal(0), Decimal("3.25")),), currency)


def _unit(currency: str) -> Decimal:
    return Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[currency])


def claims(world: World, dirt: Dirt) -> list[ClaimLine]:
    """Every line claimed by now, with the answers given by now; by dealer, month and order."""
    found: list[ClaimLine] = []
    by_dealer = {agreement.dealer.customer_id: agreement for agreement in agreements(world, dirt)}
    months: dict[tuple[str, date], list[Order]] = {}
    for order in world.orders.values():
        is_trade = order.channel in (Channel.DEALER, Channel.B2B)
        if is_trade and order.customer_id in by_dealer and order.cancelled_at is None:
            month = order.placed_at.date().replace(day=1)
            months.setdefault((str(order.customer_id), month), []).append(order)
    for (dealer_id, month), orders in sorted(months.items()):
        claimed_on = (month + timedelta(days=32)).replace(day=5)
        if datetime(claimed_on.year, claimed_on.month, claimed_on.day, 12, tzinfo=UTC) <= world.now:
            found += _claim(world, dirt, by_dealer[dealer_id], month, claimed_on, orders)
    return found


def _claim(
    world: World, dirt: Dirt, agreement: Agreement, month: date, claimed_on: date, orders: list[Order]
) -> Iterator[ClaimLine]:
    orders = [order for order in orders if order.currency == agreement.currency]
    sales = sum(
        (line.list_amount - line.discount_amount for order in orders for line in order.lines), Decimal(0)
    )
    rate = [rate for threshold, rate in agreement.tiers if sales >= threshold][-1]
    number = f"RC-{month:%y%m}-{int(agreement.dealer.customer_id[1:]):04d}"
    settled_on = claimed_on.replace(day=25)
    is_answered = datetime(settled_on.year, settled_on.month, settled_on.day, 12, tzinfo=UTC) <= world.now
    line_number = 0
    for order in orders:
        written = dirt.order_number(known_number(order), f"claim/{order.order_id}")
        if dirt.chance(f"claim/{order.order_id}/prefix", 0.15):
            written = f"PO {written}"
        for line in order.lines:
            if agreement.scope_type == "category" and (
                world.products[line.product_id].category != agreement.scope_code
            ):
                continue
            base = line.list_amount - line.discount_amount
            amount = base * rate / 100 if agreement.basis == "percent" else rate * line.quantity
            amount = amount.quantize(_unit(order.currency), ROUND_HALF_EVEN)
            line_number += 1
            status, settled = _answer(dirt, f"{number}/{line_number}", amount, order.currency)
            yield ClaimLine(
                number, line_number, agreement, order, line, written, world.products[line.product_id].mpn, base, amount, claimed_on,
                settled_on if is_answered else None, status if is_answered else "claimed",
                settled if is_answered else None,
            )  # fmt: skip


def _answer(dirt: Dirt, key: str, amount: Decimal, currency: str) -> tuple[str, Decimal]:
    drawn = dirt.fraction(f"{key}/answer")
    if drawn < 0.06:
        return "disputed", Decimal(0) * _unit(currency)
    part = (amount * Decimal("0.8")).quantize(_unit(currency), ROUND_HALF_EVEN)
    if drawn < 0.14 and 0 < part < amount:
        return "partial", part
    return "paid", amount


def rebate_truths(world: World, dirt: Dirt) -> Iterator[Truth]:
    """Yield which order each claim is made for."""
    found = {
        Truth(
            "order", f"dealer_rebates:claims:{row.claim_number}/{row.order_number}", row.order.order_id
        ): None
        for row in claims(world, dirt)
    }
    yield from found


def write_rebates(world: World, dirt: Dirt, folder: Path) -> list[Path]:
    """Write every file into `folder` (made if absent) and return them, sorted. Same world and dirt, same bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, bytes] = {}
    agreed = agreements(world, dirt)
    claimed = claims(world, dirt)
    tables = [_agreement_row(item, tier) for item in agreed if not _writes_x12(item) for tier in item.tiers]
    if tables:
        files[f"agreements_{_YEAR}.xlsx"] = _xlsx(_AGREEMENT_HEADERS, tables)
    for item in agreed:
        if _writes_x12(item):
            files[f"agreements_{dealer_code(item.dealer)}.edi"] = _interchange(
                item, "PA", [_set_845(item)], _new_year()
            )
    for number in dict.fromkeys(row.claim_number for row in claimed):
        rows = [row for row in claimed if row.claim_number == number]
        files |= _claim_files(rows, dirt)
    for day in sorted({row.settled_on for row in claimed if row.settled_on is not None}):
        rows = [row for row in claimed if row.settled_on == day]
        tabled = [row for row in rows if not (_writes_x12(row.agreement) or _writes_edifact(row.agreement))]
        if tabled:
            files[f"settlements_{day:%Y%m}.csv"] = _csv(_SETTLEMENT_HEADERS, map(_settlement_row, tabled))
        for item in {row.agreement.code: row.agreement for row in rows if row not in tabled}.values():
            own = [row for row in rows if row.agreement is item]
            files[f"settlements_{dealer_code(item.dealer)}_{day:%Y%m}.edi"] = (
                _edifact(item, ("REMADV", _remadv(own)), day, is_ours=True)
                if _writes_edifact(item)
                else _interchange(item, "CF", [_set_849(own)], day, is_ours=True)
            )
    for name, content in files.items():
        partial = folder / f".{name}.partial"
        partial.write_bytes(content)
        partial.replace(folder / name)
    return sorted(folder / name for name in files)


def _new_year() -> date:
    return date(_YEAR, 1, 1)


def _writes_edifact(agreement: Agreement) -> bool:
    return agreement.currency == "EUR"


def _writes_x12(agreement: Agreement) -> bool:
    return not _writes_edifact(agreement) and int(agreement.dealer.customer_id[1:]) % 3 == 0


def _claim_files(rows: list[ClaimLine], dirt: Dirt) -> dict[str, bytes]:
    first = rows[0]
    name = f"claims_{dealer_code(first.agreement.dealer)}_{first.claimed_on:%Y%m}"
    if _writes_edifact(first.agreement):
        whole, trailer = _edifact(first.agreement, ("INVOIC", _invoic(rows)), first.claimed_on), b"\r\nUNT+"
    elif _writes_x12(first.agreement):
        whole, trailer = _interchange(first.agreement, "CF", [_set_844(rows)], first.claimed_on), b"~\nSE*"
    else:
        if first.agreement.dealer.address.country == "CN":
            return {f"{name}.xlsx": _xlsx(_CLAIM_HEADERS_ZH, [_claim_row(row) for row in rows])}
        return {f"{name}.csv": _csv(_CLAIM_HEADERS, [_claim_row(row) for row in rows])}
    files = {f"{name}.edi": whole}
    if dirt.chance(f"{name}/cut", 0.2):
        files[f"{name}_copy.edi"] = whole[: len(whole) * 2 // 3]
    elif dirt.chance(f"{name}/miscounted", 0.2):
        head, _, tail = whole.rpartition(trailer)
        files[f"{name}_copy.edi"] = head + trailer + b"9" + tail
    return files


# --- tables -------------------------------------------------------------------------------------------------


def _agreement_row(item: Agreement, tier: tuple[Decimal, Decimal]) -> Sequence[Any]:
    return (
        item.code, dealer_code(item.dealer), item.dealer.company_name, item.dealer.address.country, item.scope_type,
        item.scope_code, item.basis, tier[1], tier[0], item.currency, _new_year(), date(_YEAR, 12, 31),
    )  # fmt: skip


def _claim_row(row: ClaimLine) -> Sequence[Any]:
    return (
        row.claim_number, row.line_number, row.agreement.code, dealer_code(row.agreement.dealer), row.order_number,
        row.sku_code, row.line.quantity, row.base_amount, row.claimed_amount, row.order.currency,
        row.claimed_on,
    )  # fmt: skip


def _settlement_row(row: ClaimLine) -> Sequence[Any]:
    return (
        _settlement_number(row), row.claim_number, row.line_number, dealer_code(row.agreement.dealer), row.status,
        row.settled_amount, row.order.currency, row.settled_on, "price not agreed" if row.status == "disputed" else None,
    )  # fmt: skip


def _settlement_number(row: ClaimLine) -> str:
    return row.claim_number.replace("RC-", "RS-")


def _csv(headers: Sequence[str], rows: Iterable[Sequence[Any]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(headers)
    for row in rows:
        writer.writerow(
            [
                f"{cell:,}"
                if isinstance(cell, Decimal)
                else f"{cell:%d/%m/%Y}"
                if isinstance(cell, date)
                else cell
                for cell in row
            ]
        )
    return text.getvalue().encode("utf-8-sig")


def _xlsx(headers: Sequence[str], rows: Sequence[Sequence[Any]]) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.append(list(headers))
    for row in rows:
        sheet.append([float(cell) if isinstance(cell, Decimal) else cell for cell in row])
    return saved_workbook(book)


# --- X12 ----------------------------------------------------------------------------------------------------


def _day(day: date) -> str:
    return f"{day:%Y%m%d}"


def _head(beginning: str, item: Agreement) -> list[str]:
    name = (item.dealer.company_name or "").replace("*", " ").replace("~", " ")[:60]
    return [
        beginning,
        f"CUR*SE*{item.currency}",
        f"N1*DS*{name}*91*{dealer_code(item.dealer)}",
        f"CON*CT*{item.code}*VA",
    ]


def _set_845(item: Agreement) -> tuple[str, list[str]]:
    scope = {"all": "ZZ*ALL", "category": f"CG*{item.scope_code}"}[item.scope_type]
    body = [
        *_head(f"BPA*00*{_day(_new_year())}*CT*{item.code}", item),
        f"DTM*092*{_YEAR}0101",
        f"DTM*093*{_YEAR}1231",
    ]
    for place, (threshold, rate) in enumerate(item.tiers, start=1):
        # A percentage is said by what is left of the price; an amount is the rebate on a unit.
        price = f"CTP******DIS*{1 - rate / 100}" if item.basis == "percent" else f"CTP********{rate}"
        body += [f"PAD*{place}*PA", f"AMT*TP*{threshold}", f"LIN*{place}*{scope}", price]
    return "845", [*body, "CTT*1"]


def _set_844(rows: list[ClaimLine]) -> tuple[str, list[str]]:
    first = rows[0]
    body = _head(f"BAA*00*DR*{_day(first.claimed_on)}*DB*{first.claim_number}", first.agreement)
    for row in rows:
        body += [
            f"PAD*{row.line_number}*PA", f"LIN**VN*{row.sku_code}", f"QTY*32*{row.line.quantity}*EA",
            f"AMT*1*{row.base_amount}", f"AMT*S*{row.claimed_amount}", f"REF*PO*{row.order_number}",
            f"DTM*004*{_day(row.order.placed_at.date())}",
        ]  # fmt: skip
    total = sum((row.claimed_amount for row in rows), Decimal(0))
    return "844", [*body, f"CTT*1*{sum(row.line.quantity for row in rows)}", f"AMT*TT*{total}"]


def _set_849(rows: list[ClaimLine]) -> tuple[str, list[str]]:
    first = rows[0]
    assert first.settled_on is not None  # only what was answered is written
    body = [
        *_head(f"BRC*00*{_day(first.settled_on)}*CL*{_settlement_number(first)}", first.agreement),
        f"REF*D9*{first.claim_number}",
    ]
    for row in rows:
        body += [
            f"PAD*{row.line_number}*PA", "AAA*N*ZZ*DI" if row.status == "disputed" else "AAA*Y",
            f"AMT*A*{row.settled_amount}",
        ]  # fmt: skip
    total = sum((row.settled_amount for row in rows if row.settled_amount is not None), Decimal(0))
    return "849", [*body, "CTT*1", f"AMT*TT*{total}"]


def _interchange(
    item: Agreement, group: str, sets: list[tuple[str, list[str]]], day: date, *, is_ours: bool = False
) -> bytes:
    dealer = dealer_code(item.dealer).replace("-", "")
    sender, receiver = (_US, dealer) if is_ours or group == "PA" else (dealer, _US)
    number = f"{int(item.dealer.customer_id[1:]) % 1000:03d}{day:%y%m%d}"
    lines = [
        f"ISA*00*{'':10}*00*{'':10}*ZZ*{sender:15}*ZZ*{receiver:15}*{day:%y%m%d}*1200*^*00501*{number}*0*P*>",
        f"GS*{group}*{sender}*{receiver}*{_day(day)}*1200*1*X*005010",
    ]
    for place, (code, body) in enumerate(sets, start=1):
        lines += [f"ST*{code}*{place:04d}", *body, f"SE*{len(body) + 2}*{place:04d}"]
    lines += [f"GE*{len(sets)}*1", f"IEA*1*{number}"]
    return "".join(f"{line}~\n" for line in lines).encode()


# --- EDIFACT ------------------------------------------------------------------------------------------------


def _invoic(rows: list[ClaimLine]) -> list[Segment]:
    """A debit note for a month's rebate: per line the goods, the net amount it is figured on, and the order."""
    first = rows[0]
    month = first.claimed_on.replace(day=1) - timedelta(days=1)
    body: list[Segment] = [
        ("BGM", 84, first.claim_number, 9),
        ("DTM", (137, _day(first.claimed_on), 102)),
        ("DTM", (263, f"{month:%Y%m}01-{_day(month)}", 718)),
        ("RFF", ("CT", first.agreement.code)),
        *_parties("BY", "SU", first.agreement),
        ("CUX", (2, first.order.currency, 4)),
    ]
    for row in rows:
        body += [
            ("LIN", row.line_number, "", (row.sku_code, "SA")),
            ("QTY", (47, row.line.quantity, "PCE")),
            ("MOA", (25, row.base_amount)),
            ("MOA", (203, row.claimed_amount)),
            ("RFF", ("ON", row.order_number)),
            ("DTM", (4, _day(row.order.placed_at.date()), 102)),
        ]
    total = sum((row.claimed_amount for row in rows), Decimal(0))
    units = sum(row.line.quantity for row in rows)
    return [*body, ("UNS", "S"), ("CNT", (1, units)), ("CNT", (2, len(rows))), ("MOA", (79, total))]


def _remadv(rows: list[ClaimLine]) -> list[Segment]:
    """What we pay on a debit note: per line what was claimed and what is paid; a disputed line is left out, with why."""
    first = rows[0]
    assert first.settled_on is not None  # only what was answered is written
    claimed = sum((row.claimed_amount for row in rows), Decimal(0))
    paid = sum((row.settled_amount for row in rows if row.settled_amount is not None), Decimal(0))
    body: list[Segment] = [
        ("BGM", 481, _settlement_number(first), 9),
        ("DTM", (137, _day(first.settled_on), 102)),
        *_parties("PE", "PR", first.agreement),
        ("CUX", (2, first.order.currency, 11)),
        ("DOC", 84, first.claim_number),
        ("MOA", (9, claimed)),
        ("MOA", (12, paid)),
    ]
    for row in rows:
        amounts: list[Segment] = [
            ("MOA", (9, row.claimed_amount)),
            ("MOA", (12, row.settled_amount or Decimal(0))),
        ]
        if row.status == "disputed":
            reason: list[Segment] = [("AJT", 5), ("FTX", "AAI", "", "", "price not agreed")]
            body += [("DLI", 2, row.line_number), *amounts, *reason]
        else:
            body += [("DLI", 1, row.line_number), *amounts]
    return [*body, ("UNS", "S"), ("MOA", (12, paid))]


def _parties(dealer: str, us: str, item: Agreement) -> list[Segment]:
    """The dealer under the number that we gave it, and us, by the roles of the message; a name is 35 characters at most."""
    name = (item.dealer.company_name or "").encode("iso8859-1", "replace").decode("iso8859-1")
    return [
        ("NAD", dealer, (dealer_code(item.dealer), "", 91), "", (name[:35], name[35:70])),
        ("NAD", us, (_US, "", 92)),
    ]


def _edifact(
    item: Agreement, message: tuple[str, list[Segment]], day: date, *, is_ours: bool = False
) -> bytes:
    dealer = dealer_code(item.dealer).replace("-", "")
    sender, receiver = (_US, dealer) if is_ours else (dealer, _US)
    return write_interchange(sender, receiver, f"{dealer[3:]}{day:%y%m%d}", day, [message])
