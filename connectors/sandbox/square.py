"""Square as the sandbox company's stores outside mainland China use it: four tills, a catalogue typed by hand, customers made twice.

What is dirty here: item names and barcodes, customers entered again at another till, names in either script,
returns as orders of their own, training sales marked by a ticket name alone, rows that appear on two pages.

Source: https://developer.squareup.com/reference/square
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.places import is_sold_at, stores_at
from connectors.sandbox.stock import moved_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Address, Customer, Order, OrderLine, Return, World

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
_WALLETS = {"alipay": "ALIPAY", "wechat_pay": "WECHAT_PAY"}
_EU = frozenset(("DE", "FR", "ES"))
_SET_UP = timedelta(days=200)


class _BadRequestError(Exception):
    """A request Square answers with 400."""

    def __init__(self, code: str, detail: str, field: str | None = None) -> None:
        super().__init__(detail)
        self.body = _errors("INVALID_REQUEST_ERROR", code, detail, field)


def _errors(category: str, code: str, detail: str, field: str | None = None) -> Json:
    error = {"category": category, "code": code, "detail": detail}
    return {"errors": [error | ({"field": field} if field else {})]}


def _refuse(wait: float) -> Response:
    return JSONResponse(
        _errors("RATE_LIMIT_ERROR", "RATE_LIMITED", "Too many requests. Try again later."), status_code=429
    )


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


def _instant(text: Any, field: str) -> datetime:
    try:
        return datetime.fromisoformat(str(text)).astimezone(UTC)
    except ValueError:
        raise _BadRequestError(
            "INVALID_TIME", f"Expected an RFC 3339 timestamp, got {text!r}.", field
        ) from None


def _money(amount: Decimal, currency: str) -> Json:
    return {"amount": int(amount.scaleb(words.MINOR_UNIT_DIGITS[currency])), "currency": currency}


def _address(address: Address) -> Json:
    return {
        "address_line_1": address.street,
        "locality": address.city,
        "administrative_district_level_1": address.region,
        "postal_code": address.postcode,
        "country": address.country,
    }


def _without_nulls(row: Json) -> Json:
    return {name: value for name, value in row.items() if value is not None}


class Twin:
    """Square over one world."""

    name = "square"
    rate_limit = RateLimit(limit=60, window=3.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world
        self._dirt = dirt
        self._credentials = credentials
        self._differences = Differences(world, dirt)
        self.deleted: set[str] = set()
        self._sales = [order for order in world.orders.values() if is_sold_at(world, order, self.name)]
        self._stores = list(stores_at(world, self.name).values())

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_SQUARE_URL": base_url,
            "ORDERHUB_SQUARE_TOKEN": self._credentials.secret("square", "TOKEN"),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/v2/locations", self._answer(self._list_locations)),
            Route("/v2/catalog/list", self._answer(self._list_catalog)),
            Route("/v2/customers/search", self._answer(self._search_customers), methods=["POST"]),
            Route("/v2/orders/search", self._answer(self._search_orders), methods=["POST"]),
            Route(
                "/v2/customers/{id}", self._answer(self._retrieve("customer", lambda: self._kept_customers))
            ),
            Route("/v2/orders/batch-retrieve", self._answer(self._retrieve_orders), methods=["POST"]),
            Route("/v2/payments/{id}", self._answer(self._retrieve("payment", lambda: self._payments))),
            Route("/v2/refunds/{id}", self._answer(self._retrieve("refund", lambda: self._refunds))),
            Route("/v2/payments", self._answer(self._list_payments)),
            Route("/v2/refunds", self._answer(self._list_refunds)),
            Route(
                "/v2/inventory/counts/batch-retrieve", self._answer(self._retrieve_counts), methods=["POST"]
            ),
        ]

    def truth(self) -> Iterable[Truth]:
        for place in self._stores:
            yield Truth(
                "location", f"square:locations:{self._location_id(place.location_id)}", place.location_id
            )
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", 0.04)):
                key = self._id(f"variation/{product.product_id}/{copy}", 24)
                yield Truth("sku", f"square:catalog_variations:{key}", product.product_id)
        for customer_id in self._first_seen:
            for copy in range(self._dirt.copies(f"customer/{customer_id}", 0.06)):
                key = self._id(f"customer/{customer_id}/{copy}", 26)
                yield Truth("customer", f"square:customers:{key}", customer_id)
        for order in self._sales:
            yield Truth("order", f"square:orders:{self._id(f'order/{order.order_id}', 29)}", order.order_id)
            for taken in order.returns:
                key = self._id(f"return/{taken.return_id}", 29)
                yield Truth("order", f"square:orders:{key}", order.order_id)

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were rung up or moved on since then."""
        return [
            ("order.updated", row["id"])
            for row in self._orders
            if _is_time(row["updated_at"]) and _instant(row["updated_at"], "") >= since
        ]

    def differences(self) -> Iterable[Planted]:
        """What the tills' payments differ in; those pages are made with it."""
        return self._differences.listed if [*self._payments, *self._refunds] else []

    # --- ids ----------------------------------------------------------------------------------------------

    def _id(self, key: str, length: int) -> str:
        return self._dirt.token(key, length, _ALPHABET)

    def _location_id(self, location_id: str) -> str:
        return "L" + self._dirt.token(f"location/{location_id}", 12)

    def _variation_id(self, product_id: str, key: str) -> str:
        copies = self._dirt.copies(f"product/{product_id}", 0.04)
        return self._id(f"variation/{product_id}/{self._dirt.number(f'{key}/copy', 0, copies - 1)}", 24)

    def _customer_key(self, customer_id: str, key: str) -> str:
        copies = self._dirt.copies(f"customer/{customer_id}", 0.06)
        return self._id(f"customer/{customer_id}/{self._dirt.number(f'{key}/copy', 0, copies - 1)}", 26)

    def _late(self, at: datetime, key: str, probability: float = 0.05) -> datetime:
        """When the change was written: late at times, never later than the system's own clock."""
        return min(self._dirt.late(at, key, probability), self._world.now)

    # --- what the seller sees -----------------------------------------------------------------------------

    @cached_property
    def _first_seen(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for order in self._sales:
            if order.customer_id is not None:
                at = found.get(order.customer_id, order.placed_at)
                found[order.customer_id] = min(at, order.placed_at)
        return found

    @cached_property
    def _locations(self) -> list[Json]:
        rows = []
        for place in self._stores:
            key = f"location/{place.location_id}"
            name = place.name_zh if place.name_zh and self._dirt.chance(f"{key}/han", 0.5) else place.name
            script = "han" if place.address.country == "CN" else "latin"
            # A till stands in its store, and its receipts print the address.
            address = self._dirt.address(place.address, key, script, may_be_former=False)  # type: ignore[arg-type]
            rows.append(
                {
                    "id": self._location_id(place.location_id),
                    "name": name,
                    "type": "PHYSICAL",
                    "status": "ACTIVE",
                    "address": _address(address),
                    "country": place.address.country,
                    "coordinates": {"latitude": place.address.latitude, "longitude": place.address.longitude},
                    "timezone": place.timezone,
                    "currency": words.MARKETS[place.address.country].currency,
                    "business_name": "Luna Beauty & Larder",
                    "merchant_id": self._id("merchant", 13),
                    "created_at": "2024-03-01T08:00:00Z",
                }
            )
        return rows

    @cached_property
    def _catalog(self) -> dict[str, list[Json]]:
        categories = sorted({product.category for product in self._world.products.values()})
        updated = _time(self._start - _SET_UP)
        rows = [
            {
                "type": "CATEGORY",
                "id": self._id(f"category/{name}", 24),
                "updated_at": updated,
                "version": 1,
                "is_deleted": False,
                "category_data": {"name": name},
            }
            for name in categories
        ]
        items = []
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", 0.04)):
                key = f"product/{product.product_id}/{copy}"
                item_id = self._id(f"item/{product.product_id}/{copy}", 24)
                variation = {
                    "item_id": item_id,
                    "name": "Regular",
                    "sku": self._dirt.code(product.mpn, f"{key}/sku"),
                    "upc": self._dirt.gtin(product, key),
                    "ordinal": 0,
                    "pricing_type": "FIXED_PRICING",
                    "price_money": _money(product.list_price, product.currency),
                }
                items.append(
                    {
                        "type": "ITEM",
                        "id": item_id,
                        "updated_at": updated,
                        "version": 1,
                        "is_deleted": False,
                        "present_at_all_locations": True,
                        "item_data": {
                            "name": self._dirt.title(product, key, "both"),
                            "product_type": "REGULAR",
                            "reporting_category": {
                                "id": self._id(f"category/{product.category}", 24),
                                "ordinal": 0,
                            },
                            "is_archived": False,
                            "variations": [
                                {
                                    "type": "ITEM_VARIATION",
                                    "id": self._id(f"variation/{product.product_id}/{copy}", 24),
                                    "updated_at": updated,
                                    "version": 1,
                                    "is_deleted": False,
                                    "item_variation_data": _without_nulls(variation),
                                }
                            ],
                        },
                    }
                )
        return {"CATEGORY": rows, "ITEM": items}

    @cached_property
    def _start(self) -> datetime:
        return min((order.placed_at for order in self._world.orders.values()), default=self._world.now)

    @cached_property
    def _customers(self) -> list[Json]:
        rows = []
        for customer_id, first in self._first_seen.items():
            customer = self._world.customers[customer_id]
            for copy in range(self._dirt.copies(f"customer/{customer_id}", 0.06)):
                rows.append(self._customer(customer, copy, first + timedelta(minutes=copy)))
        return sorted(rows, key=lambda row: (str(row["created_at"]), str(row["id"])))

    def _customer(self, customer: Customer, copy: int, at: datetime) -> Json:
        key = f"customer/{customer.customer_id}/{copy}"
        given, family = (None, None) if customer.is_company else self._dirt.name_parts(customer, key, "both")
        asked_address = self._dirt.fraction(f"{key}/asked-address") < 0.5
        tax = self._dirt.tax_number(customer, key) if customer.address.country in _EU else None
        return _without_nulls(
            {
                "id": self._id(f"customer/{customer.customer_id}/{copy}", 26),
                "created_at": _time(at),
                "updated_at": _time(self._late(at, key)),
                "given_name": given,
                "family_name": family,
                "company_name": self._dirt.company(customer, key, "both") if customer.is_company else None,
                "email_address": self._dirt.email(customer, key, drop=0.2),
                "phone_number": self._dirt.phone(customer, key, drop=0.15),
                "address": _address(self._dirt.address(customer.address, key)) if asked_address else None,
                "preferences": {"email_unsubscribed": not customer.marketing_consent},
                "creation_source": "TERMINAL",
                "tax_ids": {"eu_vat": tax} if tax else None,
                "version": 0,
            }
        )

    @cached_property
    def _orders(self) -> list[Json]:
        rows = []
        for order in self._sales:
            rows.append(self._sale(order))
            rows += [self._return(order, taken) for taken in order.returns]
        # Pages are cut while the tills go on selling: some rows are seen twice.
        rows += [row for row in rows if self._dirt.chance(f"twice/{row['id']}", 0.01)]
        return sorted(rows, key=lambda row: (str(row["updated_at"]), str(row["id"])))

    def _sale(self, order: Order) -> Json:
        key = f"order/{order.order_id}"
        currency = order.currency
        nothing = _money(Decimal(0), currency)
        if order.cancelled_at is not None:
            state = "CANCELED"
        else:
            state = "COMPLETED" if order.closed_at is not None else "OPEN"
        total = order.net_amount + order.tax_amount
        row: Json = {
            "id": self._id(key, 29),
            "location_id": self._location_id(str(order.selling_location_id)),
            "reference_id": order.number,
            "source": {"name": "Square Point of Sale"},
            "customer_id": self._customer_key(order.customer_id, key) if order.customer_id else None,
            "ticket_name": "TEST" if order.is_test else None,
            "state": state,
            "version": 4,
            "line_items": [self._line(order, line) for line in order.lines],
            "fulfillments": self._fulfillments(order) or None,
            "total_money": _money(total, currency),
            "total_tax_money": _money(order.tax_amount, currency),
            "total_discount_money": _money(order.discount_amount, currency),
            "total_tip_money": nothing,
            "total_service_charge_money": _money(order.shipping_amount, currency),
            "created_at": _time(order.placed_at),
            "updated_at": _time(self._late(order.updated_at, key)),
            "closed_at": _time(order.closed_at) if order.closed_at and state == "COMPLETED" else None,
        }
        if self._dirt.is_invalid(key):
            match self._dirt.pick(f"{key}/fault", ("currency", "date")):
                case "currency":
                    row["total_money"] = {"amount": row["total_money"]["amount"], "currency": "RMB"}
                case _:
                    row["created_at"] = "2026-02-31T25:00:00Z"
        return _without_nulls(row)

    def _line(self, order: Order, line: OrderLine) -> Json:
        product = self._world.products[line.product_id]
        key = f"order/{order.order_id}/line/{line.line_number}"
        total = line.list_amount - line.discount_amount + line.tax_amount
        quantity = f"-{line.quantity}" if self._dirt.is_invalid(key) else str(line.quantity)
        return {
            "uid": self._id(key, 22),
            "catalog_object_id": self._variation_id(line.product_id, key),
            "catalog_version": 1,
            "name": self._dirt.title(product, f"product/{product.product_id}/0", "both"),
            "variation_name": "Regular",
            "item_type": "ITEM",
            "quantity": quantity,
            "base_price_money": _money(line.unit_price, order.currency),
            "gross_sales_money": _money(line.list_amount, order.currency),
            "total_discount_money": _money(line.discount_amount, order.currency),
            "total_tax_money": _money(line.tax_amount, order.currency),
            "total_money": _money(total, order.currency),
        }

    def _fulfillments(self, order: Order) -> list[Json]:
        if order.ship_to is None:
            return []
        customer = self._world.customers[str(order.customer_id)]
        key = f"order/{order.order_id}/ship-to"
        recipient = {
            "display_name": self._dirt.name(customer, key),
            "address": _address(self._dirt.address(order.ship_to, key)),
        }
        if not order.shipments:
            state = "CANCELED" if order.cancelled_at else "PROPOSED"
            details: Json = {"recipient": recipient, "placed_at": _time(order.placed_at)}
            return [
                {"uid": self._id(key, 22), "type": "SHIPMENT", "state": state, "shipment_details": details}
            ]
        return [
            {
                "uid": self._id(f"shipment/{shipment.shipment_id}", 22),
                "type": "SHIPMENT",
                "state": "COMPLETED",
                "shipment_details": {
                    "recipient": recipient,
                    "carrier": shipment.carrier,
                    "tracking_number": shipment.tracking_number,
                    "shipping_type": shipment.service,
                    "placed_at": _time(order.placed_at),
                    "packaged_at": _time(shipment.packed_at),
                    "shipped_at": _time(shipment.dispatched_at),
                },
            }
            for shipment in order.shipments
        ]

    def _return(self, order: Order, taken: Return) -> Json:
        line = order.lines[taken.line_number - 1]
        key = f"order/{order.order_id}/line/{line.line_number}"
        nothing, amount = _money(Decimal(0), order.currency), _money(taken.refund_amount, order.currency)
        return {
            "id": self._id(f"return/{taken.return_id}", 29),
            "location_id": self._location_id(str(order.selling_location_id)),
            "source": {"name": "Square Point of Sale"},
            "state": "COMPLETED",
            "version": 2,
            "returns": [
                {
                    "uid": self._id(f"return/{taken.return_id}/uid", 22),
                    "source_order_id": self._id(f"order/{order.order_id}", 29),
                    "return_line_items": [
                        {
                            "uid": self._id(f"return/{taken.return_id}/line", 22),
                            "source_line_item_uid": self._id(key, 22),
                            "name": self._world.products[line.product_id].title,
                            "catalog_object_id": self._variation_id(line.product_id, key),
                            "quantity": str(taken.quantity),
                            "note": taken.reason,
                            "item_type": "ITEM",
                            "total_money": amount,
                        }
                    ],
                    "return_amounts": {"total_money": amount},
                }
            ],
            "return_amounts": {"total_money": amount},
            "total_money": nothing,
            "total_tax_money": nothing,
            "total_discount_money": nothing,
            "created_at": _time(taken.refunded_at),
            "updated_at": _time(taken.refunded_at),
            "closed_at": _time(taken.refunded_at),
        }

    def _is_unread(self, order: Order) -> bool:
        """Whether the order breaks the system's own rules, so that what names it reaches none."""
        return self._dirt.is_invalid(f"order/{order.order_id}")

    @cached_property
    def _payments(self) -> list[Json]:
        rows = []
        for order in self._sales:
            if order.paid_at is None:
                continue
            key = f"payment/{order.order_id}"
            taken_amount = order.net_amount + order.tax_amount
            is_read, is_astray = not self._dirt.is_invalid(key), self._is_unread(order)
            cause = self._differences.draw("payment", order) if is_read and not is_astray else None
            if cause is Cause.MISSING and not order.returns:
                self._differences.plant("payment", order, cause, taken_amount)
                continue
            if cause is Cause.UNEXPLAINED:
                short = self._differences.part(key, taken_amount, order.currency)
                self._differences.plant("payment", order, cause, short)
                taken_amount -= short
            total = _money(taken_amount, order.currency)
            row: Json = {
                "id": self._id(key, 26),
                "order_id": self._id(f"order/{order.order_id}", 29),
                "location_id": self._location_id(str(order.selling_location_id)),
                "status": "COMPLETED",
                "amount_money": total,
                "total_money": total,
                "receipt_number": self._id(f"{key}/receipt", 4),
                "created_at": _time(order.paid_at),
                "updated_at": _time(max([order.paid_at, *(taken.refunded_at for taken in order.returns)])),
            }
            if order.customer_id is not None:
                row["customer_id"] = self._customer_key(order.customer_id, f"order/{order.order_id}")
            if order.returns:
                refunded = sum((taken.refund_amount for taken in order.returns), Decimal(0))
                row["refunded_money"] = _money(refunded, order.currency)
                row["refund_ids"] = [self._id(f"refund/{taken.return_id}", 40) for taken in order.returns]
            match order.payment_method:
                case "cash":
                    row |= {"source_type": "CASH", "cash_details": {"buyer_supplied_money": total}}
                case "alipay" | "wechat_pay":
                    brand = _WALLETS[order.payment_method]
                    row |= {"source_type": "WALLET", "wallet_details": {"status": "CAPTURED", "brand": brand}}
                case _:
                    card = {
                        "card_brand": self._dirt.pick(
                            f"{key}/brand", ("VISA", "MASTERCARD", "CHINA_UNIONPAY")
                        )
                    }
                    row |= {"source_type": "CARD", "card_details": {"status": "CAPTURED", "card": card}}
            if order.payment_fee_amount:
                fee = {
                    "type": "INITIAL",
                    "effective_at": _time(order.paid_at + timedelta(hours=2)),
                    "amount_money": _money(order.payment_fee_amount, order.currency),
                }
                row["processing_fee"] = [fee]
            if not is_read:
                row["created_at"] = row["created_at"].replace("T", "T2")
                if not is_astray:
                    self._differences.plant("payment", order, Cause.MISSING, taken_amount)
            elif is_astray:
                self._differences.astray("payment", f"square:payments:{row['id']}", order, taken_amount)
            rows.append(row)
            if cause is Cause.DUPLICATE:
                self._differences.plant("payment", order, cause, -taken_amount)
                again = {"id": self._id(f"{key}/again", 26), "receipt_number": self._id(f"{key}/again", 4)}
                rows.append({name: value for name, value in row.items() if name != "refund_ids"} | again)
        return sorted(rows, key=lambda row: (str(row["updated_at"]), str(row["id"])))

    @cached_property
    def _refunds(self) -> list[Json]:
        rows = []
        for order in self._sales:
            for taken in order.returns:
                key = f"refund/{taken.return_id}"
                if self._is_unread(order) and not self._dirt.is_invalid(f"payment/{order.order_id}"):
                    record_id = f"square:refunds:{self._id(key, 40)}"
                    self._differences.astray("refund", record_id, order, taken.refund_amount)
                rows.append(
                    {
                        "id": self._id(key, 40),
                        "payment_id": self._id(f"payment/{order.order_id}", 26),
                        "order_id": self._id(f"return/{taken.return_id}", 29),
                        "location_id": self._location_id(str(order.selling_location_id)),
                        "status": "COMPLETED",
                        "amount_money": _money(taken.refund_amount, order.currency),
                        "reason": taken.reason.replace("_", " "),
                        "created_at": _time(taken.refunded_at),
                        "updated_at": _time(taken.refunded_at),
                    }
                )
        return sorted(rows, key=lambda row: (str(row["updated_at"]), str(row["id"])))

    @cached_property
    def _counts(self) -> list[Json]:
        touched = moved_at(self._world)
        held: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        stores = {place.location_id for place in self._stores}
        for lot in self._world.lots.values():
            if lot.location_id in stores:
                on_hand, reserved = held.get((lot.product_id, lot.location_id), (Decimal(0), Decimal(0)))
                held[lot.product_id, lot.location_id] = (
                    on_hand + lot.on_hand_qty,
                    reserved + lot.reserved_qty,
                )
        rows = []
        for (product_id, location_id), (on_hand, reserved) in held.items():
            at = touched.get((location_id, product_id), self._start)
            for state, quantity in (("IN_STOCK", on_hand - reserved), ("RESERVED_FOR_SALE", reserved)):
                if state == "RESERVED_FOR_SALE" and quantity == 0:
                    continue
                rows.append(
                    {
                        "catalog_object_id": self._id(f"variation/{product_id}/0", 24),
                        "catalog_object_type": "ITEM_VARIATION",
                        "state": state,
                        "location_id": self._location_id(location_id),
                        "quantity": format(quantity.normalize(), "f"),
                        "calculated_at": _time(at),
                    }
                )
        return sorted(
            rows, key=lambda row: (row["calculated_at"], row["catalog_object_id"], row["location_id"])
        )

    # --- the protocol -------------------------------------------------------------------------------------

    def _answer(self, handle: Callable[[Json], Json]) -> Handler:
        """Check the token, read the parameters or body, and turn faults into Square's error bodies."""

        async def answer(request: Request) -> Response:
            scheme, _, token = request.headers.get("authorization", "").partition(" ")
            if scheme != "Bearer" or not self._credentials.accepts("square", "TOKEN", token):
                detail = "This request could not be authorized."
                return JSONResponse(_errors("AUTHENTICATION_ERROR", "UNAUTHORIZED", detail), status_code=401)
            try:
                asked: Any = dict(request.query_params) | request.path_params
                if request.method == "POST":
                    try:
                        asked = json.loads(await request.body())
                    except ValueError:
                        raise _BadRequestError("EXPECTED_JSON_BODY", "The body is not JSON.") from None
                return JSONResponse(handle(asked))
            except _BadRequestError as error:
                return JSONResponse(error.body, status_code=400)
            except LookupError as error:
                detail = f"No record with the id {error} was found."
                return JSONResponse(_errors("INVALID_REQUEST_ERROR", "NOT_FOUND", detail), status_code=404)

        return answer

    def _page(self, name: str, rows: list[Json], asked: Json, most: int, default: int) -> Json:
        """Cut one page out of `rows`; the cursor is good only for the query that it came with."""
        limit = int(asked.get("limit", default))
        if not 1 <= limit <= most:
            code = "VALUE_TOO_HIGH" if limit > most else "VALUE_TOO_LOW"
            raise _BadRequestError(code, f"`limit` must be between 1 and {most}.", "limit")
        query = json.dumps(
            {key: value for key, value in asked.items() if key not in ("cursor", "limit")}, sort_keys=True
        )
        start = 0
        if asked.get("cursor"):
            try:
                kept, start = json.loads(base64.urlsafe_b64decode(asked["cursor"]))
            except ValueError:
                raise _BadRequestError("INVALID_CURSOR", "The cursor is not valid.", "cursor") from None
            if kept != query:
                raise _BadRequestError("INVALID_CURSOR", "The cursor was made for another query.", "cursor")
        page: Json = {name: rows[start : start + limit]} if rows[start : start + limit] else {}
        if start + limit < len(rows):
            page["cursor"] = base64.urlsafe_b64encode(json.dumps([query, start + limit]).encode()).decode()
        return page

    @property
    def _kept_customers(self) -> list[Json]:
        return [row for row in self._customers if row["id"] not in self.deleted]

    def _retrieve(self, name: str, rows: Callable[[], list[Json]]) -> Callable[[Json], Json]:
        def one(asked: Json) -> Json:
            found = next((row for row in rows() if row["id"] == asked["id"]), None)
            if found is None:
                raise LookupError(asked["id"])
            return {name: found}

        return one

    def _retrieve_orders(self, asked: Json) -> Json:
        wanted = set(asked.get("order_ids") or ())
        return {"orders": [row for row in self._orders if row["id"] in wanted]}

    def _list_locations(self, asked: Json) -> Json:
        return {"locations": self._locations}

    def _list_catalog(self, asked: Json) -> Json:
        types = [name.strip().upper() for name in asked.get("types", "CATEGORY,ITEM").split(",")]
        unknown = [name for name in types if name not in self._catalog]
        if unknown:
            raise _BadRequestError("INVALID_ENUM_VALUE", f"`{unknown[0]}` is not a type kept here.", "types")
        rows = [row for name in types for row in self._catalog[name] if row["id"] not in self.deleted]
        return self._page("objects", rows, {**asked, "limit": 100}, 100, 100)

    def _search_customers(self, asked: Json) -> Json:
        query = asked.get("query") or {}
        if (query.get("sort") or {}).get("field", "DEFAULT") not in ("DEFAULT", "CREATED_AT"):
            raise _BadRequestError("INVALID_ENUM_VALUE", "Sort by DEFAULT or CREATED_AT.", "query.sort.field")
        window = (query.get("filter") or {}).get("updated_at") or {}
        return self._page("customers", _between(self._kept_customers, window, "updated_at"), asked, 100, 100)

    def _search_orders(self, asked: Json) -> Json:
        places = asked.get("location_ids")
        if not places:
            raise _BadRequestError("MISSING_REQUIRED_PARAMETER", "Give location_ids.", "location_ids")
        if len(places) > 10:
            raise _BadRequestError("ARRAY_LENGTH_TOO_LONG", "At most 10 location_ids.", "location_ids")
        query = asked.get("query") or {}
        filters = (query.get("filter") or {}).get("date_time_filter") or {}
        sort = (query.get("sort") or {}).get("sort_field", "CREATED_AT")
        if len(filters) > 1:
            raise _BadRequestError("BAD_REQUEST", "Filter for one time range at a time.", "query.filter")
        rows = [row for row in self._orders if row["location_id"] in places]
        for field, window in filters.items():
            if field.upper() != sort:
                raise _BadRequestError(
                    "BAD_REQUEST", "The sort field must be the field filtered by.", "query.sort"
                )
            rows = _between(rows, window, field)
        return self._page("orders", rows, asked, 1000, 500)

    def _list_payments(self, asked: Json) -> Json:
        # Square answers for the main location when none is named.
        place = asked.get("location_id", self._locations[0]["id"])
        rows = [row for row in self._payments if row["location_id"] == place]
        return self._page("payments", self._movements(rows, asked), asked, 100, 100)

    def _list_refunds(self, asked: Json) -> Json:
        return self._page("refunds", self._movements(self._refunds, asked), asked, 100, 100)

    def _movements(self, rows: list[Json], asked: Json) -> list[Json]:
        year_ago = _time(self._world.now - timedelta(days=365))
        # What a till booked under an impossible date is found by its change time only.
        first = _instant(asked.get("begin_time", year_ago), "begin_time")
        rows = [
            row for row in rows if not _is_time(row["created_at"]) or _instant(row["created_at"], "") >= first
        ]
        window = {"start_at": asked.get("updated_at_begin_time"), "end_at": asked.get("updated_at_end_time")}
        return _between(rows, window, "updated_at")

    def _retrieve_counts(self, asked: Json) -> Json:
        rows = self._counts
        if asked.get("updated_after"):
            after = _instant(asked["updated_after"], "updated_after")
            rows = [row for row in rows if _instant(row["calculated_at"], "") > after]
        if asked.get("location_ids"):
            rows = [row for row in rows if row["location_id"] in asked["location_ids"]]
        if asked.get("states"):
            rows = [row for row in rows if row["state"] in asked["states"]]
        return self._page("counts", rows, asked, 1000, 100)


def _is_time(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _between(rows: list[Json], window: Json, field: str) -> list[Json]:
    """Rows whose `field` lies in an inclusive time range; rows without a time drop out of a bounded range."""
    start, end = window.get("start_at"), window.get("end_at")
    first = _instant(start, f"{field}.start_at") if start else None
    last = _instant(end, f"{field}.end_at") if end else None
    if first is None and last is None:
        return rows
    found = []
    for row in rows:
        if not _is_time(str(row.get(field, ""))):
            continue
        at = _instant(row[field], field)
        if (first is None or at >= first) and (last is None or at <= last):
            found.append(row)
    return found
