"""karrio as the sandbox company's transport desk uses it: one shipment and one tracker per waybill out of a warehouse.

Each country's warehouses have an account with each carrier they send with: all of them quote standard and express, and the one
that fetches the parcel is bought. A carrier comes once a day to a warehouse for what leaves it that day, at no charge.

The desk types the warehouse's delivery number or the shop's order number as reference, at times both, at times neither;
on a parcel that holds two orders, both orders' numbers.
Carriers repeat scans, send one late that is older news than the delivery, and some labels were made and cancelled.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.notify import Change
from connectors.sandbox.odoo import CARRIER_NAMES, delivery_number
from connectors.sandbox.orders import CARRIERS
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import PREFIXES, Address, Channel, Order, Shipment, World

DEFAULT_PAGE = 20
_KINDS = ("warehouse", "dark_store")
# What the stores sell leaves over the counter, what dealers order goes ex works.
_ELSEWHERE = (Channel.POS, Channel.DEALER)
# Carriers for which karrio has an interface; the others go through the generic one, under our account's name.
_INTERFACES = {"dpd": "dpd", "dhl": "dhl_express", "ups": "ups", "usps": "usps", "fedex": "fedex",
               "colissimo": "colissimo", "royal_mail": "royalmail"}  # fmt: skip
_SERVICES = {"standard": (3, Decimal(1)), "express": (1, Decimal("1.7"))}  # days in transit, relative price
_POUNDS = Decimal("2.2046226")
_OPENED_AT = datetime(2024, 1, 8, 2, 0, tzinfo=UTC)
_CHECK_IN = {"CN": timedelta(hours=8), "JP": timedelta(hours=9), "US": timedelta(hours=-5)}

Row = dict[str, Any]


def _refuse(status: int, code: str, message: str) -> Response:
    return JSONResponse(
        {"errors": [{"code": code, "message": message, "level": "error"}]}, status_code=status
    )


class Twin:
    """Serves `GET /v1/shipments`, `/v1/trackers`, `/v1/pickups` and `/v1/connections`."""

    name = "karrio"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._truth: list[Truth] = []
        self._tables: dict[str, list[tuple[datetime, Row]]] = {
            "shipments": [],
            "trackers": [],
            "pickups": [],
            "connections": [],
        }
        self._guests = world.guests
        self._accounts: set[tuple[str, str]] = set()
        self._leaving: dict[tuple[str, str, date], list[tuple[datetime, Row]]] = defaultdict(list)
        for order in world.orders.values():
            if order.shipped_with is not None:  # in another order's parcel
                continue
            if order.channel not in _ELSEWHERE and not order.is_fulfilled_by_marketplace:
                for shipment in order.shipments:
                    if world.locations[shipment.location_id].kind in _KINDS:
                        self._enter(order, shipment)
        for (location_id, carrier, day), parcels in self._leaving.items():
            self._pickup(location_id, carrier, day, parcels)
        for carrier, country in sorted(self._accounts):
            self._connection(carrier, country)
        for rows in self._tables.values():
            rows.sort(key=lambda item: (item[0], item[1]["id"]), reverse=True)

    def routes(self) -> Sequence[BaseRoute]:
        lists = [Route(f"/v1/{table}", self._list(table)) for table in self._tables]
        return lists + [Route(f"/v1/{table}/{{id}}", self._retrieve(table)) for table in self._tables]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Trackers made since then."""
        return [
            ("tracker_updated", row["id"]) for made_at, row in self._tables["trackers"] if made_at >= since
        ]

    def truth(self) -> Iterable[Truth]:
        return self._truth

    def env(self, base_url: str) -> dict[str, str]:
        token = f"key_{self._credentials.secret('karrio', 'token')}"
        return {"ORDERHUB_KARRIO_URL": base_url, "ORDERHUB_KARRIO_TOKEN": token}

    # --- what is in it --------------------------------------------------------------------------------------------

    def _enter(self, order: Order, shipment: Shipment) -> None:
        dirt, key = self._dirt, shipment.shipment_id
        if dirt.chance(f"{key}/cancelled-label", 0.03):
            made_at = shipment.packed_at - timedelta(minutes=dirt.number(f"{key}/cancelled", 2, 40))
            label = self._shipment(order, shipment, f"{key}/cancelled", "cancelled", made_at, None)
            label["tracking_number"] = dirt.token(f"{key}/cancelled/tracking", 14, "0123456789")
        tracker_id = f"trk_{dirt.token(f'{key}/tracker', 32, '0123456789abcdef')}"
        status = "delivered" if shipment.delivered_at else "in_transit"
        if not shipment.delivered_at and self._world.now - shipment.dispatched_at > timedelta(days=30):
            status = "needs_attention"
        guest = self._guests.get(order.order_id)
        if guest is not None:
            shipment = _together(shipment, guest.shipments[0])
        label = self._shipment(order, shipment, key, status, shipment.packed_at, tracker_id)
        self._tracker(order, shipment, tracker_id)
        zone = ZoneInfo(self._world.locations[shipment.location_id].timezone)
        left_at = shipment.dispatched_at.astimezone(zone)
        visit = (shipment.location_id, shipment.carrier, left_at.date())
        self._leaving[visit] += [(left_at, parcel) for parcel in label["parcels"]]

    def _shipment(
        self,
        order: Order,
        shipment: Shipment,
        key: str,
        status: str,
        made_at: datetime,
        tracker_id: str | None,
    ) -> Row:
        dirt = self._dirt
        shipment_id = f"shp_{dirt.token(f'{key}/id', 32, '0123456789abcdef')}"
        place = self._world.locations[shipment.location_id]
        currency = "XXZ" if dirt.is_invalid(key) else order.currency
        rates = self._rates(shipment, place.address.country, currency, key)
        charge = rates[0]
        account = self._account(shipment.carrier, place.address.country)
        shop_number = self._shop_number(order, key)
        names_order = dirt.chance(f"{key}/metadata", 0.4)
        row: Row = {
            "id": shipment_id,
            "object_type": "shipment",
            "status": status,
            "created_at": f"{made_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00:00",
            **account,
            "service": charge["service"],
            "tracking_number": shipment.tracking_number,
            "shipment_identifier": shipment.tracking_number,
            "tracker_id": tracker_id,
            "reference": self._reference(order, shipment, key, shop_number),
            "order_id": shop_number if dirt.chance(f"{key}/order-id", 0.3) else "",
            "metadata": {
                "distance_km": float(shipment.distance_km),
                **({"order_ids": shop_number} if names_order else {}),
            },
            "selected_rate": charge,
            "selected_rate_id": charge["id"],
            "shipper": self._address(place.address, f"{key}/from", place.name, place.name, None, None),
            "recipient": self._recipient(order, key),
            "parcels": self._parcels(shipment, place.address.country, key),
            "options": {},
            "services": [],
            "rates": sorted(rates, key=lambda rate: str(rate["id"])),
            "payment": {"paid_by": "sender", "currency": order.currency},
            "label_type": "PDF",
            "test_mode": False,
            "is_return": False,
            "is_archived": False,
            "messages": [],
            "meta": {"carrier": shipment.carrier},
        }
        self._tables["shipments"].append((made_at, row))
        for one in (order, self._guests.get(order.order_id)):
            if one is not None:
                self._truth.append(Truth("order", f"karrio:shipments:{shipment_id}", one.order_id))
        return row

    def _account(self, carrier: str, country: str) -> Row:
        self._accounts.add((carrier, country))
        interface = _INTERFACES.get(carrier, "generic")
        return {"carrier_name": interface, "carrier_id": f"{carrier}-{country.lower()}"}

    def _rates(self, shipment: Shipment, country: str, currency: str, key: str) -> list[Row]:
        """What each carrier of the country asks for each service; the one that was bought stands first."""
        one_day = shipment.cost_amount / _SERVICES[shipment.service][1]
        rates = []
        carriers = {shipment.carrier, *CARRIERS[country]}
        for carrier in sorted(carriers, key=lambda name: (name != shipment.carrier, name)):
            for service in sorted(_SERVICES, key=lambda name: name != shipment.service):
                days, price = _SERVICES[service]
                dearer = (
                    100 if carrier == shipment.carrier else self._dirt.number(f"{key}/{carrier}", 103, 140)
                )
                total = (one_day * price * dearer / 100).quantize(shipment.cost_amount)
                base = (total / Decimal("1.1")).quantize(shipment.cost_amount)
                account = self._account(carrier, country)
                generic = {"carrier_name": carrier} if account["carrier_name"] == "generic" else {}
                rates.append(
                    {
                        "id": f"rat_{self._dirt.token(f'{key}/rate/{carrier}/{service}', 32, '0123456789abcdef')}",
                        "object_type": "rate",
                        **account,
                        **generic,
                        "service": f"{carrier}_{service}",
                        "total_charge": float(total),
                        "currency": currency,
                        "transit_days": days,
                        "extra_charges": [
                            {"name": name, "amount": float(amount), "currency": currency, "id": None}
                            for name, amount in (("Base Charge", base), ("Fuel", total - base))
                        ],
                        "estimated_delivery": None,
                        "test_mode": False,
                    }
                )
        return rates

    def _pickup(self, location_id: str, carrier: str, day: date, parcels: list[tuple[datetime, Row]]) -> None:
        """One visit, booked the evening before. karrio closes it on the next day, whoever came."""
        dirt, key, place = self._dirt, f"{location_id}/{carrier}/{day}", self._world.locations[location_id]
        first, last = (pick(left_at for left_at, _ in parcels) for pick in (min, max))
        pickup_id = f"pck_{dirt.token(f'{key}/pickup', 32, '0123456789abcdef')}"
        account = self._account(carrier, place.address.country)
        row: Row = {
            "id": pickup_id,
            "object_type": "pickup",
            **account,
            "carrier_code": account["carrier_name"],
            "confirmation_number": dirt.token(f"{key}/confirmation", 10, "0123456789"),
            "status": "closed" if day < self._world.now.date() else "scheduled",
            "pickup_date": f"{day}",
            "pickup_charge": None,
            "ready_time": f"{first:%H}:00",
            "closing_time": f"{last:%H}:59",
            "pickup_type": "one_time",
            "recurrence": None,
            "address": self._address(place.address, f"{key}/from", place.name, place.name, None, None),
            "parcels": [parcel for _, parcel in sorted(parcels, key=lambda item: (item[0], item[1]["id"]))],
            "parcels_count": None,
            "instruction": "",
            "package_location": "",
            "options": {},
            "test_mode": False,
            "is_archived": False,
            "metadata": {},
            "meta": {"pickup_type": "one_time"},
        }
        booked_at = datetime.combine(day, time(16), UTC) - timedelta(days=1)
        self._tables["pickups"].append((booked_at, row))

    def _connection(self, carrier: str, country: str) -> None:
        interface = _INTERFACES.get(carrier, "generic")
        row: Row = {
            "id": f"car_{self._dirt.token(f'{carrier}/{country}/account', 32, '0123456789abcdef')}",
            "object_type": "carrier-connection",
            "display_name": f"{CARRIER_NAMES[carrier]} {country}",
            **self._account(carrier, country),
            "capabilities": ["rating", "shipping"]
            if interface == "generic"
            else ["pickup", "rating", "shipping", "tracking"],
            "config": {},
            "metadata": {},
            "is_system": False,
            "active": True,
            "test_mode": False,
        }
        self._tables["connections"].append((_OPENED_AT, row))

    def _shop_number(self, order: Order, key: str) -> str:
        guest = self._guests.get(order.order_id)
        numbers = [self._own_number(order, key)]
        return ", ".join(numbers if guest is None else [*numbers, self._own_number(guest, f"{key}/guest")])

    def _own_number(self, order: Order, key: str) -> str:
        if order.channel is Channel.SHOPIFY:
            others = (order.number.removeprefix("#"), f"Shopify {order.number}")
            return self._dirt.spelling(f"{key}/shop", order.number, others)
        if order.channel in PREFIXES:
            prefixed = f"{PREFIXES[order.channel][0]} {order.number}"
            return self._dirt.spelling(f"{key}/shop", order.number, (order.number, prefixed))
        return order.erp_number or order.number

    def _reference(self, order: Order, shipment: Shipment, key: str, shop_number: str) -> str:
        if self._dirt.chance(f"{key}/no-reference", 0.02):
            return ""
        index = int(shipment.shipment_id.rpartition("-S")[2])
        delivery = delivery_number(self._world.locations[shipment.location_id], order, index)
        if self._dirt.chance(f"{key}/shop-reference", 0.25):
            return shop_number
        delivery = self._dirt.order_number(delivery, f"{key}/delivery")
        if self._dirt.chance(f"{key}/both", 0.1):
            return f"{delivery} / {shop_number}"
        return delivery.lower() if self._dirt.chance(f"{key}/case", 0.05) else delivery

    def _recipient(self, order: Order, key: str) -> Row:
        customer = self._world.customers[order.customer_id or ""]
        address = order.ship_to or customer.address
        company = self._dirt.company(customer, key, "both") if customer.is_company else None
        person = self._dirt.name_parts(customer, key, "both")
        name = " ".join(person) if customer.is_company else self._dirt.name(customer, key, "both")
        email = self._dirt.email(customer, key, 0.4)
        return self._address(address, key, name, company, email, self._dirt.phone(customer, key, 0.1))

    def _address(
        self, address: Address, key: str, name: str, company: str | None, email: str | None, phone: str | None
    ) -> Row:
        typed = self._dirt.address(address, key, "both")
        return {
            "id": f"adr_{self._dirt.token(f'{key}/address', 32, '0123456789abcdef')}",
            "object_type": "address",
            "person_name": name,
            "company_name": company,
            "email": email,
            "phone_number": phone,
            "address_line1": typed.street,
            "address_line2": "",
            "city": typed.city,
            "state_code": typed.region,
            "postal_code": typed.postcode,
            "country_code": typed.country,
            "residential": company is None,
        }

    def _parcels(self, shipment: Shipment, country: str, key: str) -> list[Row]:
        """Equal parcels, the rounding in the last; a warehouse in the United States measures in pounds and inches."""
        count, is_imperial = shipment.package_count, country == "US"
        each = (shipment.weight_kg / count).quantize(Decimal("0.001"))
        side = float(shipment.volume_m3 / count) ** (1 / 3) * 100
        parcels = []
        for number in range(count):
            weight = each if number < count - 1 else shipment.weight_kg - each * (count - 1)
            if is_imperial:
                weight = (weight * _POUNDS).quantize(Decimal("0.001"))
            if self._dirt.is_invalid(f"{key}/parcel/{number}"):
                weight = -weight
            length = round(side / 2.54 if is_imperial else side, 1)
            parcels.append(
                {
                    "id": f"pcl_{self._dirt.token(f'{key}/parcel/{number}', 32, '0123456789abcdef')}",
                    "object_type": "parcel",
                    "weight": float(weight),
                    "weight_unit": "LB" if is_imperial else "KG",
                    "length": length,
                    "width": length,
                    "height": length,
                    "dimension_unit": "IN" if is_imperial else "CM",
                    "packaging_type": "your_packaging",
                    "items": [],
                }
            )
        return parcels

    def _tracker(self, order: Order, shipment: Shipment, tracker_id: str) -> None:
        delivered = shipment.delivered_at
        row: Row = {
            "id": tracker_id,
            "object_type": "tracker",
            **self._account(shipment.carrier, self._world.locations[shipment.location_id].address.country),
            "tracking_number": shipment.tracking_number,
            "status": "delivered" if delivered else "in_transit",
            "delivered": delivered is not None,
            "estimated_delivery": f"{order.promised_at:%Y-%m-%d}" if order.promised_at else "",
            "events": self._events(shipment),
            "info": {
                "shipment_service": shipment.service,
                "shipment_package_count": str(shipment.package_count),
            },
            "test_mode": False,
            "is_archived": False,
            "metadata": {},
            "messages": [],
            "meta": {"carrier": shipment.carrier},
        }
        self._tables["trackers"].append((shipment.packed_at, row))

    def _events(self, shipment: Shipment) -> list[Row]:
        """Scans, newest first as karrio shows them."""
        dirt, key, now = self._dirt, shipment.shipment_id, self._world.now
        place = self._world.locations[shipment.location_id].address
        scans = [(shipment.first_scan_at, "picked_up", "PU", "Collected from sender", place.city)]
        end = shipment.delivered_at or now
        for hop in range(dirt.number(f"{key}/hops", 1, 3)):
            at = shipment.first_scan_at + timedelta(hours=7 * (hop + 1))
            if at < end:
                scans.append((at, "in_transit", "IT", "Processed at sorting centre", "Sorting centre"))
        if shipment.delivered_at is not None:
            out_at = shipment.delivered_at - timedelta(minutes=dirt.number(f"{key}/out", 40, 300))
            if out_at > shipment.first_scan_at:
                scans.append((out_at, "out_for_delivery", "OD", "Out for delivery", "Delivery depot"))
            scans.append((shipment.delivered_at, "delivered", "DL", "Delivered", "Consignee"))
            # An old scan that reached the carrier's system after the delivery.
            if dirt.chance(f"{key}/late-scan", 0.04):
                late_at = shipment.delivered_at + timedelta(minutes=dirt.number(f"{key}/late-scan", 3, 50))
                scans.append((late_at, "in_transit", "IT", "Data received from partner", "Sorting centre"))
        if dirt.chance(f"{key}/repeated", 0.06):
            scans.append(scans[0])
        offset = _CHECK_IN.get(place.country, timedelta(0))
        events = []
        for number, (at, status, code, description, location) in enumerate(scans):
            local = at.astimezone(UTC) + offset
            stamp = f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%S.000Z}"
            if dirt.is_invalid(f"{key}/event/{number}"):
                stamp = f"{local:%Y-%m-%dT%H:%M:%S}"  # the carrier's local time, of a zone nobody tells
            events.append(
                {
                    "date": stamp[:10],
                    "time": f"{datetime.fromisoformat(stamp):%I:%M %p}",
                    "timestamp": stamp,
                    "status": status,
                    "code": code,
                    "description": description,
                    "location": location,
                }
            )
        return sorted(events, key=lambda event: event["timestamp"], reverse=True)

    # --- the protocol ---------------------------------------------------------------------------------------------

    def _refusal(self, request: Request) -> Response | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            return _refuse(401, "authentication_required", "Authentication credentials were not provided.")
        if scheme != "Token" or not self._credentials.accepts("karrio", "token", token.removeprefix("key_")):
            return _refuse(401, "invalid_token", "Given token not valid for any token type")
        return None

    def _retrieve(self, table: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if (refusal := self._refusal(request)) is not None:
                return refusal
            wanted = request.path_params["id"]
            found = next((row for _, row in self._tables[table] if row["id"] == wanted), None)
            return JSONResponse(found) if found else _refuse(404, "not_found", "Not found.")

        return answer

    def _list(self, table: str) -> Callable[[Request], Any]:
        async def answer(request: Request) -> Response:
            if (refusal := self._refusal(request)) is not None:
                return refusal
            asked = request.query_params
            try:
                limit, offset = int(asked.get("limit", DEFAULT_PAGE)), int(asked.get("offset", 0))
                after, before = (_instant(asked.get(name)) for name in ("created_after", "created_before"))
            except ValueError as error:
                return _refuse(400, "validation", f"Enter a valid value: {error}")
            rows = [
                row
                for made_at, row in self._tables[table]
                if (after is None or made_at >= after) and (before is None or made_at <= before)
            ]

            def page_url(start: int) -> str:
                return (
                    f"{request.url.replace(query='')}?{urlencode({**asked, 'limit': limit, 'offset': start})}"
                )

            body = {
                "count": len(rows),
                "next": page_url(offset + limit) if offset + limit < len(rows) else None,
                "previous": page_url(max(offset - limit, 0)) if offset > 0 else None,
                "results": rows[offset : offset + limit],
            }
            return JSONResponse(body)

        return answer


def _together(one: Shipment, other: Shipment) -> Shipment:
    return replace(
        one,
        package_count=1 + int((one.weight_kg + other.weight_kg) // 15),
        weight_kg=one.weight_kg + other.weight_kg,
        volume_m3=one.volume_m3 + other.volume_m3,
        cost_amount=one.cost_amount + other.cost_amount,
    )


def _instant(text: str | None) -> datetime | None:
    if not text:
        return None
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
