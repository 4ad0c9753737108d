"""Lazada, the marketplace: orders with their items, returns and products of one shop; Singapore unless the address says else.

Protocol: Lazada Open Platform (LOP). Every call is a GET with its parameters signed: HMAC-SHA256 over the API's path and all
parameters in ASCII order, in capitals. The access token comes from the refresh token (APP_KEY, APP_SECRET and
REFRESH_TOKEN; ORDERHUB_LAZADA_TOKEN_URL overrides where), which lasts 180 days: a person authorises the app anew then.
A call that fails is answered 200 with a `code` other than 0. ORDERHUB_LAZADA_URL is the country's service
(https://api.lazada.sg/rest, .com.my, .co.th, .vn, .co.id, .com.ph).

Orders are listed by change time, 100 at a time, to offset 5,000; the extractor starts anew from the last change then. A page
overlaps the one before, so that an order that changes meanwhile, and goes to the end, hides none that moves up. Items are
asked for order by order, of those orders that came since. One item is one unit. Amounts of orders are texts or numbers;
those of returns are in cents, of Vietnam in dong. Times are local with their offset, or milliseconds.

What Lazada keeps and pays back comes with the statement, a week at a time: a transaction for each price, fee and reversal of
a unit, by day, in ranges of at most 180 days. It names no currency; an account is of one country.

Source: https://open.lazada.com/apps/doc (signature, doc 108068 and 108069; seller authorisation, 108260; GetOrders, 121327;
GetMultipleOrderItems; GetReverseOrdersForSeller; GetProducts; QueryTransactionDetails)
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from collections.abc import Generator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any
from urllib.parse import urlencode, urlsplit
from zoneinfo import ZoneInfo

import httpx
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from connectors.declare import (
    BLANK_IS_NULL,
    AliasPath,
    Amount,
    Ask,
    Bounds,
    BrokenAnswerError,
    CentAmount,
    Child,
    ConnectorError,
    Country,
    Currency,
    DigestSignature,
    FloatAmount,
    FloatQuantity,
    Instant,
    Kind,
    Lookup,
    MilliInstant,
    MissingSecretError,
    Notice,
    NumberedPages,
    OffsetPages,
    Phone,
    ProtocolError,
    RateLimit,
    Record,
    RefusedError,
    Secrets,
    Source,
    Stream,
    Text,
    ThrottledError,
    UnixInstant,
    Webhook,
    decode_json,
    local_instant,
    pair_text,
)

# A longer range is refused from 180 days.
_STATEMENTS = timedelta(days=170)
_SINGAPORE = ZoneInfo("Asia/Singapore")
TOKEN_SERVICE = "https://auth.lazada.com/rest"  # noqa: S105 - an address
_REFRESH = "/auth/token/refresh"
_BAN = re.compile(r"ban will last for (\d+) ")
_REFUSED = ("IllegalAccessToken", "IncompleteSignature", "InvalidAppKey", "MissingAppKey", "MissingAccessToken",
            "IllegalRefreshToken", "AppWhiteIpLimit")  # fmt: skip
_SMALL_ANSWER = 4096  # bytes; a refusal is far shorter, and a page of records need not be read twice
_LIST_CEILING = 5000


def sign(path: str, params: Mapping[str, str], secret: str) -> str:
    """Signature of a call: HMAC-SHA256 of the API's path and its sorted parameters, hexadecimal, in capitals."""
    text = path + pair_text(params)
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest().upper()


class _TokenFlow(httpx.Auth):
    def __init__(
        self, base_path: str, token_url: str, app_key: str, app_secret: str, refresh_token: str
    ) -> None:
        self._base_path, self._token_url = base_path, token_url
        self._app_key, self._app_secret, self._refresh_token = app_key, app_secret, refresh_token
        self._token: str | None = None
        self._expires = 0.0
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            token = self._token if time.monotonic() < self._expires else None
        if token is None:
            token = yield from self._refresh()
        response = yield self._signed(request, token)
        if _is_token_refused(response):
            yield self._signed(request, (yield from self._refresh()))

    def _signed(self, request: httpx.Request, token: str) -> httpx.Request:
        path = request.url.path.removeprefix(self._base_path)
        params = self._complete(path, {**request.url.params, "access_token": token})
        return httpx.Request(
            request.method,
            request.url.copy_with(query=urlencode(params).encode()),
            headers=request.headers,
            extensions=request.extensions,
        )

    def _complete(self, path: str, params: Mapping[str, str]) -> dict[str, str]:
        now = str(int(datetime.now(UTC).timestamp() * 1000))
        full = {**params, "app_key": self._app_key, "timestamp": now, "sign_method": "sha256"}
        return {**full, "sign": sign(path, full, self._app_secret)}

    def _refresh(self) -> Generator[httpx.Request, httpx.Response, str]:
        with self._lock:
            refresh_token = self._refresh_token
        params = self._complete(_REFRESH, {"refresh_token": refresh_token})
        response = yield httpx.Request("GET", self._token_url + _REFRESH, params=params)
        response.read()
        if response.status_code == 429 or response.status_code >= 500:
            raise BrokenAnswerError(f"lazada: the token service failed ({response.status_code}).")
        try:
            answer = decode_json(response.content)
        except ValueError as error:
            raise BrokenAnswerError(f"lazada: the token service's answer is not JSON: {error}.") from error
        said = answer if isinstance(answer, dict) else {}
        if said.get("code") == "ApiCallLimit":
            raise ThrottledError(f"lazada: {said.get('message')}", wait_seconds=2.0)
        if not said.get("access_token"):
            raise RefusedError(
                f"lazada: the token service refused the refresh token ({said.get('code')}: {said.get('message')}). Check "
                "ORDERHUB_LAZADA_APP_KEY, ORDERHUB_LAZADA_APP_SECRET and ORDERHUB_LAZADA_REFRESH_TOKEN; if it is older "
                "than 180 days, authorise the app anew."
            )
        token = str(said["access_token"])
        with self._lock:
            self._token = token
            self._refresh_token = str(said.get("refresh_token") or refresh_token)
            # A minute early, so that no call travels with a token that expires on the way.
            self._expires = time.monotonic() + max(float(said.get("expires_in") or 0) - 60.0, 1.0)
        return token


def _is_token_refused(response: httpx.Response) -> bool:
    length = response.headers.get("content-length", "")
    if not length.isdigit() or int(length) > _SMALL_ANSWER:
        return False
    return b'"IllegalAccessToken"' in response.read()


class SignedByToken(BaseModel):
    """A signature on every call, over an access token that the refresh token is good for."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("APP_KEY", "APP_SECRET", "REFRESH_TOKEN")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        try:
            token_url = secrets.get("TOKEN_URL")
        except MissingSecretError:
            token_url = TOKEN_SERVICE
        values = [secrets.get(name) for name in self.secrets]
        return _TokenFlow(urlsplit(base_url).path.rstrip("/"), token_url.rstrip("/"), *values)


def _spaced_offset(value: Any) -> Any:
    """Lazada writes "2026-09-25 15:14:34 +0800"; its documentation says ISO 8601, and shows milliseconds too."""
    if isinstance(value, str) and len(value) == 25 and value[19] == " ":
        return value[:19].replace(" ", "T") + value[20:]
    if isinstance(value, str) and len(value) == 13 and value.isdigit():
        return datetime.fromtimestamp(int(value) / 1000, UTC).isoformat()
    return value


def _digits(value: Any) -> Any:
    """Lazada writes milliseconds as a text."""
    return int(value) if isinstance(value, str) and value.isascii() and value.isdigit() else value


LocalInstant = Annotated[Instant, BeforeValidator(_spaced_offset)]
MilliText = Annotated[MilliInstant, BeforeValidator(_digits)]


_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")


def _iso_day(text: Any) -> Any:
    """Statements write "06 Dec 2026"; what is no such day is left for validation to refuse."""
    parts = str(text).split()
    if len(parts) != 3 or parts[1].lower() not in _MONTHS:
        return text
    return f"{parts[2]}-{_MONTHS.index(parts[1].lower()) + 1:02}-{parts[0].zfill(2)}"


class Order(Record):
    """An order as lists show it; its items tell the money."""

    order_id: str = Field(min_length=1)
    order_number: str = Field(min_length=1)
    statuses: list[str] = Field(default_factory=list, description="distinct ones of its items")
    item_count: int | None = Field(None, validation_alias="items_count")
    payment_method: str | None = None
    shipping_amount: FloatAmount = Field(validation_alias="shipping_fee")
    first_name: str | None = Field(None, validation_alias="customer_first_name", description="masked")
    ship_to_phone: Annotated[Phone | None, BLANK_IS_NULL] = Field(
        None, validation_alias=AliasPath("address_shipping", "phone"), description="masked"
    )
    ship_to_street: Text = Field(None, validation_alias=AliasPath("address_shipping", "address1"))
    ship_to_city: Text = Field(None, validation_alias=AliasPath("address_shipping", "city"))
    ship_to_postcode: Text = Field(None, validation_alias=AliasPath("address_shipping", "post_code"))
    ship_to_country: Annotated[Country | None, BLANK_IS_NULL] = Field(
        None, validation_alias=AliasPath("address_shipping", "country")
    )
    created_at: LocalInstant
    updated_at: LocalInstant


class OrderItem(Record):
    """One unit of an order. What the buyer paid is the price less the vouchers."""

    item_id: str = Field(validation_alias="order_item_id", min_length=1)
    order_id: str = Field(min_length=1)
    sku_id: str | None = Field(None, description="Lazada's number of the variant")
    seller_sku: str | None = Field(None, validation_alias="sku")
    shop_sku: str | None = None
    name: str | None = None
    buyer_id: Text = Field(None, description="one per buyer and shop")
    status: str = Field(
        description="unpaid, pending, packed, ready_to_ship, shipped, delivered, canceled, returned, lost_by_3pl, …"
    )
    currency: Currency
    item_price_amount: FloatAmount = Field(validation_alias="item_price", description="tax included")
    paid_amount: FloatAmount = Field(validation_alias="paid_price", description="price less vouchers")
    voucher_amount: FloatAmount = Field(validation_alias="voucher_amount")
    tax_amount: FloatAmount
    shipping_amount: FloatAmount
    tracking_code: Text = None
    carrier: Text = Field(None, validation_alias="shipment_provider")
    package_id: Text = None
    reason: Text = None
    paid_at: Annotated[MilliText | None, BLANK_IS_NULL] = Field(None, validation_alias="payment_time")
    created_at: LocalInstant
    updated_at: LocalInstant


class ReverseOrder(Record):
    """A cancellation, a refund or a return that a buyer asked for."""

    reverse_order_id: str = Field(min_length=1)
    order_id: str = Field(validation_alias="trade_order_id")
    request_type: str = Field(description="CANCEL, ONLY_REFUND, RETURN")


class ReverseOrderLine(Record):
    """One unit of a reverse order."""

    line_id: str = Field(validation_alias="reverse_order_line_id", min_length=1)
    item_id: str | None = Field(None, validation_alias="trade_order_line_id")
    status: str = Field(
        validation_alias="reverse_status", description="REQUEST_INITIATE, REFUND_SUCCESS, REQUEST_CANCEL, …"
    )
    sku_code: str | None = Field(None, validation_alias="seller_sku_id")
    reason: str | None = Field(None, validation_alias="reason_text")
    hundredth_amount: CentAmount | None = Field(
        None, validation_alias="refund_amount", description="a hundredth of what is told, tax included"
    )
    tracking_code: Text = Field(None, validation_alias="tracking_number")
    requested_at: UnixInstant = Field(validation_alias="return_order_line_gmt_create")
    changed_at: UnixInstant | None = Field(None, validation_alias="return_order_line_gmt_modified")


class Product(Record):
    """A product; what is sold are its SKUs."""

    item_id: str = Field(min_length=1)
    name: str | None = Field(None, validation_alias=AliasPath("attributes", "name"))
    brand: str | None = Field(None, validation_alias=AliasPath("attributes", "brand"))
    category_id: str | None = Field(None, validation_alias="primary_category")
    status: str | None = None
    updated_at: MilliText = Field(validation_alias="updated_time")


class ProductSku(Record):
    """One SKU of a product."""

    sku_id: str = Field(validation_alias="SkuId", min_length=1)
    seller_sku: str | None = Field(None, validation_alias="SellerSku")
    shop_sku: str | None = Field(None, validation_alias="ShopSku")
    status: str | None = Field(None, validation_alias="Status")
    price_amount: FloatAmount | None = Field(None, validation_alias="price")
    quantity: FloatQuantity | None = Field(None, description="sellable")
    weight_kg: Annotated[FloatQuantity | None, BLANK_IS_NULL] = Field(None, validation_alias="package_weight")


class Transaction(Record):
    """One entry of a statement: a price, a fee or a reversal of one unit. Signed from the seller's side."""

    transaction_number: str = Field(min_length=1)
    transaction_type: str | None = Field(None, description="Orders-Sales, Orders-Lazada Fees, Refunds-…")
    fee_name: str = Field(min_length=1, description="Item Price Credit, Commission, Payment Fee, …")
    order_number: str | None = Field(None, validation_alias="order_no")
    item_id: str | None = Field(None, validation_alias="orderItem_no")
    seller_sku: str | None = None
    amount: Amount
    tax_amount: Amount | None = Field(None, validation_alias="VAT_in_amount")
    statement: str | None = Field(None, description="as it is named: 05 Oct 2026 - 11 Oct 2026")
    statement_from: Annotated[date | None, BeforeValidator(_iso_day)] = None
    statement_until: Annotated[date | None, BeforeValidator(_iso_day)] = None
    paid_status: str | None = Field(None, description="Paid, Not paid")
    booked_at: local_instant("Asia/Singapore") = Field(  # type: ignore[valid-type]
        validation_alias="transaction_date", description="midnight of the day"
    )

    @model_validator(mode="before")
    @classmethod
    def _days(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        first, _, last = str(data.get("statement") or "").partition(" - ")
        told = {"statement_from": first or None, "statement_until": last or None}
        return {**data, **told, "transaction_date": f"{_iso_day(data.get('transaction_date'))}T00:00:00"}


def _iso(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat(timespec="seconds")


def _since(bounds: Bounds) -> datetime:
    """Lazada needs a start; its first shop opened in 2012."""
    return bounds.since or datetime(2012, 1, 1, tzinfo=UTC)


def _ask_orders(bounds: Bounds) -> Ask:
    params = {"update_after": _iso(_since(bounds)), "sort_by": "updated_at", "sort_direction": "ASC"}
    if bounds.until is not None:
        params["update_before"] = _iso(bounds.until)
    return Ask(params=params)


def _ask_order(bounds: Bounds) -> Ask:
    return Ask(params={"order_id": bounds.keys[0]})


def _ask_items(bounds: Bounds) -> Ask:
    return Ask(params={"order_ids": f"[{','.join(bounds.keys)}]"})


def _ask_reverse_orders(bounds: Bounds) -> Ask:
    ends = {"Start": bounds.since, "End": bounds.until}
    return Ask(
        params={
            f"ReverseOrderLineModifiedTimeRange{end}": str(int(at.timestamp() * 1000))
            for end, at in ends.items()
            if at is not None
        }
    )


def _ask_transactions(bounds: Bounds) -> Ask:
    until = bounds.until or _since(bounds) + _STATEMENTS
    days = {"start_time": _since(bounds), "end_time": until}
    return Ask(params={name: f"{at.astimezone(_SINGAPORE):%Y-%m-%d}" for name, at in days.items()})


def _ask_products(bounds: Bounds) -> Ask:
    params = {"filter": "all", "options": "1"}
    if bounds.since is not None:
        params["update_after"] = _iso(bounds.since)
    if bounds.until is not None:
        params["update_before"] = _iso(bounds.until)
    return Ask(params=params)


def fault(body: Any) -> ConnectorError | None:
    """Find an error in an answer 200: `{"code", "type", "message", "request_id"}`."""
    if not isinstance(body, dict) or str(body.get("code", "0")) == "0":
        return None
    code, message = str(body["code"]), str(body.get("message"))
    text = f"lazada: {message} ({code}, request {body.get('request_id')})"
    if code.endswith("CallLimit"):
        ban = _BAN.search(message)
        return ThrottledError(text, wait_seconds=float(ban.group(1)) + 0.1 if ban else None)
    if code in _REFUSED:
        return RefusedError(
            f"{text}. Check ORDERHUB_LAZADA_APP_KEY, ORDERHUB_LAZADA_APP_SECRET and ORDERHUB_LAZADA_REFRESH_TOKEN."
        )
    if body.get("type") == "SYSTEM":
        return BrokenAnswerError(f"{text}.")
    return ProtocolError(text)


def _by_offset(total: str, size: int) -> OffsetPages:
    return OffsetPages(
        offset="params.offset",
        limit="params.limit",
        size=size,
        overlap=size // 5,
        total=total,
        counts_rows=True,
        ceiling=_LIST_CEILING,
    )


WEBHOOK = Webhook(
    signature=DigestSignature(
        header="authorization", key="APP_SECRET", parts=("secret:APP_KEY", "body"), encoding="hex"
    ),
    topic="message_type",
    notices=(
        Notice(
            topic="*",
            when="data.reverse_order_id",
            streams=("orders", "order_items"),
            key="data.trade_order_id",
        ),
        Notice(topic="0", streams=("orders", "order_items"), key="data.trade_order_id"),
        # New, changed, deleted.
        Notice(topic="[345]", streams=("products",)),
    ),
    documentation="https://open.lazada.com/apps/doc/doc?nodeId=29526&docId=120168",
)

SOURCE = Source(
    name="lazada",
    title="Lazada",
    kind=Kind.MARKETPLACE,
    owner="marketplace-team",
    base_url="https://api.lazada.sg/rest",
    auth=SignedByToken(),
    fault=fault,
    limit=RateLimit(requests=10, seconds=1.0),
    documentation="https://open.lazada.com/apps/doc/api",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="products",
            kept="A deleted product says so in its status.",
            record=Product,
            key=("item_id",),
            path="/products/get",
            ask=_ask_products,
            rows="data.products",
            pages=_by_offset("data.total_products", 50),
            cursor="updated_at",
            children=(Child(name="skus", path="skus", record=ProductSku, parent={"item_id": "item_id"}),),
            description="Products with their SKUs.",
        ),
        Stream(
            name="orders",
            kept="Orders are cancelled, never deleted.",
            record=Order,
            key=("order_id",),
            path="/orders/get",
            ask=_ask_orders,
            rows="data.orders",
            lookup=Lookup(ask=_ask_order, rows="data", key="order_id", path="/order/get"),
            pages=_by_offset("data.countTotal", 100),
            cursor="updated_at",
            description="Orders, by change time.",
        ),
        Stream(
            name="order_items",
            kept="Items are cancelled, never deleted.",
            record=OrderItem,
            key=("item_id",),
            path="/orders/items/get",
            ask=_ask_items,
            rows="data.order_items",
            fan_out=("orders", "order_id"),
            fan_out_size=50,
            fan_out_changes=True,
            description="Units of the orders that came since.",
        ),
        Stream(
            name="reverse_orders",
            kept="Returns are closed, never deleted.",
            record=ReverseOrder,
            key=("reverse_order_id",),
            path="/reverse/getreverseordersforseller",
            ask=_ask_reverse_orders,
            rows="result.items",
            pages=NumberedPages(page="params.page_no", limit="params.page_size", size=100),
            children=(
                Child(name="reverse_order_lines", path="reverse_order_lines", record=ReverseOrderLine,
                      parent={"reverse_order_id": "reverse_order_id", "order_id": "order_id"}),
            ),
            description="Cancellations, refunds and returns, read whole.",
        ),
        Stream(
            name="transactions",
            kept="What was booked stays; what is undone is booked anew.",
            record=Transaction,
            key=("transaction_number",),
            path="/finance/transaction/details/get",
            ask=_ask_transactions,
            rows="data",
            pages=OffsetPages(offset="params.offset", limit="params.limit", size=500, overlap=100),
            cursor="booked_at",
            # A statement is paid in the week after it.
            lag=timedelta(days=15),
            window=_STATEMENTS,
            freshness=timedelta(days=8),
            description="Entries of the weekly statements: prices, fees and reversals of units.",
        ),
    ),
)  # fmt: skip
