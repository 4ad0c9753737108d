"""Lazada as the sandbox company's shop in Singapore: one row per unit, masked people, prices with the tax in them.

What is dirty here: vouchers and tax of a line fall on its units unevenly, by a cent; the seller's SKU is left out or typed;
tracking codes come late; returns were asked for and withdrawn.

Source: https://open.lazada.com/apps/doc (docs 108068, 108069, 108260, 121327 and the calls of `connectors.sources.lazada`)
"""

from __future__ import annotations

import hashlib
import hmac
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox import vocabulary as words
from connectors.sandbox.catalog import price_in
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.notify import Change
from connectors.sandbox.places import WAREHOUSES
from connectors.sandbox.stock import free_at, moved_at
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Customer, Order, OrderLine, Product, World

Json = dict[str, Any]

APP_KEY = "118342"
_SGT = timezone(timedelta(hours=8))
_CLOCK_TOLERANCE_SECONDS = 7200
_MOST_OFFSET = 5000
_MOST_ORDERS = 100
_PRODUCT_COPIES = 0.02
_SET_UP = timedelta(days=200)
_BOOKED_AFTER = timedelta(days=1)
_LONGEST_STATEMENTS = 180
_REASONS = {
    "damaged": "Item is damaged",
    "wrong_item": "Wrong item received",
    "not_as_described": "Does not match the description",
    "no_longer_needed": "Change of mind",
    "allergic_reaction": "Item unsuitable",
    "arrived_too_late": "Late delivery",
}


class _CallError(Exception):
    """A call LOP answers with a code other than 0."""

    def __init__(self, code: str, kind: str, message: str) -> None:
        super().__init__(message)
        self.body = _error(code, kind, message)


def _error(code: str, kind: str, message: str) -> Json:
    return {"code": code, "type": kind, "message": message, "request_id": "0ba2887315178178017221014"}


def _refuse(wait: float) -> Response:
    said = f"This ban will last for {max(1, math.ceil(wait))} more seconds"
    return JSONResponse(_error("ApiCallLimit", "ISP", said))


def _local(at: datetime) -> str:
    return f"{at.astimezone(_SGT):%Y-%m-%d %H:%M:%S} +0800"


def _milliseconds(at: datetime | None) -> str:
    return "" if at is None else str(int(at.timestamp() * 1000))


def _number(truth_id: str) -> int:
    return int("".join(character for character in truth_id if character.isdigit()))


def _shares(amount: Decimal, count: int, unit: Decimal) -> list[Decimal]:
    """An amount over so many units, in whole minor units; the first ones carry the rest."""
    each = (amount / count // unit) * unit
    rest = int((amount - each * count) / unit)
    return [each + (unit if place < rest else unit * 0) for place in range(count)]


class Twin:
    """The Lazada Open Platform over one world; the token service answers below the same address."""

    name = "lazada"
    rate_limit = RateLimit(limit=400, window=1.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self.deleted: set[str] = set()
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._placed = [order for order in world.orders.values() if order.channel is Channel.LAZADA]
        self._by_number = {order.number: order for order in self._placed}
        self._differences = Differences(world, dirt)

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_LAZADA_URL": f"{base_url}/rest",
            "ORDERHUB_LAZADA_TOKEN_URL": f"{base_url}/rest",
            "ORDERHUB_LAZADA_APP_KEY": APP_KEY,
            "ORDERHUB_LAZADA_APP_SECRET": self._credentials.secret("lazada", "APP_SECRET"),
            "ORDERHUB_LAZADA_REFRESH_TOKEN": self._credentials.secret("lazada", "REFRESH_TOKEN", 40),
        }

    def routes(self) -> Sequence[BaseRoute]:
        calls: dict[str, Callable[[Mapping[str, str]], Json]] = {
            "/orders/get": self._list_orders,
            "/order/get": self._get_order,
            "/orders/items/get": self._list_items,
            "/products/get": self._list_products,
            "/reverse/getreverseordersforseller": self._list_reverse_orders,
            "/finance/transaction/details/get": self._list_transactions,
        }
        return [
            Route("/rest/auth/token/refresh", self._refresh),
            *(Route(f"/rest{path}", self._call(path, answer)) for path, answer in calls.items()),
        ]

    def truth(self) -> Iterable[Truth]:
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES)):
                yield Truth(
                    "sku", f"lazada:skus:{self._sku_id(product.product_id, copy)}", product.product_id
                )
        for order in self._placed:
            yield Truth("order", f"lazada:orders:{order.number}", order.order_id)
            yield Truth("customer", f"lazada:orders:{order.number}", str(order.customer_id))

    def differences(self) -> Iterable[Planted]:
        """Entries of statements whose order cannot be read."""
        return self._differences.listed if self._transactions else []

    # --- what the shop knows ------------------------------------------------------------------------------------------

    def _sku_id(self, product_id: str, copy: int) -> str:
        return self._dirt.token(f"sku/{product_id}/{copy}", 11, "123456789")

    def _updated_at(self, order: Order) -> datetime:
        late = self._dirt.late(order.updated_at, f"order/{order.order_id}", 0.05)
        return min(late, self._world.now).replace(microsecond=0)

    @cached_property
    def _orders(self) -> list[Json]:
        rows = sorted(self._placed, key=lambda order: (self._updated_at(order), order.number))
        return [self._order(order) for order in rows]

    def _order(self, order: Order) -> Json:
        key = f"order/{order.order_id}"
        customer = self._world.customers[str(order.customer_id)]
        address = self._dirt.address(order.ship_to or customer.address, key)
        place = {
            "first_name": _masked(customer.full_name),
            "last_name": "",
            "phone": f"65********{str(customer.phone_e164)[-2:]}",
            "address1": f"{address.street[:2]}{'*' * 10}",
            "city": address.city,
            "post_code": address.postcode,
            "country": "Singapore" if address.country == "SG" else address.country,
        }
        row = {
            "order_id": order.number,
            "order_number": order.number,
            "created_at": _local(order.placed_at),
            "updated_at": _local(self._updated_at(order)),
            "price": str(order.net_amount + order.tax_amount - order.shipping_amount),
            "shipping_fee": str(order.shipping_amount),
            "voucher": str(order.discount_amount),
            "payment_method": "MIXEDCARD",
            "statuses": sorted({item["status"] for item in self._items(order)}),
            "items_count": sum(line.quantity for line in order.lines),
            "customer_first_name": _masked(customer.full_name),
            "customer_last_name": "",
            "address_shipping": place,
            "address_billing": place,
        }
        if self._dirt.is_invalid(key):
            row["shipping_fee"] = "free"
        return row

    def _items(self, order: Order) -> list[Json]:
        return [item for line in order.lines for item in self._units(order, line)]

    def _units(self, order: Order, line: OrderLine) -> list[Json]:
        unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
        customer = self._world.customers[str(order.customer_id)]
        product = self._world.products[line.product_id]
        copies = self._dirt.copies(f"product/{line.product_id}", _PRODUCT_COPIES)
        copy = self._dirt.number(f"order/{order.order_id}/{line.line_number}/copy", 0, copies - 1)
        sent = [
            shipment
            for shipment in order.shipments
            for number, quantity in shipment.lines
            if number == line.line_number
            for _ in range(quantity)
        ]
        returned = sum(taken.quantity for taken in order.returns if taken.line_number == line.line_number)
        whole = sum(each.quantity for each in order.lines)
        shipping = _shares(order.shipping_amount, whole, unit)
        first = sum(each.quantity for each in order.lines if each.line_number < line.line_number)
        shares = zip(
            _shares(line.discount_amount, line.quantity, unit),
            _shares(line.tax_amount, line.quantity, unit),
            strict=True,
        )
        rows = []
        for place, (voucher, tax) in enumerate(shares):
            shipment = sent[place] if place < len(sent) else None
            status = "pending" if order.paid_at else "unpaid"
            if order.cancelled_at is not None:
                status = "canceled"
            elif place < returned:
                status = "returned"
            elif shipment is not None:
                status = "delivered" if shipment.delivered_at else "shipped"
            rows.append(
                {
                    "order_item_id": (_number(order.order_id) * 100 + line.line_number) * 1000 + place,
                    "order_id": int(order.number),
                    "buyer_id": self._buyer_id(customer),
                    "sku_id": self._sku_id(line.product_id, copy),
                    "sku": self._seller_sku(product, copy),
                    "shop_sku": f"{self._sku_id(line.product_id, copy)}_SGAMZ",
                    "name": self._dirt.title(product, f"product/{product.product_id}/{copy}"),
                    "status": status,
                    "currency": order.currency,
                    "item_price": str(line.unit_price + tax),
                    "paid_price": str(line.unit_price + tax - voucher),
                    "voucher_amount": str(voucher),
                    "tax_amount": str(tax),
                    "shipping_amount": str(shipping[first + place]),
                    "tracking_code": shipment.tracking_number if shipment else "",
                    "shipment_provider": shipment.carrier.replace("_", " ").upper() if shipment else "",
                    "package_id": f"FP{_number(shipment.shipment_id):011d}" if shipment else "",
                    "reason": "Change of mind" if order.cancelled_at else "",
                    "payment_time": _milliseconds(order.paid_at),
                    "created_at": _local(order.placed_at),
                    "updated_at": _local(self._updated_at(order)),
                }
            )
        return rows

    def _buyer_id(self, customer: Customer) -> str:
        return self._dirt.token(f"buyer/{customer.customer_id}", 12, "123456789")

    def _seller_sku(self, product: Product, copy: int) -> str:
        return self._dirt.code(product.mpn, f"product/{product.product_id}/{copy}/sku") or ""

    @cached_property
    def _products(self) -> list[Json]:
        first = min((order.placed_at for order in self._world.orders.values()), default=self._world.now)
        # All that nobody was promised in the warehouse that sends to Singapore; listings of one product show the same units.
        place = WAREHOUSES["SG"]
        free, moved = free_at(self._world, place), moved_at(self._world)
        rows = []
        for product in self._world.products.values():
            for copy in range(self._dirt.copies(f"product/{product.product_id}", _PRODUCT_COPIES)):
                key = f"product/{product.product_id}/{copy}"
                number = _number(product.product_id) + 5000 * copy
                sku = {
                    "SkuId": int(self._sku_id(product.product_id, copy)),
                    "SellerSku": self._seller_sku(product, copy),
                    "ShopSku": f"{self._sku_id(product.product_id, copy)}_SGAMZ",
                    "Status": "active",
                    "price": float(price_in(product, words.MARKETS["SG"].currency)),
                    "quantity": free[product.product_id],
                    "package_weight": ""
                    if self._dirt.chance(f"{key}/weight", 0.2)
                    else str(product.weight_kg),
                }
                changed_at = first - _SET_UP + timedelta(hours=number % 2000)
                changed_at = max(changed_at, moved.get((place, product.product_id), changed_at))
                rows.append(
                    {
                        "item_id": 2_000_000 + number,
                        "primary_category": 1000 + len(product.category),
                        "attributes": {"name": self._dirt.title(product, key), "brand": product.brand},
                        "status": "Active",
                        "created_time": _milliseconds(first - _SET_UP),
                        "updated_time": _milliseconds(changed_at),
                        "skus": [sku],
                    }
                )
        return rows

    @cached_property
    def _reverse_orders(self) -> list[Json]:
        rows = []
        for order in self._placed:
            for place, taken in enumerate(order.returns):
                line = order.lines[taken.line_number - 1]
                items = [item for item in self._units(order, line) if item["status"] == "returned"]
                unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
                shares = _shares(taken.refund_amount, taken.quantity, unit)
                lines = [
                    {
                        "reverse_order_line_id": item["order_item_id"] + 7,
                        "trade_order_line_id": item["order_item_id"],
                        "reverse_status": "REFUND_SUCCESS",
                        "is_need_refund": "true",
                        "refund_amount": int(share * 100),
                        "item_unit_price": int(Decimal(item["item_price"]) * 100),
                        "reason_text": _REASONS[taken.reason],
                        "seller_sku_id": item["sku"],
                        "tracking_number": "",
                        "return_order_line_gmt_create": int(taken.received_at.timestamp()),
                        "return_order_line_gmt_modified": int(taken.refunded_at.timestamp()),
                    }
                    for item, share in zip(items, shares, strict=True)
                ]
                rows.append(
                    {
                        "reverse_order_id": _number(order.order_id) * 10 + place,
                        "trade_order_id": int(order.number),
                        "request_type": "RETURN",
                        "is_rtm": True,
                        "shipping_type": "PICK_UP",
                        "reverse_order_lines": lines,
                    }
                )
        return rows

    @cached_property
    def _transactions(self) -> list[tuple[datetime, Json]]:
        """Entries of statements by the time they were booked, oldest first."""
        entries: list[tuple[datetime, Json]] = []
        for order in self._placed:
            if order.shipments and order.paid_at is not None and order.cancelled_at is None:
                sent_at = min(shipment.dispatched_at for shipment in order.shipments)
                entries += self._sale(order, sent_at + _BOOKED_AFTER)
            for taken in order.returns:
                number = f"reversal/{taken.return_id}"
                line = order.lines[taken.line_number - 1]
                item = next(unit for unit in self._units(order, line) if unit["status"] == "returned")
                reversed_ = ("Refunds-Sales", "Reversal Item Price", -taken.refund_amount)
                entries.append(
                    (taken.refunded_at, self._entry(order, item, number, taken.refunded_at, *reversed_))
                )
        booked = [entry for entry in entries if entry[0] <= self._world.now]
        return sorted(booked, key=lambda entry: (entry[0], str(entry[1]["transaction_number"])))

    def _sale(self, order: Order, at: datetime) -> list[tuple[datetime, Json]]:
        unit = Decimal(1).scaleb(-words.MINOR_UNIT_DIGITS[order.currency])
        items = self._items(order)
        commissions = _shares(order.channel_fee_amount, len(items), unit)
        payments = _shares(order.payment_fee_amount, len(items), unit)
        entries = []
        for item, commission, payment in zip(items, commissions, payments, strict=True):
            told = (
                ("Orders-Sales", "Item Price Credit", Decimal(item["paid_price"])),
                ("Orders-Sales", "Shipping Fee (Paid By Customer)", Decimal(item["shipping_amount"])),
                ("Orders-Lazada Fees", "Commission", -commission),
                ("Orders-Lazada Fees", "Payment Fee", -payment),
            )
            entries += [
                (at, self._entry(order, item, f"{item['order_item_id']}/{name}", at, kind, name, amount))
                for kind, name, amount in told
                if amount
            ]
        if at <= self._world.now and self._dirt.is_invalid(f"order/{order.order_id}"):
            name = f"lazada:transactions:{order.number}/{_statement(at)}/charge"
            self._differences.astray("settlement", name, order, order.net_amount + order.tax_amount)
        return entries

    def _entry(
        self, order: Order, item: Json, key: str, at: datetime, kind: str, name: str, amount: Decimal
    ) -> Json:
        statement = _statement(at)
        is_paid = _week(at) + timedelta(days=7) <= self._world.now
        return {
            "transaction_number": self._dirt.token(f"transaction/{key}", 14),
            "transaction_date": _statement_day(at),
            "transaction_type": kind,
            "fee_name": name,
            "details": item["name"],
            "amount": str(amount),
            "VAT_in_amount": "0.00",
            "WHT_amount": "0.00",
            "WHT_included_in_amount": "No",
            "statement": statement,
            "paid_status": "Paid" if is_paid else "Not paid",
            "order_no": order.number,
            "orderItem_no": str(item["order_item_id"]),
            "orderItem_status": item["status"],
            "seller_sku": item["sku"],
            "lazada_sku": item["shop_sku"],
            "reference": str(item["order_item_id"]),
            "comment": "",
        }

    # --- the calls ----------------------------------------------------------------------------------------------------

    def _list_orders(self, asked: Mapping[str, str]) -> Json:
        if "update_after" not in asked and "created_after" not in asked:
            raise _CallError("17", "ISV", "Missing required parameter: created_after or update_after")
        rows = [
            row
            for row in self._orders
            if _within(datetime.strptime(row["updated_at"], "%Y-%m-%d %H:%M:%S %z"), asked)
        ]
        page, total = _page(rows, asked, most=100)
        return {"data": {"count": len(page), "countTotal": total, "orders": page}}

    def _get_order(self, asked: Mapping[str, str]) -> Json:
        order = self._by_number.get(asked.get("order_id", ""))
        if order is None:
            raise _CallError("16", "ISV", "Order not found")
        # A list writes the numbers as texts, this call as numbers.
        numbers = {name: int(order.number) for name in ("order_id", "order_number")}
        return {"data": self._order(order) | numbers}

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [("0", order.number) for order in self._placed if self._updated_at(order) >= since]

    def _list_items(self, asked: Mapping[str, str]) -> Json:
        try:
            numbers = [str(number) for number in json.loads(asked["order_ids"])]
        except (KeyError, ValueError, TypeError):
            raise _CallError("37", "ISV", "One or more order id in the list are incorrect") from None
        if len(numbers) > _MOST_ORDERS:
            raise _CallError("37", "ISV", f"Only {_MOST_ORDERS} orders can be asked for at a time")
        return {
            "data": [
                {
                    "order_id": int(number),
                    "order_number": int(number),
                    "order_items": self._items(self._by_number[number]),
                }
                for number in numbers
                if number in self._by_number
            ]
        }

    def _shown_products(self) -> list[Json]:
        """Products, with what was deleted: it stays, and says so."""
        gone = {"status": "Deleted", "updated_time": _milliseconds(self._world.now)}
        return [
            row | gone | {"skus": [sku | {"Status": "deleted"} for sku in row["skus"]]}
            if str(row["item_id"]) in self.deleted
            else row
            for row in self._products
        ]

    def _list_products(self, asked: Mapping[str, str]) -> Json:
        rows = [
            row for row in self._shown_products() if _within(_from_milliseconds(row["updated_time"]), asked)
        ]
        page, total = _page(rows, asked, most=50)
        return {"data": {"total_products": total, "products": page}}

    def _list_transactions(self, asked: Mapping[str, str]) -> Json:
        try:
            first, last = (date.fromisoformat(asked[name]) for name in ("start_time", "end_time"))
        except (KeyError, ValueError):
            raise _CallError("36", "ISV", "start_time and end_time must be days: YYYY-MM-DD") from None
        if (last - first).days > _LONGEST_STATEMENTS:
            raise _CallError("36", "ISV", f"The range must be within {_LONGEST_STATEMENTS} days")
        rows = [row for at, row in self._transactions if first <= at.astimezone(_SGT).date() <= last]
        page, _ = _page(rows, asked, most=500)
        return {"data": page}

    def _list_reverse_orders(self, asked: Mapping[str, str]) -> Json:
        number, size = int(asked.get("page_no", "1")), int(asked.get("page_size", "10"))
        if not 0 < size <= 100:
            raise _CallError("5", "ISV", "page_size must be between 1 and 100")
        rows = self._reverse_orders
        page = rows[(number - 1) * size : number * size]
        return {"result": {"page_no": number, "page_size": size, "total": len(rows), "items": page}}

    # --- the protocol -------------------------------------------------------------------------------------------------

    def _call(self, path: str, answer: Callable[[Mapping[str, str]], Json]) -> Callable[[Request], Any]:
        async def called(request: Request) -> Response:
            asked = dict(request.query_params)
            try:
                self._check(path, asked)
                if asked.get("access_token") != self._access():
                    raise _CallError(
                        "IllegalAccessToken", "ISP", "The specified access token is invalid or expired"
                    )
                found = answer(asked)
            except _CallError as error:
                return JSONResponse(error.body)
            return JSONResponse({**found, "code": "0", "request_id": "0ba2887315178178017221014"})

        return called

    async def _refresh(self, request: Request) -> Response:
        asked = dict(request.query_params)
        try:
            self._check("/auth/token/refresh", asked)
        except _CallError as error:
            return JSONResponse(error.body)
        if not self._credentials.accepts("lazada", "REFRESH_TOKEN", asked.get("refresh_token"), 40):
            said = "The specified refresh token is invalid or expired"
            return JSONResponse(_error("IllegalRefreshToken", "ISV", said))
        return JSONResponse(
            {
                "access_token": self._access(),
                "refresh_token": asked["refresh_token"],
                "country": "sg",
                "account_platform": "seller_center",
                "expires_in": 2_592_000,
                "refresh_expires_in": 15_552_000,
                "code": "0",
                "request_id": "0ba2887315172940728551014",
            }
        )

    def _access(self) -> str:
        return self._credentials.secret("lazada", "access", 48)

    def _check(self, path: str, asked: Mapping[str, str]) -> None:
        if asked.get("app_key") != APP_KEY:
            raise _CallError("InvalidAppKey", "ISV", "The specified App Key is invalid")
        given = {name: value for name, value in asked.items() if name != "sign"}
        text = path + "".join(f"{name}{given[name]}" for name in sorted(given))
        secret = self._credentials.secret("lazada", "APP_SECRET")
        right = hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest().upper()
        if given.get("sign_method") != "sha256" or not hmac.compare_digest(right, asked.get("sign", "")):
            raise _CallError(
                "IncompleteSignature", "ISV", "The request signature does not conform to platform standards"
            )
        sent = float(given.get("timestamp") or 0) / 1000
        if abs(datetime.now(_SGT).timestamp() - sent) > _CLOCK_TOLERANCE_SECONDS:
            raise _CallError("InvalidTimestamp", "ISV", "The timestamp is out of range")


def _masked(name: str) -> str:
    return f"{name[:1]}{'*' * max(len(name) - 1, 1)}"


def _from_milliseconds(text: str) -> datetime:
    return datetime.fromtimestamp(int(text) / 1000, _SGT)


def _week(at: datetime) -> datetime:
    """When the week of a statement begins, a Monday."""
    day = at.astimezone(_SGT).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def _statement(at: datetime) -> str:
    return f"{_statement_day(_week(at))} - {_statement_day(_week(at) + timedelta(days=6))}"


def _statement_day(at: datetime) -> str:
    return f"{at.astimezone(_SGT):%d %b %Y}"


def _within(at: datetime, asked: Mapping[str, str]) -> bool:
    try:
        after = datetime.fromisoformat(asked["update_after"]) if "update_after" in asked else None
        before = datetime.fromisoformat(asked["update_before"]) if "update_before" in asked else None
    except ValueError:
        raise _CallError("36", "ISV", "Invalid date format: use ISO 8601") from None
    return (after is None or at >= after) and (before is None or at <= before)


def _page(rows: list[Json], asked: Mapping[str, str], most: int) -> tuple[list[Json], int]:
    offset, limit = int(asked.get("offset", "0")), int(asked.get("limit", str(most)))
    if not 0 < limit <= most:
        raise _CallError("19", "ISV", f"Invalid limit: 1 to {most}")
    if offset > _MOST_OFFSET:
        raise _CallError("14", "ISV", f"Invalid offset: at most {_MOST_OFFSET}")
    return rows[offset : offset + limit], len(rows)
