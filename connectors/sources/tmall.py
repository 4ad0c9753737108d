"""Tmall, the marketplace: trades with their orders, logistics, refunds and items of one shop.

Protocol: Taobao Open Platform (TOP): one address, every call a form signed with HMAC over its sorted fields, a session
key, China time. Trades are listed by change time in windows of a day at most, newest first: pages are counted, then read
backwards. What a trade is in full is asked for one by one. A call that fails is answered 200 with `error_response`; the
quota is answered with code 7 and the seconds that the ban lasts. Names, telephones and streets are masked.

Source: https://open.taobao.com (API call protocol, docId 101617; taobao.trades.sold.increment.get,
taobao.trade.fullinfo.get, taobao.logistics.orders.get, taobao.refunds.receive.get, taobao.items.onsale.get,
taobao.items.seller.list.get)
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from pydantic import BeforeValidator

from connectors.declare import (
    AliasPath,
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
    Gtin,
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
    ThrottledError,
    decode_json,
    dig,
    pair_text,
)

_CST = timezone(timedelta(hours=8))
_TRADE_FIELDS = (
    "tid,type,status,created,modified,pay_time,consign_time,end_time,payment,total_fee,discount_fee,post_fee,"
    "order_tax_fee,commission_fee,step_trade_status,buyer_open_uid,receiver_name,receiver_mobile,receiver_state,"
    "receiver_city,receiver_district,orders"
)
_REFUND_FIELDS = "refund_id,tid,oid,status,created,modified,refund_fee,reason,has_good_return,num,outer_id"
# Lists as TOP nests them; a single trade counts as a list of one.
_ROWS = ("trades.trade", "trade", "shippings.shipping", "refunds.refund", "items.item")
_REFUSED = (11, 12, 24, 25, 26, 27, 28, 29, 53)
_BAN = re.compile(r"ban will last for (\d+) more second")


def _sum_of_discounts(orders: Any) -> Any:
    if not isinstance(orders, list):
        return orders
    try:
        return sum((Decimal(str(dig(order, "discount_fee"))) for order in orders), Decimal(0))
    except InvalidOperation as error:
        raise ValueError("an order of the trade has no discount_fee") from error


class Trade(Record):
    """A trade as lists show it: what is needed to ask for the whole of it."""

    trade_id: str = Field(validation_alias="tid", min_length=1)
    status: str
    updated_at: ChinaInstant = Field(validation_alias="modified")


class TradeDetail(Record):
    """A trade in full; amounts in yuan, tax beside the prices where the shop sells across the border."""

    order_id: str = Field(validation_alias="tid", min_length=1)
    trade_type: str | None = Field(
        None, validation_alias="type", description="fixed, or step: paid in two steps"
    )
    status: str
    step_status: str | None = Field(None, validation_alias="step_trade_status")
    currency: Currency = "CNY"
    goods_amount: Amount = Field(validation_alias="total_fee", description="unit prices x quantities")
    order_discount_amount: Amount = Field(
        validation_alias="discount_fee", description="of the whole trade; the orders have their own beside it"
    )
    own_discount_amount: Annotated[Amount, BeforeValidator(_sum_of_discounts)] = Field(
        validation_alias=AliasPath("orders", "order"), description="sum of the orders' own discounts"
    )
    shipping_amount: Amount = Field(validation_alias="post_fee")
    tax_amount: Amount | None = Field(None, validation_alias="order_tax_fee")
    paid_amount: Amount = Field(validation_alias="payment", description="payable until it is paid")
    fee_amount: Amount | None = Field(None, validation_alias="commission_fee")
    buyer_id: str | None = Field(None, validation_alias="buyer_open_uid", description="one per buyer and app")
    receiver_name_mask: str | None = Field(None, validation_alias="receiver_name")
    receiver_phone_mask: str | None = Field(None, validation_alias="receiver_mobile")
    region: str | None = Field(None, validation_alias="receiver_state")
    city: str | None = Field(None, validation_alias="receiver_city")
    district: str | None = Field(None, validation_alias="receiver_district")
    created_at: ChinaInstant = Field(validation_alias="created")
    updated_at: ChinaInstant = Field(validation_alias="modified")
    paid_at: ChinaInstant | None = Field(None, validation_alias="pay_time")
    shipped_at: ChinaInstant | None = Field(None, validation_alias="consign_time")
    ended_at: ChinaInstant | None = Field(None, validation_alias="end_time")


class TradeOrder(Record):
    """One order of a trade: one SKU and its quantity."""

    line_id: str = Field(validation_alias="oid", min_length=1)
    item_id: str | None = Field(None, validation_alias="num_iid")
    sku_id: str | None = None
    sku_code: str | None = Field(None, validation_alias="outer_sku_id")
    title: str | None = None
    status: str | None = None
    refund_status: str | None = None
    quantity: Quantity = Field(validation_alias="num", gt=0)
    currency: Currency = "CNY"
    unit_price_amount: Amount = Field(validation_alias="price")
    own_discount_amount: Amount = Field(validation_alias="discount_fee")
    shared_discount_amount: Amount | None = Field(
        None, validation_alias="part_mjz_discount", description="this order's part of the trade's discount"
    )
    tax_amount: Amount | None = Field(None, validation_alias="sub_order_tax_fee")
    # The only order of a trade has the freight in its `payment`; the others do not: neither is a line's amount.
    payable_amount: Amount | None = Field(None, validation_alias="payment")
    tracking_number: str | None = Field(
        None, validation_alias="invoice_no", description="of the parcel it is in"
    )
    shipped_at: ChinaInstant | None = Field(None, validation_alias="consign_time")


class Shipping(Record):
    """A parcel of a trade; when it left stands on its orders, and when it came nowhere."""

    parcel_id: str = Field(validation_alias="order_code", min_length=1)
    order_id: str = Field(validation_alias="tid")
    tracking_number: str | None = Field(None, validation_alias="out_sid")
    carrier: str | None = Field(None, validation_alias="company_name")
    status: str | None = Field(
        None,
        description="ACCEPTED_BY_RECEIVER says that it came only of carriers booked through Tmall; of others, that it left",
    )
    created_at: ChinaInstant | None = Field(None, validation_alias="created")
    updated_at: ChinaInstant | None = Field(None, validation_alias="modified")


class Refund(Record):
    """What a buyer wants back for one order of a trade; money went back where the status is SUCCESS."""

    refund_id: str = Field(min_length=1)
    order_id: str = Field(validation_alias="tid")
    line_id: str | None = Field(None, validation_alias="oid")
    sku_code: str | None = Field(None, validation_alias="outer_id")
    status: str
    quantity: Quantity | None = Field(None, validation_alias="num", gt=0)
    currency: Currency = "CNY"
    amount: Amount = Field(validation_alias="refund_fee")
    reason: str | None = None
    needs_goods_back: bool = Field(False, validation_alias="has_good_return")
    created_at: ChinaInstant = Field(validation_alias="created")
    updated_at: ChinaInstant = Field(validation_alias="modified")


class Item(Record):
    """An item on sale."""

    item_id: str = Field(validation_alias="num_iid", min_length=1)
    updated_at: ChinaInstant | None = Field(None, validation_alias="modified")


class ItemDetail(Record):
    """An item with its SKUs."""

    item_id: str = Field(validation_alias="num_iid", min_length=1)
    title: str | None = None
    item_code: str | None = Field(None, validation_alias="outer_id")
    updated_at: ChinaInstant | None = Field(None, validation_alias="modified")


class Sku(Record):
    """What of an item can be bought."""

    sku_id: str = Field(min_length=1)
    sku_code: str | None = Field(None, validation_alias="outer_id")
    barcode: Gtin | None = None
    price_amount: Amount | None = Field(None, validation_alias="price")
    properties: str | None = Field(None, validation_alias="properties_name")
    quantity: Quantity | None = Field(None, description="sellable")


def _text(at: datetime | None) -> str:
    if at is None:
        raise ValueError("a window of Tmall has two ends")
    return f"{at.astimezone(_CST):%Y-%m-%d %H:%M:%S}"


def _ask_trades(bounds: Bounds) -> Ask:
    window = {"start_modified": _text(bounds.since), "end_modified": _text(bounds.until)}
    return Ask(
        params={"method": "taobao.trades.sold.increment.get", "fields": "tid,status,modified", **window}
    )


def _ask_trade(bounds: Bounds) -> Ask:
    return Ask(params={"method": "taobao.trade.fullinfo.get", "fields": _TRADE_FIELDS, "tid": bounds.keys[0]})


def _ask_shippings(bounds: Bounds) -> Ask:
    fields = "order_code,tid,out_sid,company_name,status,created,modified"
    return Ask(params={"method": "taobao.logistics.orders.get", "fields": fields, "tid": bounds.keys[0]})


def _ask_refunds(bounds: Bounds) -> Ask:
    window = {"start_modified": _text(bounds.since), "end_modified": _text(bounds.until)}
    return Ask(params={"method": "taobao.refunds.receive.get", "fields": _REFUND_FIELDS, **window})


def _ask_items(bounds: Bounds) -> Ask:
    return Ask(params={"method": "taobao.items.onsale.get", "fields": "num_iid,modified"})


def _ask_item_details(bounds: Bounds) -> Ask:
    fields = "num_iid,title,outer_id,modified,sku"
    called = {"method": "taobao.items.seller.list.get", "fields": fields, "num_iids": ",".join(bounds.keys)}
    return Ask(params=called)


def signature(fields: Mapping[str, str], secret: str) -> str:
    """Sign the fields of a call by their `sign_method`: md5, hmac (MD5) or hmac-sha256; hexadecimal, upper case."""
    text = pair_text(fields)
    match fields["sign_method"]:
        case "md5":
            return hashlib.md5((secret + text + secret).encode(), usedforsecurity=False).hexdigest().upper()
        case "hmac":
            return hmac.new(secret.encode(), text.encode(), "md5").hexdigest().upper()
        case _:
            return hmac.new(secret.encode(), text.encode(), "sha256").hexdigest().upper()


def sign(request: Outgoing, secrets: Mapping[str, str], now: datetime) -> Outgoing:
    """Add what every call carries, and its signature."""
    fields = {
        **request.params,
        "app_key": secrets["APP_KEY"],
        "session": secrets["SESSION"],
        "timestamp": _text(now),
        "format": "json",
        "v": "2.0",
        "sign_method": "hmac-sha256",
    }
    return Outgoing("POST", request.path, form={**fields, "sign": signature(fields, secrets["APP_SECRET"])})


def decode(content: bytes) -> Any:
    """Decode an answer and put its list, whatever it is called, at `rows`."""
    body = decode_json(content)
    if not isinstance(body, dict) or "error_response" in body or len(body) != 1:
        return body
    (inner,) = body.values()
    rows: Any = next((found for path in _ROWS if (found := dig(inner, path)) is not None), [])
    return {
        "rows": rows if isinstance(rows, list) else [rows],
        "total": dig(inner, "total_results"),
        "more": dig(inner, "has_next"),
    }


def fault(body: Any) -> ConnectorError | None:
    """Tell what an `error_response` asks us to do."""
    error = body.get("error_response") if isinstance(body, dict) else None
    if error is None:
        return None
    code, sub_code = error.get("code"), str(error.get("sub_code") or "")
    said = f"tmall: {error.get('msg')} ({code}): {error.get('sub_msg') or sub_code or 'no more is said'}"
    if code == 7:
        ban = _BAN.search(said)
        return ThrottledError(said, float(ban[1]) if ban else None)
    if code in _REFUSED:
        names = "ORDERHUB_TMALL_APP_KEY, ORDERHUB_TMALL_APP_SECRET and ORDERHUB_TMALL_SESSION"
        return RefusedError(f"{said}. Check {names}, and which calls the app may make.")
    if code == 10 or sub_code.startswith("isp."):
        return BrokenAnswerError(said)
    return ProtocolError(said)


def _pages(size: int) -> NumberedPages:
    return NumberedPages(
        page="params.page_no",
        limit="params.page_size",
        size=size,
        count_size=size - 10,
        total="total",
        # Without the total an answer takes a fifth of the time.
        marks={"params.use_has_next": "true"},
    )


SOURCE = Source(
    name="tmall",
    title="Tmall",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    unheard="Tmall pushes over a long connection of a protocol of its own (TMC), not to an address.",
    base_url="https://eco.taobao.com/router/rest",
    auth=Signed(secrets=("APP_KEY", "APP_SECRET", "SESSION"), sign=sign),
    limit=RateLimit(requests=40, seconds=1),
    decode=decode,
    fault=fault,
    documentation="https://open.taobao.com",
    streams=(
        Stream(
            name="trades",
            kept="Trades are closed, never deleted.",
            record=Trade,
            key=("trade_id",),
            path="",
            method="POST",
            ask=_ask_trades,
            rows="rows",
            pages=_pages(100),
            cursor="updated_at",
            window=timedelta(days=1),
            window_is_cursor=True,
            # Trades older than three months are not shown.
            history=timedelta(days=90),
            description="Trades that changed.",
        ),
        Stream(
            name="trade_details",
            kept="Trades are closed, never deleted.",
            record=TradeDetail,
            key=("order_id",),
            path="",
            method="POST",
            ask=_ask_trade,
            rows="rows",
            fan_out=("trades", "trade_id"),
            fan_out_size=1,
            fan_out_changes=True,
            control_totals=(ControlTotal(amount="paid_amount", currency="currency"),),
            children=(
                Child(
                    name="trade_orders",
                    path="orders.order",
                    record=TradeOrder,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Trades in full.",
        ),
        Stream(
            name="shippings",
            kept="Deliveries are cancelled, never deleted.",
            record=Shipping,
            key=("parcel_id",),
            path="",
            method="POST",
            ask=_ask_shippings,
            rows="rows",
            fan_out=("trades", "trade_id"),
            fan_out_size=1,
            fan_out_changes=True,
            description="Parcels of the trades that changed.",
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
            pages=_pages(100),
            cursor="updated_at",
            window=timedelta(days=30),
            window_is_cursor=True,
            history=timedelta(days=90),
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
            description="Refunds that changed.",
        ),
        Stream(
            name="items",
            kept="The list is of what is on sale: what leaves it is off sale, not deleted.",
            record=Item,
            key=("item_id",),
            path="",
            method="POST",
            ask=_ask_items,
            rows="rows",
            pages=NumberedPages(
                page="params.page_no", limit="params.page_size", size=200, count_size=190, total="total"
            ),
            description="Items on sale.",
        ),
        Stream(
            name="item_details",
            kept="The list is of what is on sale: what leaves it is off sale, not deleted.",
            record=ItemDetail,
            key=("item_id",),
            path="",
            method="POST",
            ask=_ask_item_details,
            rows="rows",
            fan_out=("items", "item_id"),
            fan_out_size=20,
            children=(Child(name="skus", path="skus.sku", record=Sku, parent={"item_id": "item_id"}),),
            description="Items with their SKUs.",
        ),
    ),
)
