"""Xiaohongshu (小红书) as the sandbox company's cross-border shop there: tax stands beside the prices.

What is dirty here: seconds and milliseconds, fen and yuan from call to call, an envelope within the envelope of
after-sales, noughts where nothing happened, the seller's code left out or typed in full width, no receiver but his
district, after-sales that were withdrawn. Error codes are the sandbox's own, the messages tell.

Source: https://open.xiaohongshu.com (the calls of `connectors.sources.xiaohongshu`)
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.marketplace import REASONS, Shop, Stage, fen, seconds, yuan
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Product, Return, World

Json = dict[str, Any]

_ADDRESS = "/ark/open_api/v3/common_controller"
_STATUSES = {
    Stage.UNPAID: 1,
    Stage.CANCELLED: 9,
    Stage.UNSENT: 4,
    Stage.PART_SENT: 5,
    Stage.SENT: 6,
    Stage.CLOSED: 7,
    Stage.REFUNDED: 8,
}
_SECRETS = {"APP_ID": 20, "APP_SECRET": 32, "ACCESS_TOKEN": 40}
_PAYMENT_TYPES = {"alipay": 1, "wechat_pay": 2}
_CARRIERS = {"sf_express": "shunfeng", "zto": "zhongtong"}
_SETTLED_AFTER = timedelta(days=1)
# What `timeType` asks for: the key of the time, and the longest window.
_TIME_TYPES = {1: ("created", timedelta(days=1)), 2: ("updated", timedelta(minutes=30))}


class _CallError(Exception):
    """A call that is answered without success."""

    def __init__(self, code: int, msg: str) -> None:
        super().__init__(msg)
        self.body = {"success": False, "error_code": code, "error_msg": msg, "data": None}


def _refuse(wait: float) -> Response:
    return JSONResponse(_CallError(-1, "请求过于频繁，请稍后重试").body)


class Twin:
    """Xiaohongshu's open platform over one world."""

    name = "xiaohongshu"
    rate_limit = RateLimit(limit=400, window=2.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._shop = Shop(world, dirt, Channel.XIAOHONGSHU, states_tax=True)
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._differences = Differences(world, dirt)
        self.deleted: set[str] = set()

    def env(self, base_url: str) -> dict[str, str]:
        secrets = {
            f"ORDERHUB_XIAOHONGSHU_{name}": self._credentials.secret("xiaohongshu", name, length)
            for name, length in _SECRETS.items()
        }
        return secrets | {
            "ORDERHUB_XIAOHONGSHU_URL": f"{base_url}{_ADDRESS}",
            "ORDERHUB_XIAOHONGSHU_SINCE": self._shop.opened_at.isoformat(),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route(_ADDRESS, self._answer, methods=["POST"])]

    def truth(self) -> Iterable[Truth]:
        yield from self._shop.truth("orders", ("skus",))

    def differences(self) -> Iterable[Planted]:
        """What was settled of orders that cannot be read."""
        return self._differences.listed if self._transactions else []

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [
            ("msg_fulfillment_status_change", order.number)
            for order in self._shop.orders
            if self._shop.updated_at(order) >= since
        ]

    # --- what the shop shows ------------------------------------------------------------------------------------------

    @cached_property
    def _orders(self) -> dict[str, Json]:
        return {order.number: self._order(order) for order in self._shop.orders}

    def _order(self, order: Order) -> Json:
        shop, key = self._shop, f"order/{order.order_id}"
        region, city, district = shop.place(order)
        row: Json = {
            "orderId": order.number,
            "orderType": 2 if self._dirt.fraction(f"{key}/step") < 0.05 else 1,
            "orderStatus": _STATUSES[self._shop.stage(order)],
            "paymentType": _PAYMENT_TYPES[order.payment_method],
            "totalPayAmount": fen(shop.total(order)),
            "totalShippingFree": fen(order.shipping_amount),
            "merchantActualReceiveAmount": fen(shop.total(order)),
            "userId": shop.buyer_id(order),
            "openAddressId": shop.cipher(order, "address")[:32],
            "receiverCountryName": "中国",
            "receiverProvinceName": region,
            "receiverCityName": city,
            "receiverDistrictName": district,
            "createdTime": seconds(order.placed_at) * 1000,
            "paidTime": seconds(order.paid_at) * 1000,
            "promiseLastDeliveryTime": seconds(order.promised_at) * 1000,
            "deliveryTime": seconds(shop.shipped_at(order)) * 1000,
            "finishTime": seconds(order.closed_at) * 1000,
            "cancelTime": seconds(order.cancelled_at) * 1000,
            "updateTime": seconds(shop.updated_at(order)) * 1000,
            "skuList": [self._order_sku(order, number) for number in range(len(order.lines))],
            "simpleDeliveryOrderList": [
                {
                    "expressTrackingNo": shipment.tracking_number,
                    "expressCompanyCode": _CARRIERS[shipment.carrier],
                    "status": 3,
                }
                for shipment in order.shipments
            ],
        }
        if self._dirt.is_invalid(key):
            row["totalPayAmount"] = "-"
        return row

    def _order_sku(self, order: Order, number: int) -> Json:
        shop = self._shop
        shown = shop.lines(order)[number]
        line, product = shown.line, shop.product(shown.line)
        is_invalid = self._dirt.is_invalid(f"order/{order.order_id}/line/{line.line_number}")
        return {
            "skuId": self._sku_id(product),
            "skuName": shop.title(product),
            "erpcode": shop.code(product) or "",
            "skuSpec": str(product.size_qty),
            "skuQuantity": -line.quantity if is_invalid else line.quantity,
            "totalPaidAmount": fen(shown.paid),
            "totalMerchantDiscount": fen(shown.discount),
            "totalRedDiscount": 0,
            "totalTaxAmount": fen(shown.tax),
        }

    def _sku_id(self, product: Product) -> str:
        return str(self._shop.sku_id(product))

    @cached_property
    def _after_sales(self) -> dict[str, Json]:
        rows = [self._returned(order, taken) for order, taken, _ in self._shop.returns()]
        for order, at in self._shop.withdrawn():
            row = {
                "returnsId": "R" + self._dirt.token(f"withdrawn/{order.order_id}", 16, "0123456789"),
                "returnType": 4,
                "status": 9,
                "reasonNameZh": "多拍/拍错/不想要",
                "expectedRefundAmountYuan": float(order.lines[0].list_amount),
                "refundAmountYuan": 0.0,
                "refundStatus": 0,
                "refundTime": 0,
                "applyTime": (seconds(at) - 6 * 3600) * 1000,
                "updatedAt": seconds(at) * 1000,
                "skus": [self._taken(order, 1, order.lines[0].quantity)],
            }
            rows.append(self._of(order) | row)
        return {row["returnsId"]: row for row in rows}

    def _returned(self, order: Order, taken: Return) -> Json:
        return self._of(order) | {
            "returnsId": "R" + self._dirt.token(taken.return_id, 16, "0123456789"),
            "returnType": 1,
            "status": 4,
            "reasonNameZh": REASONS[taken.reason],
            "expectedRefundAmountYuan": float(taken.refund_amount),
            "refundAmountYuan": float(taken.refund_amount),
            "refundStatus": 2,
            "refundTime": seconds(taken.refunded_at) * 1000,
            "applyTime": seconds(taken.received_at - timedelta(days=3)) * 1000,
            "updatedAt": seconds(taken.refunded_at) * 1000,
            "skus": [self._taken(order, taken.line_number, taken.quantity)],
        }

    def _of(self, order: Order) -> Json:
        return {"orderId": order.number, "userId": self._shop.buyer_id(order)}

    def _taken(self, order: Order, number: int, quantity: int) -> Json:
        line = order.lines[number - 1]
        sku_id = self._sku_id(self._shop.product(line))
        return {"skuId": sku_id, "appliedCount": quantity, "boughtCount": line.quantity}

    @cached_property
    def _transactions(self) -> list[Json]:
        """What was settled a day after it was sent, and taken back after that; oldest first."""
        rows: list[Json] = []
        for order in self._shop.orders:
            if not order.shipments or order.paid_at is None or order.cancelled_at is not None:
                continue
            at = min(shipment.dispatched_at for shipment in order.shipments) + _SETTLED_AFTER
            total, kept = self._shop.total(order), order.channel_fee_amount + order.payment_fee_amount
            row = self._transaction(order, "settled", at, total - kept) | {
                "settleBizType": 0,
                "transactionBizType": 0,
                "commissionAmount": yuan(order.channel_fee_amount),
                "payChannelAmount": yuan(order.payment_fee_amount),
            }
            rows.append(row)
            if at <= self._world.now and self._dirt.is_invalid(f"order/{order.order_id}"):
                name = f"xiaohongshu:transactions:{row['transactionId']}"
                self._differences.astray("settlement", name, order, total)
            rows += [
                self._transaction(order, taken.return_id, taken.refunded_at, -taken.refund_amount)
                | {
                    "settleBizType": 1,
                    "transactionBizType": 1,
                    "returnId": "R" + self._dirt.token(taken.return_id, 16, "0123456789"),
                }
                for taken in order.returns
            ]
        now = seconds(self._world.now) * 1000
        return sorted(
            (row for row in rows if row["settledTime"] <= now),
            key=lambda row: (row["settledTime"], row["transactionId"]),
        )

    def _transaction(self, order: Order, key: str, at: datetime, moved: Decimal) -> Json:
        return {
            "transactionId": int(self._dirt.token(f"transaction/{order.order_id}/{key}", 15, "123456789")),
            "packageId": order.number,
            "statementType": 0,
            "returnId": "",
            "orderTime": seconds(order.placed_at) * 1000,
            "canSettleTime": seconds(at) * 1000,
            "settledTime": seconds(at) * 1000,
            "erqingType": _PAYMENT_TYPES[order.payment_method],
            "transactionSettleStatus": 4,
            "commonSettleStatus": 1,
            "amount": yuan(moved),
            "goodsAmount": yuan(moved),
            "commissionAmount": "0.00",
            "payChannelAmount": "0.00",
            "cpsAmount": "0.00",
            "installmentAmount": "",
            "extraAmount": "0.00",
        }

    def _list_transactions(self, asked: Json) -> Json:
        low, high = asked["startTime"], asked["endTime"]
        if not 0 <= high - low <= 86_400_000:
            raise ValueError("endTime - startTime: at most 24*60*60*1000")
        rows = [row for row in self._transactions if low <= row["settledTime"] < high]
        number, size, shown = _page(rows, {**asked, "pageNo": asked["pageNum"]}, 10_000)
        counts = {"total": len(rows), "totalPage": -(-len(rows) // size), "pageNum": number, "pageSize": size}
        return _nested(counts | {"transactions": shown})

    def _sku(self, product: Product) -> Json:
        shop = self._shop
        return {
            "item": {
                "id": str(shop.item_id(product)),
                "name": shop.title(product),
                "createTime": seconds(shop.listed_at(product)) * 1000,
                "updateTime": seconds(shop.listed_at(product)) * 1000,
            },
            "sku": {
                "id": self._sku_id(product),
                "name": shop.title(product),
                "barcode": shop.barcode(product) or "",
                "erpCode": shop.code(product) or "",
                "price": fen(shop.price(product)),
                "stock": shop.offered(product),
                "buyable": True,
            },
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        try:
            asked = json.loads(await request.body())
            self._check(asked)
            data = self._call(asked)
        except _CallError as error:
            return JSONResponse(error.body)
        except (KeyError, ValueError) as error:
            return JSONResponse(_CallError(-2000400, f"参数错误: {error}").body)
        return JSONResponse({"success": True, "error_code": 0, "error_msg": "", "data": data})

    def _check(self, asked: Json) -> None:
        app_id, told = str(asked.get("appId", "")), str(asked.get("timestamp", ""))
        if not self._credentials.accepts("xiaohongshu", "APP_ID", app_id, _SECRETS["APP_ID"]):
            raise _CallError(-1, "appId 不存在")
        secret = self._credentials.secret("xiaohongshu", "APP_SECRET", _SECRETS["APP_SECRET"])
        plain = (
            f"{asked.get('method')}?appId={app_id}&timestamp={told}&version={asked.get('version')}{secret}"
        )
        right = hashlib.md5(plain.encode(), usedforsecurity=False).hexdigest()
        if not hmac.compare_digest(right, str(asked.get("sign", ""))):
            raise _CallError(-1, "签名错误")
        token = str(asked.get("accessToken", ""))
        if not self._credentials.accepts("xiaohongshu", "ACCESS_TOKEN", token, _SECRETS["ACCESS_TOKEN"]):
            raise _CallError(-1, "accessToken 已过期")

    def _call(self, asked: Json) -> Json:
        match asked["method"]:
            case "order.getOrderList":
                times: dict[str, Callable[[Json], int]] = {
                    "created": lambda row: int(row["createdTime"]) // 1000,
                    "updated": lambda row: int(row["updateTime"]) // 1000,
                }
                rows = _within(self._orders.values(), asked, times, 1)
                number, size, shown = _page(rows, asked, 10_000)
                names = ("orderId", "orderType", "orderStatus", "createdTime", "paidTime", "updateTime")
                listed = [{name: row[name] for name in names} for row in shown]
                pages = {"pageNo": number, "pageSize": size, "maxPageNo": -(-len(rows) // size)}
                return {"total": len(rows), **pages, "orderList": listed}
            case "order.getOrderDetail":
                return _found(self._orders, asked["orderId"])
            case "afterSale.listAfterSaleInfos":
                times = {
                    "created": lambda row: int(row["applyTime"]),
                    "updated": lambda row: int(row["updatedAt"]),
                }
                rows = _within(self._after_sales.values(), asked, times, 1000)
                number, size, shown = _page(rows, asked, 50_000)
                kept = ("refundAmountYuan", "refundStatus", "refundTime", "skus")
                listed = [{name: value for name, value in row.items() if name not in kept} for row in shown]
                body = {"afterSaleBasicInfos": listed, "totalCount": len(rows)}
                return _nested(body | {"pageNo": number, "pageSize": size})
            case "afterSale.getAfterSaleInfo":
                return _nested({"afterSaleInfo": _found(self._after_sales, asked["returnsId"])})
            case "finance.pageQueryTransaction":
                return self._list_transactions(asked)
            case "product.getDetailSkuList":
                rows = [self._sku(product) for product in self._world.products.values()]
                rows = [row for row in rows if row["sku"]["id"] not in self.deleted]
                number, size, shown = _page(rows, asked, 10_000)
                return {"data": shown, "total": len(rows), "currentPage": number, "pageSize": size}
        raise _CallError(-1, "method 不存在")


def _found(rows: dict[str, Json], key: str) -> Json:
    if key not in rows:
        raise _CallError(-1, f"{key} 不存在")
    return rows[key]


def _nested(data: Json) -> Json:
    return {"code": 0, "success": True, "msg": "", "data": data}


def _within(
    rows: Iterable[Json], asked: Json, times: dict[str, Callable[[Json], int]], unit: int
) -> list[Json]:
    """Rows whose time lies in the window, newest first; `unit` parts of a second."""
    kind, longest = _TIME_TYPES[asked["timeType"]]
    low, high, at = asked["startTime"], asked["endTime"], times[kind]
    if not 0 <= high - low <= longest.total_seconds() * unit:
        raise ValueError(f"endTime - startTime: at most {longest}")
    return sorted((row for row in rows if low <= at(row) <= high), key=at, reverse=True)


def _page(rows: list[Json], asked: Json, most: int) -> tuple[int, int, list[Json]]:
    number, size = int(asked.get("pageNo", 1)), int(asked.get("pageSize", 50))
    if not (number >= 1 and 1 <= size <= 100 and number * size <= most):
        raise ValueError(f"pageNo from 1, pageSize from 1 to 100, {most} rows at most")
    return number, size, rows[(number - 1) * size : number * size]
