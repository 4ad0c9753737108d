"""Dealers' rebates, as files in an inbox: what was agreed, what dealers claim for their orders, what was settled.

Dealers and our sales office send what their systems write: CSV, XLSX (with Chinese headers from China), X12
interchanges with the sets 845 (agreements), 844 (claims) and 849 (settlements), and EDIFACT interchanges with INVOIC
(a dealer's debit note: the claim) and REMADV (what we pay on it, and why not). A file is one document, an interchange
one per transaction set or message; a document that is sent again replaces what it said before. What does not add up
is no document: where the envelope's counts disagree the whole file waits in quarantine, where a message's do, itself.

Source: ANSI ASC X12 005010, transaction sets 844, 845, 849; UN/EDIFACT directory D.96A, messages INVOIC and REMADV.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator

from connectors.declare import (
    Amount,
    BrokenMessage,
    Child,
    Country,
    Currency,
    EdifactMessage,
    EdifactSegment,
    Feed,
    Field,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
    TransactionSet,
    UnreadDocument,
    read_edifact,
    read_table,
    read_x12,
)


def _exact(value: Any) -> Any:
    """Numbers as spreadsheets and people write them: 12.5, "1,234.50"."""
    if isinstance(value, float):
        return Decimal(repr(value))
    return value.replace(",", "") if isinstance(value, str) else value


def _day(value: Any) -> Any:
    """Days as files write them: 2026-10-31, 20261031, 31/10/2026, or a spreadsheet's date cell."""
    if not isinstance(value, str):
        return value
    if len(value) == 8 and value.isdigit():
        return f"{value[:4]}-{value[4:6]}-{value[6:]}"
    parts = value.split("/")
    return "-".join(reversed(parts)) if len(parts) == 3 else value


Money = Annotated[Amount, BeforeValidator(_exact)]
Count = Annotated[Quantity, BeforeValidator(_exact)]
Day = Annotated[date, BeforeValidator(_day)]


class Document(Record):
    """A file, or one transaction set or message of an interchange."""

    document_id: str = Field(
        min_length=1, description="file name, or the control numbers of a set or message with its sender"
    )
    file_name: str = Field(min_length=1)
    document_type: str = Field(pattern="^(agreements|claims|settlements)$")
    form: str = Field(pattern="^(csv|xlsx|x12|edifact)$")
    sender: str | None = Field(None, description="interchange id of the sender")
    control_number: str | None = Field(None, description="of the interchange")


class Agreement(Record):
    """One tier of what was agreed with a dealer; an agreement without tiers has one, from 0."""

    agreement_code: str = Field(min_length=1)
    dealer_code: str = Field(min_length=1)
    dealer_name: str | None = None
    dealer_country: Country | None = None
    scope_type: str = Field(pattern="^(all|category|sku)$")
    scope_code: str | None = Field(None, description="category or item code; none where all goods count")
    basis: str = Field(pattern="^(percent|per_unit)$", description="of the net line amount, or per unit")
    rate: Count = Field(ge=0, description="percent, or amount per unit")
    tier_from_amount: Money = Field(ge=0, description="net sales of a month from which the rate counts")
    currency: Currency
    valid_from: Day
    valid_until: Day = Field(description="last day")


class Claim(Record):
    """What a dealer claims for one line of an order."""

    claim_number: str = Field(min_length=1)
    claim_line: str = Field(min_length=1)
    agreement_code: str | None = None
    dealer_code: str = Field(min_length=1)
    order_number: str | None = Field(None, description="as the dealer wrote it")
    sku_code: str | None = None
    qty: Count
    base_amount: Money | None = Field(None, description="net line amount that the claim is made on")
    claimed_amount: Money
    currency: Currency
    claimed_on: Day


class Settlement(Record):
    """How a line of a claim was answered."""

    settlement_number: str = Field(min_length=1)
    claim_number: str = Field(min_length=1)
    claim_line: str = Field(min_length=1)
    dealer_code: str | None = None
    status: str = Field(pattern="^(accepted|paid|partial|disputed|rejected)$")
    settled_amount: Money
    currency: Currency
    settled_on: Day
    reason: str | None = None


_HEADERS = {
    "agreements": {
        "Agreement": "agreement_code", "Dealer Code": "dealer_code", "Dealer": "dealer_name", "Country": "dealer_country",
        "Scope": "scope_type", "Scope Code": "scope_code", "Basis": "basis", "Rate": "rate",
        "From Amount": "tier_from_amount", "Currency": "currency", "Valid From": "valid_from", "Valid Until": "valid_until",
    },
    "claims": {
        "Claim No.": "claim_number", "Line": "claim_line", "Agreement": "agreement_code", "Dealer Code": "dealer_code",
        "Order No.": "order_number", "Item Code": "sku_code", "Qty": "qty", "Net Amount": "base_amount",
        "Claimed": "claimed_amount", "Currency": "currency", "Claim Date": "claimed_on",
        "返利单号": "claim_number", "行号": "claim_line", "协议号": "agreement_code", "经销商编码": "dealer_code",
        "订单号": "order_number", "商品编码": "sku_code", "数量": "qty", "净额": "base_amount", "申请金额": "claimed_amount",
        "币种": "currency", "申请日期": "claimed_on",
    },
    "settlements": {
        "Settlement No.": "settlement_number", "Claim No.": "claim_number", "Line": "claim_line",
        "Dealer Code": "dealer_code", "Status": "status", "Settled": "settled_amount", "Currency": "currency",
        "Settled On": "settled_on", "Reason": "reason",
    },
}  # fmt: skip
_RECORDS: dict[str, type[Record]] = {"agreements": Agreement, "claims": Claim, "settlements": Settlement}


def _table(kind: str) -> Callable[[str, bytes], list[dict[str, Any]]]:
    """A reader of CSV and XLSX files of one kind."""

    def read(name: str, content: bytes) -> list[dict[str, Any]]:
        rows = read_table(name, content)
        if not rows:
            raise ValueError("it has a header and no line")
        names = {header: _HEADERS[kind].get(header, header) for header in rows[0]}
        needed = {field for field, info in _RECORDS[kind].model_fields.items() if info.is_required()}
        if missing := sorted(needed - set(names.values())):
            raise ValueError(f"no column for {', '.join(missing)}; it has {', '.join(rows[0])}")
        return [
            {
                "document_id": name, "file_name": name, "document_type": kind, "form": name.rpartition(".")[2].lower(),
                kind: [{names[header]: value for header, value in row.items()} for row in rows],
            }
        ]  # fmt: skip

    return read


def read_interchange(name: str, content: bytes) -> list[dict[str, Any] | UnreadDocument]:
    """Read the agreements, claims and settlements of an X12 or EDIFACT file, whichever it begins as.

    Raises:
        ValueError: the envelope or an X12 set does not add up, or a set is none of 844, 845 and 849.
    """
    if content.lstrip(b"\xef\xbb\xbf\r\n ").startswith((b"UNA", b"UNB")):
        return [_read_message(name, found) for found in read_edifact(content)]
    documents: list[dict[str, Any] | UnreadDocument] = []
    for found in read_x12(content):
        if found.code not in _SETS:
            raise ValueError(f"transaction set {found.number} is a {found.code}; 844, 845 and 849 are read")
        kind, read = _SETS[found.code]
        purpose = next((segment[1] for segment in found.segments[:1] if len(segment) > 1), "")
        if purpose not in _PURPOSES:
            raise ValueError(f"transaction set {found.number} has the purpose {purpose!r}; {_READ_PURPOSES}")
        rows = read(found)
        _check_totals(found, rows)
        documents.append(
            {
                "document_id": f"{found.sender}/{found.interchange}/{found.group}/{found.number}", "file_name": name,
                "document_type": kind, "form": "x12", "sender": found.sender, "control_number": found.interchange,
                kind: rows,
            }
        )  # fmt: skip
    return documents


def _check_totals(found: TransactionSet, rows: list[dict[str, Any]]) -> None:
    """Hold a set to its own summary: CTT counts CON segments and sums quantities, AMT*TT sums amounts."""
    contracts = sum(segment[0] == "CON" for segment in found.segments)
    for segment in found.segments:
        if segment[0] == "CTT" and segment[1] != str(contracts):
            raise ValueError(
                f"transaction set {found.number}: CTT counts {segment[1]} contracts, {contracts} came"
            )
        if segment[0] == "CTT" and len(segment) > 2 and segment[2]:
            total = _sum(rows, "qty")
            if _number(segment[2]) != total:
                raise ValueError(f"transaction set {found.number}: CTT sums {segment[2]} units, {total} came")
        if segment[0] == "AMT" and segment[1] == "TT":
            amount = sum(
                (_number(row.get("claimed_amount") or row.get("settled_amount")) for row in rows), Decimal(0)
            )
            if _number(segment[2]) != amount:
                raise ValueError(f"transaction set {found.number}: AMT sums {segment[2]}, {amount} came")


def _number(text: str | None) -> Decimal:
    try:
        return Decimal(text or "0")
    except InvalidOperation as error:
        raise ValueError(f"{text!r} is no number") from error


def _agreements_845(found: TransactionSet) -> list[dict[str, Any]]:
    """CUR, N1; per contract CON, DTM*092/093; per tier PAD, AMT*TP (from), LIN (scope), CTP (what is left, or the rebate)."""
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for segment in found.segments:
        match segment:
            case ("CUR", _, currency, *_):
                head["currency"] = currency
            case ("N1", "DS", name, _, code, *_):
                head |= {"dealer_name": name, "dealer_code": code}
            case ("CON", "CT", code, *_):
                head |= {"agreement_code": code}
            case ("DTM", "092", day, *_):
                head["valid_from"] = day
            case ("DTM", "093", day, *_):
                head["valid_until"] = day
            case ("LIN", _, "CG", code, *_):
                head |= {"scope_type": "category", "scope_code": code}
            case ("LIN", _, "VN", code, *_):
                head |= {"scope_type": "sku", "scope_code": code}
            case ("LIN", *_):
                head |= {"scope_type": "all", "scope_code": None}
            case ("AMT", "TP", amount, *_):
                head["tier_from_amount"] = amount
            case ("CTP", _, _, _, _, _, "DIS", left, *_):
                rows.append({**head, "basis": "percent", "rate": (1 - _number(left)) * 100})
            case ("CTP", _, _, _, _, _, _, _, amount, *_):
                rows.append({**head, "basis": "per_unit", "rate": amount})
    return rows


def _claims_844(found: TransactionSet) -> list[dict[str, Any]]:
    """BAA, CUR, N1; per contract CON, and per line PAD, LIN, QTY, AMT*1 (base), AMT*S (claimed), REF*PO (order)."""
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for segment in found.segments:
        match segment:
            case ("BAA", _, _, day, _, number, *_):
                head |= {"claim_number": number, "claimed_on": day}
            case ("CUR", _, currency, *_):
                head["currency"] = currency
            case ("N1", "DS", _, _, code, *_):
                head["dealer_code"] = code
            case ("CON", "CT", code, *_):
                head["agreement_code"] = code
            case ("PAD", line, *_):
                rows.append({**head, "claim_line": line})
            case ("LIN", _, _, code, *_) if rows:
                rows[-1]["sku_code"] = code
            case ("QTY", _, quantity, *_) if rows:
                rows[-1]["qty"] = quantity
            case ("AMT", "1", amount, *_) if rows:
                rows[-1]["base_amount"] = amount
            case ("AMT", "S", amount, *_) if rows:
                rows[-1]["claimed_amount"] = amount
            case ("REF", "PO", number, *_) if rows:
                rows[-1]["order_number"] = number
    return rows


def _settlements_849(found: TransactionSet) -> list[dict[str, Any]]:
    """BRC, CUR, N1; per claim CON, REF*D9, and per line PAD, AAA (accepted or why not), AMT*A (settled)."""
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    for segment in found.segments:
        match segment:
            case ("BRC", _, day, _, number, *_):
                head |= {"settlement_number": number, "settled_on": day}
            case ("CUR", _, currency, *_):
                head["currency"] = currency
            case ("N1", "DS", _, _, code, *_):
                head["dealer_code"] = code
            case ("REF", "D9", number, *_):
                head["claim_number"] = number
            case ("PAD", line, *_):
                rows.append({**head, "claim_line": line, "status": "accepted"})
            case ("AAA", "N", *reason) if rows:
                rows[-1] |= {"status": "disputed", "reason": reason[1] if len(reason) > 1 else None}
            case ("AMT", "A", amount, *_) if rows:
                rows[-1]["settled_amount"] = amount
    return rows


# What cancels a document, or changes a part of it, says nothing of what it leaves.
_PURPOSES = ("00", "05", "07")  # X12 353: original, replace, duplicate
_FUNCTIONS = ("9", "5", "7", "")  # EDIFACT 1225, the same
_READ_PURPOSES = "originals, replacements and duplicates are read: ask the sender for the whole document anew"
_SETS: dict[str, tuple[str, Callable[[TransactionSet], list[dict[str, Any]]]]] = {
    "844": ("claims", _claims_844),
    "845": ("agreements", _agreements_845),
    "849": ("settlements", _settlements_849),
}


def _read_message(name: str, found: EdifactMessage | BrokenMessage) -> dict[str, Any] | UnreadDocument:
    """A message as a document; one that is broken, or does not add up, as the reason why it is none."""
    if isinstance(found, BrokenMessage):
        return UnreadDocument(f"message {found.reference}", found.fault)
    try:
        if found.type not in _MESSAGES:
            raise ValueError(
                f"it is {found.type}; {' and '.join(_MESSAGES)} are read: take it out of the inbox"
            )
        kind, read = _MESSAGES[found.type]
        function = next((segment.part(3) for segment in found.segments if segment.part(0) == "BGM"), "")
        if function not in _FUNCTIONS:
            raise ValueError(f"BGM has the message function {function!r}; {_READ_PURPOSES}")
        rows = read(found)
    except ValueError as error:
        return UnreadDocument(f"message {found.reference}", str(error))
    place = [found.sender, found.interchange, *filter(None, [found.group]), found.reference]
    return {
        "document_id": "/".join(place), "file_name": name, "document_type": kind, "form": "edifact",
        "sender": found.sender, "control_number": found.interchange, kind: rows,
    }  # fmt: skip


def _claims_invoic(found: EdifactMessage) -> list[dict[str, Any]]:
    """BGM 84, DTM 137, RFF CT, NAD BY, CUX; per line LIN, QTY 47, MOA 25 (base), MOA 203 (claimed), RFF ON (order)."""
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    totals: dict[str, str] = {}
    for segment in found.segments:
        told = rows[-1] if rows else head
        match segment.part(0), segment.part(1):
            case "BGM", code:
                if code != "84":
                    raise ValueError(
                        f"BGM names the document {code}; a claim is 84, a debit note for financial adjustments"
                    )
                head["claim_number"] = segment.part(2)
            case "DTM", "137":
                head["claimed_on"] = _message_day(segment)
            case "NAD", "BY":
                head["dealer_code"] = segment.part(2)
            case "CUX", "2":
                head["currency"] = segment.part(1, 1)
            case "RFF", "CT":
                told["agreement_code"] = segment.part(1, 1)
            case "LIN", line:
                rows.append({**head, "claim_line": line})
                if segment.part(3, 1) != "EN":
                    rows[-1]["sku_code"] = segment.part(3)
            case "PIA", _ if segment.part(2, 1) == "SA":
                told["sku_code"] = segment.part(2)
            case "QTY", "47":
                told["qty"] = found.number(segment)
            case "MOA", "25":
                told["base_amount"] = found.number(segment)
            case "MOA", "203":
                told["claimed_amount"] = found.number(segment)
            case "RFF", "ON":
                told["order_number"] = segment.part(1, 1)
            case "CNT", qualifier:
                totals[f"CNT {qualifier}"] = found.number(segment)
            case "MOA", "79":
                totals["MOA 79"] = found.number(segment)
    for place, came in (
        ("CNT 1", _sum(rows, "qty")),
        ("CNT 2", Decimal(len(rows))),
        ("MOA 79", _sum(rows, "claimed_amount")),
    ):
        _hold("the total", totals, place, came)
    return rows


def _settlements_remadv(found: EdifactMessage) -> list[dict[str, Any]]:
    """BGM 481, DTM 137, NAD PE, CUX; per claim DOC 84, per line DLI (2: left out), MOA 12 (paid), AJT and FTX (why not)."""
    head: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    paid: dict[str, str] = {}  # document, or the whole message -> what was paid, as it says itself
    level = "message"
    for segment in found.segments:
        match segment.part(0), segment.part(1):
            case "BGM", code:
                if code != "481":
                    raise ValueError(
                        f"BGM names the document {code}; a settlement is 481, a remittance advice"
                    )
                head["settlement_number"] = segment.part(2)
            case "DTM", "137" if level == "message":
                head["settled_on"] = _message_day(segment)
            case "NAD", "PE":
                head["dealer_code"] = segment.part(2)
            case "CUX", "2" if level == "message":
                head["currency"] = segment.part(1, 1)
            case "DOC", _:
                head["claim_number"] = level = segment.part(2)
            case "DLI", indicator:
                status = "disputed" if indicator == _LEFT_OUT else "accepted"
                rows.append({**head, "claim_line": segment.part(2), "status": status})
                level = "line"
            case "UNS", _:
                level = "message"
            case "MOA", "12" if level == "line":
                rows[-1]["settled_amount"] = found.number(segment)
            case "MOA", "12":
                paid[level] = found.number(segment)
            case "AJT", reason if level == "line":
                rows[-1]["reason"] = reason
            case "FTX", _ if level == "line":
                rows[-1]["reason"] = segment.part(4)
    for place in paid:
        of = rows if place == "message" else [row for row in rows if row["claim_number"] == place]
        _hold("MOA 12", paid, place, _sum(of, "settled_amount"))
    return rows


def _message_day(segment: EdifactSegment) -> str:
    """The day of a date whose format begins with year, month and day."""
    if segment.part(1, 2) not in ("102", "203", "204"):
        raise ValueError(
            f"segment {segment.place} (DTM) has the date format {segment.part(1, 2)!r}; 102, 203 and 204 are read: "
            "ask the sender for one of them"
        )
    return segment.part(1, 1)[:8]


def _sum(rows: list[dict[str, Any]], field: str) -> Decimal:
    return sum((_number(row.get(field)) for row in rows), Decimal(0))


def _hold(what: str, totals: dict[str, str], place: str, came: Decimal) -> None:
    """Hold a message to a total of its own, where it has it."""
    if place in totals and _number(totals[place]) != came:
        raise ValueError(
            f"{what} of {place} says {totals[place]}, {came} came; ask the sender to send it again, whole"
        )


_LEFT_OUT = "2"  # DLI 1073: excluded from the document
_MESSAGES: dict[str, tuple[str, Callable[[EdifactMessage], list[dict[str, Any]]]]] = {
    "INVOIC": ("claims", _claims_invoic),
    "REMADV": ("settlements", _settlements_remadv),
}

SOURCE = Source(
    name="dealer_rebates",
    title="Dealer rebates",
    kind=Kind.FILE,
    owner="sales",
    unheard="Files are dropped; the inbox calls nobody.",
    documentation="https://x12.org/products/transaction-sets",
    streams=(
        Stream(
            name="documents",
            kept="Who takes a file away takes nothing back; a document that is sent again replaces itself.",
            record=Document,
            key=("document_id",),
            path="",
            freshness=timedelta(days=45),
            children=tuple(
                Child(name=kind, path=kind, record=record, parent={"document_id": "document_id"})
                for kind, record in _RECORDS.items()
            ),
            description="Files and transaction sets, with what they say of agreements, claims and settlements.",
        ),
    ),
    feeds=(
        Feed(name="agreement_tables", files="agreements_*.[cx][sl]*", read=_table("agreements")),
        Feed(name="claim_tables", files="claims_*.[cx][sl]*", read=_table("claims")),
        Feed(name="settlement_tables", files="settlements_*.[cx][sl]*", read=_table("settlements")),
        Feed(name="interchanges", files="*.edi", read=read_interchange),
    ),
)
