"""The traceability repository: what suppliers, the plant, the warehouses, the tills and the parcel loggers captured.

Raw-material lots come into being at their suppliers, become bulks and lots at the plant, travel on pallets to the places
that sell them, are packed for an order or sold over the counter. At times a supplier forgets the origin or states a
wrong one and declares the error, a packer scans the wrong lot and puts it right, a till does not read lots, a logger
talks in Fahrenheit or only in spans. The marketplace's own warehouses capture nothing here.
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.catalog import gs1_check_digit
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.odoo import delivery_number
from connectors.sandbox.places import stores_at
from connectors.sandbox.supply import (
    LONGEST_LOG,
    READING_EVERY,
    RawLot,
    Reading,
    Supplier,
    Supply,
    is_chilled,
    readings,
)
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Location, Lot, Order, Shipment, World

MAX_PAGE = 1000
DEFAULT_PAGE = 30
CONTEXT = [
    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
    {"luna": "https://sandbox.example/epcis/"},
]
_PLANT = "6988100000006"
_COMPANY = "6988100000013"
_BLOCK = 24  # readings a logger hands over at once
_SPAN = 4  # readings a logger that talks in spans sums up
_EVENT_TYPES = (
    "ObjectEvent",
    "AggregationEvent",
    "TransactionEvent",
    "TransformationEvent",
    "AssociationEvent",
)
_PARAMETERS = ("eventType", "EQ_bizStep", "GE_eventTime", "LT_eventTime", "GE_recordTime", "LT_recordTime",
               "orderBy", "orderDirection", "perPage", "nextPageToken")  # fmt: skip
_HEADERS = {"GS1-EPCIS-Version": "2.0.0", "GS1-CBV-Version": "2.0.0", "GS1-Vendor-Version": "1.0.0"}
_PLANT_ZONE = timezone(timedelta(hours=8))
_ELSEWHERE = ("BR", "US", "ZA", "AU")

Row = dict[str, Any]


def _problem(status: int, kind: str, title: str, detail: str, **headers: str) -> Response:
    body = {"type": f"epcisException:{kind}", "title": title, "status": status, "detail": detail}
    return JSONResponse(
        body, status_code=status, headers={**_HEADERS, **headers}, media_type="application/problem+json"
    )


def _too_many(seconds: float) -> Response:
    wait = str(max(1, round(seconds)))
    return _problem(429, "TooManyRequests", "Too many requests", "Ask again later.", **{"Retry-After": wait})


def _class_uri(key: tuple[str, str]) -> str:
    return f"https://id.gs1.org/01/{key[0]}/10/{quote(key[1], safe='')}"


def _place_uri(gln: str) -> str:
    return f"https://id.gs1.org/414/{gln}"


def _party_uri(gln: str) -> str:
    return f"https://id.gs1.org/417/{gln}"


def _stamp(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class Twin:
    """Serves `GET /events`."""

    name = "epcis"
    rate_limit = RateLimit(limit=200, window=10.0, refuse=_too_many)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._supply = Supply(world)
        self._truth: dict[str, Truth] = {}
        self._rows: list[tuple[datetime, str, Row]] = []
        self._raw_materials()
        self._plant()
        self._pallets()
        self._sharing = {one for host, guest in world.guests.items() for one in (host, guest.order_id)}
        for order in world.orders.values():
            if not order.is_fulfilled_by_marketplace:
                self._order(order)
        self._rows = sorted((row for row in self._rows if row[0] <= world.now), key=lambda row: row[:2])

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/events", self._events)]

    def truth(self) -> Iterable[Truth]:
        shown = {event_id for _, event_id, _ in self._rows}
        for key, truth in self._truth.items():
            if truth.entity != "order" or key in shown:
                yield truth

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_EPCIS_URL": base_url,
            "ORDERHUB_EPCIS_TOKEN": self._credentials.secret("epcis", "token"),
        }

    # --- what is in it --------------------------------------------------------------------------------------------

    def _add(
        self,
        key: str,
        kind: str,
        at: datetime,
        more: Row,
        *,
        zone: timezone = UTC,
        not_before: datetime | None = None,
        declared: timedelta | None = None,
        corrected_by: str | None = None,
    ) -> str:
        """Capture an event; `declared` after it, it is declared wrong. Returns its id."""
        dirt, event_id = self._dirt, self.event_id(key)
        recorded = max(at, not_before or at) + timedelta(seconds=dirt.number(f"{key}/recorded", 20, 5400))
        recorded = dirt.late(recorded, f"{key}/recorded", 0.03)
        local = at.astimezone(zone)
        offset = f"{local:%z}"
        row: Row = {
            "eventID": event_id,
            "type": kind,
            "eventTime": local.isoformat(timespec="milliseconds"),
            "eventTimeZoneOffset": f"{offset[:3]}:{offset[3:]}",
            **more,
        }
        if declared is not None:
            recorded = max(recorded, at + declared)
            row["errorDeclaration"] = {
                "declarationTime": _stamp(at + declared),
                "reason": "incorrect_data",
                "correctiveEventIDs": [self.event_id(corrected_by or key)],
            }
        elif dirt.is_invalid(key):
            row["eventTime"] = f"{local:%Y-%m-%dT%H:%M:%S}"  # a reader whose clock knows no zone
        row["recordTime"] = _stamp(recorded)
        self._rows.append((recorded, event_id, row))
        return event_id

    def event_id(self, key: str) -> str:
        """Id of the event captured under a key, always the same."""
        return f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, f'{self._world.seed}/{key}')}"

    def _raw_materials(self) -> None:
        before = self._supply.made_before
        for bulk, lots in self._supply.raw_lots.items():
            for raw in lots:
                key = f"raw/{bulk}/{raw.lot_number}"
                harvested = before - timedelta(days=self._dirt.number(key, 40, 60))
                self._party(raw.supplier)
                self._commission(raw, key, harvested)
                self._add(
                    f"{key}/received",
                    "ObjectEvent",
                    harvested + timedelta(days=9),
                    {
                        "action": "OBSERVE",
                        "bizStep": "receiving",
                        "disposition": "in_progress",
                        "quantityList": [_amount((raw.gtin14, raw.lot_number), 400, "KGM")],
                        "readPoint": {"id": _place_uri(_PLANT)},
                        "bizLocation": {"id": _place_uri(_PLANT)},
                        "sourceList": [{"type": "owning_party", "source": _party_uri(raw.supplier.gln)}],
                        "destinationList": [{"type": "owning_party", "destination": _party_uri(_COMPANY)}],
                    },
                    zone=_PLANT_ZONE,
                )

    def _party(self, supplier: Supplier) -> None:
        record = f"epcis:event_parties:{supplier.gln}"
        self._truth[record] = Truth("customer", record, supplier.supplier_id)

    def _commission(self, raw: RawLot, key: str, at: datetime) -> None:
        dirt = self._dirt
        country: str | None = raw.country
        if dirt.chance(f"{key}/no-origin", 0.04):
            country = None
        elif dirt.chance(f"{key}/wrong-origin", 0.05):
            wrong = dirt.pick(f"{key}/wrong-origin", [code for code in _ELSEWHERE if code != raw.country])
            self._add(
                f"{key}/wrong",
                "ObjectEvent",
                at,
                self._commissioning(raw, wrong),
                declared=timedelta(days=4),
                corrected_by=key,
            )
        self._add(key, "ObjectEvent", at, self._commissioning(raw, country))

    def _commissioning(self, raw: RawLot, country: str | None) -> Row:
        ilmd = {"cbvmda:lotNumber": raw.lot_number, "luna:supplierName": raw.supplier.name}
        if country is not None:
            ilmd["cbvmda:countryOfOrigin"] = country
        return {
            "action": "ADD",
            "bizStep": "commissioning",
            "disposition": "active",
            "quantityList": [_amount((raw.gtin14, raw.lot_number), 400, "KGM")],
            "readPoint": {"id": _place_uri(raw.supplier.gln)},
            "sourceList": [{"type": "owning_party", "source": _party_uri(raw.supplier.gln)}],
            "ilmd": ilmd,
            **({"certificationInfo": [raw.certificate]} if raw.certificate is not None else {}),
        }

    def _plant(self) -> None:
        supply, before = self._supply, self._supply.made_before
        filled: dict[tuple[str, str], list[Lot]] = {}
        for lot in self._world.lots.values():
            bulk = supply.bulk_of(lot)
            if bulk is not None:
                filled.setdefault((bulk, lot.product_id), []).append(lot)
        for name, steps in supply.batches.items():
            for number, step in enumerate(steps):
                self._transform(
                    f"mix/{name}/{number}",
                    before - timedelta(days=25 - number),
                    [_amount(key, 300, "KGM") for key in step.inputs],
                    [_amount(step.key, 900, "KGM")],
                    step.key[1],
                )
        for (bulk, product_id), lots in filled.items():
            self._transform(
                f"fill/{bulk}/{product_id}",
                before - timedelta(days=20),
                [_amount(supply.batches[bulk][-1].key, 120, "KGM")],
                [_amount(self._key(lot), 400) for lot in lots],
                lots[0].lot_id,
                lots[0],
            )
        for lot in self._world.lots.values():
            if supply.bulk_of(lot) is None:
                self._transform(
                    f"kit/{lot.lot_id}",
                    before - timedelta(days=17),
                    [_amount(self._key(part), 100) for part in supply.parts_of(lot)],
                    [_amount(self._key(lot), 100)],
                    lot.lot_id,
                    lot,
                )

    def _transform(
        self,
        key: str,
        at: datetime,
        inputs: list[Row],
        outputs: list[Row],
        number: str,
        lot: Lot | None = None,
    ) -> None:
        ilmd = {"cbvmda:lotNumber": number}
        if lot is not None and lot.expires_on is not None:
            ilmd["cbvmda:itemExpirationDate"] = lot.expires_on.isoformat()
        self._add(
            key,
            "TransformationEvent",
            at,
            {
                "inputQuantityList": inputs,
                "outputQuantityList": outputs,
                "transformationID": f"urn:epcglobal:cbv:bt:{_PLANT}:{quote(key, safe='')}",
                "bizStep": "assembling" if key.startswith("kit/") else "creating_class_instance",
                "disposition": "active",
                "readPoint": {"id": _place_uri(_PLANT)},
                "bizLocation": {"id": _place_uri(_PLANT)},
                "ilmd": ilmd,
            },
            zone=_PLANT_ZONE,
        )

    def _key(self, lot: Lot) -> tuple[str, str]:
        return self._world.products[lot.product_id].gtin14, lot.lot_id

    def _sscc(self, key: str) -> str:
        body = f"06988{self._dirt.token(f'{key}/sscc', 12, '0123456789')}"
        return f"https://id.gs1.org/00/{body}{gs1_check_digit(body)}"

    def _pallets(self) -> None:
        """From the plant to each place that sells, one pallet of everything."""
        by_place: dict[str, list[Lot]] = {}
        for lot in self._world.lots.values():
            by_place.setdefault(lot.location_id, []).append(lot)
        sent = self._supply.made_before - timedelta(days=14)
        for location_id, lots in by_place.items():
            place, key = self._world.locations[location_id], f"pallet/{location_id}"
            pallet = self._sscc(key)
            plant = {"readPoint": {"id": _place_uri(_PLANT)}}
            self._add(
                f"{key}/packed",
                "AggregationEvent",
                sent,
                {
                    "action": "ADD",
                    "bizStep": "packing",
                    "disposition": "in_progress",
                    "parentID": pallet,
                    "childQuantityList": [_amount(self._key(lot), 400) for lot in lots],
                    **plant,
                },
                zone=_PLANT_ZONE,
            )
            for step, after, more in (
                ("shipping", 2, {**plant, "disposition": "in_transit"}),
                ("receiving", 120, {**_at(place), "disposition": "in_progress"}),
            ):
                self._add(
                    f"{key}/{step}",
                    "ObjectEvent",
                    sent + timedelta(hours=after),
                    {"action": "OBSERVE", "bizStep": step, "epcList": [pallet], **more},
                    zone=_PLANT_ZONE,
                )

    # --- what orders leave behind ---------------------------------------------------------------------------------

    def _order(self, order: Order) -> None:
        if order.ship_to is None:
            self._sale(order)
        for index, shipment in enumerate(order.shipments, start=1):
            self._shipment(order, shipment, index)

    def _sale(self, order: Order) -> None:
        """A sale over the counter, where the till reads lots."""
        key = f"{order.order_id}/sold"
        goods = [(line.lot_id, line.quantity) for line in order.lines if line.lot_id is not None]
        if order.closed_at is None or not goods or self._dirt.chance(f"{key}/no-lots", 0.15):
            return
        place = self._world.locations[order.selling_location_id or ""]
        event_id = self._add(
            key,
            "ObjectEvent",
            order.closed_at,
            {
                "action": "OBSERVE",
                "bizStep": "retail_selling",
                "disposition": "retail_sold",
                "quantityList": [
                    _amount(self._key(self._world.lots[lot_id]), quantity) for lot_id, quantity in goods
                ],
                **_at(place),
                "bizTransactionList": [_document("inv", place, order.number)],
            },
        )
        self._truth[event_id] = Truth("order", f"epcis:events:{event_id}", order.order_id)

    def _shipment(self, order: Order, shipment: Shipment, index: int) -> None:
        dirt, key = self._dirt, shipment.shipment_id
        place = self._world.locations[shipment.location_id]
        parcel = self._sscc(key)
        scanned = shipment.first_scan_at
        lots = {line.line_number: line.lot_id for line in order.lines}
        goods = [(lots[number], quantity) for number, quantity in shipment.lines]
        inside = [(self._world.lots[lot_id], quantity) for lot_id, quantity in goods if lot_id is not None]
        host = self._world.orders[order.shipped_with] if order.shipped_with else order
        documents = [_document("desadv", place, delivery_number(place, host, index))]
        # Where Square's till sells, no warehouse system knows what the store sends; of boxes that go as one delivery, each tells whose it is.
        is_one_of_two = order.order_id in self._sharing
        is_unknown = place.location_id in stores_at(self._world, "square")
        if is_unknown or is_one_of_two or dirt.chance(f"{key}/names-order", 0.5):
            documents.append(_document("po", place, order.number))
        packing = {
            "action": "ADD",
            "bizStep": "packing",
            "disposition": "in_progress",
            "parentID": parcel,
            **_at(place),
            "bizTransactionList": documents,
        }
        if inside and dirt.chance(f"{key}/wrong-lot", 0.04):
            taken = [*[(self._other(inside[0][0]), inside[0][1])], *inside[1:]]
            self._add(
                f"{key}/packed/wrong",
                "AggregationEvent",
                shipment.packed_at,
                {**packing, "childQuantityList": [_amount(self._key(lot), qty) for lot, qty in taken]},
                not_before=scanned,
                declared=timedelta(hours=3),
                corrected_by=f"{key}/packed",
            )
        if inside:
            event_id = self._add(
                f"{key}/packed",
                "AggregationEvent",
                shipment.packed_at,
                {**packing, "childQuantityList": [_amount(self._key(lot), qty) for lot, qty in inside]},
                not_before=scanned,
            )
            self._truth[event_id] = Truth("order", f"epcis:events:{event_id}", order.order_id)
        shown = {"action": "OBSERVE", "epcList": [parcel], "disposition": "in_transit"}
        self._add(
            f"{key}/shipped",
            "ObjectEvent",
            shipment.dispatched_at,
            {**shown, "bizStep": "shipping", "readPoint": {"id": _place_uri(place.gln)}},
            not_before=scanned,
        )
        if is_chilled(self._world, order, shipment):
            self._cold(shipment, place, parcel)

    def _other(self, lot: Lot) -> Lot:
        others = self._supply.lots_by_product[lot.product_id]
        return others[(others.index(lot) + 1) % len(others)]

    def _cold(self, shipment: Shipment, place: Location, parcel: str) -> None:
        dirt, key = self._dirt, shipment.shipment_id
        logger = f"https://id.gs1.org/8004/6988{dirt.token(f'{key}/logger', 8, '0123456789')}"
        self._add(
            f"{key}/logger",
            "AssociationEvent",
            shipment.packed_at,
            {
                "action": "ADD",
                "bizStep": "installing",
                "disposition": "in_progress",
                "parentID": parcel,
                "childEPCs": [logger],
                "readPoint": {"id": _place_uri(place.gln)},
            },
            not_before=shipment.first_scan_at,
        )
        if shipment.delivered_at is not None:
            self._add(
                f"{key}/arrived",
                "ObjectEvent",
                shipment.delivered_at,
                {
                    "action": "OBSERVE",
                    "bizStep": "arriving",
                    "epcList": [parcel],
                    "disposition": "in_transit",
                },
            )
        blocks: dict[int, list[Reading]] = {}
        for reading in readings(self._world, shipment):
            number = (reading.measured_at - shipment.dispatched_at) // READING_EVERY
            blocks.setdefault(number // _BLOCK, []).append(reading)
        for number, block in blocks.items():
            ends = shipment.dispatched_at + ((number + 1) * _BLOCK - 1) * READING_EVERY
            last = shipment.delivered_at or shipment.dispatched_at + LONGEST_LOG
            complete = min(ends, last)
            if complete <= self._world.now:
                self._report(shipment, parcel, logger, number, block, complete)

    def _report(
        self, shipment: Shipment, parcel: str, logger: str, number: int, block: list[Reading], at: datetime
    ) -> None:
        dirt, key = self._dirt, shipment.shipment_id
        unit = "FAH" if dirt.chance(f"{key}/fahrenheit", 0.15) else "CEL"
        if dirt.chance(f"{key}/spans", 0.2):
            spans: dict[int, list[Reading]] = {}
            for reading in block:
                place = (reading.measured_at - shipment.dispatched_at) // READING_EVERY // _SPAN
                spans.setdefault(place, []).append(reading)
            elements = [_span(span, logger, unit) for span in spans.values()]
        else:
            elements = [_single(reading, logger, unit) for reading in block]
        self._add(
            f"{key}/report/{number}",
            "ObjectEvent",
            at,
            {
                "action": "OBSERVE",
                "bizStep": "sensor_reporting",
                "epcList": [parcel],
                "sensorElementList": elements,
            },
            not_before=shipment.first_scan_at,
        )

    # --- the protocol ---------------------------------------------------------------------------------------------

    async def _events(self, request: Request) -> Response:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or not self._credentials.accepts("epcis", "token", token):
            return _problem(
                401, "SecurityException", "Unauthorised request", "The access token is not valid."
            )
        served = _HEADERS["GS1-EPCIS-Version"]
        lowest, highest = (request.headers.get(f"gs1-epcis-{end}", served) for end in ("min", "max"))
        if not _version(lowest) <= _version(served) <= _version(highest):
            return _problem(
                406,
                "NotAcceptableException",
                "Version not served",
                f"EPCIS {served} is served, not {lowest} to {highest}.",
            )
        asked = request.query_params
        unknown = sorted(set(asked) - set(_PARAMETERS))
        if unknown:
            return _problem(
                400,
                "QueryParameterException",
                "Unknown query parameter",
                f"{', '.join(unknown)} is not a parameter.",
            )
        try:
            rows = [row for row in self._rows if _matches(row, asked)]
            size = int(asked.get("perPage", DEFAULT_PAGE))
            after = _read_token(asked["nextPageToken"]) if "nextPageToken" in asked else None
        except ValueError as error:
            return _problem(400, "QueryParameterException", "Invalid query parameter", str(error))
        if not 0 < size <= MAX_PAGE:
            return _problem(
                400,
                "QueryParameterException",
                "Invalid query parameter",
                f"perPage is between 1 and {MAX_PAGE}.",
            )
        if asked.get("orderDirection", "DESC") == "DESC":
            rows.reverse()
        if after is not None:
            ids = [event_id for _, event_id, _ in rows]
            rows = rows[ids.index(after) + 1 :] if after in ids else []
        page = rows[:size]
        headers = dict(_HEADERS)
        if len(rows) > size:
            following = {**asked, "nextPageToken": base64.urlsafe_b64encode(page[-1][1].encode()).decode()}
            headers["Link"] = f'<{request.url.replace(query="")}?{urlencode(following)}>; rel="next"'
        body = {
            "@context": CONTEXT,
            "type": "EPCISQueryDocument",
            "schemaVersion": "2.0",
            "creationDate": _stamp(self._world.now),
            "epcisBody": {
                "queryResults": {
                    "queryName": "SimpleEventQuery",
                    "resultsBody": {"eventList": [row for _, _, row in page]},
                }
            },
        }
        return JSONResponse(body, headers=headers, media_type="application/ld+json")


def _version(text: str) -> list[int]:
    return [int(part) for part in text.split(".")]


def _amount(key: tuple[str, str], quantity: int, uom: str | None = None) -> Row:
    row: Row = {"epcClass": _class_uri(key), "quantity": quantity}
    return {**row, "uom": uom} if uom is not None else row


def _at(place: Location) -> Row:
    return {"readPoint": {"id": _place_uri(place.gln)}, "bizLocation": {"id": _place_uri(place.gln)}}


def _document(kind: str, place: Location, number: str) -> Row:
    return {"type": kind, "bizTransaction": f"urn:epcglobal:cbv:bt:{place.gln}:{quote(number, safe='')}"}


def _in_unit(celsius: Decimal, unit: str) -> float:
    return float(celsius if unit == "CEL" else celsius * 9 / 5 + 32)


def _single(reading: Reading, logger: str, unit: str) -> Row:
    return {
        "sensorMetadata": {"time": _stamp(reading.measured_at), "deviceID": logger},
        "sensorReport": [
            {"type": "Temperature", "value": _in_unit(reading.celsius, unit), "uom": unit},
            {"type": "RelativeHumidity", "value": 71.5, "uom": "P1"},
        ],
    }


def _span(span: list[Reading], logger: str, unit: str) -> Row:
    values = [_in_unit(reading.celsius, unit) for reading in span]
    return {
        "sensorMetadata": {
            "startTime": _stamp(span[0].measured_at),
            "endTime": _stamp(span[-1].measured_at + READING_EVERY),
            "deviceID": logger,
        },
        "sensorReport": [
            {
                "type": "Temperature",
                "minValue": min(values),
                "maxValue": max(values),
                "meanValue": round(sum(values) / len(values), 2),
                "uom": unit,
            }
        ],
    }


def _read_token(token: str) -> str:
    """Raises ValueError when it is none of ours."""
    try:
        return base64.b64decode(token, altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as error:
        raise ValueError("nextPageToken is not a token of ours, or has expired") from error


def _matches(row: tuple[datetime, str, Row], asked: Any) -> bool:
    recorded, _, event = row
    for name, value in (
        ("GE_recordTime", recorded),
        ("LT_recordTime", recorded),
        ("GE_eventTime", None),
        ("LT_eventTime", None),
    ):
        if name not in asked:
            continue
        bound = datetime.fromisoformat(asked[name])
        if bound.tzinfo is None:
            raise ValueError(f"{name} has no offset")
        at = value or datetime.fromisoformat(event["eventTime"])
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        if at < bound if name.startswith("GE_") else at >= bound:
            return False
    kinds = asked.get("eventType")
    if kinds is not None and not set(kinds.split(",")) <= set(_EVENT_TYPES):
        raise ValueError(f"{kinds} is not an event type")
    steps = asked.get("EQ_bizStep")
    return (kinds is None or event["type"] in kinds.split(",")) and (
        steps is None or event.get("bizStep") in steps.split(",")
    )
