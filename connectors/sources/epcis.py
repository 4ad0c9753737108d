"""EPCIS 2.0: what happened to goods, lot by lot and parcel by parcel, by the REST query interface in JSON-LD.

`GET /events` answers an EPCISQueryDocument page by page; a `Link` header with rel="next" holds the next page. Events are
asked for by the time they were recorded, since a reader may hand in yesterday's events today. An event that turned
out wrong is recorded again under its id with an errorDeclaration, beside the one that puts it right.

Identifiers are GS1 Digital Link addresses or EPC URNs; `gs1_keys` reads both. What an event says in nested lists (EPCs,
quantities, parties, transactions, certificates, sensor reports) is laid out flat when an answer is decoded, one list of
rows of each kind; the master data of lots (ILMD) becomes fields of the event.

Source: GS1 EPCIS Standard 2.0.1 and Core Business Vocabulary 2.0, https://ref.gs1.org/standards/epcis/
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from connectors.declare import (
    Ask,
    Bearer,
    Bounds,
    Child,
    Country,
    Field,
    FloatQuantity,
    Instant,
    Kind,
    LinkHeader,
    Record,
    Source,
    Stream,
    decode_json,
)

PAGE_SIZE = 200

_DIGITAL_LINK = re.compile(
    r"^https?://[^/]+/(?:.*?/)??(\d{2,4})/([^/?#]+)((?:/\d{2,4}/[^/?#]+)*)/?(?:[?#].*)?$"
)
_QUALIFIER = re.compile(r"/(\d{2,4})/([^/?#]+)")
_URN = re.compile(r"^urn:epc:(?:id|class|idpat):([a-z]+):(.+)$")
# Application identifiers that begin a Digital Link, and what each is called here.
_KEYS = {"01": "gtin14", "00": "sscc", "414": "gln", "417": "gln", "8004": "giai"}
_QUALIFIERS = {"10": "lot_number", "21": "serial"}


def check_digit(body: str) -> str:
    """Check digit of a GS1 key without one. Source: GS1 General Specifications 7.9."""
    total = sum(int(digit) * (3 if place % 2 == 0 else 1) for place, digit in enumerate(reversed(body)))
    return str(-total % 10)


def gs1_keys(uri: str) -> dict[str, str]:
    """Read the keys an identifier holds: gtin14, lot_number, serial, sscc, gln or giai; empty for any other address.

    Examples: `https://id.gs1.org/01/04012345123456/10/998877`, `urn:epc:class:lgtin:4012345.012345.998877`.

    Source: GS1 Digital Link URI Syntax 1.2; GS1 EPC Tag Data Standard 1.13, 6.3
    """
    if (urn := _URN.match(uri)) is not None:
        return _urn_keys(urn.group(1), urn.group(2))
    link = _DIGITAL_LINK.match(uri)
    if link is None or (name := _KEYS.get(link.group(1))) is None:
        return {}
    value = unquote(link.group(2))
    found = {name: value.zfill(14) if name == "gtin14" else value}
    for identifier, qualifier in _QUALIFIER.findall(link.group(3)):
        if identifier in _QUALIFIERS:
            found[_QUALIFIERS[identifier]] = unquote(qualifier)
    return found


def _urn_keys(scheme: str, rest: str) -> dict[str, str]:
    parts = [unquote(part) for part in rest.split(".", 2)]
    if len(parts) < 2 or not parts[0].isdigit():
        return {}
    prefix, reference = parts[0], parts[1]
    last = parts[2] if len(parts) == 3 and parts[2] != "*" else None
    if scheme in ("sgtin", "lgtin", "gtin") and reference.isdigit():
        body = f"{reference[0]}{prefix}{reference[1:]}"
        found = {"gtin14": body + check_digit(body)}
        if last is not None:
            found["lot_number" if scheme == "lgtin" else "serial"] = last
        return found
    if scheme == "sscc" and reference.isdigit():
        body = f"{reference[0]}{prefix}{reference[1:]}"
        return {"sscc": body + check_digit(body)}
    if scheme in ("sgln", "pgln"):
        return {"gln": f"{prefix}{reference}" + check_digit(f"{prefix}{reference}")}
    if scheme == "giai":
        return {"giai": f"{prefix}{reference}"}
    return {}


class Event(Record):
    """One thing that happened to goods."""

    event_id: str = Field(min_length=1, description="Given by who captured it, else a hash of the event")
    type: str = Field(
        pattern=r"^(Object|Aggregation|Transaction|Transformation|Association)Event$",
        description="What kind of event",
    )
    occurred_at: Instant = Field(validation_alias="eventTime")
    timezone_offset: str | None = Field(default=None, validation_alias="eventTimeZoneOffset")
    recorded_at: Instant | None = Field(
        default=None,
        validation_alias="recordTime",
        description="When the repository took it; moves the cursor",
    )
    action: str | None = Field(default=None, pattern=r"^(ADD|OBSERVE|DELETE)$")
    biz_step: str | None = Field(default=None, description="CBV bizStep, bare")
    disposition: str | None = Field(default=None, description="CBV disposition, bare")
    read_point: str | None = None
    read_point_gln: str | None = None
    biz_location: str | None = None
    biz_location_gln: str | None = None
    transformation_id: str | None = Field(default=None, validation_alias="transformationID")
    lot_number: str | None = Field(default=None, description="ILMD: of the lots that come into being here")
    expires_on: str | None = Field(default=None, description="ILMD: as received")
    origin_country: Country | None = Field(default=None, description="ILMD")
    supplier_name: str | None = Field(default=None, description="ILMD, an extension of ours")
    error_declared_at: Instant | None = Field(default=None, description="Set: this event did not happen so")
    error_reason: str | None = None
    corrective_event_ids: list[str] = Field(default_factory=list)


class Epc(Record):
    """One thing an event names one by one: a serialised item, a logistic unit, a device."""

    role: str = Field(pattern=r"^(object|parent|child|input|output)$")
    uri: str = Field(min_length=1)
    gtin14: str | None = None
    serial: str | None = None
    sscc: str | None = None
    giai: str | None = None


class Quantity(Record):
    """Some of a lot or a class of goods that an event names."""

    role: str = Field(pattern=r"^(object|child|input|output)$")
    uri: str = Field(min_length=1)
    gtin14: str | None = None
    lot_number: str | None = None
    quantity: FloatQuantity | None = Field(default=None, ge=0)
    uom: str | None = Field(default=None, description="UN/ECE Rec 20; none counts pieces")


class Party(Record):
    """From whom or where, to whom or where."""

    direction: str = Field(pattern=r"^(source|destination)$")
    party_type: str = Field(description="owning_party, possessing_party or location")
    uri: str = Field(min_length=1)
    gln: str | None = None


class Transaction(Record):
    """A business document an event is part of."""

    transaction_type: str | None = Field(default=None, description="CBV type, bare: desadv, po, inv, ...")
    uri: str = Field(min_length=1)
    number: str = Field(min_length=1, description="The document's number as its owner prints it")
    owner_gln: str | None = None


class Certificate(Record):
    """What certifies the goods, or whoever handled them, in an event."""

    certificate_id: str = Field(min_length=1, description="Address of the certificate")


class SensorReport(Record):
    """One measurement, at an instant or over a span."""

    element_index: int
    measurement: str = Field(min_length=1, description="Temperature, RelativeHumidity, ...")
    device: str | None = None
    measured_at: Instant | None = None
    span_from: Instant | None = None
    span_to: Instant | None = None
    value: FloatQuantity | None = None
    min_value: FloatQuantity | None = None
    max_value: FloatQuantity | None = None
    mean_value: FloatQuantity | None = None
    uom: str | None = Field(default=None, description="UN/ECE Rec 20: CEL, FAH, KEL, P1, ...")
    exception: str | None = Field(default=None, description="ALARM_CONDITION or ERROR_CONDITION")


_QUANTITY_LISTS = {
    "quantityList": "object",
    "childQuantityList": "child",
    "inputQuantityList": "input",
    "outputQuantityList": "output",
}
_EPC_LISTS = {
    "epcList": "object",
    "childEPCs": "child",
    "inputEPCList": "input",
    "outputEPCList": "output",
}
_EVENT_FIELDS = ("type", "eventTime", "eventTimeZoneOffset", "recordTime", "action", "transformationID")
_ILMD = {
    "lotNumber": "lot_number",
    "itemExpirationDate": "expires_on",
    "countryOfOrigin": "origin_country",
    "supplierName": "supplier_name",
}


def decode_events(content: bytes) -> Any:
    """Decode an EPCIS document, its events laid out flat; an answer without an event list stays as it is."""
    body = decode_json(content)
    if isinstance(body, dict):
        for place in (_place(body, "epcisBody", "queryResults", "resultsBody"), _place(body, "epcisBody")):
            if isinstance(place, dict) and isinstance(place.get("eventList"), list):
                place["eventList"] = [flat_event(event) for event in place["eventList"]]
    return body


def _place(node: Any, *steps: str) -> Any:
    for step in steps:
        node = node.get(step) if isinstance(node, dict) else None
    return node


def flat_event(event: Any) -> Any:
    """One event with its nested lists as rows of the child streams; what is no object is left for validation to refuse."""
    if not isinstance(event, dict):
        return event
    flat: dict[str, Any] = {name: event.get(name) for name in _EVENT_FIELDS}
    flat["event_id"] = event.get("eventID") or _hash(event)
    flat["biz_step"], flat["disposition"] = _bare(event.get("bizStep")), _bare(event.get("disposition"))
    for name, field in (("readPoint", "read_point"), ("bizLocation", "biz_location")):
        uri = _place(event, name, "id")
        flat[field] = uri
        flat[f"{field}_gln"] = gs1_keys(uri).get("gln") if isinstance(uri, str) else None
    master = _object(event.get("ilmd"))
    told = {re.split(r"[:/#]", name)[-1]: value for name, value in master.items()}
    flat |= {field: told.get(name) for name, field in _ILMD.items()}
    flat["certificates"] = [{"certificate_id": uri} for uri in _listed(event.get("certificationInfo"))]
    error = _object(event.get("errorDeclaration"))
    flat["error_declared_at"] = error.get("declarationTime")
    flat["error_reason"] = _bare(error.get("reason"))
    flat["corrective_event_ids"] = _listed(error.get("correctiveEventIDs"))
    flat["epcs"] = list(_epcs(event))
    flat["quantities"] = list(_quantities(event))
    flat["parties"] = list(_parties(event))
    flat["transactions"] = list(_transactions(event))
    flat["sensor_reports"] = list(_sensor_reports(event))
    return flat


def _hash(event: dict[str, Any]) -> str:
    said = {
        name: value
        for name, value in event.items()
        if name not in ("recordTime", "errorDeclaration", "@context")
    }
    text = json.dumps(said, sort_keys=True, ensure_ascii=False, default=str)
    return f"sha-256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()}"


def _bare(term: Any) -> Any:
    """A vocabulary term without its address: `https://ref.gs1.org/cbv/BizStep-shipping` is shipping."""
    if not isinstance(term, str):
        return term
    return re.split(r"[:/#]", term)[-1].removeprefix("BizStep-").removeprefix("Disp-").removeprefix("ER-")


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: Any) -> Any:
    return value if isinstance(value, list) else [] if value is None else [value]


def _epcs(event: dict[str, Any]) -> Iterator[Any]:
    named = [("parent", event["parentID"])] if event.get("parentID") is not None else []
    named += [(role, uri) for name, role in _EPC_LISTS.items() for uri in _listed(event.get(name))]
    for role, uri in named:
        keys = gs1_keys(uri) if isinstance(uri, str) else {}
        yield {
            "role": role,
            "uri": uri,
            **{key: keys.get(key) for key in ("gtin14", "serial", "sscc", "giai")},
        }


def _quantities(event: dict[str, Any]) -> Iterator[Any]:
    for name, role in _QUANTITY_LISTS.items():
        for item in _listed(event.get(name)):
            if not isinstance(item, dict):
                yield item
                continue
            uri = item.get("epcClass")
            keys = gs1_keys(uri) if isinstance(uri, str) else {}
            yield {
                "role": role,
                "uri": uri,
                "gtin14": keys.get("gtin14"),
                "lot_number": keys.get("lot_number"),
                "quantity": item.get("quantity"),
                "uom": item.get("uom"),
            }


def _parties(event: dict[str, Any]) -> Iterator[Any]:
    for direction in ("source", "destination"):
        for item in _listed(event.get(f"{direction}List")):
            uri = item.get(direction) if isinstance(item, dict) else None
            yield {
                "direction": direction,
                "party_type": _bare(item.get("type")) if isinstance(item, dict) else None,
                "uri": uri,
                "gln": gs1_keys(uri).get("gln") if isinstance(uri, str) else None,
            }


def _transactions(event: dict[str, Any]) -> Iterator[Any]:
    for item in _listed(event.get("bizTransactionList")):
        uri = item.get("bizTransaction") if isinstance(item, dict) else None
        owner, number = _document(uri) if isinstance(uri, str) else (None, None)
        yield {
            "transaction_type": _bare(item.get("type")) if isinstance(item, dict) else None,
            "uri": uri,
            "number": number,
            "owner_gln": owner,
        }


def _document(uri: str) -> tuple[str | None, str]:
    """Owner and number of a business document: `urn:epcglobal:cbv:bt:<GLN>:<number>`, else the last part of the address."""
    if uri.startswith("urn:epcglobal:cbv:bt:"):
        owner, _, number = uri.removeprefix("urn:epcglobal:cbv:bt:").partition(":")
        return owner, unquote(number)
    return None, unquote(re.split(r"[:/#]", uri.rstrip("/"))[-1])


def _sensor_reports(event: dict[str, Any]) -> Iterator[Any]:
    for position, element in enumerate(_listed(event.get("sensorElementList"))):
        meta = _place(element, "sensorMetadata") or {}
        for report in _listed(_place(element, "sensorReport")):
            if not isinstance(report, dict) or not isinstance(meta, dict):
                yield report
                continue
            yield {
                "element_index": position,
                "measurement": _bare(report.get("type")),
                "device": report.get("deviceID") or meta.get("deviceID"),
                "measured_at": report.get("time") or meta.get("time"),
                "span_from": meta.get("startTime"),
                "span_to": meta.get("endTime"),
                "value": report.get("value"),
                "min_value": report.get("minValue"),
                "max_value": report.get("maxValue"),
                "mean_value": report.get("meanValue"),
                "uom": report.get("uom"),
                "exception": _bare(report.get("exception")),
            }


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _recorded(bounds: Bounds) -> Ask:
    params: dict[str, Any] = {"orderBy": "recordTime", "orderDirection": "ASC", "perPage": PAGE_SIZE}
    if bounds.since is not None:
        params["GE_recordTime"] = _instant(bounds.since)
    if bounds.until is not None:
        params["LT_recordTime"] = _instant(bounds.until)
    return Ask(params=params)


def _child(name: str, path: str, record: type[Record], description: str) -> Child:
    return Child(
        name=name, path=path, record=record, parent={"event_id": "event_id"}, description=description
    )


SOURCE = Source(
    name="epcis",
    title="EPCIS 2.0 repository",
    kind=Kind.TRACEABILITY,
    owner="supply-chain-team",
    unheard="A subscription must be entered at the repository, of which this source only reads.",
    # No base URL: a repository is run by the company or its provider; ORDERHUB_EPCIS_URL says where.
    auth=Bearer(),
    # Who asks says between which versions an answer may be; in which one it is, the answer says.
    headers={
        "GS1-EPCIS-Min": "2.0.0",
        "GS1-EPCIS-Max": "2.0.0",
        "GS1-CBV-Min": "2.0.0",
        "GS1-CBV-Max": "2.0.0",
        "GS1-EPC-Format": "Always_GS1_Digital_Link",
    },
    decode=decode_events,
    documentation="https://ref.gs1.org/standards/epcis/openapi/",
    streams=(
        Stream(
            name="events",
            kept="An event that is wrong is declared so, by an event with an errorDeclaration.",
            record=Event,
            key=("event_id",),
            path="/events",
            ask=_recorded,
            rows="epcisBody.queryResults.resultsBody.eventList",
            pages=LinkHeader(),
            cursor="recorded_at",
            children=(
                _child("event_epcs", "epcs", Epc, "Items, logistic units and devices that an event names."),
                _child(
                    "event_quantities", "quantities", Quantity, "Lots and how much of each an event names."
                ),
                _child("event_parties", "parties", Party, "From whom and to whom, from where and to where."),
                _child("event_transactions", "transactions", Transaction, "Business documents of an event."),
                _child(
                    "event_certificates", "certificates", Certificate, "Certificates that an event names."
                ),
                _child(
                    "sensor_reports",
                    "sensor_reports",
                    SensorReport,
                    "What sensors measured, one row a value.",
                ),
            ),
            description="What happened to lots, logistic units and parcels, with sensor reports.",
        ),
    ),
)
