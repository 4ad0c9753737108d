"""Amazon as the sandbox company's marketplace account: orders it ships itself and orders Amazon ships for it.

What is dirty here: buyers behind relay addresses or with no address at all, two SKUs for one article, no money on
pending orders, transactions that lack the order or the marketplace, deferred ones that are booked again on release,
one European stock shown by three marketplaces, empty pages. One endpoint stands for all regions.

Source: https://developer-docs.amazon.com/sp-api (Orders 2026-01-01, Finances 2024-06-19, FBA Inventory v1)
"""

from __future__ import annotations

import base64
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.stock import moved_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, OrderLine, Product, Return, Shipment, World

Json = dict[str, Any]
Handler = Callable[[Request], Awaitable[Response]]

_MARKETPLACES = {
    "US": ("ATVPDKIKX0DER", "Amazon.com"),
    "GB": ("A1F83G8C2ARO7P", "Amazon.co.uk"),
    "DE": ("A1PA6795UKMFR9", "Amazon.de"),
    "FR": ("A13V1IB3VIYZZH", "Amazon.fr"),
    "ES": ("A1RKKUPIHCS9HS", "Amazon.es"),
    "JP": ("A1VC38T7YXB528", "Amazon.co.jp"),
}
# Fulfilment network -> (code of the location it stands for, marketplaces that show its stock).
_NETWORKS = {"NA": ("FBA-US", ("US",)), "UK": ("FBA-UK", ("GB",)), "EU": ("FBA-DE", ("DE", "FR", "ES"))}
_RELAY = {"US": "marketplace.amazon.com", "GB": "marketplace.amazon.co.uk", "JP": "marketplace.amazon.co.jp"}
_LONGEST_RANGE = timedelta(days=180)
# Settlement periods are counted from here, a Monday.
_FIRST_PERIOD, _PERIOD = datetime(2026, 1, 5, tzinfo=UTC), timedelta(days=14)
_SETTLES_AFTER, _RELEASED_AFTER = timedelta(days=1), timedelta(days=14)


class _InputError(Exception):
    """A request the Selling Partner API answers with 400."""


def _errors(code: str, message: str, details: str = "") -> Json:
    return {"errors": [{"code": code, "message": message, "details": details}]}


def _refuse(wait: float) -> Response:
    said = "You exceeded your quota for the requested resource."
    return JSONResponse(
        _errors("QuotaExceeded", said), status_code=429, headers={"x-amzn-RateLimit-Limit": "4.0"}
    )


def _rate_header(limit: int, remaining: int) -> Mapping[str, str]:
    return {"x-amzn-RateLimit-Limit": "4.0"}


def _time(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _instant(text: str, name: str) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise _InputError(f"{name} is not an ISO 8601 date-time") from None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _money(amount: Decimal, currency: str) -> Json:
    return {"amount": format(amount, f".{words.MINOR_UNIT_DIGITS[currency]}f"), "currencyCode": currency}


def _is_misnamed(dirt: Dirt, key: str) -> bool:
    """Whether a transaction names a shipment where the order's number should be."""
    return dirt.chance(f"{key}/misnamed", 0.02)


def reaches_order(dirt: Dirt, order: Order, key: str) -> bool:
    """Whether a transaction reaches its order: it names it, and both can be read.

    Args:
        dirt: of this system.
        order: the order it is about.
        key: `settlement/<order_id>` or `refund/<return_id>`.
    """
    is_read = not dirt.is_invalid(key) and not dirt.is_invalid(f"order/{order.order_id}")
    return is_read and not _is_misnamed(dirt, key)


def _booked(amount: Decimal, currency: str) -> Json:
    return {"currencyAmount": float(amount), "currencyCode": currency}


class Twin:
    """The Selling Partner API over one world."""

    name = "amazon"
    has_restricted_role = True
    rate_limit = RateLimit(limit=40, window=10.0, refuse=_refuse, headers=_rate_header)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world
        self._dirt = dirt
        self._credentials = credentials
        self._differences = Differences(world, dirt)
        self._placed = [order for order in world.orders.values() if order.channel is Channel.AMAZON]
        self._location_of = {place.code: place.location_id for place in world.locations.values()}

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_AMAZON_URL": base_url,
            "ORDERHUB_AMAZON_TOKEN_URL": f"{base_url}/auth/o2/token",
            "ORDERHUB_AMAZON_CLIENT_ID": "amzn1.application-oa2-client.sandbox",
            "ORDERHUB_AMAZON_CLIENT_SECRET": self._credentials.secret("amazon", "CLIENT_SECRET"),
            "ORDERHUB_AMAZON_REFRESH_TOKEN": "Atzr|" + self._credentials.secret("amazon", "REFRESH_TOKEN"),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/auth/o2/token", self._token, methods=["POST"]),
            Route("/orders/2026-01-01/orders", self._answer(self._search_orders)),
            Route("/finances/2024-06-19/transactions", self._answer(self._list_transactions)),
            Route("/fba/inventory/v1/summaries", self._answer(self._list_summaries)),
        ]

    def truth(self) -> Iterable[Truth]:
        for order in self._placed:
            yield Truth("order", f"amazon:orders:{order.number}", order.order_id)
            yield Truth("customer", f"amazon:orders:{order.number}", str(order.customer_id))
        for product in self._world.products.values():
            for sku in sorted({self._sku(product, False), self._sku(product, True)}):
                yield Truth("sku", f"amazon:order_items:{sku}", product.product_id)
                yield Truth("sku", f"amazon:inventory_summaries:{sku}", product.product_id)
        for network, (code, _) in _NETWORKS.items():
            yield Truth("location", f"amazon:inventory_summaries:{network}", self._location_of[code])

    def differences(self) -> Iterable[Planted]:
        """What the settlement differs in, and what it books without naming the order."""
        return self._differences.listed if self._transactions else []

    def _late(self, at: datetime, key: str, probability: float = 0.05) -> datetime:
        """When the change was written: late at times, never later than the system's own clock."""
        return min(self._dirt.late(at, key, probability), self._world.now)

    # --- what the account shows ---------------------------------------------------------------------------------------

    def _sku(self, product: Product, is_fba: bool) -> str:
        """Some articles are listed twice: under one SKU for the seller's stock and one for Amazon's."""
        doubled = self._dirt.chance(f"listing/{product.product_id}", 0.1)
        return f"{product.mpn}-FBA" if is_fba and doubled else product.mpn

    def _asin(self, product: Product) -> str:
        return "B0" + self._dirt.token(f"asin/{product.product_id}", 8)

    def _title(self, product: Product) -> str:
        return self._dirt.title(product, f"listing/{product.product_id}")

    def _country(self, order: Order) -> str:
        return self._world.customers[str(order.customer_id)].address.country

    @cached_property
    def _orders(self) -> list[Json]:
        rows = [self._order(order) for order in self._placed]
        return sorted(rows, key=lambda row: (row["lastUpdatedTime"], row["orderId"]))

    def _order(self, order: Order) -> Json:
        key = f"order/{order.order_id}"
        marketplace, name = _MARKETPLACES[self._country(order)]
        fulfillment: Json = {
            "fulfillmentStatus": _status(order),
            "fulfilledBy": "AMAZON" if order.is_fulfilled_by_marketplace else "MERCHANT",
            "fulfillmentServiceLevel": "EXPEDITED" if order.is_fulfilled_by_marketplace else "STANDARD",
        }
        if order.promised_at is not None:
            window = {"earliestDateTime": _time(order.placed_at), "latestDateTime": _time(order.promised_at)}
            fulfillment["deliverByWindow"] = window
        row: Json = {
            "orderId": order.number,
            "createdTime": _time(order.placed_at),
            "lastUpdatedTime": _time(self._late(order.updated_at, key)),
            "programs": ["PRIME"] if order.is_fulfilled_by_marketplace else [],
            "salesChannel": {"channelName": "AMAZON", "marketplaceId": marketplace, "marketplaceName": name},
            "buyer": self._buyer(order),
            "recipient": {"deliveryAddress": self._recipient(order)},
            "fulfillment": fulfillment,
            "orderItems": [self._item(order, line) for line in order.lines],
        }
        if order.erp_number is not None and self._dirt.chance(f"{key}/alias", 0.3):
            row["orderAliases"] = [{"aliasId": order.erp_number, "aliasType": "SELLER_ORDER_ID"}]
        if self._has_money(order):
            row["proceeds"] = self._proceeds(order)
        if not order.is_fulfilled_by_marketplace and order.shipments:
            row["packages"] = [
                self._package(order, shipment, place) for place, shipment in enumerate(order.shipments, 1)
            ]
        if self._dirt.is_invalid(key):
            if "proceeds" in row and self._dirt.fraction(f"{key}/fault") < 0.5:
                row["proceeds"]["grandTotal"]["currencyCode"] = "EURO"
            else:
                row["createdTime"] = row["createdTime"].replace("T", "T3", 1)
        return row

    def _has_money(self, order: Order) -> bool:
        return order.paid_at is not None and order.cancelled_at is None

    def _buyer(self, order: Order) -> Json:
        customer = self._world.customers[str(order.customer_id)]
        found = {"buyerName": self._dirt.name(customer, f"order/{order.order_id}/buyer")}
        if not order.is_fulfilled_by_marketplace:
            domain = _RELAY.get(customer.address.country, "marketplace.amazon.de")
            found["buyerEmail"] = self._dirt.relay_email(customer.customer_id, domain)
        if customer.company_name is not None:
            found["buyerCompanyName"] = self._dirt.company(customer, f"order/{order.order_id}")
        return found

    def _recipient(self, order: Order) -> Json:
        if order.ship_to is None:
            raise ValueError(f"{order.order_id}: a marketplace order without an address")
        key = f"order/{order.order_id}/ship-to"
        address = self._dirt.address(order.ship_to, key)
        found = {
            "city": address.city,
            "stateOrRegion": address.region,
            "postalCode": address.postcode,
            "countryCode": address.country,
        }
        if order.is_fulfilled_by_marketplace:  # Amazon keeps the street to itself
            return found
        customer = self._world.customers[str(order.customer_id)]
        found |= {"name": self._dirt.name(customer, key), "addressLine1": address.street}
        phone = self._dirt.phone(customer, key, drop=0.4)
        return found | ({"phone": phone} if phone else {})

    def _proceeds(self, order: Order) -> Json:
        currency = order.currency
        parts = [("ITEM", order.gross_amount), ("SHIPPING", order.shipping_amount), ("TAX", order.tax_amount)]
        parts.append(("DISCOUNT", -order.discount_amount))
        shown = [{"type": kind, "subtotal": _money(amount, currency)} for kind, amount in parts if amount]
        return {"grandTotal": _money(order.net_amount + order.tax_amount, currency), "breakdowns": shown}

    def _item(self, order: Order, line: OrderLine) -> Json:
        key = f"order/{order.order_id}/line/{line.line_number}"
        product = self._world.products[line.product_id]
        currency = order.currency
        sent = sum(
            q for shipment in order.shipments for number, q in shipment.lines if number == line.line_number
        )
        row: Json = {
            "orderItemId": self._dirt.token(key, 14, "0123456789"),
            "quantityOrdered": -line.quantity if self._dirt.is_invalid(key) else line.quantity,
            "product": {
                "asin": self._asin(product),
                "title": self._title(product),
                "sellerSku": self._sku(product, order.is_fulfilled_by_marketplace),
                "condition": {"conditionType": "NEW", "conditionSubtype": "NEW"},
                "price": {"unitPrice": _money(line.unit_price, currency)},
            },
            "fulfillment": {"quantityFulfilled": sent, "quantityUnfulfilled": max(line.quantity - sent, 0)},
        }
        if self._has_money(order):
            parts = [
                ("ITEM", line.list_amount),
                ("TAX", line.tax_amount),
                ("DISCOUNT", -line.discount_amount),
            ]
            shown = [{"type": kind, "subtotal": _money(amount, currency)} for kind, amount in parts if amount]
            total = line.list_amount + line.tax_amount - line.discount_amount
            row["proceeds"] = {"proceedsTotal": _money(total, currency), "breakdowns": shown}
        if order.cancelled_at is not None:
            row["cancellation"] = {
                "cancellationExecution": {"cancelledBy": "BUYER", "cancelReason": "NO_LONGER_NEEDED"}
            }
        return row

    def _package(self, order: Order, shipment: Shipment, place: int) -> Json:
        delivered = shipment.delivered_at is not None
        items = [
            {
                "orderItemId": self._dirt.token(f"order/{order.order_id}/line/{number}", 14, "0123456789"),
                "quantity": quantity,
            }
            for number, quantity in shipment.lines
        ]
        return {
            "packageReferenceId": str(place),
            "createdTime": _time(shipment.packed_at),
            "packageStatus": {"status": "DELIVERED" if delivered else "IN_TRANSIT"},
            "carrier": shipment.carrier.replace("_", " ").upper(),
            "shipTime": _time(shipment.dispatched_at),
            "shippingService": shipment.service,
            "trackingNumber": shipment.tracking_number,
            "packageItems": items,
        }

    @cached_property
    def _transactions(self) -> list[Json]:
        rows: list[Json] = []
        for order in self._placed:
            if order.shipments and self._has_money(order):
                rows += self._settlement(
                    order, min(s.dispatched_at for s in order.shipments) + _SETTLES_AFTER
                )
            rows += [self._refund(order, taken) for taken in order.returns]
        shown = [row for row in rows if _instant(row["postedDate"], "postedDate") <= self._world.now]
        shown += self._transfers(shown)
        return sorted(shown, key=lambda row: (row["postedDate"], row["transactionId"]))

    def _transfers(self, rows: list[Json]) -> list[Json]:
        """Put what is on the balance into settlement periods of two weeks per currency; a period ends in a transfer."""
        periods: dict[tuple[int, str], list[Json]] = {}
        for row in rows:
            if row["transactionStatus"] == "RELEASED":
                number = (_instant(row["postedDate"], "postedDate") - _FIRST_PERIOD) // _PERIOD
                periods.setdefault((number, row["totalAmount"]["currencyCode"]), []).append(row)
        transfers = []
        for (number, currency), members in periods.items():
            key = f"settlement-period/{number}/{currency}"
            name = {
                "relatedIdentifierName": "SETTLEMENT_ID",
                "relatedIdentifierValue": self._dirt.token(key, 11, "0123456789"),
            }
            for row in members:
                row["relatedIdentifiers"] = [*row["relatedIdentifiers"], name]
            closes = _FIRST_PERIOD + (number + 1) * _PERIOD
            if closes > self._world.now or currency not in words.MINOR_UNIT_DIGITS:
                continue
            total = sum((Decimal(str(row["totalAmount"]["currencyAmount"])) for row in members), Decimal(0))
            link = {
                "relatedIdentifierName": "TRANSFER_ID",
                "relatedIdentifierValue": self._dirt.token(f"{key}/transfer", 16),
            }
            transfers.append(
                {
                    "transactionId": self._dirt.token(f"{key}/transaction", 43),
                    "transactionType": "Transfer",
                    "transactionStatus": "RELEASED",
                    "description": "Transfer to bank account",
                    "postedDate": _time(closes),
                    "relatedIdentifiers": [name, link],
                    "totalAmount": _booked(-total, currency),
                    "breakdowns": [],
                }
            )
        return transfers

    def _settlement(self, order: Order, at: datetime) -> list[Json]:
        key = f"settlement/{order.order_id}"
        currency, sales = order.currency, order.net_amount + order.tax_amount
        parts = [
            ("ProductCharges", order.gross_amount),
            ("Promotions", -order.discount_amount),
            ("Shipping", order.shipping_amount),
            ("Tax", order.tax_amount),
        ]
        is_found = reaches_order(self._dirt, order, key)
        cause = self._differences.draw("settlement", order) if at <= self._world.now and is_found else None
        if cause is Cause.MISSING and not order.returns:
            self._differences.plant("settlement", order, cause, sales)
            return []
        if cause is Cause.UNEXPLAINED:
            short = self._differences.part(key, sales, currency)
            self._differences.plant("settlement", order, cause, short)
            sales -= short
            parts[0] = ("ProductCharges", order.gross_amount - short)
        row = self._transaction(order, key, at, "Shipment", "Order Payment", sales - order.channel_fee_amount)
        row["breakdowns"] = [
            _breakdown(
                "Sales",
                sales,
                currency,
                [_breakdown(kind, amount, currency) for kind, amount in parts if amount],
            ),
            _breakdown(
                "Expenses",
                -order.channel_fee_amount,
                currency,
                [_breakdown("AmazonFees", -order.channel_fee_amount, currency)],
            ),
        ]
        if cause is Cause.DUPLICATE:
            again = row | {"transactionId": self._dirt.token(f"{key}/again", 43)}
            self._differences.plant("settlement", order, cause, -sales)
            return [row, again]
        if not self._dirt.chance(f"{key}/deferred", 0.1):
            if at <= self._world.now and not is_found:
                self._lose(order, sales, row)
            return [row]
        if at + _RELEASED_AFTER > self._world.now:
            if at <= self._world.now and not is_found:
                self._lose(order, sales)
            return [row | {"transactionStatus": "DEFERRED"}]
        released = self._dirt.token(f"{key}/released", 43)
        if not is_found:
            self._lose(order, sales, row | {"transactionId": released})
        link = {
            "relatedIdentifierName": "DEFERRED_TRANSACTION_ID",
            "relatedIdentifierValue": row["transactionId"],
        }
        return [
            row | {"transactionStatus": "DEFERRED_RELEASED"},
            row
            | {
                "transactionId": released,
                "postedDate": _time(at + _RELEASED_AFTER),
                "relatedIdentifiers": [*row["relatedIdentifiers"], link],
            },
        ]

    def _lose(self, order: Order, sales: Decimal, *rows: Json) -> None:
        """Plant what transactions that reach no order leave behind: an order without its money, and money without an order."""
        if not self._dirt.is_invalid(f"order/{order.order_id}"):
            self._differences.plant("settlement", order, Cause.MISSING, sales)
        for row in rows:
            if row["totalAmount"]["currencyCode"] == order.currency:  # any other cannot even be read
                self._differences.astray(
                    "settlement", f"amazon:transactions:{row['transactionId']}", order, sales
                )

    def _refund(self, order: Order, taken: Return) -> Json:
        key = f"refund/{taken.return_id}"
        row = self._transaction(order, key, taken.refunded_at, "Refund", "Refund Order", -taken.refund_amount)
        identifier = {
            "relatedIdentifierName": "REFUND_ID",
            "relatedIdentifierValue": self._dirt.token(f"{key}/id", 20),
        }
        row["relatedIdentifiers"].append(identifier)
        row["breakdowns"] = [_breakdown("Sales", -taken.refund_amount, order.currency)]
        if (
            taken.refunded_at <= self._world.now
            and not self._dirt.is_invalid(key)
            and not reaches_order(self._dirt, order, key)
        ):
            self._differences.astray(
                "refund", f"amazon:transactions:{row['transactionId']}", order, taken.refund_amount
            )
        return row

    def _transaction(
        self, order: Order, key: str, at: datetime, kind: str, said: str, total: Decimal
    ) -> Json:
        marketplace, name = _MARKETPLACES[self._country(order)]
        named = ("ORDER_ID", order.number)
        if _is_misnamed(self._dirt, key):
            named = ("SHIPMENT_ID", self._dirt.token(f"{key}/shipment", 9))
        row: Json = {
            "transactionId": self._dirt.token(key, 43),
            "transactionType": kind,
            "transactionStatus": "RELEASED",
            "description": said,
            "postedDate": _time(at),
            "relatedIdentifiers": [{"relatedIdentifierName": named[0], "relatedIdentifierValue": named[1]}],
            "totalAmount": _booked(total, order.currency),
        }
        if not self._dirt.chance(f"{key}/nowhere", 0.03):
            row["marketplaceDetails"] = {"marketplaceId": marketplace, "marketplaceName": name}
        if self._dirt.is_invalid(key):
            row["totalAmount"]["currencyCode"] = "XXQ"
        return row

    @cached_property
    def _summaries(self) -> dict[str, list[Json]]:
        """Stock by marketplace id."""
        touched = moved_at(self._world)
        first = min((order.placed_at for order in self._world.orders.values()), default=self._world.now)
        held: dict[tuple[str, str], tuple[int, int]] = {}
        for lot in self._world.lots.values():
            on_hand, reserved = held.get((lot.location_id, lot.product_id), (0, 0))
            held[lot.location_id, lot.product_id] = (
                on_hand + int(lot.on_hand_qty),
                reserved + int(lot.reserved_qty),
            )
        found: dict[str, list[Json]] = {}
        for code, countries in _NETWORKS.values():
            rows = []
            for (location_id, product_id), (on_hand, reserved) in sorted(held.items()):
                if location_id != self._location_of[code]:
                    continue
                product = self._world.products[product_id]
                rows.append(
                    {
                        "asin": self._asin(product),
                        "fnSku": "X0" + self._dirt.token(f"fnsku/{product_id}", 8),
                        "sellerSku": self._sku(product, True),
                        "condition": "NewItem",
                        "productName": self._title(product),
                        "totalQuantity": max(on_hand, 0),
                        "lastUpdatedTime": _time(touched.get((location_id, product_id), first)),
                        "inventoryDetails": {
                            "fulfillableQuantity": max(on_hand - reserved, 0),
                            "reservedQuantity": {"totalReservedQuantity": reserved},
                        },
                    }
                )
            for country in countries:
                found[_MARKETPLACES[country][0]] = rows
        return found

    # --- the protocol -------------------------------------------------------------------------------------------------

    def _access_token(self) -> str:
        return "Atza|" + self._credentials.secret("amazon", "ACCESS_TOKEN")

    async def _token(self, request: Request) -> Response:
        asked = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        if asked.get("grant_type") != "refresh_token":
            body = {"error": "unsupported_grant_type", "error_description": "Use refresh_token"}
            return JSONResponse(body, status_code=400)
        if not self._credentials.accepts("amazon", "CLIENT_SECRET", asked.get("client_secret")):
            body = {"error": "invalid_client", "error_description": "Client authentication failed"}
            return JSONResponse(body, status_code=401)
        refresh = asked.get("refresh_token", "").removeprefix("Atzr|")
        if not self._credentials.accepts("amazon", "REFRESH_TOKEN", refresh):
            body = {
                "error": "invalid_grant",
                "error_description": "The request has an invalid grant parameter",
            }
            return JSONResponse(body, status_code=400)
        return JSONResponse(
            {
                "access_token": self._access_token(),
                "refresh_token": asked["refresh_token"],
                "token_type": "bearer",
                "expires_in": 3600,
            }
        )

    def _answer(self, handle: Callable[[Mapping[str, str]], Json]) -> Handler:
        async def answer(request: Request) -> Response:
            given = request.headers.get("x-amz-access-token", "").removeprefix("Atza|")
            if not self._credentials.accepts("amazon", "ACCESS_TOKEN", given):
                details = "The access token you provided is revoked, malformed or invalid."
                body = _errors("Unauthorized", "Access to requested resource is denied.", details)
                return JSONResponse(body, status_code=403)
            asked = set(request.query_params.get("includedData", "").split(","))
            if not self.has_restricted_role and asked & {"BUYER", "RECIPIENT"}:
                details = "The application has no role that may see buyers or recipients."
                body = _errors("Unauthorized", "Access to requested resource is denied.", details)
                return JSONResponse(body, status_code=403)
            try:
                return JSONResponse(handle(dict(request.query_params)))
            except _InputError as error:
                return JSONResponse(_errors("InvalidInput", str(error)), status_code=400)

        return answer

    def _search_orders(self, asked: Mapping[str, str]) -> Json:
        field = "lastUpdatedTime" if "lastUpdatedAfter" in asked else "createdTime"
        if ("lastUpdatedAfter" in asked) == ("createdAfter" in asked):
            raise _InputError("Provide exactly one of createdAfter and lastUpdatedAfter")
        start, end = ("lastUpdatedAfter", "lastUpdatedBefore") if field == "lastUpdatedTime" else (
            "createdAfter", "createdBefore")  # fmt: skip
        size = int(asked.get("maxResultsPerPage", "100"))
        if not 1 <= size <= 100:
            raise _InputError("maxResultsPerPage must be between 1 and 100")
        first = _instant(asked[start], start)
        last = _instant(asked[end], end) if end in asked else None
        included = set(asked.get("includedData", "").split(","))
        rows = []
        for row in self._orders:
            at = _lenient(row[field])
            if at is not None and at >= first and (last is None or at <= last):
                rows.append(_included(row, included))
        page, following = self._page(rows, asked, "paginationToken", size)
        answer: Json = {"orders": page, "lastUpdatedBefore": _time(last or self._world.now)}
        return answer | ({"pagination": {"nextToken": following}} if following else {})

    def _list_transactions(self, asked: Mapping[str, str]) -> Json:
        if "postedAfter" not in asked:
            raise _InputError("Start date cannot be null")
        first = _instant(asked["postedAfter"], "postedAfter")
        last = _instant(asked["postedBefore"], "postedBefore") if "postedBefore" in asked else self._world.now
        rows = []
        if last - first <= _LONGEST_RANGE:
            rows = [
                row for row in self._transactions if first <= _instant(row["postedDate"], "postedDate") < last
            ]
        page, following = self._page(rows, asked, "nextToken", 100, may_be_empty=True)
        return {"payload": {"transactions": page} | ({"nextToken": following} if following else {})}

    def _list_summaries(self, asked: Mapping[str, str]) -> Json:
        if asked.get("granularityType") != "Marketplace" or "granularityId" not in asked:
            raise _InputError("granularityType must be Marketplace, with a granularityId")
        marketplace = asked.get("marketplaceIds", "")
        if marketplace not in {known for known, _ in _MARKETPLACES.values()}:
            raise _InputError("marketplaceIds must name one marketplace")
        rows = self._summaries.get(marketplace, [])
        if "startDateTime" in asked:
            since = _instant(asked["startDateTime"], "startDateTime")
            if since < self._world.now - timedelta(days=548):
                raise _InputError("startDateTime is more than 18 months ago")
            rows = [row for row in rows if _instant(row["lastUpdatedTime"], "") > since]
        if asked.get("details") != "true":
            rows = [
                {name: value for name, value in row.items() if name != "inventoryDetails"} for row in rows
            ]
        page, following = self._page(rows, asked, "nextToken", 50)
        granularity = {"granularityType": "Marketplace", "granularityId": asked["granularityId"]}
        answer: Json = {"payload": {"granularity": granularity, "inventorySummaries": page}}
        return answer | ({"pagination": {"nextToken": following}} if following else {})

    def _page(
        self, rows: list[Json], asked: Mapping[str, str], name: str, size: int, *, may_be_empty: bool = False
    ) -> tuple[list[Json], str | None]:
        """Cut one page; with `may_be_empty`, the second page of a long answer holds nothing, as Amazon warns."""
        query = json.dumps({key: value for key, value in asked.items() if key != name}, sort_keys=True)
        start, was_empty = 0, False
        if asked.get(name):
            try:
                kept, start, was_empty = json.loads(base64.urlsafe_b64decode(asked[name]))
            except ValueError:
                raise _InputError(f"{name} is invalid") from None
            if kept != query:
                raise _InputError(f"{name} belongs to a request with other arguments")
        is_empty = may_be_empty and start == size and not was_empty
        end = start if is_empty else start + size
        if end >= len(rows):
            return rows[start:end], None
        token = base64.urlsafe_b64encode(json.dumps([query, end, is_empty]).encode()).decode()
        return rows[start:end], token


def _breakdown(kind: str, amount: Decimal, currency: str, parts: Sequence[Json] = ()) -> Json:
    return {"breakdownType": kind, "breakdownAmount": _booked(amount, currency), "breakdowns": list(parts)}


def _status(order: Order) -> str:
    if order.cancelled_at is not None:
        return "CANCELLED"
    if order.paid_at is None:
        return "PENDING"
    sent = sum(quantity for shipment in order.shipments for _, quantity in shipment.lines)
    if sent == 0:
        return "UNSHIPPED"
    return "SHIPPED" if sent >= sum(line.quantity for line in order.lines) else "PARTIALLY_SHIPPED"


def _lenient(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def _included(row: Json, included: set[str]) -> Json:
    """Leave out the data sets that were not asked for."""
    sets = {"buyer": "BUYER", "recipient": "RECIPIENT", "proceeds": "PROCEEDS", "packages": "PACKAGES"}
    sets |= {"fulfillment": "FULFILLMENT"}
    return {name: value for name, value in row.items() if sets.get(name) is None or sets[name] in included}
