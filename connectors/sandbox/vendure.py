"""Vendure as the sandbox company's web shop in Europe: guests by e-mail address, two stock locations, tracked parcels.

Like the real one: what happens to a parcel, a payment or a refund leaves the order's `updatedAt` alone; a cancelled
order keeps its lines with quantity 0; only the address books know where a customer lives; stock has no change filter.

Source: the schema of @vendure/core 3.7, and that server's own answers
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.catalog import price_in
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.graphql import Execution, GraphQLError, Scalar, parse
from connectors.sandbox.notify import Change
from connectors.sandbox.stock import moved_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Address, Channel, Customer, Order, OrderLine, Product, Shipment, World

Json = dict[str, Any]

USERNAME = "orderhub"
_CURRENCY = "EUR"  # of the catalogue
_MOST_TAKEN = 1000
_SET_UP = timedelta(days=180)
_PRODUCT_COPIES, _CUSTOMER_COPIES = 0.02, 0.06
_METHODS = {"card": "stripe", "paypal": "paypal"}


def _time(at: datetime | None) -> str | None:
    return (
        None if at is None else at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )


def _hundredths(amount: Decimal) -> int:
    return int(amount * 100)


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))


class Twin:
    """Serves `POST /admin-api` over one world."""

    name = "vendure"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self.deleted: set[str] = set()
        self._placed = [order for order in world.orders.values() if order.channel is Channel.VENDURE]
        self._places = [
            place
            for place in world.locations.values()
            if place.kind in ("warehouse", "dark_store") and place.address.country in ("DE", "GB")
        ]

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_VENDURE_URL": base_url,
            "ORDERHUB_VENDURE_USERNAME": USERNAME,
            "ORDERHUB_VENDURE_PASSWORD": self._credentials.secret("vendure", "PASSWORD"),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/admin-api", self._answer, methods=["POST"])]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [
            ("order.updated", str(_number(order.order_id)))
            for order in self._placed
            if order.updated_at >= since
        ]

    def truth(self) -> Iterable[Truth]:
        for place in self._places:
            yield Truth(
                "location", f"vendure:stock_locations:{_number(place.location_id)}", place.location_id
            )
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES)):
                yield Truth(
                    "sku", f"vendure:variants:{_variant_id(product.product_id, copy)}", product.product_id
                )
        for customer_id in self._first_seen:
            for copy in range(self._dirt.copies(f"customer/{customer_id}", _CUSTOMER_COPIES)):
                yield Truth("customer", f"vendure:customers:{_customer_id(customer_id, copy)}", customer_id)
        for order in self._placed:
            yield Truth("order", f"vendure:orders:{_number(order.order_id)}", order.order_id)

    # --- what the shop knows ------------------------------------------------------------------------------------------

    @cached_property
    def _first_seen(self) -> dict[str, datetime]:
        found: dict[str, datetime] = {}
        for order in self._placed:
            customer_id = str(order.customer_id)
            found[customer_id] = min(found.get(customer_id, order.placed_at), order.placed_at)
        return found

    @cached_property
    def _set_up_at(self) -> datetime:
        first = min((order.placed_at for order in self._world.orders.values()), default=self._world.now)
        return first - _SET_UP

    @cached_property
    def _locations(self) -> list[Json]:
        return [
            {
                "id": str(_number(place.location_id)),
                "name": self._dirt.text(place.name, f"location/{place.location_id}"),
                "description": place.code,
                "updatedAt": _time(self._set_up_at),
            }
            for place in self._places
        ]

    @cached_property
    def _variants(self) -> list[Json]:
        return [
            self._variant(product, copy)
            for product in self._world.products.values()
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES))
        ]

    def _variant(self, product: Product, copy: int) -> Json:
        key = f"product/{product.product_id}/{copy}"
        variant_id = _variant_id(product.product_id, copy)
        return {
            "id": str(variant_id),
            "productId": str(variant_id),
            "sku": self._dirt.code(product.mpn, f"{key}/sku", drop=0.0),
            "name": self._dirt.title(product, key),
            "enabled": True,
            "price": _hundredths(price_in(product, _CURRENCY)),
            "currencyCode": _CURRENCY,
            "updatedAt": _time(self._set_up_at + timedelta(hours=variant_id % 900)),
            "stockLevels": self._levels.get(product.product_id, []) if copy == 0 else [],
        }

    @cached_property
    def _levels(self) -> dict[str, list[Json]]:
        held: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for lot in self._world.lots.values():
            on_hand, reserved = held.get((lot.product_id, lot.location_id), (Decimal(0), Decimal(0)))
            held[lot.product_id, lot.location_id] = (on_hand + lot.on_hand_qty, reserved + lot.reserved_qty)
        touched = moved_at(self._world)
        rows: dict[str, list[Json]] = {}
        for place in self._places:
            for product_id in self._world.products:
                if (product_id, place.location_id) in held:
                    on_hand, reserved = held[product_id, place.location_id]
                    rows.setdefault(product_id, []).append(
                        {
                            "id": str(_number(product_id) * 100 + _number(place.location_id)),
                            "stockLocationId": str(_number(place.location_id)),
                            "stockOnHand": int(on_hand),
                            "stockAllocated": int(reserved),
                            "updatedAt": _time(touched.get((place.location_id, product_id), self._set_up_at)),
                        }
                    )
        return rows

    @cached_property
    def _customers(self) -> list[Json]:
        rows = [
            self._customer(self._world.customers[customer_id], copy, first)
            for customer_id, first in self._first_seen.items()
            for copy in range(self._dirt.copies(f"customer/{customer_id}", _CUSTOMER_COPIES))
        ]
        return sorted(rows, key=lambda row: int(row["id"]))

    def _customer(self, customer: Customer, copy: int, first: datetime) -> Json:
        key = f"customer/{customer.customer_id}/{copy}"
        row_id = _customer_id(customer.customer_id, copy)
        given, family = self._dirt.name_parts(customer, key, "latin")
        email = self._dirt.email(customer, key, drop=0.0) or self._dirt.relay_email(key, "checkout.example")
        phone = self._dirt.phone(customer, key, drop=0.4)
        address = self._dirt.address(customer.address, key)
        company = self._dirt.company(customer, key) if customer.is_company else ""
        entry = {
            "id": str(row_id),
            "fullName": f"{given} {family}",
            "company": company,
            "streetLine1": address.street,
            "city": address.city,
            "province": address.region or "",
            "postalCode": address.postcode,
            "country": {"code": address.country},
            "phoneNumber": phone or "",
            "defaultShippingAddress": True,
            "defaultBillingAddress": True,
            "updatedAt": _time(first),
        }
        return {
            "id": str(row_id),
            "firstName": given,
            "lastName": family,
            "emailAddress": email,
            "phoneNumber": phone,
            "user": {"id": str(row_id)} if self._dirt.fraction(f"{key}/account") < 0.4 else None,
            "addresses": [entry],
            "createdAt": _time(first),
            "updatedAt": _time(self._late(first + timedelta(seconds=4), key)),
        }

    def _late(self, at: datetime, key: str) -> datetime:
        return min(self._dirt.late(at, key), self._world.now)

    @cached_property
    def _orders(self) -> list[Json]:
        return sorted((self._order(order) for order in self._placed), key=lambda row: int(row["id"]))

    def _order(self, order: Order) -> Json:
        key = f"order/{order.order_id}"
        customer = self._world.customers[str(order.customer_id)]
        copies = self._dirt.copies(f"customer/{customer.customer_id}", _CUSTOMER_COPIES)
        copy = self._dirt.number(f"{key}/copy", 0, copies - 1)
        goods = Decimal(0) if order.cancelled_at else order.gross_amount - order.discount_amount
        tax = Decimal(0) if order.cancelled_at else order.tax_amount
        history = self._history(order)
        net = goods + order.shipping_amount
        return {
            "id": str(_number(order.order_id)),
            "code": order.number,
            "type": "Regular",
            "state": _state(order),
            "active": False,
            "createdAt": _time(
                order.placed_at - timedelta(minutes=self._dirt.number(f"{key}/basket", 1, 90))
            ),
            "updatedAt": _time(self._updated_at(order, key)),
            "orderPlacedAt": _time(order.placed_at),
            "currencyCode": order.currency,
            "couponCodes": ["SPRING10"] if order.discount_amount else [],
            "subTotal": _hundredths(goods),
            "shipping": _hundredths(order.shipping_amount),
            "total": _hundredths(net),
            "totalWithTax": _hundredths(net + tax),
            "customer": {"id": str(_customer_id(customer.customer_id, copy))},
            "shippingLines": [
                {"shippingMethod": {"code": "express" if order.shipping_amount else "standard"}}
            ],
            "shippingAddress": self._ship_to(order.ship_to, customer, key),
            "lines": [self._line(order, line) for line in order.lines],
            "payments": self._payments(order),
            "fulfillments": [self._fulfillment(order, shipment) for shipment in order.shipments],
            "history": lambda arguments: _listed(history, len(history)),
        }

    def _updated_at(self, order: Order, key: str) -> datetime:
        """The order's own stamp: what happens to its parts does not move it."""
        of_parts = {taken.refunded_at for taken in order.returns}
        for shipment in order.shipments:
            of_parts |= {shipment.first_scan_at} | (
                {shipment.delivered_at} if shipment.delivered_at else set()
            )
        steps = (order.placed_at, order.paid_at, order.cancelled_at)
        own = max(step for step in steps if step is not None)
        return self._late(own if order.updated_at in of_parts else order.updated_at, key)

    def _ship_to(self, place: Address | None, customer: Customer, key: str) -> Json:
        if place is None:
            return dict.fromkeys(
                ("fullName", "streetLine1", "city", "province", "postalCode", "countryCode", "phoneNumber")
            )
        address = self._dirt.address(place, key)
        return {
            "fullName": self._dirt.name(customer, key),
            "streetLine1": address.street,
            "city": address.city,
            "province": address.region,
            "postalCode": address.postcode,
            "countryCode": address.country,
            "phoneNumber": self._dirt.phone(customer, key, drop=0.3),
        }

    def _line(self, order: Order, line: OrderLine) -> Json:
        copies = self._dirt.copies(f"product/{line.product_id}", _PRODUCT_COPIES)
        copy = self._dirt.number(f"order/{order.order_id}/{line.line_number}/copy", 0, copies - 1)
        is_left = order.cancelled_at is None
        return {
            "id": str(_line_id(order, line.line_number)),
            "quantity": line.quantity if is_left else 0,
            "orderPlacedQuantity": line.quantity,
            "unitPrice": _hundredths(line.unit_price),
            "linePrice": _hundredths(line.list_amount) if is_left else 0,
            "proratedLinePrice": _hundredths(line.list_amount - line.discount_amount) if is_left else 0,
            "lineTax": _hundredths(line.tax_amount) if is_left else 0,
            "productVariant": {"id": str(_variant_id(line.product_id, copy))},
        }

    def _payments(self, order: Order) -> list[Json]:
        total = order.net_amount + order.tax_amount
        settled_at = order.paid_at or order.cancelled_at
        refunds = [
            {
                "id": str(_number(order.order_id) * 10 + place),
                "paymentId": str(_number(order.order_id)),
                "total": _hundredths(taken.refund_amount),
                "state": "Settled",
                "reason": taken.reason,
                "createdAt": _time(taken.received_at),
                "updatedAt": _time(taken.refunded_at),
            }
            for place, taken in enumerate(order.returns)
        ]
        return [
            {
                "id": str(_number(order.order_id)),
                "method": _METHODS.get(order.payment_method, order.payment_method),
                "amount": _hundredths(total),
                "state": "Settled" if order.paid_at else "Cancelled" if order.cancelled_at else "Authorized",
                "transactionId": self._dirt.token(f"payment/{order.order_id}", 18),
                "createdAt": _time(order.placed_at),
                "updatedAt": _time(settled_at or order.placed_at),
                "refunds": refunds,
            }
        ]

    def _fulfillment(self, order: Order, shipment: Shipment) -> Json:
        row_id = str(_fulfillment_id(order, shipment))
        key = f"shipment/{shipment.shipment_id}"
        carrier = shipment.carrier.replace("_", " ").upper()
        return {
            "id": row_id,
            "state": "Delivered" if shipment.delivered_at else "Shipped",
            "method": self._dirt.spelling(key, carrier, (carrier.title(), f"{carrier} Paket")),
            "trackingCode": None if self._dirt.chance(f"{key}/tracking", 0.03) else shipment.tracking_number,
            "createdAt": _time(shipment.packed_at),
            "updatedAt": _time(shipment.delivered_at or shipment.first_scan_at),
            "lines": [
                {"fulfillmentId": row_id, "orderLineId": str(_line_id(order, number)), "quantity": quantity}
                for number, quantity in shipment.lines
            ],
        }

    def _history(self, order: Order) -> list[Json]:
        steps: list[tuple[datetime, str, Json]] = [
            (order.placed_at, "ORDER_STATE_TRANSITION", {"from": "AddingItems", "to": "ArrangingPayment"})
        ]
        payment = {"paymentId": _number(order.order_id)}
        if order.paid_at is not None:
            steps.append(
                (order.paid_at, "ORDER_PAYMENT_TRANSITION", {**payment, "from": "Created", "to": "Settled"})
            )
            steps.append(
                (
                    order.paid_at,
                    "ORDER_STATE_TRANSITION",
                    {"from": "ArrangingPayment", "to": "PaymentSettled"},
                )
            )
        if order.cancelled_at is not None:
            steps.append(
                (
                    order.cancelled_at,
                    "ORDER_STATE_TRANSITION",
                    {"from": "PaymentAuthorized", "to": "Cancelled"},
                )
            )
        for shipment in order.shipments:
            sent = {"fulfillmentId": _fulfillment_id(order, shipment)}
            kind = "ORDER_FULFILLMENT_TRANSITION"
            steps.append((shipment.dispatched_at, kind, {**sent, "from": "Pending", "to": "Shipped"}))
            if shipment.delivered_at is not None:
                steps.append((shipment.delivered_at, kind, {**sent, "from": "Shipped", "to": "Delivered"}))
        for place, taken in enumerate(order.returns):
            refund = {"refundId": _number(order.order_id) * 10 + place, "reason": taken.reason}
            steps.append(
                (taken.refunded_at, "ORDER_REFUND_TRANSITION", {**refund, "from": "Pending", "to": "Settled"})
            )
        return [
            {
                "id": str(_number(order.order_id) * 100 + place),
                "type": kind,
                "createdAt": _time(at),
                "data": Scalar(data),
            }
            for place, (at, kind, data) in enumerate(sorted(steps, key=lambda step: step[0]))
        ]

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            fields, variables = (
                parse(str(asked["query"]), ("query", "mutation")),
                asked.get("variables") or {},
            )
        except (KeyError, ValueError, AttributeError, TypeError):
            return _refuse(
                "POST body missing, invalid Content-Type, or JSON object has no keys.", "BAD_REQUEST", 400
            )
        except GraphQLError as error:
            return _refuse(str(error), "GRAPHQL_PARSE_FAILED", 400)
        root: Json = {
            "login": self._log_in,
            "orders": lambda arguments: _listed(*_select(self._orders, arguments.get("options"))),
            "customers": lambda arguments: _listed(*_select(self._customers, arguments.get("options"))),
            "productVariants": lambda arguments: _listed(*_select(self._variants, arguments.get("options"))),
            "stockLocations": lambda arguments: _listed(
                *_select(
                    [row for row in self._locations if row["id"] not in self.deleted],
                    arguments.get("options"),
                )
            ),
        }
        is_login = [field.name for field in fields] == ["login"]
        if not is_login and request.headers.get("authorization") != f"Bearer {self._session()}":
            return _refuse(
                "You are not currently authorized to perform this action", "FORBIDDEN", 200, [fields[0].name]
            )
        try:
            found = Execution(variables).run(fields, root)
        except GraphQLError as error:
            status = 200 if error.code == "USER_INPUT_ERROR" else 400
            return _refuse(str(error), "GRAPHQL_VALIDATION_FAILED" if status == 400 else error.code, status)
        opened = is_login and found["login"]["__typename"] == "CurrentUser"
        return JSONResponse(
            {"data": found}, headers={"vendure-auth-token": self._session()} if opened else {}
        )

    def _session(self) -> str:
        return self._credentials.secret("vendure", "session", 64)

    def _log_in(self, arguments: Mapping[str, Any]) -> Json:
        is_right = arguments.get("username") == USERNAME and self._credentials.accepts(
            "vendure", "PASSWORD", str(arguments.get("password"))
        )
        if is_right:
            return {"__typename": "CurrentUser", "id": "1", "identifier": USERNAME}
        return {
            "__typename": "InvalidCredentialsError",
            "__interfaces__": ("ErrorResult",),
            "errorCode": "INVALID_CREDENTIALS_ERROR",
            "message": "The provided credentials are invalid",
        }


def _variant_id(product_id: str, copy: int) -> int:
    return 5000 * copy + _number(product_id)


def _customer_id(customer_id: str, copy: int) -> int:
    return 2 * _number(customer_id) + copy


def _line_id(order: Order, line_number: int) -> int:
    return _number(order.order_id) * 100 + line_number


def _fulfillment_id(order: Order, shipment: Shipment) -> int:
    return _number(order.order_id) * 10 + int(shipment.shipment_id.rpartition("-S")[2])


def _state(order: Order) -> str:
    if order.cancelled_at is not None:
        return "Cancelled"
    whole = sum(line.quantity for line in order.lines)
    sent = sum(quantity for shipment in order.shipments for _, quantity in shipment.lines)
    came = sum(
        quantity for shipment in order.shipments if shipment.delivered_at for _, quantity in shipment.lines
    )
    if came:
        return "Delivered" if came == whole else "PartiallyDelivered"
    if sent:
        return "Shipped" if sent == whole else "PartiallyShipped"
    return "PaymentSettled" if order.paid_at else "PaymentAuthorized"


def _refuse(message: str, code: str, status: int, path: list[str] | None = None) -> Response:
    error: Json = {"message": message, "extensions": {"code": code}} | ({"path": path} if path else {})
    body = {"errors": [error], "data": None} if status == 200 else {"errors": [error]}
    return JSONResponse(body, status_code=status)


def _listed(rows: Sequence[Json], total: int) -> Json:
    """A PaginatedList: a page of rows with the count of all."""
    return {"items": list(rows), "totalItems": total}


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda held, given: bool(held == given),
    "notEq": lambda held, given: bool(held != given),
    "in": lambda held, given: held in given,
    "notIn": lambda held, given: held not in given,
    "after": lambda held, given: _instant(held) > _instant(given),
    "before": lambda held, given: _instant(held) < _instant(given),
}


def _instant(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        message = f"DateTime cannot represent an invalid date-time-string {text}."
        raise GraphQLError(message, "GRAPHQL_VALIDATION_FAILED") from None


def _select(rows: Sequence[Json], options: Mapping[str, Any] | None) -> tuple[list[Json], int]:
    """The page that list options ask for, and how many rows pass the filter."""
    options = options or {}
    take, skip = int(options.get("take", _MOST_TAKEN)), int(options.get("skip", 0))
    if take > _MOST_TAKEN:
        raise GraphQLError(
            f"Cannot take more than {_MOST_TAKEN} results from a list query", "USER_INPUT_ERROR"
        )
    found = [row for row in rows if _holds(row, options.get("filter") or {})]
    for name, direction in reversed((options.get("sort") or {}).items()):
        found.sort(
            key=lambda row, by=name: int(row[by]) if by == "id" else row[by],  # type: ignore[misc]
            reverse=direction == "DESC",
        )
    return found[skip : skip + take], len(found)


def _holds(row: Json, conditions: Mapping[str, Any]) -> bool:
    for name, given in conditions.items():
        if name in ("_and", "_or"):
            if not (all if name == "_and" else any)(_holds(row, part) for part in given):
                return False
            continue
        if name not in row or not set(given) <= set(_COMPARE):
            raise GraphQLError(
                f'Field "{name}" or its operator is not defined by the filter', "GRAPHQL_VALIDATION_FAILED"
            )
        if not all(_COMPARE[operator](row[name], value) for operator, value in given.items()):
            return False
    return True
