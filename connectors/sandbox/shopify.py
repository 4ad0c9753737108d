"""Shopify as the sandbox company's web shop: guests who come back as new customers, several currencies, refunds.

The buckets are those of a Plus shop; a query costs what the documentation says objects and connections cost.

Source: https://shopify.dev/docs/api/admin-graphql and https://shopify.dev/docs/api/usage/limits
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import limit
from connectors.sandbox import vocabulary as words
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Cause, Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.graphql import Connection, Execution, GraphQLError, Selection, parse, static_cost
from connectors.sandbox.notify import Change
from connectors.sandbox.stock import moved_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import (
    Address,
    Channel,
    Customer,
    Order,
    OrderLine,
    Product,
    Return,
    Shipment,
    World,
)

Json = dict[str, Any]

_FILTER = re.compile(r"updated_at:(>=|<=|>|<)'?([^'\s]+)'?")
_GATEWAYS = {"card": "shopify_payments", "alipay": "alipay_global", "paypal": "paypal"}
_MOST_POINTS = 1000
_SET_UP = timedelta(days=200)
_PRODUCT_COPIES, _CUSTOMER_COPIES = 0.02, 0.08


def _time(at: datetime | None) -> str | None:
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bag(amount: Decimal, currency: str) -> Json:
    """Write a MoneyBag: what the buyer saw, and the same in the shop's currency."""
    digits = words.MINOR_UNIT_DIGITS[currency]
    shop = (amount / words.PRICE_LIST_RATE[currency]).quantize(Decimal("0.01"))
    return {
        "presentmentMoney": {"amount": format(amount, f".{max(digits, 1)}f"), "currencyCode": currency},
        "shopMoney": {"amount": format(shop, "f"), "currencyCode": "CNY"},
    }


def _address(address: Address, name: str, company: str | None, phone: str | None) -> Json:
    return {
        "name": name,
        "company": company,
        "address1": address.street,
        "address2": None,
        "city": address.city,
        "province": address.region,
        "zip": address.postcode,
        "country": address.country,
        "countryCodeV2": address.country,
        "phone": phone,
    }


class Twin:
    """Shopify over one world."""

    name = "shopify"
    bucket_points = 20_000.0
    points_per_second = 1_000.0

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world
        self._dirt = dirt
        self._credentials = credentials
        self._differences = Differences(world, dirt)
        self._placed = [order for order in world.orders.values() if order.channel is Channel.SHOPIFY]
        self._places = [
            place for place in world.locations.values() if place.kind in ("warehouse", "dark_store")
        ]
        self._points = self.bucket_points
        self.deleted: set[str] = set()
        self._filled_at = limit.clock()

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_SHOPIFY_URL": base_url,
            "ORDERHUB_SHOPIFY_TOKEN": "shpat_" + self._credentials.secret("shopify", "TOKEN"),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/admin/api/{version}/graphql.json", self._answer, methods=["POST"]),
            Route("/bulk/{name}.jsonl", self._download),
        ]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [
            ("orders/updated", row["id"]) for row in self._orders if row["updatedAt"] >= str(_time(since))
        ]

    def truth(self) -> Iterable[Truth]:
        for place in self._places:
            yield Truth(
                "location",
                f"shopify:locations:{self._gid('Location', place.location_id)}",
                place.location_id,
            )
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES)):
                key = self._gid("ProductVariant", f"{product.product_id}/{copy}")
                yield Truth("sku", f"shopify:variants:{key}", product.product_id)
        for customer_id in self._first_seen:
            for copy in range(self._dirt.copies(f"customer/{customer_id}", _CUSTOMER_COPIES)):
                key = self._gid("Customer", f"{customer_id}/{copy}")
                yield Truth("customer", f"shopify:customers:{key}", customer_id)
        for order in self._placed:
            yield Truth("order", f"shopify:orders:{self._gid('Order', order.order_id)}", order.order_id)

    def differences(self) -> Iterable[Planted]:
        """What the shop's transactions differ in; the orders are made with them."""
        return self._differences.listed if self._orders else []

    # --- ids ----------------------------------------------------------------------------------------------------------

    def _gid(self, kind: str, key: str) -> str:
        return f"gid://shopify/{kind}/5{self._dirt.token(f'{kind}/{key}', 12, '0123456789')}"

    def _variant_id(self, product_id: str, key: str) -> str:
        copies = self._dirt.copies(f"product/{product_id}", _PRODUCT_COPIES)
        return self._gid("ProductVariant", f"{product_id}/{self._dirt.number(f'{key}/copy', 0, copies - 1)}")

    def _late(self, at: datetime, key: str, probability: float = 0.05) -> datetime:
        """When the change was written: late at times, never later than the system's own clock."""
        return min(self._dirt.late(at, key, probability), self._world.now)

    # --- what the shop knows ------------------------------------------------------------------------------------------

    @cached_property
    def _first_seen(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for order in self._placed:
            if order.customer_id is not None:
                found[order.customer_id] = min(found.get(order.customer_id, order.placed_at), order.placed_at)
        return found

    @cached_property
    def _set_up_at(self) -> datetime:
        first = min((order.placed_at for order in self._world.orders.values()), default=self._world.now)
        return first - _SET_UP

    @cached_property
    def _locations(self) -> list[Json]:
        rows = []
        for place in self._places:
            key = f"location/{place.location_id}"
            address = self._dirt.address(place.address, key)
            rows.append(
                {
                    "id": self._gid("Location", place.location_id),
                    "name": self._dirt.text(place.name, key),
                    "isActive": True,
                    "isFulfillmentService": False,
                    "fulfillsOnlineOrders": True,
                    "address": {
                        "address1": address.street,
                        "city": address.city,
                        "province": address.region,
                        "zip": address.postcode,
                        "countryCode": address.country,
                        "latitude": address.latitude,
                        "longitude": address.longitude,
                    },
                    "inventoryLevels": self._levels_of(place.location_id),
                }
            )
        return rows

    @cached_property
    def _products(self) -> list[Json]:
        return [
            self._product(product, copy)
            for product in self._world.products.values()
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES))
        ]

    def _product(self, product: Product, copy: int) -> Json:
        key = f"product/{product.product_id}/{copy}"
        return {
            "id": self._gid("Product", f"{product.product_id}/{copy}"),
            "title": self._dirt.title(product, key),
            "vendor": "Luna Beauty & Larder" if self._dirt.chance(f"{key}/vendor", 0.1) else product.brand,
            "productType": product.category,
            "status": "ACTIVE",
            "tags": ["chilled"] if product.needs_cold_chain else [],
            "updatedAt": _time(self._set_up_at),
        }

    @cached_property
    def _variants(self) -> list[Json]:
        rows = []
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES)):
                key = f"product/{product.product_id}/{copy}"
                cost = {"amount": format(product.unit_cost, "f"), "currencyCode": product.currency}
                item = {
                    "id": self._gid("InventoryItem", f"{product.product_id}/{copy}"),
                    "tracked": True,
                    "countryCodeOfOrigin": product.origin_country,
                    "unitCost": None if self._dirt.chance(f"{key}/cost", 0.15) else cost,
                    "measurement": {"weight": self._weight(product, key)},
                }
                rows.append(
                    {
                        "id": self._gid("ProductVariant", f"{product.product_id}/{copy}"),
                        "title": "Default Title",
                        "sku": self._dirt.code(product.mpn, f"{key}/sku"),
                        "barcode": self._dirt.gtin(product, key),
                        "price": format(product.list_price, "f"),
                        "updatedAt": _time(self._set_up_at),
                        "product": self._product(product, copy),
                        "inventoryItem": item,
                    }
                )
        return rows

    def _weight(self, product: Product, key: str) -> Json:
        if self._dirt.chance(f"{key}/grams", 0.3):
            return {"value": float(product.weight_kg * 1000), "unit": "GRAMS"}
        return {"value": float(product.weight_kg), "unit": "KILOGRAMS"}

    @cached_property
    def _customers(self) -> list[Json]:
        rows = []
        for customer_id, first in self._first_seen.items():
            customer = self._world.customers[customer_id]
            for copy in range(self._dirt.copies(f"customer/{customer_id}", _CUSTOMER_COPIES)):
                rows.append(self._customer(customer, copy, first))
        return sorted(rows, key=lambda row: (row["updatedAt"], row["id"]))

    def _customer(self, customer: Customer, copy: int, first: datetime) -> Json:
        key = f"customer/{customer.customer_id}/{copy}"
        given, family = self._dirt.name_parts(customer, key, "both")
        company = self._dirt.company(customer, key) if customer.is_company else None
        email, phone = self._dirt.email(customer, key), self._dirt.phone(customer, key, drop=0.3)
        consent = "SUBSCRIBED" if customer.marketing_consent else "NOT_SUBSCRIBED"
        return {
            "id": self._gid("Customer", f"{customer.customer_id}/{copy}"),
            "firstName": given,
            "lastName": family,
            "locale": customer.language,
            "tags": [],
            "defaultEmailAddress": {"emailAddress": email, "marketingState": consent} if email else None,
            "defaultPhoneNumber": {"phoneNumber": phone} if phone else None,
            "defaultAddress": _address(
                self._dirt.address(customer.address, key, "both"), f"{given} {family}", company, phone
            ),
            "createdAt": _time(first),
            "updatedAt": _time(self._late(first + timedelta(seconds=5), key, 0.1)),
        }

    def _customer_id(self, order: Order) -> str:
        copies = self._dirt.copies(f"customer/{order.customer_id}", _CUSTOMER_COPIES)
        copy = self._dirt.number(f"order/{order.order_id}/copy", 0, copies - 1)
        return self._gid("Customer", f"{order.customer_id}/{copy}")

    @cached_property
    def _orders(self) -> list[Json]:
        rows = [self._order(order) for order in self._placed]
        return sorted(rows, key=lambda row: (row["updatedAt"], row["id"]))

    def _order(self, order: Order) -> Json:
        key = f"order/{order.order_id}"
        currency = order.currency
        total = order.total_amount
        refunded = sum((taken.refund_amount for taken in order.returns), Decimal(0))
        customer = self._world.customers[str(order.customer_id)]
        phone = self._dirt.phone(customer, key)
        ship_to = None
        if order.ship_to is not None:
            company = customer.company_name if customer.is_company else None
            name = self._dirt.name(customer, key, "both")
            ship_to = _address(self._dirt.address(order.ship_to, key, "both"), name, company, phone)
        row = {
            "id": self._gid("Order", order.order_id),
            "name": order.number,
            "test": order.is_test,
            "sourceName": "web",
            "poNumber": None,
            "displayFinancialStatus": _financial_status(order, refunded, total),
            "displayFulfillmentStatus": _fulfillment_status(order),
            "email": self._dirt.email(customer, key, drop=0.02),
            "phone": phone,
            "tags": [],
            "presentmentCurrencyCode": currency,
            "currencyCode": "CNY",
            "createdAt": _time(order.placed_at),
            "processedAt": _time(order.placed_at),
            "updatedAt": _time(self._late(order.updated_at, key)),
            "cancelledAt": _time(order.cancelled_at),
            "closedAt": _time(order.closed_at),
            "customer": {"id": self._customer_id(order)},
            "totalDiscountsSet": _bag(order.discount_amount, currency),
            "totalShippingPriceSet": _bag(order.shipping_amount, currency),
            "totalTaxSet": _bag(order.tax_amount, currency),
            "totalTipReceivedSet": _bag(Decimal(0), currency),
            "originalTotalDutiesSet": _bag(order.duty_amount, currency) if order.duty_amount else None,
            "totalPriceSet": _bag(total, currency),
            "totalReceivedSet": _bag(total if order.paid_at else Decimal(0), currency),
            "totalRefundedSet": _bag(refunded, currency),
            "shippingLine": {"title": "Express" if order.shipping_amount else "Standard"},
            "shippingAddress": ship_to,
            "lineItems": Connection([self._line(order, line) for line in order.lines]),
            "transactions": self._transactions(order, total),
            "refunds": [self._refund(order, taken) for taken in order.returns],
            "fulfillments": [
                self._fulfillment(order, shipment, place) for place, shipment in enumerate(order.shipments, 1)
            ],
        }
        if self._dirt.is_invalid(key):
            field, value = self._dirt.pick(
                f"{key}/fault", (("presentmentCurrencyCode", "RMB"), ("createdAt", "2026-13-45T00:00:00Z"))
            )
            row[field] = value
        return row

    def _line(self, order: Order, line: OrderLine) -> Json:
        key = f"order/{order.order_id}/line/{line.line_number}"
        product = self._world.products[line.product_id]
        discount, tax = line.discount_amount, line.tax_amount
        allocations = [{"allocatedAmountSet": _bag(discount, order.currency)}] if discount else []
        return {
            "id": self._gid("LineItem", key),
            "title": self._dirt.title(product, f"product/{product.product_id}/0"),
            "sku": self._dirt.code(product.mpn, f"product/{product.product_id}/0/sku"),
            "quantity": -line.quantity if self._dirt.is_invalid(key) else line.quantity,
            "variant": {"id": self._variant_id(line.product_id, key)},
            "originalUnitPriceSet": _bag(line.unit_price, order.currency),
            "discountAllocations": allocations,
            "taxLines": [{"title": "VAT", "priceSet": _bag(tax, order.currency)}] if tax else [],
        }

    def _transactions(self, order: Order, total: Decimal) -> list[Json]:
        if order.paid_at is None:
            return []
        gateway = _GATEWAYS[order.payment_method]
        # Payments go with the order that tells them.
        is_read = not self._dirt.is_invalid(f"order/{order.order_id}")
        cause = self._differences.draw("payment", order) if is_read else None
        if cause is Cause.MISSING and not order.returns:
            self._differences.plant("payment", order, cause, total)
            return []
        if cause is Cause.UNEXPLAINED:
            short = self._differences.part(order.order_id, total, order.currency)
            self._differences.plant("payment", order, cause, short)
            total -= short
        fee = {"amount": format(order.payment_fee_amount, "f"), "currencyCode": order.currency}
        sale = {
            "id": self._gid("OrderTransaction", f"{order.order_id}/sale"),
            "kind": "SALE",
            "status": "SUCCESS",
            "gateway": gateway,
            "processedAt": _time(order.paid_at),
            "amountSet": _bag(total, order.currency),
            "fees": [{"amount": fee}] if gateway == "shopify_payments" else [],
        }
        refunds = [
            sale
            | {
                "id": self._gid("OrderTransaction", taken.return_id),
                "kind": "REFUND",
                "processedAt": _time(taken.refunded_at),
                "amountSet": _bag(taken.refund_amount, order.currency),
                "fees": [],
            }
            for taken in order.returns
        ]
        if cause is Cause.DUPLICATE:
            self._differences.plant("payment", order, cause, -total)
            again = sale | {"id": self._gid("OrderTransaction", f"{order.order_id}/again"), "fees": []}
            return [sale, again, *refunds]
        return [sale, *refunds]

    def _refund(self, order: Order, taken: Return) -> Json:
        line = order.lines[taken.line_number - 1]
        key = f"order/{order.order_id}/line/{line.line_number}"
        named = {"id": self._gid("LineItem", key), "variant": {"id": self._variant_id(line.product_id, key)}}
        returned = {
            "id": self._gid("RefundLineItem", taken.return_id),
            "quantity": taken.quantity,
            "restockType": "RETURN",
            "lineItem": named,
        }
        return {
            "id": self._gid("Refund", taken.return_id),
            "note": taken.reason.replace("_", " "),
            "createdAt": _time(taken.refunded_at),
            "totalRefundedSet": _bag(taken.refund_amount, order.currency),
            "refundLineItems": Connection([returned]),
        }

    def _fulfillment(self, order: Order, shipment: Shipment, place: int) -> Json:
        tracking = {"company": shipment.carrier.replace("_", " ").title(), "number": shipment.tracking_number}
        return {
            "id": self._gid("Fulfillment", shipment.shipment_id),
            "name": f"{order.number}-F{place}",
            "status": "SUCCESS",
            "displayStatus": "DELIVERED" if shipment.delivered_at else "IN_TRANSIT",
            "createdAt": _time(shipment.dispatched_at),
            "inTransitAt": _time(shipment.first_scan_at),
            "deliveredAt": _time(shipment.delivered_at),
            "location": {"id": self._gid("Location", shipment.location_id)},
            "trackingInfo": [] if self._dirt.chance(f"{shipment.shipment_id}/tracking", 0.03) else [tracking],
        }

    def _levels_of(self, location_id: str) -> Any:
        return lambda arguments: Connection(
            _changed(self._levels.get(location_id, []), arguments.get("query"))
        )

    @cached_property
    def _levels(self) -> dict[str, list[Json]]:
        held: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for lot in self._world.lots.values():
            on_hand, reserved = held.get((lot.location_id, lot.product_id), (Decimal(0), Decimal(0)))
            held[lot.location_id, lot.product_id] = (on_hand + lot.on_hand_qty, reserved + lot.reserved_qty)
        touched = moved_at(self._world)
        rows: dict[str, list[Json]] = {}
        for (location_id, product_id), (on_hand, reserved) in held.items():
            counted = {"on_hand": on_hand, "committed": reserved, "available": on_hand - reserved}
            rows.setdefault(location_id, []).append(
                {
                    "id": self._gid("InventoryLevel", f"{product_id}/{location_id}"),
                    "updatedAt": _time(touched.get((location_id, product_id), self._set_up_at)),
                    "item": {"id": self._gid("InventoryItem", f"{product_id}/0")},
                    "location": {"id": self._gid("Location", location_id)},
                    "quantities": _quantities(counted),
                }
            )
        return rows

    def _kept(self, kind: str) -> list[Json]:
        rows = {
            "Product": self._products,
            "ProductVariant": self._variants,
            "Customer": self._customers,
            "Order": self._orders,
            "Location": self._locations,
        }[kind]
        return [row for row in rows if row["id"] not in self.deleted]

    def _node(self, key: str) -> Json | None:
        kind = key.removeprefix("gid://shopify/").partition("/")[0]
        found = next((row for row in self._kept(kind) if row["id"] == key), None)
        return None if found is None else {**found, "__typename": kind}

    # --- the protocol -------------------------------------------------------------------------------------------------

    def _root(self) -> Json:
        places = {place["id"]: place for place in self._locations}
        return {
            "locations": lambda arguments: Connection(self._kept("Location")),
            "location": lambda arguments: places.get(arguments.get("id")),
            "products": lambda arguments: Connection(_changed(self._kept("Product"), arguments.get("query"))),
            "productVariants": lambda arguments: Connection(
                _changed(self._kept("ProductVariant"), arguments.get("query"))
            ),
            "customers": lambda arguments: Connection(
                _changed(self._kept("Customer"), arguments.get("query"))
            ),
            "orders": lambda arguments: Connection(_changed(self._kept("Order"), arguments.get("query"))),
            "nodes": lambda arguments: [self._node(key) for key in arguments.get("ids") or ()],
            "locationsCount": _counted(self._kept("Location")),
            "productsCount": _counted(self._kept("Product")),
            "productVariantsCount": _counted(self._kept("ProductVariant")),
            "customersCount": _counted(self._kept("Customer")),
            "ordersCount": _counted(self._kept("Order")),
        }

    async def _answer(self, request: Request) -> Response:
        token = request.headers.get("x-shopify-access-token", "").removeprefix("shpat_")
        if not self._credentials.accepts("shopify", "TOKEN", token):
            said = "[API] Invalid API key or access token (unrecognized login or wrong password)"
            return JSONResponse({"errors": said}, status_code=401)
        try:
            asked = json.loads(await request.body())
            address = str(request.url).partition("/admin/api/")[0]
            return JSONResponse(self._run(str(asked.get("query", "")), asked.get("variables") or {}, address))
        except (ValueError, AttributeError):
            return JSONResponse({"errors": "JSON could not be parsed"}, status_code=400)
        except GraphQLError as error:
            return JSONResponse({"errors": [{"message": str(error), "extensions": {"code": error.code}}]})

    def _begin(self, document: str) -> Json:
        """Begin a bulk operation: it is named after its query, and made when it is fetched."""
        try:
            self._lines(document)
        except GraphQLError as error:
            return {"bulkOperation": None, "userErrors": [{"field": ["query"], "message": str(error)}]}
        name = base64.urlsafe_b64encode(document.encode()).decode()
        operation = {"id": f"gid://shopify/BulkOperation/{name}", "status": "CREATED"}
        return {"bulkOperation": operation, "userErrors": []}

    def _operation(self, key: str, address: str) -> Json:
        name = key.rpartition("/")[2]
        count = len(self._lines(base64.urlsafe_b64decode(name).decode()))
        told = {"id": key, "status": "COMPLETED", "errorCode": None, "objectCount": str(count)}
        return told | {
            "__typename": "BulkOperation",
            "url": f"{address}/bulk/{name}.jsonl" if count else None,
        }

    def _lines(self, document: str) -> list[Json]:
        """Every object of a bulk query; those of a connection in another one have `__parentId`, and stand anywhere.

        Since 2026-01 nothing groups them below their parent, unless `groupObjects` asks for it: here they come first.
        """
        [top] = parse(document)
        lines: list[Json] = []
        for row in self._root()[top.name](top.arguments).rows:
            [node] = _nodes(top)
            inner = [field for field in node.fields if isinstance(row.get(field.name), Connection)]
            plain = tuple(field for field in node.fields if field not in inner)
            lines.append(Execution({}).run(plain, row, top.name))
            for field in inner:
                [below] = _nodes(field)
                lines[:0] = [
                    Execution({}).run(below.fields, item, field.name) | {"__parentId": row["id"]}
                    for item in row[field.name].rows
                ]
        return lines

    async def _download(self, request: Request) -> Response:
        if "x-shopify-access-token" in request.headers:  # the real address is another company's
            return Response("a credential has no business here", status_code=400)
        document = base64.urlsafe_b64decode(request.path_params["name"]).decode()
        text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in self._lines(document))
        return Response(text, media_type="application/jsonl")

    def _run(self, document: str, variables: Mapping[str, Any], address: str) -> Json:
        if "bulkOperationRunQuery" in document:
            fields = parse(document, ("mutation",))
            begun = {"bulkOperationRunQuery": lambda arguments: self._begin(arguments["query"])}
            return {"data": Execution(variables).run(fields, begun)}
        fields = parse(document)
        requested = static_cost(fields)
        if requested > _MOST_POINTS:
            message = (
                f"Query cost is {requested}, which exceeds the single query max cost limit ({_MOST_POINTS})."
            )
            raise GraphQLError(message, "MAX_COST_EXCEEDED")
        now = limit.clock()
        refill = (now - self._filled_at) * self.points_per_second
        self._points, self._filled_at = min(self.bucket_points, self._points + refill), now
        if self._points < requested:
            error = {"message": "Throttled", "extensions": {"code": "THROTTLED"}}
            return {"errors": [error], "extensions": {"cost": self._cost(requested, None)}}
        execution = Execution(variables)
        root = self._root() | {"node": lambda arguments: self._operation(arguments["id"], address)}
        found = execution.run(fields, root)
        self._points -= min(execution.cost, requested)
        return {"data": found, "extensions": {"cost": self._cost(requested, min(execution.cost, requested))}}

    def _cost(self, requested: int, actual: int | None) -> Json:
        return {
            "requestedQueryCost": requested,
            "actualQueryCost": actual,
            "throttleStatus": {
                "maximumAvailable": self.bucket_points,
                "currentlyAvailable": int(self._points),
                "restoreRate": self.points_per_second,
            },
        }


def _counted(rows: Sequence[Json]) -> Json:
    return {"count": len(rows), "precision": "EXACT"}


def _nodes(connection: Selection) -> list[Selection]:
    """The one selection of nodes of a connection in a bulk query."""
    if set(connection.arguments) - {"query"} or [field.name for field in connection.fields] != ["edges"]:
        raise GraphQLError("Bulk queries ask for edges, and page nothing", "BAD_REQUEST")
    return [field for field in connection.fields[0].fields if field.name == "node"]


def _quantities(counted: Mapping[str, Decimal]) -> Any:
    return lambda arguments: [{"name": name, "quantity": int(counted[name])} for name in arguments["names"]]


def _financial_status(order: Order, refunded: Decimal, total: Decimal) -> str:
    if order.paid_at is None:
        return "VOIDED" if order.cancelled_at else "PENDING"
    if not refunded:
        return "PAID"
    return "REFUNDED" if refunded >= total else "PARTIALLY_REFUNDED"


def _fulfillment_status(order: Order) -> str:
    sent = sum(quantity for shipment in order.shipments for _, quantity in shipment.lines)
    if sent == 0:
        return "UNFULFILLED"
    return "FULFILLED" if sent >= sum(line.quantity for line in order.lines) else "PARTIALLY_FULFILLED"


def _changed(rows: Sequence[Json], query: str | None) -> list[Json]:
    """Rows that a search query such as "updated_at:>='2026-10-01T00:00:00Z'" lets through."""
    found = list(rows)
    for sign, text in _FILTER.findall(query or ""):
        try:
            bound = datetime.fromisoformat(text).astimezone(UTC)
        except ValueError:
            raise GraphQLError(f"Invalid search field for updated_at: {text}", "BAD_REQUEST") from None
        found = [row for row in found if _holds(datetime.fromisoformat(row["updatedAt"]), sign, bound)]
    return found


def _holds(at: datetime, sign: str, bound: datetime) -> bool:
    match sign:
        case ">=":
            return at >= bound
        case "<=":
            return at <= bound
        case ">":
            return at > bound
        case _:
            return at < bound
