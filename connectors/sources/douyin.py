"""Douyin (抖店), the marketplace of short videos: shop orders, after-sales and products of one shop.

Protocol: a POST per call, whose parameters are one JSON text with sorted keys; HMAC-SHA256 over the app's key, the
method, that text, the time and the version, between two copies of the secret. Lists by change time hand out 50 pages at
most: a window with more is halved. Pages are counted, then read backwards. Amounts are fen, times seconds. A call that
fails is answered 200 with a `code` other than 10000. What was settled is listed by day from the day after, a week at a time;
an index and a time lead to the next page. Names and telephones are masked beside their ciphertext.

Source: https://op.jinritemai.com/docs (guide 10/23, signature; order.searchList, afterSale.List, afterSale.Detail,
product.listV2, product.detail, order.getSettleBillDetailV3)
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict

from connectors.declare import (
    BLANK_IS_NULL,
    AliasPath,
    Ask,
    Bounds,
    BrokenAnswerError,
    CentAmount,
    Child,
    ConnectorError,
    ControlTotal,
    Currency,
    DigestSignature,
    Field,
    Gtin,
    Kind,
    Lookup,
    Notice,
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
    Text,
    ThrottledError,
    UnixInstant,
    Webhook,
    decode_json,
    dig,
    local_instant,
    pair_text,
    read_messages,
)

Seconds = Annotated[UnixInstant | None, BLANK_IS_NULL]

# Lists as Douyin nests them; what is asked for by its id counts as a list of one.
_ROWS = ("shop_order_list", "shop_order_detail", "items", "data", "process_info.after_sale_info")
_PAGING = ("is_end", "next_start_index", "next_start_time")
_BILLS = timedelta(days=7)
_SHANGHAI = ZoneInfo("Asia/Shanghai")
_REFUSED_SUBS = ("isv.signature", "isv.app-", "isv.access-token", "isv.authorization", "dop.a")


class Order(Record):
    """An order; amounts in yuan, from fen; tax stands beside the prices where the shop sells across the border."""

    order_id: str = Field(min_length=1)
    status: int = Field(
        validation_alias="main_status",
        description="1 unpaid, 103 paid in part, 105 paid, 2 to send, 101 sent in part, 3 sent, 4 cancelled, 5 done; 21, 22 and "
        "39 refunded, where order_status says 4",
    )
    trade_type: int | None = Field(
        None,
        validation_alias=AliasPath("sku_order_list", 0, "trade_type"),
        description="2 for a deposit and a balance",
    )
    pay_type: int | None = Field(
        None,
        description="0 on delivery, 1 WeChat, 2 Alipay, 4 card; 8, 9, 12 and 16 Douyin's own; 7 nothing to pay",
    )
    currency: Currency = "CNY"
    goods_amount: CentAmount = Field(validation_alias="order_amount")
    discount_amount: CentAmount = Field(validation_alias="promotion_amount")
    shipping_amount: CentAmount = Field(validation_alias="post_amount")
    tax_amount: CentAmount
    paid_amount: CentAmount = Field(validation_alias="pay_amount", description="payable until it is paid")
    buyer_id: Text = Field(None, validation_alias="doudian_open_id", description="one per buyer and app")
    receiver_name_mask: Text = Field(None, validation_alias="mask_post_receiver")
    receiver_phone_mask: Text = Field(None, validation_alias="mask_post_tel")
    region: Text = Field(None, validation_alias=AliasPath("mask_post_addr", "province", "name"))
    city: Text = Field(None, validation_alias=AliasPath("mask_post_addr", "city", "name"))
    district: Text = Field(None, validation_alias=AliasPath("mask_post_addr", "town", "name"))
    created_at: UnixInstant = Field(validation_alias="create_time")
    paid_at: Seconds = Field(None, validation_alias="pay_time")
    promised_at: Seconds = Field(None, validation_alias="exp_ship_time")
    shipped_at: Seconds = Field(None, validation_alias="ship_time")
    finished_at: Seconds = Field(None, validation_alias="finish_time")
    updated_at: UnixInstant = Field(validation_alias="update_time")


class SkuOrder(Record):
    """One SKU of an order."""

    line_id: str = Field(validation_alias="order_id", min_length=1)
    item_id: str | None = Field(None, validation_alias="product_id")
    sku_id: str
    sku_code: Text = Field(None, validation_alias="code")
    title: str | None = Field(None, validation_alias="product_name")
    quantity: Quantity = Field(validation_alias="item_num", gt=0)
    currency: Currency = "CNY"
    unit_price_amount: CentAmount = Field(validation_alias="origin_amount")
    discount_amount: CentAmount = Field(validation_alias="promotion_amount")
    tax_amount: CentAmount
    paid_amount: CentAmount = Field(validation_alias="pay_amount")


class Parcel(Record):
    """A parcel of an order."""

    parcel_id: str = Field(validation_alias="tracking_no", min_length=1)
    company_code: str | None = Field(None, validation_alias="company")
    carrier: str | None = Field(None, validation_alias="company_name")
    shipped_at: Seconds = Field(None, validation_alias="ship_time")


class AfterSale(Record):
    """What a buyer wants back for one SKU of an order."""

    refund_id: str = Field(validation_alias=AliasPath("aftersale_info", "aftersale_id"), min_length=1)
    order_id: str = Field(validation_alias=AliasPath("order_info", "shop_order_id"))
    line_id: str | None = Field(
        None, validation_alias=AliasPath("order_info", "related_order_info", 0, "sku_order_id")
    )
    refund_type: int = Field(
        validation_alias=AliasPath("aftersale_info", "aftersale_type"),
        description="0 with the goods, else money alone",
    )
    status: int = Field(
        validation_alias=AliasPath("aftersale_info", "aftersale_status"), description="12 done, 28 closed"
    )
    quantity: Quantity | None = Field(
        None, validation_alias=AliasPath("aftersale_info", "aftersale_num"), gt=0
    )
    currency: Currency = "CNY"
    asked_amount: CentAmount = Field(validation_alias=AliasPath("aftersale_info", "refund_amount"))
    reason: str | None = Field(None, validation_alias=AliasPath("text_part", "reason_text"))
    created_at: UnixInstant = Field(validation_alias=AliasPath("aftersale_info", "apply_time"))
    updated_at: UnixInstant = Field(validation_alias=AliasPath("aftersale_info", "update_time"))


class AfterSaleDetail(Record):
    """What of it was granted; money went back where the status of the refund is 3, or 5: at the platform's expense first."""

    refund_id: str = Field(validation_alias="after_sale_id", min_length=1)
    refund_status: int = Field(
        description="1 waiting, 2 on its way, 3 refunded, 4 failed, 5 got back from us"
    )
    currency: Currency = "CNY"
    amount: CentAmount | None = Field(None, validation_alias="real_refund_amount")
    refunded_at: Seconds = Field(None, validation_alias="refund_time")


class Product(Record):
    """A product as lists show it."""

    item_id: str = Field(validation_alias="product_id", min_length=1)
    title: str | None = Field(None, validation_alias="name")
    item_code: Text = Field(None, validation_alias="outer_product_id")
    status: int | None = None
    updated_at: UnixInstant = Field(validation_alias="update_time")


class ProductDetail(Record):
    """A product with its SKUs."""

    item_id: str = Field(validation_alias="product_id", min_length=1)
    title: str | None = Field(None, validation_alias="name")


class Sku(Record):
    """What of a product can be bought."""

    sku_id: str = Field(min_length=1)
    sku_code: Text = Field(None, validation_alias="code")
    barcode: Gtin | None = Field(None, validation_alias=AliasPath("barcodes", 0))
    price_amount: CentAmount | None = Field(None, validation_alias="price")
    quantity: Quantity | None = Field(None, validation_alias="stock_num", description="sellable")
    held_quantity: Quantity | None = Field(
        None, validation_alias="lock_stock_num", description="held for buyers"
    )


class SettleBill(Record):
    """What was settled of one part of an order, or taken back after that; `income` less what was kept is `settled`."""

    settlement_no: str = Field(validation_alias="request_no", min_length=1)
    order_id: str = Field(validation_alias="shop_order_id", min_length=1)
    line_id: str = Field(validation_alias="order_id", min_length=1)
    trade_type: int = Field(description="0 settled; 1, 2, 3 refunded after that")
    currency: Currency = "CNY"
    paid_amount: CentAmount | None = Field(None, validation_alias="real_pay_amount")
    income_amount: CentAmount = Field(validation_alias="total_income")
    settled_amount: CentAmount = Field(validation_alias="settle_amount")
    service_fee_amount: CentAmount | None = Field(None, validation_alias="platform_service_fee")
    commission_amount: CentAmount | None = Field(None, validation_alias="commission")
    account: str | None = Field(None, validation_alias="pay_type_desc")
    settled_at: local_instant("Asia/Shanghai") = Field(  # type: ignore[valid-type]
        validation_alias="settle_time"
    )


class SettlePages(BaseModel):
    """The next page begins at an index and a time; the answer says whether it is the last."""

    model_config = ConfigDict(frozen=True)
    size: int = 100
    ceiling: int | None = None

    def first(self, ask: Ask) -> Ask:
        return ask.put("json.size", self.size)

    def after(self, ask: Ask, body: Any, row_count: int, headers: dict[str, str]) -> Ask | None:
        if dig(body, "is_end") != 0:
            return None
        index, start = dig(body, "next_start_index"), dig(body, "next_start_time")
        return ask.put("json.start_index", index).put("json.start_time", start)


def _seconds(at: datetime | None) -> int:
    if at is None:
        raise ValueError("a window of Douyin has two ends")
    return int(at.timestamp())


def _ask_orders(bounds: Bounds) -> Ask:
    window = {"update_time_start": _seconds(bounds.since), "update_time_end": _seconds(bounds.until)}
    return Ask(json_body={**window, "order_by": "update_time", "order_asc": False})


def _ask_one_order(bounds: Bounds) -> Ask:
    return Ask(json_body={"shop_order_id": bounds.keys[0]})


def _ask_after_sales(bounds: Bounds) -> Ask:
    window = {"update_start_time": _seconds(bounds.since), "update_end_time": _seconds(bounds.until)}
    return Ask(json_body={**window, "order_by": ["update_time desc"]})


def _ask_after_sale(bounds: Bounds) -> Ask:
    return Ask(json_body={"after_sale_id": bounds.keys[0]})


def _ask_products(bounds: Bounds) -> Ask:
    """The window does not hold its own ends."""
    return Ask(json_body={} if bounds.since is None else {"update_start_time": _seconds(bounds.since) - 1})


def _ask_bills(bounds: Bounds) -> Ask:
    if bounds.since is None:
        raise ValueError("a window of Douyin has a start")
    ends = {"start_time": bounds.since, "end_time": bounds.until or bounds.since + _BILLS}
    window = {name: f"{at.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}" for name, at in ends.items()}
    return Ask(json_body={**window, "time_type": "0"})


def _ask_product(bounds: Bounds) -> Ask:
    return Ask(json_body={"product_id": bounds.keys[0]})


def parameters(body: Any) -> str:
    """Return the parameters as Douyin signs them: keys sorted at every depth, no spaces, nothing escaped."""
    return json.dumps(body, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def signature(fields: Mapping[str, str], secret: str) -> str:
    """Sign the fields of a call by their `sign_method`: hmac-sha256, or md5; hexadecimal, lower case."""
    signed = ("app_key", "method", "param_json", "timestamp", "v")
    text = (secret + pair_text({name: fields[name] for name in signed}) + secret).encode()
    if fields["sign_method"] == "md5":
        return hashlib.md5(text, usedforsecurity=False).hexdigest()
    return hmac.new(secret.encode(), text, "sha256").hexdigest()


def sign(request: Outgoing, secrets: Mapping[str, str], now: datetime) -> Outgoing:
    """Add what every call carries, and its signature."""
    text = parameters(request.body)
    query = {
        "method": request.path.strip("/").replace("/", "."),
        "app_key": secrets["APP_KEY"],
        "access_token": secrets["ACCESS_TOKEN"],
        "timestamp": str(_seconds(now)),
        "v": "2",
        "sign_method": "hmac-sha256",
    }
    query["sign"] = signature({**query, "param_json": text}, secrets["APP_SECRET"])
    return Outgoing("POST", request.path, params=query, body=json.loads(text))


def decode(content: bytes) -> Any:
    """Decode an answer and put its list, whatever it is called, at `rows`."""
    body = decode_json(content)
    data = dig(body, "data")
    if fault(body) is not None or not isinstance(data, dict):
        return body
    rows: Any = next((found for path in _ROWS if (found := dig(data, path)) is not None), None)
    if rows is None:
        rows = data if "product_id" in data else []
    told = {name: data[name] for name in _PAGING if name in data}
    return {"rows": rows if isinstance(rows, list) else [rows], "total": data.get("total"), **told}


def fault(body: Any) -> ConnectorError | None:
    """Tell what a `code` other than 10000 asks us to do."""
    code = body.get("code") if isinstance(body, dict) else None
    if code in (None, 10000):
        return None
    sub_code = str(body.get("sub_code") or "")
    said = f"douyin: {body.get('msg')} ({code}, {sub_code}): {body.get('sub_msg') or 'no more is said'}"
    if code == 60000:
        return ThrottledError(said)
    if code in (30001, 30002) or sub_code.startswith(_REFUSED_SUBS):
        names = "ORDERHUB_DOUYIN_APP_KEY, ORDERHUB_DOUYIN_APP_SECRET and ORDERHUB_DOUYIN_ACCESS_TOKEN"
        return RefusedError(f"{said}. Check {names}, and which calls the app may make.")
    return BrokenAnswerError(said) if code in (20000, 20001, 90000) else ProtocolError(said)


def _pages(ceiling: int, first_page: int = 0) -> NumberedPages:
    return NumberedPages(
        page="json.page",
        limit="json.size",
        size=100,
        count_size=90,
        first_page=first_page,
        total="total",
        ceiling=ceiling,
    )


WEBHOOK = Webhook(
    signature=DigestSignature(
        header="event-sign",
        key=None,
        parts=("secret:APP_KEY", "body", "secret:APP_SECRET"),
        digest="md5",
        encoding="hex",
    ),
    topic="tag",
    notices=(
        Notice(topic="1??", streams=("orders",), key="data.p_id"),
        Notice(topic="2??", streams=("after_sales", "after_sale_details")),
        Notice(topic="4??", streams=("products", "product_details")),
    ),
    decode=read_messages,
    reply='{"code":0,"msg":"success"}',
    documentation="https://op.jinritemai.com/docs/guide-docs/153/99",
)

SOURCE = Source(
    name="douyin",
    title="Douyin",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    base_url="https://openapi-fxg.jinritemai.com",
    auth=Signed(secrets=("APP_KEY", "APP_SECRET", "ACCESS_TOKEN"), sign=sign),
    limit=RateLimit(requests=40, seconds=1),
    decode=decode,
    fault=fault,
    documentation="https://op.jinritemai.com/docs",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="orders",
            kept="Orders are closed, never deleted.",
            record=Order,
            key=("order_id",),
            path="/order/searchList",
            method="POST",
            ask=_ask_orders,
            rows="rows",
            # 50 pages of 100.
            pages=_pages(5_000),
            lookup=Lookup(ask=_ask_one_order, rows="rows", key="order_id", path="/order/orderDetail"),
            cursor="updated_at",
            window=timedelta(days=30),
            window_is_cursor=True,
            # Orders older than three months are not shown.
            history=timedelta(days=90),
            control_totals=(ControlTotal(amount="paid_amount", currency="currency"),),
            children=(
                Child(
                    name="sku_orders",
                    path="sku_order_list",
                    record=SkuOrder,
                    parent={"order_id": "order_id"},
                ),
                Child(name="parcels", path="logistics_info", record=Parcel, parent={"order_id": "order_id"}),
            ),
            description="Orders that changed.",
        ),
        Stream(
            name="after_sales",
            kept="After-sales are closed, never deleted.",
            record=AfterSale,
            key=("refund_id",),
            path="/afterSale/List",
            method="POST",
            ask=_ask_after_sales,
            rows="rows",
            pages=_pages(50_000),
            cursor="updated_at",
            window=timedelta(days=30),
            window_is_cursor=True,
            history=timedelta(days=90),
            control_totals=(ControlTotal(amount="asked_amount", currency="currency"),),
            description="After-sales that changed.",
        ),
        Stream(
            name="after_sale_details",
            kept="After-sales are closed, never deleted.",
            record=AfterSaleDetail,
            key=("refund_id",),
            path="/afterSale/Detail",
            method="POST",
            ask=_ask_after_sale,
            rows="rows",
            fan_out=("after_sales", "refund_id"),
            fan_out_size=1,
            fan_out_changes=True,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
            description="What of the after-sales was granted.",
        ),
        Stream(
            name="products",
            kept="A deleted product says so in its status.",
            record=Product,
            key=("item_id",),
            path="/product/listV2",
            method="POST",
            ask=_ask_products,
            rows="rows",
            pages=_pages(10_000, first_page=1),
            cursor="updated_at",
            description="Products that changed.",
        ),
        Stream(
            name="product_details",
            kept="A deleted product says so in its status.",
            record=ProductDetail,
            key=("item_id",),
            path="/product/detail",
            method="POST",
            ask=_ask_product,
            rows="rows",
            # All of them each time: what is left to sell moves while the product stays as it was.
            fan_out=("products", "item_id"),
            fan_out_size=1,
            children=(Child(name="skus", path="spec_prices", record=Sku, parent={"item_id": "item_id"}),),
            description="Products with their SKUs.",
        ),
        Stream(
            name="settle_bills",
            kept="What was settled stays; what is taken back is a bill of its own.",
            record=SettleBill,
            key=("settlement_no", "line_id", "trade_type"),
            path="/order/getSettleBillDetailV3",
            method="POST",
            ask=_ask_bills,
            rows="rows",
            pages=SettlePages(),
            cursor="settled_at",
            # A bill is there from the afternoon of the next day, and at times later.
            lag=timedelta(days=3),
            window=_BILLS,
            history=timedelta(days=90),
            control_totals=(ControlTotal(amount="settled_amount", currency="currency"),),
            freshness=timedelta(days=3),
            description="What was settled, with what the platform kept.",
        ),
    ),
)
