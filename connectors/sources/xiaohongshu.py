"""Xiaohongshu (小红书, RED), the marketplace: packages that were ordered, after-sales and SKUs of one shop.

Protocol: one address, every call a POST whose body has the parameters beside the system's own; MD5 over method, app,
time and version, followed by the secret. Orders and after-sales are listed by creation in windows of a day, and by change
in windows of half an hour; pages are counted, then read backwards. What they are in full is asked for one by one. What was
settled is listed by the time of settlement, a day at a time, with what was kept in parts. A call
that fails is answered 200 without success; after-sales nest a second such envelope. Amounts are fen or yuan, by field;
times milliseconds. Names and telephones are not shown, a buyer is an id.

Source: https://open.xiaohongshu.com (order.getOrderList, order.getOrderDetail, afterSale.listAfterSaleInfos,
afterSale.getAfterSaleInfo, product.getDetailSkuList, finance.pageQueryTransaction)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import model_validator

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
    ControlTotal,
    Currency,
    Field,
    Gtin,
    Kind,
    MilliInstant,
    Notice,
    NumberedPages,
    Outgoing,
    ProtocolError,
    Quantity,
    QuerySignature,
    RateLimit,
    Record,
    RefusedError,
    Signed,
    Source,
    Stream,
    Sweep,
    Text,
    ThrottledError,
    Webhook,
    decode_json,
    dig,
    read_messages,
)

Millis = Annotated[MilliInstant | None, BLANK_IS_NULL]
Yuan = Annotated[Amount | None, BLANK_IS_NULL]

_ROWS = ("orderList", "afterSaleBasicInfos", "afterSaleInfo", "transactions", "data")
_SETTLED = 1
_DAY = 86_400
# The platform publishes no list of codes for these: the message tells.
_THROTTLED = ("频繁", "限流", "too many", "rate limit")
_BROKEN = ("系统", "超时", "稍后", "timeout")
_REFUSED = ("token", "sign", "appid", "签名", "授权", "权限")


class OrderNumber(Record):
    """An order as lists show it: what is needed to ask for the whole of it."""

    order_id: str = Field(validation_alias="orderId", min_length=1)
    updated_at: MilliInstant = Field(validation_alias="updateTime")


class Order(Record):
    """An order in full; what its goods cost, their discounts and tax stand on its SKUs."""

    order_id: str = Field(validation_alias="orderId", min_length=1)
    order_kind: int | None = Field(
        None, validation_alias="orderType", description="2 for a deposit and a balance"
    )
    status: int = Field(
        validation_alias="orderStatus",
        description="1 unpaid, 2 and 3 in work, 4 to send, 5 sent in part, 6 sent, 7 done, 8 closed, 9 cancelled",
    )
    payment_type: int | None = Field(None, validation_alias="paymentType", description="1 Alipay, 2 WeChat")
    currency: Currency = "CNY"
    paid_amount: CentAmount = Field(validation_alias="totalPayAmount", description="payable until it is paid")
    shipping_amount: CentAmount = Field(validation_alias="totalShippingFree")
    buyer_id: Text = Field(None, validation_alias="userId")
    address_id: Text = Field(None, validation_alias="openAddressId")
    region: Text = Field(None, validation_alias="receiverProvinceName")
    city: Text = Field(None, validation_alias="receiverCityName")
    district: Text = Field(None, validation_alias="receiverDistrictName")
    created_at: MilliInstant = Field(validation_alias="createdTime")
    paid_at: Millis = Field(None, validation_alias="paidTime")
    promised_at: Millis = Field(None, validation_alias="promiseLastDeliveryTime")
    shipped_at: Millis = Field(None, validation_alias="deliveryTime")
    finished_at: Millis = Field(None, validation_alias="finishTime")
    cancelled_at: Millis = Field(None, validation_alias="cancelTime")
    updated_at: MilliInstant = Field(validation_alias="updateTime")


class OrderSku(Record):
    """One SKU of an order; amounts are of all its units."""

    sku_id: str = Field(validation_alias="skuId", min_length=1)
    sku_code: Text = Field(None, validation_alias="erpcode")
    title: str | None = Field(None, validation_alias="skuName")
    specification: Text = Field(None, validation_alias="skuSpec")
    quantity: Quantity = Field(validation_alias="skuQuantity", gt=0)
    currency: Currency = "CNY"
    paid_amount: CentAmount = Field(
        validation_alias="totalPaidAmount", description="with tax, without freight"
    )
    merchant_discount_amount: CentAmount = Field(validation_alias="totalMerchantDiscount")
    platform_discount_amount: CentAmount = Field(validation_alias="totalRedDiscount")
    tax_amount: CentAmount = Field(validation_alias="totalTaxAmount")


class Delivery(Record):
    """A parcel of an order."""

    parcel_id: str = Field(validation_alias="expressTrackingNo", min_length=1)
    carrier: str | None = Field(None, validation_alias="expressCompanyCode")


class AfterSale(Record):
    """What a buyer wants back, as lists show it."""

    refund_id: str = Field(validation_alias="returnsId", min_length=1)
    order_id: str = Field(validation_alias="orderId")
    refund_type: int = Field(
        validation_alias="returnType", description="1 with the goods, 2 exchange, 4 and 5 money alone"
    )
    status: int = Field(description="4 done; 5, 9 and 12 ended without")
    reason: str | None = Field(None, validation_alias="reasonNameZh")
    currency: Currency = "CNY"
    asked_amount: Amount | None = Field(None, validation_alias="expectedRefundAmountYuan")
    created_at: MilliInstant = Field(validation_alias="applyTime")
    updated_at: MilliInstant = Field(validation_alias="updatedAt")


class AfterSaleDetail(Record):
    """What of it was granted; money went back where the status of the refund is 2."""

    refund_id: str = Field(validation_alias="returnsId", min_length=1)
    refund_status: int | None = Field(None, validation_alias="refundStatus")
    currency: Currency = "CNY"
    amount: Amount | None = Field(None, validation_alias="refundAmountYuan")
    refunded_at: Millis = Field(None, validation_alias="refundTime")
    sku_id: str | None = Field(None, validation_alias="onlySkuId", description="where it is about one SKU")
    quantity: Quantity | None = Field(None, validation_alias="onlySkuCount", gt=0)

    @model_validator(mode="before")
    @classmethod
    def _name_the_only_sku(cls, raw: Any) -> Any:
        skus = raw.get("skus") if isinstance(raw, dict) else None
        if not isinstance(skus, list) or len(skus) != 1:
            return raw
        return {**raw, "onlySkuId": dig(skus[0], "skuId"), "onlySkuCount": dig(skus[0], "appliedCount")}


class Transaction(Record):
    """What was settled of an order, or taken back; what was kept of it stands in parts, of all of them in yuan."""

    transaction_id: str = Field(validation_alias="transactionId", min_length=1)
    order_id: str = Field(validation_alias="packageId", min_length=1)
    refund_id: Text = Field(None, validation_alias="returnId")
    settle_kind: int = Field(validation_alias="settleBizType", description="0 settled, 1 taken back")
    currency: Currency = "CNY"
    moved_amount: Amount = Field(validation_alias="amount", description="what the account got or gave")
    commission_amount: Yuan = Field(None, validation_alias="commissionAmount")
    payment_channel_amount: Yuan = Field(None, validation_alias="payChannelAmount")
    promoter_amount: Yuan = Field(
        None, validation_alias="cpsAmount", description="commission of who promoted it"
    )
    instalment_amount: Yuan = Field(None, validation_alias="installmentAmount")
    extra_amount: Yuan = Field(None, validation_alias="extraAmount")
    settled_at: MilliInstant = Field(validation_alias="settledTime")


class Sku(Record):
    """What can be bought, with the item it is of."""

    sku_id: str = Field(validation_alias=AliasPath("sku", "id"), min_length=1)
    item_id: str | None = Field(None, validation_alias=AliasPath("item", "id"))
    title: str | None = Field(None, validation_alias=AliasPath("sku", "name"))
    item_title: str | None = Field(None, validation_alias=AliasPath("item", "name"))
    sku_code: Text = Field(None, validation_alias=AliasPath("sku", "erpCode"))
    barcode: Annotated[Gtin | None, BLANK_IS_NULL] = Field(None, validation_alias=AliasPath("sku", "barcode"))
    price_amount: CentAmount | None = Field(None, validation_alias=AliasPath("sku", "price"))
    quantity: Quantity | None = Field(
        None, validation_alias=AliasPath("sku", "stock"), description="sellable"
    )
    updated_at: Millis = Field(None, validation_alias=AliasPath("item", "updateTime"))


def _seconds(at: datetime | None) -> int:
    if at is None:
        raise ValueError("a window of Xiaohongshu has two ends")
    return int(at.timestamp())


def _ask_numbers(bounds: Bounds) -> Ask:
    """Orders that were placed, where nothing was pulled before; afterwards orders that changed."""
    window = {"startTime": _seconds(bounds.since), "endTime": _seconds(bounds.until)}
    return Ask(json_body={"method": "order.getOrderList", "timeType": 1 if bounds.is_first else 2, **window})


def _ask_order(bounds: Bounds) -> Ask:
    return Ask(json_body={"method": "order.getOrderDetail", "orderId": bounds.keys[0]})


def _ask_after_sales(bounds: Bounds) -> Ask:
    """As orders; unlike theirs, this window is in milliseconds."""
    window = {"startTime": _seconds(bounds.since) * 1000, "endTime": _seconds(bounds.until) * 1000}
    time_type = 1 if bounds.is_first else 2
    return Ask(json_body={"method": "afterSale.listAfterSaleInfos", "timeType": time_type, **window})


def _ask_after_sale(bounds: Bounds) -> Ask:
    return Ask(json_body={"method": "afterSale.getAfterSaleInfo", "returnsId": bounds.keys[0]})


def _ask_transactions(bounds: Bounds) -> Ask:
    """At most a day; one that is not over has no end yet."""
    start = _seconds(bounds.since)
    end = _seconds(bounds.until) if bounds.until is not None else start + _DAY
    window = {"startTime": start * 1000, "endTime": end * 1000}
    asked = {"method": "finance.pageQueryTransaction", "commonSettleStatus": _SETTLED}
    return Ask(json_body={**asked, **window})


def _ask_skus(bounds: Bounds) -> Ask:
    return Ask(json_body={"method": "product.getDetailSkuList"})


def signature(fields: Mapping[str, Any], secret: str) -> str:
    """Sign a call: MD5 of method, app, time and version as a query, followed by the secret; lower case."""
    query = "&".join(f"{name}={fields[name]}" for name in ("appId", "timestamp", "version"))
    return hashlib.md5(f"{fields['method']}?{query}{secret}".encode(), usedforsecurity=False).hexdigest()


def sign(request: Outgoing, secrets: Mapping[str, str], now: datetime) -> Outgoing:
    """Add what every call carries, and its signature."""
    body = {
        **request.body,
        "appId": secrets["APP_ID"],
        "timestamp": str(_seconds(now)),
        "version": "2.0",
        "accessToken": secrets["ACCESS_TOKEN"],
    }
    return Outgoing("POST", request.path, body={**body, "sign": signature(body, secrets["APP_SECRET"])})


def decode(content: bytes) -> Any:
    """Decode an answer and put its list, whatever it is called, at `rows`."""
    body = decode_json(content)
    data = dig(body, "data")
    # After-sales put an envelope into the envelope.
    if isinstance(data, dict) and "success" in data and fault(data) is None:
        data = data.get("data")
    if fault(body) is not None or not isinstance(data, dict):
        return body
    rows: Any = next((found for path in _ROWS if (found := dig(data, path)) is not None), None)
    if rows is None:
        rows = data if "orderId" in data else []
    total = data.get("total", data.get("totalCount"))
    return {"rows": rows if isinstance(rows, list) else [rows], "total": total}


def fault(body: Any) -> ConnectorError | None:
    """Tell what an answer without success asks us to do."""
    if not isinstance(body, dict):
        return None
    if body.get("success") is not False:
        return fault(body["data"]) if isinstance(body.get("data"), dict) else None
    text = str(body.get("error_msg") or body.get("msg") or "no more is said")
    said = f"xiaohongshu: {text} ({body.get('error_code', body.get('code'))})"
    for words, error in ((_THROTTLED, ThrottledError), (_BROKEN, BrokenAnswerError)):
        if any(word in text.lower() for word in words):
            return error(said)
    if any(word in text.lower() for word in _REFUSED):
        names = "ORDERHUB_XIAOHONGSHU_APP_ID, ORDERHUB_XIAOHONGSHU_APP_SECRET and ORDERHUB_XIAOHONGSHU_ACCESS_TOKEN"
        return RefusedError(f"{said}. Check {names}, and which calls the app may make.")
    return ProtocolError(said)


def _pages(size: int, ceiling: int | None = None, page: str = "json.pageNo") -> NumberedPages:
    return NumberedPages(
        page=page,
        limit="json.pageSize",
        size=size,
        count_size=size - 10,
        total="total",
        ceiling=ceiling,
    )


WEBHOOK = Webhook(
    signature=QuerySignature(
        header="sign", headers=("app-key", "timestamp"), key="APP_SECRET", app="APP_ID", app_header="app-key"
    ),
    topic="msgTag",
    notices=(
        Notice(topic="msg_fulfillment_*", streams=("orders",), key="data.orderId"),
        Notice(topic="msg_after_sale_*", streams=("after_sales", "after_sale_details")),
        Notice(topic="msg_item_*", streams=("skus",)),
    ),
    decode=read_messages,
    reply='{"success":true,"error_code":0,"error_msg":""}',
    documentation="https://school.xiaohongshu.com/en/open/quick-start/sign.html",
)

SOURCE = Source(
    name="xiaohongshu",
    title="Xiaohongshu",
    kind=Kind.MARKETPLACE,
    owner="marketplaces",
    base_url="https://ark.xiaohongshu.com/ark/open_api/v3/common_controller",
    auth=Signed(secrets=("APP_ID", "APP_SECRET", "ACCESS_TOKEN"), sign=sign),
    limit=RateLimit(requests=40, seconds=1),
    decode=decode,
    fault=fault,
    webhook=WEBHOOK,
    documentation="https://open.xiaohongshu.com",
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
            # 100 pages of 100.
            pages=_pages(100, 10_000),
            cursor="updated_at",
            window=timedelta(minutes=30),
            first_window=timedelta(days=1),
            window_is_cursor=True,
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
                Child(name="order_skus", path="skuList", record=OrderSku, parent={"order_id": "order_id"}),
                Child(
                    name="deliveries",
                    path="simpleDeliveryOrderList",
                    record=Delivery,
                    parent={"order_id": "order_id"},
                ),
            ),
            description="Orders in full.",
        ),
        Stream(
            name="after_sales",
            kept="After-sales are closed, never deleted.",
            record=AfterSale,
            key=("refund_id",),
            path="",
            method="POST",
            ask=_ask_after_sales,
            rows="rows",
            pages=_pages(50, 50_000),
            cursor="updated_at",
            window=timedelta(minutes=30),
            first_window=timedelta(days=1),
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
            path="",
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
            name="transactions",
            kept="What was settled stays; what is taken back is a transaction of its own.",
            record=Transaction,
            key=("transaction_id",),
            path="",
            method="POST",
            ask=_ask_transactions,
            rows="rows",
            pages=_pages(50, page="json.pageNum"),
            cursor="settled_at",
            lag=timedelta(days=3),
            window=timedelta(days=1),
            control_totals=(ControlTotal(amount="moved_amount", currency="currency"),),
            freshness=timedelta(days=3),
            description="What was settled, with what the platform and the payment kept.",
        ),
        Stream(
            name="skus",
            record=Sku,
            key=("sku_id",),
            path="",
            method="POST",
            ask=_ask_skus,
            rows="rows",
            pages=_pages(100),
            sweep=Sweep(ask=_ask_skus(Bounds()), rows="rows", pages=_pages(100), key="sku.id"),
            description="SKUs of the shop.",
        ),
    ),
)
