"""Pinduoduo, the marketplace: confirmed orders, after-sales and goods of one shop.

Protocol: one address, every call a form signed with MD5 between two copies of the secret. Orders are listed by
confirmation in windows of a day, and by change in windows of half an hour; pages are counted, then read backwards. What
an order is in full is asked for one by one. A call that fails is answered 200 with `error_response`. Names and telephones
are masked; a buyer is known by the id of the address alone.

What Pinduoduo keeps of an order is not read: its one call about money (pdd.finance.balance.daily.bill.url.get) gives the
address of a day's file, and no public document says what is in it. The fees of these orders stay unknown here.

Source: https://open.pinduoduo.com/application/document/api (pdd.order.list.get, pdd.order.number.list.increment.get,
pdd.order.information.get, pdd.refund.list.increment.get, pdd.goods.list.get, pdd.logistics.companies.get)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import model_validator

from connectors.declare import (
    BLANK_IS_NULL,
    Amount,
    Ask,
    Bounds,
    BrokenAnswerError,
    Child,
    ChinaInstant,
    ConnectorError,
    ControlTotal,
    Currency,
    Field,
    Kind,
    NumberedPages,
    Outgoing,
    ProtocolError,
    Quantity,
    RateLimit,
    Record,
    RefusedError,
    Signed,
    Source,
    Stream,
    Sweep,
    Text,
    ThrottledError,
    decode_json,
    dig,
    pair_text,
)

ChinaTime = Annotated[ChinaInstant | None, BLANK_IS_NULL]

_ROWS = ("order_list", "order_sn_list", "order_info", "refund_list", "goods_list", "logistics_companies")
# Of the gateway: app, token, signature, permission; then what passes by waiting.
_REFUSED = (10001, 10002, 10016, 10018, 10019, 10035, 20004, 20005, 20031, 20032)
_THROTTLED = (52101, 70031)
_BROKEN = (50000, 50001, 52001, 52002, 52102, 52103, 70032, 70033)


class OrderNumber(Record):
    """An order as lists show it: what is needed to ask for the whole of it."""

    order_id: str = Field(validation_alias="order_sn", min_length=1)
    updated_at: ChinaInstant


class Order(Record):
    """An order in full; amounts in yuan, tax in the prices."""

    order_id: str = Field(validation_alias="order_sn", min_length=1)
    status: int = Field(validation_alias="order_status", description="1 to send, 2 sent, 3 received")
    refund_status: int = Field(description="1 none, 2 asked for, 3 on its way, 4 refunded")
    after_sales_status: int = Field(
        0, description="0 none, 10 refunded; see the documentation for those between"
    )
    after_sales_order_id: str | None = Field(None, description="the order's number, where it has after-sales")
    confirm_status: int = Field(description="0 to be confirmed, 1 confirmed, 2 cancelled")
    trade_type: int | None = Field(None, description="0 ordinary, 1 paid in two steps")
    pay_type: Text = None
    currency: Currency = "CNY"
    goods_amount: Amount
    discount_amount: Amount
    platform_discount_amount: Amount | None = Field(None, validation_alias="platform_discount")
    seller_discount_amount: Amount | None = Field(None, validation_alias="seller_discount")
    shipping_amount: Amount = Field(validation_alias="postage")
    paid_amount: Amount = Field(validation_alias="pay_amount")
    address_id: Text = Field(None, validation_alias="open_address_id")
    receiver_name_mask: Text = None
    receiver_phone_mask: Text = None
    region: Text = Field(None, validation_alias="province")
    city: Text = None
    district: Text = Field(None, validation_alias="town")
    carrier_id: Text = Field(None, validation_alias="logistics_id")
    tracking_number: Text = None
    created_at: ChinaInstant = Field(validation_alias="created_time")
    paid_at: ChinaTime = Field(None, validation_alias="pay_time")
    confirmed_at: ChinaTime = Field(None, validation_alias="confirm_time")
    promised_at: ChinaTime = Field(None, validation_alias="last_ship_time")
    shipped_at: ChinaTime = Field(None, validation_alias="shipping_time")
    received_at: ChinaTime = Field(None, validation_alias="receive_time")
    updated_at: ChinaInstant

    @model_validator(mode="before")
    @classmethod
    def _name_after_sales(cls, raw: Any) -> Any:
        if not isinstance(raw, dict) or not raw.get("after_sales_status"):
            return raw
        return {**raw, "after_sales_order_id": raw.get("order_sn")}


class OrderItem(Record):
    """One SKU of an order."""

    item_id: str = Field(validation_alias="goods_id")
    sku_id: str
    sku_code: Text = Field(None, validation_alias="outer_id")
    item_code: Text = Field(None, validation_alias="outer_goods_id")
    title: str | None = Field(None, validation_alias="goods_name")
    specification: Text = Field(None, validation_alias="goods_spec")
    quantity: Quantity = Field(validation_alias="goods_count", gt=0)
    currency: Currency = "CNY"
    unit_price_amount: Amount = Field(validation_alias="goods_price")


class ExtraDelivery(Record):
    """A further parcel of an order."""

    carrier_id: str | None = Field(None, validation_alias="logistics_id")
    tracking_number: str = Field(min_length=1)


class Refund(Record):
    """After-sales of an order; money went back where the status is 10."""

    refund_id: str = Field(validation_alias="id", min_length=1)
    order_id: str = Field(validation_alias="order_sn")
    refund_type: int = Field(
        validation_alias="after_sales_type", description="2 money alone, 3 with the goods"
    )
    status: int = Field(validation_alias="after_sales_status")
    sku_id: Text = None
    sku_code: Text = Field(None, validation_alias="outer_id")
    quantity: Quantity | None = Field(None, validation_alias="goods_number", gt=0)
    currency: Currency = "CNY"
    amount: Amount = Field(validation_alias="refund_amount")
    reason: Text = Field(None, validation_alias="after_sale_reason")
    tracking_number: Text = None
    created_at: ChinaInstant = Field(validation_alias="created_time")
    updated_at: ChinaInstant = Field(validation_alias="updated_time")


class Goods(Record):
    """Goods on offer."""

    item_id: str = Field(validation_alias="goods_id", min_length=1)
    title: str | None = Field(None, validation_alias="goods_name")
    is_on_sale: bool | None = Field(None, validation_alias="is_onsale")


class Sku(Record):
    """What of the goods can be bought."""

    sku_id: str = Field(min_length=1)
    sku_code: Text = Field(None, validation_alias="outer_id")
    item_code: Text = Field(None, validation_alias="outer_goods_id")
    specification: Text = Field(None, validation_alias="spec")
    quantity: Quantity | None = Field(None, validation_alias="sku_quantity", description="sellable")
    held_quantity: Quantity | None = Field(
        None, validation_alias="reserve_quantity", description="held for buyers"
    )


class Carrier(Record):
    """A carrier's id and name."""

    carrier_id: str = Field(validation_alias="id", min_length=1)
    code: str | None = None
    carrier_name: str | None = Field(None, validation_alias="logistics_company")


def _seconds(at: datetime | None) -> str:
    if at is None:
        raise ValueError("a window of Pinduoduo has two ends")
    return str(int(at.timestamp()))


def _ask_numbers(bounds: Bounds) -> Ask:
    """Orders that were confirmed, where nothing was pulled before; afterwards orders that changed."""
    start, end = _seconds(bounds.since), _seconds(bounds.until)
    asked = {"order_status": "5", "refund_status": "5"}
    if bounds.is_first:
        window = {"start_confirm_at": start, "end_confirm_at": end}
        return Ask(params={"type": "pdd.order.list.get", **asked, **window})
    window = {"start_updated_at": start, "end_updated_at": end, "is_lucky_flag": "0"}
    return Ask(params={"type": "pdd.order.number.list.increment.get", **asked, **window})


def _ask_order(bounds: Bounds) -> Ask:
    return Ask(params={"type": "pdd.order.information.get", "order_sn": bounds.keys[0]})


def _ask_refunds(bounds: Bounds) -> Ask:
    """After-sales of one order, where nothing was pulled before; afterwards those that changed."""
    asked = {"type": "pdd.refund.list.increment.get", "after_sales_status": "1", "after_sales_type": "1"}
    if bounds.keys:
        return Ask(params={**asked, "order_sn": bounds.keys[0]})
    window = {"start_updated_at": _seconds(bounds.since), "end_updated_at": _seconds(bounds.until)}
    return Ask(params={**asked, **window})


def _ask_goods(bounds: Bounds) -> Ask:
    return Ask(params={"type": "pdd.goods.list.get"})


def _ask_carriers(bounds: Bounds) -> Ask:
    return Ask(params={"type": "pdd.logistics.companies.get"})


def signature(fields: Mapping[str, str], secret: str) -> str:
    """Sign the fields of a call: MD5 of secret, fields, secret; hexadecimal, upper case."""
    text = secret + pair_text(fields) + secret
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest().upper()


def sign(request: Outgoing, secrets: Mapping[str, str], now: datetime) -> Outgoing:
    """Add what every call carries, and its signature."""
    fields = {
        **request.params,
        "client_id": secrets["CLIENT_ID"],
        "access_token": secrets["ACCESS_TOKEN"],
        "timestamp": _seconds(now),
        "data_type": "JSON",
        "version": "V1",
    }
    return Outgoing(
        "POST", request.path, form={**fields, "sign": signature(fields, secrets["CLIENT_SECRET"])}
    )


def decode(content: bytes) -> Any:
    """Decode an answer and put its list, whatever it is called, at `rows`."""
    body = decode_json(content)
    if not isinstance(body, dict) or "error_response" in body or len(body) != 1:
        return body
    (inner,) = body.values()
    rows: Any = next((found for path in _ROWS if (found := dig(inner, path)) is not None), [])
    return {"rows": rows if isinstance(rows, list) else [rows], "total": dig(inner, "total_count")}


def fault(body: Any) -> ConnectorError | None:
    """Tell what an `error_response` asks us to do."""
    error = body.get("error_response") if isinstance(body, dict) else None
    if error is None:
        return None
    code = error.get("error_code")
    said = f"pinduoduo: {error.get('error_msg')} ({code}): {error.get('sub_msg') or 'no more is said'}"
    if code in _THROTTLED:
        return ThrottledError(said)
    if code in _REFUSED:
        names = "ORDERHUB_PINDUODUO_CLIENT_ID, ORDERHUB_PINDUODUO_CLIENT_SECRET and ORDERHUB_PINDUODUO_ACCESS_TOKEN"
        return RefusedError(f"{said}. Check {names}, and which calls the app may make.")
    return BrokenAnswerError(said) if code in _BROKEN else ProtocolError(said)


def _pages(**marks: str) -> NumberedPages:
    return NumberedPages(
        page="params.page",
        limit="params.page_size",
        size=100,
        count_size=90,
        total="total",
        marks={f"params.{name}": value for name, value in marks.items()},
    )


SOURCE = Source(
    name="pinduoduo",
    title="Pinduoduo",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    unheard="Pinduoduo pushes over a WebSocket that its client opens (PMC), not to an address.",
    base_url="https://gw-api.pinduoduo.com/api/router",
    auth=Signed(secrets=("CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN"), sign=sign),
    limit=RateLimit(requests=40, seconds=1),
    decode=decode,
    fault=fault,
    documentation="https://open.pinduoduo.com/application/document/api",
    streams=(
        Stream(
            name="order_numbers",
            kept="Orders are closed, never deleted.",
            record=OrderNumber,
            key=("order_id",),
            path="",
            method="POST",
            ask=_ask_numbers,
            rows="rows",
            # Without the total an answer takes less time.
            pages=_pages(use_has_next="true"),
            cursor="updated_at",
            window=timedelta(minutes=30),
            first_window=timedelta(days=1),
            window_is_cursor=True,
            # Orders older than three months are not shown.
            history=timedelta(days=90),
            description="Orders that changed.",
        ),
        Stream(
            name="orders",
            kept="Orders are closed, never deleted.",
            record=Order,
            key=("order_id",),
            path="",
            method="POST",
            ask=_ask_order,
            rows="rows",
            fan_out=("order_numbers", "order_id"),
            fan_out_size=1,
            fan_out_changes=True,
            control_totals=(ControlTotal(amount="paid_amount", currency="currency"),),
            children=(
                Child(
                    name="order_items", path="item_list", record=OrderItem, parent={"order_id": "order_id"}
                ),
                Child(
                    name="extra_deliveries",
                    path="extra_delivery_list",
                    record=ExtraDelivery,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Orders in full.",
        ),
        Stream(
            name="refunds",
            kept="Refunds are closed, never deleted.",
            record=Refund,
            key=("refund_id",),
            path="",
            method="POST",
            ask=_ask_refunds,
            rows="rows",
            pages=_pages(),
            cursor="updated_at",
            window=timedelta(minutes=30),
            first_by=("orders", "after_sales_order_id"),
            fan_out_size=1,
            window_is_cursor=True,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
            description="After-sales that changed.",
        ),
        Stream(
            name="goods",
            record=Goods,
            key=("item_id",),
            path="",
            method="POST",
            ask=_ask_goods,
            rows="rows",
            pages=_pages(),
            sweep=Sweep(ask=_ask_goods(Bounds()), rows="rows", pages=_pages(), key="goods_id"),
            children=(Child(name="skus", path="sku_list", record=Sku, parent={"item_id": "item_id"}),),
            description="Goods with their SKUs.",
        ),
        Stream(
            name="carriers",
            kept="The platform's own list; parcels keep the carrier that they went with.",
            record=Carrier,
            key=("carrier_id",),
            path="",
            method="POST",
            ask=_ask_carriers,
            rows="rows",
            description="Carriers that Pinduoduo knows.",
        ),
    ),
)
