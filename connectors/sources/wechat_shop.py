"""WeChat Shop (微信小店), the shop inside WeChat: orders, after-sales and products.

Protocol: a POST per call, an access token in its query that the app gets for its id and secret and that lasts two hours.
Lists hand out ids alone, by change time: orders in windows of seven days, after-sales of one day, with a key for the next
page; what each is in full is asked for one by one. A call that fails is answered 200 with an `errcode`. Amounts are fen,
times seconds, tax is in the prices. Names and telephones are masked; who gives a present is known beside who gets it.

Source: https://developers.weixin.qq.com/doc/store/shop/ (API: order/list/get, order/get, aftersale/getaftersalelist,
aftersale/getaftersaleorder, product/list/get, product/get; cgi-bin/stable_token)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from connectors.declare import (
    BLANK_IS_NULL,
    AliasPath,
    AppToken,
    Ask,
    Bounds,
    BrokenAnswerError,
    CentAmount,
    Child,
    ConnectorError,
    ControlTotal,
    Count,
    Currency,
    EncryptedSignature,
    Field,
    Gtin,
    Kind,
    Notice,
    ProtocolError,
    Quantity,
    RateLimit,
    Record,
    RefusedError,
    Source,
    Stream,
    Sweep,
    Text,
    ThrottledError,
    TokenPages,
    UnixInstant,
    Webhook,
    decode_json,
)

Seconds = Annotated[UnixInstant | None, BLANK_IS_NULL]

_ORDER, _PRICES, _PAY = ("order_detail",), ("order_detail", "price_info"), ("order_detail", "pay_info")
_ADDRESS = ("order_detail", "delivery_info", "address_info")
# Lists of ids, and what one of them is called.
_IDS = {
    "order_id_list": "order_id",
    "after_sale_order_id_list": "after_sale_order_id",
    "product_ids": "product_id",
}
_WHOLE = ("order", "after_sale_order", "product")
_OUTDATED = (40001, 40014, 42001)
_REFUSED = (*_OUTDATED, 40013, 40125, 40164, 41001, 41004, 48001)
_THROTTLED = (45009, 45011)
_NO_PRODUCT = 10020052  # of a number that was listed: deleted since, which a sweep tells


class OrderNumber(Record):
    """The id of an order."""

    order_id: str = Field(min_length=1)


class Order(Record):
    """An order in full; amounts in yuan, from fen."""

    order_id: str = Field(min_length=1)
    status: int = Field(
        description="10 unpaid, 12 a present not taken yet, 13 waits for others to buy, 20 to send, 21 sent in part, 30 sent, "
        "100 done, 200 all refunded, 250 cancelled unpaid or, where it was paid, all refunded"
    )
    is_present: bool = False
    openid: Text = Field(None, description="who gets it; one per person and shop")
    giver_openid: Text = Field(
        None, validation_alias="present_giver_openid", description="who gave it, if a present"
    )
    currency: Currency = "CNY"
    goods_amount: CentAmount = Field(validation_alias=AliasPath(*_PRICES, "product_price"))
    discount_amount: CentAmount | None = Field(None, validation_alias=AliasPath(*_PRICES, "discounted_price"))
    shipping_amount: CentAmount = Field(validation_alias=AliasPath(*_PRICES, "freight"))
    paid_amount: CentAmount = Field(
        validation_alias=AliasPath(*_PRICES, "order_price"), description="payable until it is paid"
    )
    fee_amount: CentAmount | None = Field(
        None, validation_alias=AliasPath(*_ORDER, "settle_info", "commission_fee")
    )
    transaction_id: Text = Field(None, validation_alias=AliasPath(*_PAY, "transaction_id"))
    receiver_name_mask: Text = Field(None, validation_alias=AliasPath(*_ADDRESS, "user_name"))
    receiver_phone_mask: Text = Field(None, validation_alias=AliasPath(*_ADDRESS, "tel_number"))
    region: Text = Field(None, validation_alias=AliasPath(*_ADDRESS, "province_name"))
    city: Text = Field(None, validation_alias=AliasPath(*_ADDRESS, "city_name"))
    district: Text = Field(None, validation_alias=AliasPath(*_ADDRESS, "county_name"))
    created_at: UnixInstant = Field(validation_alias="create_time")
    paid_at: Seconds = Field(None, validation_alias=AliasPath(*_PAY, "pay_time"))
    shipped_at: Seconds = Field(None, validation_alias=AliasPath(*_ORDER, "delivery_info", "ship_done_time"))
    received_at: Seconds = Field(
        None, validation_alias=AliasPath(*_ORDER, "ext_info", "confirm_receipt_time")
    )
    updated_at: UnixInstant = Field(validation_alias="update_time")


class OrderProduct(Record):
    """One SKU of an order."""

    item_id: str = Field(validation_alias="product_id")
    sku_id: str
    sku_code: Text = None
    title: str | None = None
    quantity: Quantity = Field(validation_alias="sku_cnt", gt=0)
    refunded_quantity: Quantity | None = Field(None, validation_alias="finish_aftersale_sku_cnt")
    currency: Currency = "CNY"
    unit_price_amount: CentAmount = Field(validation_alias="sale_price")
    paid_amount: CentAmount | None = Field(
        None, validation_alias="real_price", description="of all units, after discounts"
    )


class Delivery(Record):
    """A parcel of an order."""

    parcel_id: str = Field(validation_alias="waybill_id", min_length=1)
    carrier_id: Text = Field(None, validation_alias="delivery_id")
    carrier: str | None = Field(None, validation_alias="delivery_name")
    shipped_at: Seconds = Field(None, validation_alias="delivery_time")


class AfterSaleNumber(Record):
    """The id of an after-sale."""

    refund_id: str = Field(validation_alias="after_sale_order_id", min_length=1)


class AfterSale(Record):
    """What a buyer wants back for one SKU of an order."""

    refund_id: str = Field(validation_alias="after_sale_order_id", min_length=1)
    order_id: str
    refund_type: str = Field(validation_alias="type", description="REFUND, RETURN or EXCHANGE")
    status: str = Field(
        description="money went back at MERCHANT_REFUND_SUCCESS, and at MERCHANT_RETURN_SUCCESS for goods"
    )
    sku_id: Text = Field(None, validation_alias=AliasPath("product_info", "sku_id"))
    quantity: Quantity | None = Field(None, validation_alias=AliasPath("product_info", "count"), gt=0)
    currency: Currency = "CNY"
    amount: CentAmount = Field(validation_alias=AliasPath("refund_info", "amount"))
    reason: str | None = Field(None, validation_alias="reason_text")
    waybill_id: Text = Field(None, validation_alias=AliasPath("return_info", "waybill_id"))
    created_at: UnixInstant = Field(validation_alias="create_time")
    updated_at: UnixInstant = Field(validation_alias="update_time")


class ProductNumber(Record):
    """The id of a product."""

    item_id: str = Field(validation_alias="product_id", min_length=1)


class Product(Record):
    """A product with its SKUs."""

    item_id: str = Field(validation_alias="product_id", min_length=1)
    title: str | None = None
    item_code: Text = Field(None, validation_alias="out_product_id")
    updated_at: Seconds = Field(None, validation_alias="edit_time")


class Sku(Record):
    """What of a product can be bought."""

    sku_id: str = Field(min_length=1)
    sku_code: Text = None
    barcode: Annotated[Gtin | None, BLANK_IS_NULL] = Field(None, validation_alias="bar_code")
    price_amount: CentAmount | None = Field(None, validation_alias="sale_price")
    quantity: Quantity | None = Field(None, validation_alias="stock_num")


def _seconds(at: datetime | None) -> int:
    if at is None:
        raise ValueError("a window of WeChat Shop has two ends")
    return int(at.timestamp())


def _ask_order_numbers(bounds: Bounds) -> Ask:
    window = {"start_time": _seconds(bounds.since), "end_time": _seconds(bounds.until)}
    return Ask(json_body={"update_time_range": window, "page_size": 100})


def _ask_order(bounds: Bounds) -> Ask:
    return Ask(json_body={"order_id": bounds.keys[0]})


def _ask_after_sale_numbers(bounds: Bounds) -> Ask:
    window = {"begin_update_time": _seconds(bounds.since), "end_update_time": _seconds(bounds.until)}
    return Ask(json_body=window)


def _ask_after_sale(bounds: Bounds) -> Ask:
    return Ask(json_body={"after_sale_order_id": bounds.keys[0]})


def _ask_product_numbers(bounds: Bounds) -> Ask:
    return Ask(json_body={"page_size": 30})


def _ask_product(bounds: Bounds) -> Ask:
    return Ask(json_body={"product_id": bounds.keys[0], "data_type": 1})


def grant(secrets: Mapping[str, str]) -> Any:
    """Ask for the token that is in force; asking for it leaves it in force."""
    return {
        "grant_type": "client_credential",
        "appid": secrets["APPID"],
        "secret": secrets["SECRET"],
        "force_refresh": False,
    }


def is_outdated(body: Any) -> bool:
    """Whether the answer says that the token is no longer good."""
    return isinstance(body, dict) and body.get("errcode") in _OUTDATED


def decode(content: bytes) -> Any:
    """Decode an answer and put its list, whatever it is called, at `rows`; ids become records of one field."""
    body = decode_json(content)
    if isinstance(body, dict) and body.get("errcode") == _NO_PRODUCT:
        return {"rows": []}
    if not isinstance(body, dict) or body.get("errcode"):
        return body
    rows: list[Any] = [body[name] for name in _WHOLE if name in body]
    for name, one in _IDS.items():
        rows += [{one: item} for item in body.get(name) or ()]
    # Products say by an empty page that there are no more.
    return {
        "rows": rows,
        "has_more": body.get("has_more"),
        "total_num": body.get("total_num"),
        "next_key": body.get("next_key") if rows else None,
    }


def fault(body: Any) -> ConnectorError | None:
    """Tell what an `errcode` asks us to do."""
    code = body.get("errcode") if isinstance(body, dict) else None
    if not code:
        return None
    said = f"wechat_shop: {body.get('errmsg') or 'no more is said'} ({code})"
    if code in _THROTTLED:
        return ThrottledError(said)
    if code in _REFUSED:
        names = "ORDERHUB_WECHAT_SHOP_APPID and ORDERHUB_WECHAT_SHOP_SECRET"
        return RefusedError(f"{said}. Check {names}, and which calls the app may make.")
    return BrokenAnswerError(said) if code == -1 else ProtocolError(said)


WEBHOOK = Webhook(
    signature=EncryptedSignature(),
    topic="Event",
    notices=(
        Notice(topic="channels_ec_order_*", streams=("orders",), key="order_info.order_id"),
        Notice(
            topic="channels_ec_aftersale_update",
            streams=("after_sales",),
            key="finder_shop_aftersale_status_update.after_sale_order_id",
        ),
    ),
    reply="success",
    documentation="https://developers.weixin.qq.com/doc/store/shop/API/basics/message_push.html",
)

SOURCE = Source(
    name="wechat_shop",
    title="WeChat Shop",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    base_url="https://api.weixin.qq.com",
    auth=AppToken(
        token_path="/cgi-bin/stable_token",  # noqa: S106 - a path
        secrets=("APPID", "SECRET"),
        grant=grant,
        fault=fault,
        is_outdated=is_outdated,
    ),
    limit=RateLimit(requests=40, seconds=1),
    decode=decode,
    fault=fault,
    documentation="https://developers.weixin.qq.com/doc/store/shop/",
    webhook=WEBHOOK,
    streams=(
        Stream(
            name="order_numbers",
            kept="Orders are closed, never deleted.",
            record=OrderNumber,
            key=("order_id",),
            path="/channels/ec/order/list/get",
            method="POST",
            ask=_ask_order_numbers,
            rows="rows",
            pages=TokenPages(read="next_key", write="json.next_key", more="has_more"),
            window=timedelta(days=7),
            window_is_cursor=True,
            history=timedelta(days=365),
            description="Orders that changed.",
        ),
        Stream(
            name="orders",
            kept="Orders are closed, never deleted.",
            record=Order,
            key=("order_id",),
            path="/channels/ec/order/get",
            method="POST",
            ask=_ask_order,
            rows="rows",
            fan_out=("order_numbers", "order_id"),
            fan_out_size=1,
            fan_out_changes=True,
            control_totals=(ControlTotal(amount="paid_amount", currency="currency"),),
            children=(
                Child(
                    name="order_products",
                    path="order_detail.product_infos",
                    record=OrderProduct,
                    parent={"order_id": "order_id"},
                ),
                Child(
                    name="deliveries",
                    path="order_detail.delivery_info.delivery_product_info",
                    record=Delivery,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Orders in full.",
        ),
        Stream(
            name="after_sale_numbers",
            kept="After-sales are closed, never deleted.",
            record=AfterSaleNumber,
            key=("refund_id",),
            path="/channels/ec/aftersale/getaftersalelist",
            method="POST",
            ask=_ask_after_sale_numbers,
            rows="rows",
            pages=TokenPages(read="next_key", write="json.next_key", more="has_more"),
            window=timedelta(days=1),
            window_is_cursor=True,
            history=timedelta(days=365),
            description="After-sales that changed.",
        ),
        Stream(
            name="after_sales",
            kept="After-sales are closed, never deleted.",
            record=AfterSale,
            key=("refund_id",),
            path="/channels/ec/aftersale/getaftersaleorder",
            method="POST",
            ask=_ask_after_sale,
            rows="rows",
            fan_out=("after_sale_numbers", "refund_id"),
            fan_out_size=1,
            fan_out_changes=True,
            control_totals=(ControlTotal(amount="amount", currency="currency"),),
            description="After-sales in full.",
        ),
        Stream(
            name="product_numbers",
            record=ProductNumber,
            key=("item_id",),
            path="/channels/ec/product/list/get",
            method="POST",
            ask=_ask_product_numbers,
            rows="rows",
            pages=TokenPages(read="next_key", write="json.next_key"),
            sweep=Sweep(
                ask=_ask_product_numbers(Bounds()),
                rows="rows",
                pages=TokenPages(read="next_key", write="json.next_key"),
                key="product_id",
            ),
            count=Count(ask=_ask_product_numbers(Bounds()), read=("total_num",)),
            description="Products of the shop.",
        ),
        Stream(
            name="products",
            kept="A product goes with its number, which is swept.",
            record=Product,
            key=("item_id",),
            path="/channels/ec/product/get",
            method="POST",
            ask=_ask_product,
            rows="rows",
            fan_out=("product_numbers", "item_id"),
            fan_out_size=1,
            children=(Child(name="skus", path="skus", record=Sku, parent={"item_id": "item_id"}),),
            description="Products with their SKUs.",
        ),
    ),
)
