"""Vendure 3, the company's own web shop in Europe: orders, customers, variants, stock, by the admin GraphQL API.

ORDERHUB_VENDURE_URL is the shop's root; the API answers below it at /admin-api. A login mutation opens a session; its
token comes in the header `vendure-auth-token` and travels as a bearer token. A session that has ended is answered 200
with an error FORBIDDEN, as is a missing permission, so one FORBIDDEN opens one new session. The server must be set to
`tokenMethod` bearer. Lists are paged by skip and take; 100 is allowed by any sane configuration.

What a real Vendure 3.7 does, seen in `tests/live`: a refund, a delivery and most other steps of an order leave the
order's own `updatedAt` as it was. An increment therefore reads what changed by that stamp, what is still open, and
what was placed within `_STILL_MOVING` (refunds come late); the cursor is the newest stamp of an order and its parts.
Unchanged orders land no new version. Stock moves without a stamp on the variant: levels are read whole. An address
book entry changes without its customer: a full pull brings it, and each order carries the address it went to.

Money is in hundredths whatever the currency, which is the server's default money strategy. A line of a cancelled order has
quantity 0 and no price left; `placed_qty` and the unit price stay. A line's SKU is its variant's of today, so it is read
from the variants.

Source: https://docs.vendure.io/reference/graphql-api/admin/queries/ and https://docs.vendure.io/guides/how-to/graphql-api/
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict

from connectors.declare import (
    BLANK_IS_NULL,
    AliasPath,
    Amount,
    Ask,
    Bounds,
    BrokenAnswerError,
    Child,
    ConnectorError,
    ControlTotal,
    Count,
    Country,
    Currency,
    DigestSignature,
    FatalError,
    Field,
    Instant,
    Kind,
    Lookup,
    Notice,
    OffsetPages,
    Phone,
    Quantity,
    Record,
    RefusedError,
    Secrets,
    Source,
    Stream,
    Sweep,
    Text,
    Webhook,
    decode_json,
    dig,
)

_PATH = "/admin-api"
_STILL_MOVING = timedelta(days=90)
_SMALL_ANSWER = 4096  # bytes; a refusal is far shorter, and a page of records need not be read twice


def _from_hundredths(value: Any) -> Any:
    """Turn 1499 into Decimal("14.99"); leave anything but a whole number to validation."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Decimal(value).scaleb(-2)
    return f"{value!r} is not a whole number of hundredths" if isinstance(value, float) else value


Telephone = Annotated[Phone | None, BLANK_IS_NULL]
Hundredths = Annotated[Amount, BeforeValidator(_from_hundredths)]

_LOGIN = """
mutation Login($username: String!, $password: String!) {
  login(username: $username, password: $password) { __typename ... on ErrorResult { errorCode message } }
}
"""


class _SessionFlow(httpx.Auth):
    def __init__(self, url: str, username: str, password: str) -> None:
        self._url = url
        self._variables = {"username": username, "password": password}
        self._token: str | None = None
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            token = self._token
        if token is None:
            token = yield from self._log_in()
        request.headers["Authorization"] = f"Bearer {token}"
        response = yield request
        if _is_forbidden(response):
            request.headers["Authorization"] = f"Bearer {yield from self._log_in()}"
            yield request

    def _log_in(self) -> Generator[httpx.Request, httpx.Response, str]:
        response = yield httpx.Request(
            "POST", self._url, json={"query": _LOGIN, "variables": self._variables}
        )
        response.read()
        if response.status_code == 429 or response.status_code >= 500:
            raise BrokenAnswerError(f"vendure: the server failed at login ({response.status_code}).")
        try:
            answer = decode_json(response.content)
        except ValueError as error:
            raise BrokenAnswerError(
                f"vendure: the answer to the login at {self._url} is not JSON: {error}."
            ) from error
        told = dig(answer, "data.login") if isinstance(answer, dict) else None
        if not isinstance(told, dict) or told.get("__typename") != "CurrentUser":
            said = told.get("message") if isinstance(told, dict) else f"{str(answer)[:200]}"
            raise RefusedError(
                f"vendure: login at {self._url} failed ({said}). Check ORDERHUB_VENDURE_USERNAME, "
                "ORDERHUB_VENDURE_PASSWORD and ORDERHUB_VENDURE_URL."
            )
        token = str(response.headers.get("vendure-auth-token", ""))
        if not token:
            raise FatalError(
                "vendure: the login brought no vendure-auth-token; set authOptions.tokenMethod of the server to bearer"
            )
        with self._lock:
            self._token = token
        return token


def _is_forbidden(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _SMALL_ANSWER:
        return False
    return b'"FORBIDDEN"' in response.read()


class Session(BaseModel):
    """Vendure's login mutation, then the session token it answers with."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("USERNAME", "PASSWORD")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return _SessionFlow(base_url.rstrip("/") + _PATH, secrets.get("USERNAME"), secrets.get("PASSWORD"))


class Order(Record):
    """An order past the checkout. Amounts without tax unless they say so."""

    order_id: str = Field(validation_alias="id", min_length=1)
    code: str = Field(min_length=1, description="the number the buyer sees")
    type: str = Field(description="Regular, or Aggregate with one Seller order per seller")
    state: str = Field(
        description="PaymentAuthorized, PaymentSettled, PartiallyShipped, Shipped, Delivered, Cancelled, …"
    )
    customer_id: str | None = Field(None, validation_alias=AliasPath("customer", "id"))
    coupon_codes: list[str] = Field(default_factory=list, validation_alias="couponCodes")
    currency: Currency = Field(validation_alias="currencyCode")
    goods_amount: Hundredths = Field(
        validation_alias="subTotal", description="lines and surcharges, discounts taken off"
    )
    shipping_amount: Hundredths = Field(validation_alias="shipping", description="discounts taken off")
    net_amount: Hundredths = Field(validation_alias="total")
    total_amount: Hundredths = Field(validation_alias="totalWithTax", description="tax included")
    shipping_method: str | None = Field(
        None, validation_alias=AliasPath("shippingLines", 0, "shippingMethod", "code")
    )
    ship_to_name: Text = Field(None, validation_alias=AliasPath("shippingAddress", "fullName"))
    ship_to_street: Text = Field(None, validation_alias=AliasPath("shippingAddress", "streetLine1"))
    ship_to_city: Text = Field(None, validation_alias=AliasPath("shippingAddress", "city"))
    ship_to_region: Text = Field(None, validation_alias=AliasPath("shippingAddress", "province"))
    ship_to_postcode: Text = Field(None, validation_alias=AliasPath("shippingAddress", "postalCode"))
    ship_to_country: Country | None = Field(
        None, validation_alias=AliasPath("shippingAddress", "countryCode")
    )
    ship_to_phone: Telephone = Field(None, validation_alias=AliasPath("shippingAddress", "phoneNumber"))
    placed_at: Instant | None = Field(None, validation_alias="orderPlacedAt")
    created_at: Instant = Field(validation_alias="createdAt", description="when the basket was begun")
    updated_at: Instant = Field(validation_alias="updatedAt", description="of the order alone")
    changed_at: Instant = Field(
        validation_alias="changedAt", description="newest stamp of the order and its parts"
    )


class OrderLine(Record):
    """One line of an order. A cancelled unit is no longer in `quantity`."""

    line_id: str = Field(validation_alias="id", min_length=1)
    variant_id: str = Field(validation_alias=AliasPath("productVariant", "id"))
    quantity: Quantity = Field(ge=0)
    placed_qty: Quantity = Field(validation_alias="orderPlacedQuantity", ge=0)
    unit_price_amount: Hundredths = Field(validation_alias="unitPrice")
    list_amount: Hundredths = Field(validation_alias="linePrice", description="before discounts")
    net_amount: Hundredths = Field(
        validation_alias="proratedLinePrice",
        description="after the line's and its share of the order's discounts",
    )
    tax_amount: Hundredths = Field(validation_alias="lineTax")


class OrderPayment(Record):
    """Money asked for or taken."""

    payment_id: str = Field(validation_alias="id", min_length=1)
    method: str
    amount: Hundredths
    state: str = Field(description="Created, Authorized, Settled, Declined, Error, Cancelled")
    transaction_id: str | None = Field(None, validation_alias="transactionId")
    created_at: Instant = Field(validation_alias="createdAt")
    updated_at: Instant = Field(validation_alias="updatedAt")


class OrderRefund(Record):
    """Money given back from one payment."""

    refund_id: str = Field(validation_alias="id", min_length=1)
    payment_id: str = Field(validation_alias="paymentId")
    amount: Hundredths = Field(validation_alias="total", ge=0)
    state: str = Field(description="Pending, Settled, Failed")
    reason: str | None = None
    created_at: Instant = Field(validation_alias="createdAt")
    updated_at: Instant = Field(validation_alias="updatedAt")


class OrderFulfillment(Record):
    """A parcel group that left or is to leave."""

    fulfillment_id: str = Field(validation_alias="id", min_length=1)
    state: str = Field(description="Created, Pending, Shipped, Delivered, Cancelled")
    method: str | None = Field(None, description="carrier, as typed")
    tracking_code: str | None = Field(None, validation_alias="trackingCode")
    created_at: Instant = Field(validation_alias="createdAt")
    updated_at: Instant = Field(validation_alias="updatedAt")


class FulfillmentLine(Record):
    """Units of one order line in one fulfilment."""

    fulfillment_id: str = Field(validation_alias="fulfillmentId")
    line_id: str = Field(validation_alias="orderLineId")
    quantity: Quantity = Field(ge=0)


class OrderHistory(Record):
    """A step of an order, of one of its payments, refunds or fulfilments."""

    entry_id: str = Field(validation_alias="id", min_length=1)
    type: str
    from_state: str | None = Field(None, validation_alias=AliasPath("data", "from"))
    to_state: str | None = Field(None, validation_alias=AliasPath("data", "to"))
    payment_id: str | None = Field(None, validation_alias=AliasPath("data", "paymentId"))
    refund_id: str | None = Field(None, validation_alias=AliasPath("data", "refundId"))
    fulfillment_id: str | None = Field(None, validation_alias=AliasPath("data", "fulfillmentId"))
    created_at: Instant = Field(validation_alias="createdAt")


class Customer(Record):
    """A customer account, or a guest who left an e-mail address."""

    customer_id: str = Field(validation_alias="id", min_length=1)
    first_name: Text = Field(None, validation_alias="firstName")
    last_name: Text = Field(None, validation_alias="lastName")
    email: Text = Field(None, validation_alias="emailAddress")
    phone: Telephone = Field(None, validation_alias="phoneNumber")
    has_account: bool = Field(validation_alias="user", description="false: a guest")
    created_at: Instant = Field(validation_alias="createdAt")
    updated_at: Instant = Field(validation_alias="updatedAt")


class CustomerAddress(Record):
    """One entry of a customer's address book; Vendure writes an empty text where nothing is known."""

    address_id: str = Field(validation_alias="id", min_length=1)
    full_name: Text = Field(None, validation_alias="fullName")
    company: Text = None
    street: Text = Field(None, validation_alias="streetLine1")
    city: Text = None
    region: Text = Field(None, validation_alias="province")
    postcode: Text = Field(None, validation_alias="postalCode")
    country: Country | None = Field(None, validation_alias=AliasPath("country", "code"))
    phone: Telephone = Field(None, validation_alias="phoneNumber")
    is_default_shipping: bool | None = Field(None, validation_alias="defaultShippingAddress")
    is_default_billing: bool | None = Field(None, validation_alias="defaultBillingAddress")
    updated_at: Instant = Field(validation_alias="updatedAt")


class Variant(Record):
    """A product variant: what an order line points at."""

    variant_id: str = Field(validation_alias="id", min_length=1)
    product_id: str = Field(validation_alias="productId")
    sku: str | None = None
    name: str | None = Field(None, description="product and options, in the shop's default language")
    is_enabled: bool = Field(validation_alias="enabled")
    price_amount: Hundredths | None = Field(None, validation_alias="price")
    currency: Currency | None = Field(None, validation_alias="currencyCode")
    updated_at: Instant = Field(validation_alias="updatedAt")


class StockLocation(Record):
    """A place the shop keeps stock at; Vendure knows no address of it."""

    location_id: str = Field(validation_alias="id", min_length=1)
    name: str = Field(min_length=1)
    description: Text = None
    updated_at: Instant = Field(validation_alias="updatedAt")


class StockLevel(Record):
    """Stock of one variant at one place."""

    stock_level_id: str = Field(validation_alias="id", min_length=1)
    variant_id: str = Field(validation_alias="variantId")
    location_id: str = Field(validation_alias="stockLocationId")
    on_hand_qty: Quantity = Field(validation_alias="stockOnHand")
    allocated_qty: Quantity = Field(validation_alias="stockAllocated")
    updated_at: Instant = Field(validation_alias="updatedAt")


# Steps of one order are few: a hundred is more than any order takes.
_STEPS = {
    "take": 100,
    "sort": {"createdAt": "ASC"},
    "filter": {
        "type": {"in": [f"ORDER_{part}_TRANSITION" for part in ("STATE", "PAYMENT", "REFUND", "FULFILLMENT")]}
    },
}

ORDERS = """
query Orders($options: OrderListOptions, $steps: HistoryEntryListOptions) {
  orders(options: $options) {
    totalItems
    items {
      id code type state createdAt updatedAt orderPlacedAt currencyCode couponCodes
      subTotal shipping total totalWithTax
      customer { id }
      shippingLines { shippingMethod { code } }
      shippingAddress { fullName streetLine1 city province postalCode countryCode phoneNumber }
      lines {
        id quantity orderPlacedQuantity unitPrice linePrice proratedLinePrice lineTax
        productVariant { id }
      }
      payments {
        id method amount state transactionId createdAt updatedAt
        refunds { id paymentId total state reason createdAt updatedAt }
      }
      fulfillments {
        id state method trackingCode createdAt updatedAt
        lines { fulfillmentId orderLineId quantity }
      }
      history(options: $steps) { items { id type createdAt data } }
    }
  }
}
"""

CUSTOMERS = """
query Customers($options: CustomerListOptions) {
  customers(options: $options) {
    totalItems
    items {
      id firstName lastName emailAddress phoneNumber createdAt updatedAt
      user { id }
      addresses {
        id fullName company streetLine1 city province postalCode phoneNumber defaultShippingAddress
        defaultBillingAddress updatedAt
        country { code }
      }
    }
  }
}
"""

VARIANTS = """
query Variants($options: ProductVariantListOptions) {
  productVariants(options: $options) {
    totalItems
    items { id productId sku name enabled price currencyCode updatedAt }
  }
}
"""

STOCK_LOCATIONS = """
query StockLocations($options: StockLocationListOptions) {
  stockLocations(options: $options) { totalItems items { id name description updatedAt } }
}
"""

STOCK_LEVELS = """
query StockLevels($options: ProductVariantListOptions) {
  productVariants(options: $options) {
    totalItems
    items { id stockLevels { id stockLocationId stockOnHand stockAllocated updatedAt } }
  }
}
"""


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _from(instant: datetime) -> str:
    """The stamp just before: Vendure's `after` leaves its bound out."""
    return _iso(instant - timedelta(milliseconds=1))


def _changed(bounds: Bounds) -> dict[str, Any]:
    sides = {
        **({"after": _from(bounds.since)} if bounds.since else {}),
        **({"before": _iso(bounds.until)} if bounds.until else {}),
    }
    return {"updatedAt": sides} if sides else {}


def _request(document: str, filters: dict[str, Any], **variables: Any) -> Ask:
    # By id: what is added while the pages are read comes last, and nothing moves to a page that was read.
    options = {"sort": {"id": "ASC"}, **({"filter": filters} if filters else {})}
    return Ask(json_body={"query": document, "variables": {"options": options, **variables}})


def _ask(document: str) -> Callable[[Bounds], Ask]:
    return lambda bounds: _request(document, _changed(bounds))


def _ask_whole(document: str) -> Callable[[Bounds], Ask]:
    return lambda bounds: _request(document, {})


def _ask_orders(bounds: Bounds) -> Ask:
    filters: dict[str, Any] = {"active": {"eq": False}}
    if bounds.until is not None:  # a back-fill: each order falls into one interval of its own stamp
        filters |= _changed(bounds)
    elif bounds.since is not None:
        filters["_or"] = [
            _changed(bounds),
            {"orderPlacedAt": {"after": _from(bounds.since - _STILL_MOVING)}},
            {"state": {"notIn": ["Delivered", "Cancelled"]}},
        ]
    return _request(ORDERS, filters, steps=_STEPS)


def _count(document: str, listed: str, filters: dict[str, Any]) -> Count:
    return Count(
        ask=_request(document, filters).put("json.variables.options.take", 1),
        read=("data", listed, "totalItems"),
    )


def _pages(listed: str, size: int = 100) -> OffsetPages:
    options = "json.variables.options"
    return OffsetPages(
        offset=f"{options}.skip", limit=f"{options}.take", size=size, total=f"data.{listed}.totalItems"
    )


def decode(content: bytes) -> Any:
    """Decode an answer; write into orders their newest stamp, into stock levels their variant, into customers a flag."""
    body = decode_json(content)
    for order in dig(body, "data.orders.items") or []:
        if isinstance(order, dict):
            stamps = [
                dig(order, path) or []
                for path in (
                    "payments.updatedAt",
                    "payments.refunds.updatedAt",
                    "fulfillments.updatedAt",
                    "history.items.createdAt",
                )
            ]
            found = [order.get("updatedAt"), *(stamp for part in stamps for stamp in part)]
            # One format and one zone, so that the text sorts as the time does.
            order["changedAt"] = max((stamp for stamp in found if isinstance(stamp, str)), default=None)
    for variant in dig(body, "data.productVariants.items") or []:
        for level in (variant.get("stockLevels") or []) if isinstance(variant, dict) else []:
            level["variantId"] = variant.get("id")
    for customer in dig(body, "data.customers.items") or []:
        if isinstance(customer, dict):
            customer["user"] = customer.get("user") is not None
    return body


def fault(body: Any) -> ConnectorError | None:
    """Find GraphQL errors, and an error result inside the data, in an answer 200."""
    if not isinstance(body, dict):
        return None
    errors = body.get("errors")
    if errors:
        first = errors[0] if isinstance(errors, list) and isinstance(errors[0], dict) else {"message": errors}
        code = dig(first, "extensions.code")
        message = f"vendure: {first.get('message')} ({code})"
        if code == "FORBIDDEN":
            where = ".".join(map(str, first.get("path") or []))
            return RefusedError(f"{message}. Give the administrator's role the permission to read {where}.")
        if code == "INTERNAL_SERVER_ERROR":
            return BrokenAnswerError(f"{message}.")
        return FatalError(message)
    for value in (body.get("data") or {}).values():
        if isinstance(value, dict) and "errorCode" in value:
            return FatalError(f"vendure: {value.get('message')} ({value['errorCode']})")
    return None


def _by_id(document: str, rows: str, **variables: Any) -> Lookup:
    return Lookup(
        ask=lambda bounds: _request(document, {"id": {"in": list(bounds.keys)}}, **variables),
        rows=f"data.{rows}.items",
        size=50,
    )


# Vendure sends no webhooks of its own. What a plugin of the shop has to send, on OrderStateTransitionEvent, CustomerEvent and
# ProductVariantEvent: {"type": "order.updated", "id": "42", "at": "…"}, or "….deleted", with the hexadecimal HMAC-SHA256 of
# the body in the header x-orderhub-signature.
WEBHOOK = Webhook(
    signature=DigestSignature(header="x-orderhub-signature", encoding="hex"),
    topic="type",
    notices=tuple(
        Notice(topic=topic, streams=(stream,), key="id", is_deletion=topic.endswith("deleted"))
        for kind, stream in (("order", "orders"), ("customer", "customers"), ("variant", "variants"))
        for topic in (f"{kind}.deleted", f"{kind}.*")
    ),
)


def _stream(name: str, record: type[Record], key: str, ask: Callable[[Bounds], Ask], rows: str, pages: OffsetPages, description: str,
            **more: Any) -> Stream:  # fmt: skip
    return Stream(name=name, record=record, key=(key,), path=_PATH, method="POST", ask=ask, rows=f"data.{rows}",
                  pages=pages, description=description, **more)  # fmt: skip


def _part(name: str, path: str, record: type[Record]) -> Child:
    return Child(name=name, path=path, record=record, parent={"order_id": "order_id", "currency": "currency"})


SOURCE = Source(
    name="vendure",
    title="Vendure",
    kind=Kind.MARKETPLACE,
    owner="e-commerce",
    # No base URL: every company runs its own.
    auth=Session(),
    decode=decode,
    fault=fault,
    timeout_seconds=60.0,
    documentation="https://docs.vendure.io/reference/graphql-api/admin/queries/",
    webhook=WEBHOOK,
    streams=(
        _stream(
            "stock_locations", StockLocation, "location_id", _ask_whole(STOCK_LOCATIONS), "stockLocations.items",
            _pages("stockLocations"), "Places the shop keeps stock at.", count=_count(STOCK_LOCATIONS, "stockLocations", {}),
            sweep=Sweep(ask=_ask_whole(STOCK_LOCATIONS)(Bounds()), rows="data.stockLocations.items", pages=_pages("stockLocations")),
        ),
        _stream(
            "variants", Variant, "variant_id", _ask(VARIANTS), "productVariants.items", _pages("productVariants"),
            "Product variants.", cursor="updated_at", lookup=_by_id(VARIANTS, "productVariants"), count=_count(VARIANTS, "productVariants", {}),
        ),
        _stream(
            "stock_levels", StockLevel, "stock_level_id", _ask_whole(STOCK_LEVELS), "productVariants.items.stockLevels",
            _pages("productVariants"), "Stock per variant and place, read whole.",
            kept="A level goes with its variant or its place, which are told of or swept.",
        ),
        _stream(
            "customers", Customer, "customer_id", _ask(CUSTOMERS), "customers.items", _pages("customers"),
            "Customers with their address books.", cursor="updated_at", lookup=_by_id(CUSTOMERS, "customers"), count=_count(CUSTOMERS, "customers", {}),
            children=(
                Child(name="customer_addresses", path="addresses", record=CustomerAddress,
                      parent={"customer_id": "customer_id"}),
            ),
        ),
        _stream(
            "orders", Order, "order_id", _ask_orders, "orders.items", _pages("orders", 50),
            "Orders past the checkout, with lines, payments, refunds, fulfilments and steps.",
            cursor="changed_at",
            lookup=_by_id(ORDERS, "orders", steps=_STEPS),
            count=_count(ORDERS, "orders", {"active": {"eq": False}}),
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
            children=(
                _part("order_lines", "lines", OrderLine),
                _part("order_payments", "payments", OrderPayment),
                _part("order_refunds", "payments.refunds", OrderRefund),
                _part("order_fulfillments", "fulfillments", OrderFulfillment),
                _part("order_fulfillment_lines", "fulfillments.lines", FulfillmentLine),
                _part("order_history", "history.items", OrderHistory),
            ),
        ),
    ),
)  # fmt: skip
