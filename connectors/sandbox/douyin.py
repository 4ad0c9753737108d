"""Douyin (抖店) as the sandbox company's cross-border shop there: tax stands beside the prices.

What is dirty here: ciphertext beside masks for receivers, noughts where nothing happened, the seller's code left out or
typed in full width, after-sales that were withdrawn, a status for every way to be refunded. Unlike the real one, which
shows three months, this shop shows all its orders.

Source: https://op.jinritemai.com/docs (guide 10/23, signature; the calls of `connectors.sources.douyin`)
"""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.differences import Differences, Planted
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.marketplace import CARRIERS, REASONS, Shop, Stage, fen, seconds
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Product, Return, World

Json = dict[str, Any]
_STATUSES = {
    Stage.UNPAID: 1,
    Stage.CANCELLED: 4,
    Stage.UNSENT: 2,
    Stage.PART_SENT: 101,
    Stage.SENT: 3,
    Stage.CLOSED: 5,
    Stage.REFUNDED: 39,
}

_CLOCK_TOLERANCE = timedelta(minutes=10)
_PAY_TYPES = {"wechat_pay": 1, "alipay": 2, "douyin_pay": 9}
_DIGITS = "0123456789"


_SHANGHAI = ZoneInfo("Asia/Shanghai")
_SETTLED_AFTER = timedelta(days=1)


def _shown_from(at: datetime) -> datetime:
    """From three in the afternoon of the next day."""
    day = at.astimezone(_SHANGHAI).replace(hour=15, minute=0, second=0, microsecond=0)
    return day + timedelta(days=1)


class _CallError(Exception):
    """A call that is answered with a `code` other than 10000."""

    def __init__(self, code: int, msg: str, sub_code: str, sub_msg: str) -> None:
        super().__init__(msg)
        said = {"code": code, "msg": msg, "sub_code": sub_code, "sub_msg": sub_msg, "data": None}
        self.body = said | {"log_id": "20261031080000010212130143010B5AE4"}


def _refuse(wait: float) -> Response:
    return JSONResponse(_CallError(60000, "触发限流，请稍后重试", "dop.flow-limit", "触发限流").body)


class Twin:
    """The Doudian open platform over one world."""

    name = "douyin"
    rate_limit = RateLimit(limit=400, window=2.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self.deleted: set[str] = set()
        self._shop = Shop(world, dirt, Channel.DOUYIN, states_tax=True, buyer_prefix="1@#", buyer_length=44)
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self._differences = Differences(world, dirt)

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_DOUYIN_URL": f"{base_url}/doudian",
            "ORDERHUB_DOUYIN_SINCE": self._shop.opened_at.isoformat(),
            "ORDERHUB_DOUYIN_APP_KEY": self._credentials.secret("douyin", "APP_KEY", 19),
            "ORDERHUB_DOUYIN_APP_SECRET": self._credentials.secret("douyin", "APP_SECRET", 36),
            "ORDERHUB_DOUYIN_ACCESS_TOKEN": self._credentials.secret("douyin", "ACCESS_TOKEN", 36),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/doudian/{place:path}", self._answer, methods=["POST"])]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [("101", row["order_id"]) for row in self._orders if int(row["update_time"]) >= seconds(since)]

    def truth(self) -> Iterable[Truth]:
        yield from self._shop.truth("orders", ("skus",))

    def differences(self) -> Iterable[Planted]:
        """What was settled of orders that cannot be read."""
        return self._differences.listed if self._bills else []

    # --- what the shop shows ------------------------------------------------------------------------------------------

    @cached_property
    def _orders(self) -> list[Json]:
        return [self._order(order) for order in self._shop.orders]

    def _order(self, order: Order) -> Json:
        shop, key = self._shop, f"order/{order.order_id}"
        region, city, district = shop.place(order)
        lines = [self._sku_order(order, number) for number in range(1, len(order.lines) + 1)]
        row: Json = {
            "order_id": order.number,
            "shop_id": 4463798,
            "order_status": self._order_status(order),
            "main_status": _STATUSES[self._shop.stage(order)],
            "pay_type": _PAY_TYPES[order.payment_method],
            "order_amount": fen(order.gross_amount),
            "promotion_amount": fen(order.discount_amount),
            "post_amount": fen(order.shipping_amount),
            "tax_amount": fen(order.tax_amount),
            "pay_amount": fen(shop.total(order)),
            "doudian_open_id": shop.buyer_id(order),
            "encrypt_post_receiver": f"##{shop.cipher(order, 'name')}##",
            "encrypt_post_tel": f"$${shop.cipher(order, 'phone')}$$",
            "mask_post_receiver": shop.name_mask(order),
            "mask_post_tel": shop.phone_mask(order),
            "mask_post_addr": {
                "province": {"name": region, "id": "31"},
                "city": {"name": city, "id": "310000"},
                "town": {"name": district, "id": "310101"},
                "street": {"name": "", "id": "0"},
                "detail": "*" * 6,
            },
            "create_time": seconds(order.placed_at),
            "pay_time": seconds(order.paid_at),
            "exp_ship_time": seconds(order.promised_at),
            "ship_time": seconds(shop.shipped_at(order)),
            "finish_time": seconds(order.closed_at),
            "update_time": seconds(shop.updated_at(order)),
            "logistics_info": [
                {
                    "tracking_no": shipment.tracking_number,
                    "company": {"sf_express": "shunfeng", "zto": "zhongtong"}[shipment.carrier],
                    "company_name": CARRIERS[shipment.carrier][1],
                    "ship_time": seconds(shipment.dispatched_at),
                    "delivery_id": self._dirt.token(shipment.shipment_id, 19, _DIGITS),
                }
                for shipment in order.shipments
            ],
            "sku_order_list": lines,
        }
        if self._dirt.is_invalid(key):
            row["order_amount"] = "-"
        return row

    def _sku_order(self, order: Order, number: int) -> Json:
        shop = self._shop
        shown = shop.lines(order)[number - 1]
        product, line = shop.product(shown.line), shown.line
        is_invalid = self._dirt.is_invalid(f"order/{order.order_id}/line/{number}")
        return {
            # The first SKU of an order has the order's number.
            "order_id": self._line_id(order, number),
            "parent_order_id": order.number,
            "order_status": self._order_status(order),
            "trade_type": 2 if self._dirt.fraction(f"order/{order.order_id}/step") < 0.05 else 0,
            "product_id": shop.item_id(product),
            "sku_id": shop.sku_id(product),
            "code": shop.code(product) or "",
            "out_product_id": "",
            "out_sku_id": "",
            "product_name": shop.title(product),
            "item_num": -line.quantity if is_invalid else line.quantity,
            "origin_amount": fen(shown.unit_price),
            "promotion_amount": fen(shown.discount),
            "tax_amount": fen(shown.tax),
            "pay_amount": fen(shown.paid),
        }

    def _order_status(self, order: Order) -> int:
        """What was refunded is closed; by which way its main status tells."""
        stage = self._shop.stage(order)
        return 4 if stage is Stage.REFUNDED else _STATUSES[stage]

    def _line_id(self, order: Order, number: int) -> str:
        return str(int(order.number) + number - 1)

    @cached_property
    def _after_sales(self) -> list[Json]:
        rows = [self._returned(order, taken) for order, taken, _ in self._shop.returns()]
        for order, at in self._shop.withdrawn():
            refund_id = self._dirt.token(f"withdrawn/{order.order_id}", 18, "123456789")
            amount = order.lines[0].list_amount
            info = {
                "aftersale_type": 1,
                "aftersale_status": 28,
                "refund_status": 4,
                "refund_amount": fen(amount),
                "aftersale_num": order.lines[0].quantity,
                "apply_time": seconds(at - timedelta(hours=6)),
                "update_time": seconds(at),
            }
            rows.append(
                self._after_sale(order, 1, refund_id, info, "多拍/拍错/不想要", {"real_refund_amount": 0})
            )
        return rows

    def _returned(self, order: Order, taken: Return) -> Json:
        refund_id = self._dirt.token(taken.return_id, 18, "123456789")
        # The buyer asks for a little more than is granted at times.
        asked = fen(taken.refund_amount) + (100 if self._dirt.chance(f"asked/{taken.return_id}", 0.2) else 0)
        info = {
            "aftersale_type": 0,
            "aftersale_status": 12,
            "refund_status": 3,
            "refund_amount": asked,
            "aftersale_num": taken.quantity,
            "apply_time": seconds(taken.received_at - timedelta(days=3)),
            "update_time": seconds(taken.refunded_at),
        }
        granted = {
            "real_refund_amount": fen(taken.refund_amount),
            "refund_time": seconds(taken.refunded_at),
        }
        return self._after_sale(order, taken.line_number, refund_id, info, REASONS[taken.reason], granted)

    def _after_sale(
        self, order: Order, number: int, refund_id: str, info: Json, reason: str, granted: Json
    ) -> Json:
        shop, line = self._shop, order.lines[number - 1]
        related = {
            "sku_order_id": self._line_id(order, number),
            "product_id": shop.item_id(shop.product(line)),
            "item_num": line.quantity,
        }
        return {
            "aftersale_info": {"aftersale_id": refund_id, "related_id": related["sku_order_id"], **info},
            "order_info": {"shop_order_id": order.number, "related_order_info": [related]},
            "text_part": {"reason_text": reason},
            "granted": {
                "after_sale_id": int(refund_id),
                "refund_status": info["refund_status"],
                "refund_total_amount": info["refund_amount"],
                "refund_time": 0,
                **granted,
            },
        }

    @cached_property
    def _products(self) -> dict[str, Product]:
        return {str(self._shop.item_id(product)): product for product in self._world.products.values()}

    def _product(self, product: Product) -> Json:
        shop = self._shop
        is_deleted = str(shop.item_id(product)) in self.deleted
        return {
            "product_id": shop.item_id(product),
            "name": shop.title(product),
            "outer_product_id": "",
            "status": 2 if is_deleted else 0,
            "check_status": 3,
            "create_time": seconds(shop.listed_at(product)),
            "update_time": seconds(self._world.now if is_deleted else shop.listed_at(product)),
        }

    def _sku(self, product: Product) -> Json:
        shop = self._shop
        barcode = shop.barcode(product)
        return {
            "sku_id": shop.sku_id(product),
            "code": shop.code(product) or "",
            "outer_sku_id": "",
            "price": fen(shop.price(product)),
            "stock_num": shop.offered(product),
            "lock_stock_num": shop.held(product),
            "barcodes": [barcode] if barcode else [],
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    @cached_property
    def _bills(self) -> list[Json]:
        """What was settled a day after it was sent, and taken back after that; oldest first. A bill is there the next day."""
        rows: list[tuple[datetime, Json]] = []
        for order in self._shop.orders:
            if not order.shipments or order.paid_at is None or order.cancelled_at is not None:
                continue
            at = min(shipment.dispatched_at for shipment in order.shipments) + _SETTLED_AFTER
            total, kept = fen(self._shop.total(order)), fen(order.channel_fee_amount)
            rows.append((at, self._bill(order, "settled", 0, at, total, kept)))
            if _shown_from(at) <= self._world.now and self._dirt.is_invalid(f"order/{order.order_id}"):
                name = f"douyin:settle_bills:{rows[-1][1]['request_no']}/{rows[-1][1]['order_id']}/0"
                self._differences.astray("settlement", name, order, self._shop.total(order))
            rows += [
                (
                    taken.refunded_at,
                    self._bill(order, taken.return_id, 1, taken.refunded_at, -fen(taken.refund_amount), 0),
                )
                for taken in order.returns
            ]
        shown = [row for row in rows if _shown_from(row[0]) <= self._world.now]
        return [row for _, row in sorted(shown, key=lambda row: (row[0], str(row[1]["request_no"])))]

    def _bill(self, order: Order, key: str, kind: int, at: datetime, income: int, kept: int) -> Json:
        return {
            "request_no": self._dirt.token(f"bill/{order.order_id}/{key}", 19, "123456789"),
            "shop_order_id": order.number,
            "order_id": f"{order.number}1",
            "settle_time": _told(at),
            "order_time": _told(order.placed_at),
            "trade_type": kind,
            "pay_type_desc": "聚合账户",
            "flow_type_desc": "小店自卖",
            "is_contains_refund_before_settle": 0,
            "goods_count": sum(line.quantity for line in order.lines),
            "real_pay_amount": income,
            "total_amount": income,
            "total_income": income,
            "platform_service_fee": kept,
            "commission": 0,
            "total_outcome": kept,
            "settle_amount": income - kept,
            "remark": "",
        }

    def _list_bills(self, asked: Json) -> Json:
        start, end, size = str(asked["start_time"]), str(asked["end_time"]), int(asked["size"])
        if not 1 <= size <= 100:
            raise ValueError("size from 1 to 100")
        rows = [row for row in self._bills if start <= row["settle_time"] <= end]
        index = asked.get("start_index")
        if index is not None:
            rows = [row for row in rows if (row["settle_time"], row["request_no"]) > (start, str(index))]
        page, is_end = rows[:size], len(rows) <= size
        last = page[-1] if page else {"request_no": "", "settle_time": start}
        return {
            "code": "100000",
            "data": page,
            "size": size,
            "data_size": len(page),
            "is_end": int(is_end),
            "next_start_index": last["request_no"],
            "next_start_time": last["settle_time"],
        }

    async def _answer(self, request: Request) -> Response:
        method = request.path_params["place"].replace("/", ".")
        text = (await request.body()).decode()
        try:
            self._check(dict(request.query_params), method, text)
            data = self._call(method, json.loads(text))
        except _CallError as error:
            return JSONResponse(error.body)
        except (KeyError, ValueError) as error:
            refused = _CallError(40004, "非法的参数", "isv.business-failed:40004", f"参数不合法: {error}")
            return JSONResponse(refused.body)
        said = {"code": 10000, "msg": "success", "sub_code": "", "sub_msg": ""}
        return JSONResponse(said | {"data": data, "log_id": "20261031080000010212130143010B5AE5"})

    def _check(self, query: Mapping[str, str], method: str, text: str) -> None:
        app_key = query.get("app_key", "")
        if not self._credentials.accepts("douyin", "APP_KEY", app_key, 19):
            raise _CallError(40003, "非法的参数", "isv.app-id-invalid", "认证失败，app_key格式不正确")
        told = query.get("timestamp", "")
        if not told.isdecimal() or abs(int(told) - datetime.now(UTC).timestamp()) > _CLOCK_TOLERANCE.seconds:
            raise _CallError(40003, "非法的参数", "isv.timestamp-invalid", "时间戳不合法")
        secret = self._credentials.secret("douyin", "APP_SECRET", 36)
        plain = (
            f"{secret}app_key{app_key}method{method}param_json{text}timestamp{told}v{query.get('v')}{secret}"
        )
        right = (
            hmac.new(secret.encode(), plain.encode(), hashlib.sha256).hexdigest()
            if query.get("sign_method") == "hmac-sha256"
            else hashlib.md5(plain.encode(), usedforsecurity=False).hexdigest()
        )
        if query.get("method") != method or not hmac.compare_digest(right, query.get("sign", "")):
            raise _CallError(40003, "非法的参数", "isv.signature-invalid", "签名校验失败")
        if not self._credentials.accepts("douyin", "ACCESS_TOKEN", query.get("access_token"), 36):
            raise _CallError(40003, "非法的参数", "isv.access-token-expired", "access_token已过期")

    def _call(self, method: str, asked: Json) -> Json:
        match method:
            case "order.searchList":
                low, high = asked["update_time_start"], asked["update_time_end"]
                rows = _within(self._orders, low, high, lambda row: int(row["update_time"]))
                return _page(rows, asked, "shop_order_list", 5_000)
            case "order.orderDetail":
                wanted = str(asked["shop_order_id"])
                return {"shop_order_detail": {row["order_id"]: row for row in self._orders}[wanted]}
            case "afterSale.List":
                low, high = asked["update_start_time"], asked["update_end_time"]
                rows = _within(
                    self._after_sales, low, high, lambda row: int(row["aftersale_info"]["update_time"])
                )
                body = _page(rows, asked, "items", 50_000)
                shown = [
                    {name: row[name] for name in ("aftersale_info", "order_info", "text_part")}
                    for row in body["items"]
                ]
                more = (int(asked["page"]) + 1) * int(asked["size"]) < len(rows)
                return body | {"items": shown, "has_more": more}
            case "afterSale.Detail":
                wanted = str(asked["after_sale_id"])
                for row in self._after_sales:
                    if row["aftersale_info"]["aftersale_id"] == wanted:
                        return {"process_info": {"after_sale_info": row["granted"]}}
                raise _CallError(50002, "业务处理失败", "isv.business-failed:50002", "售后单不存在")
            case "order.getSettleBillDetailV3":
                return self._list_bills(asked)
            case "product.listV2":
                low, high = asked.get("update_start_time", 0) + 1, asked.get("update_end_time", 2**40) - 1
                rows = [self._product(product) for product in self._products.values()]
                rows = _within(rows, low, high, lambda row: int(row["update_time"]))
                return _page(rows, asked, "data", 10_000, first=1)
            case "product.detail":
                product = self._products.get(str(asked["product_id"]))
                if product is None:
                    raise _CallError(50002, "业务处理失败", "isv.business-failed:50002", "商品不存在")
                return self._product(product) | {
                    "create_time": _told(self._shop.listed_at(product)),
                    "update_time": _told(self._shop.listed_at(product)),
                    "spec_prices": [self._sku(product)],
                }
        raise _CallError(70000, "接口服务已下线", "isp.api-service-off", "API不存在或API已下线")


def _told(at: datetime) -> str:
    return f"{at.astimezone(_SHANGHAI):%Y-%m-%d %H:%M:%S}"


def _within(rows: Iterable[Json], low: int, high: int, at: Callable[[Json], int]) -> list[Json]:
    """Rows whose change time lies in the window, newest first."""
    if high < low:
        raise ValueError("the window ends before it begins")
    return sorted((row for row in rows if low <= at(row) <= high), key=at, reverse=True)


def _page(rows: list[Json], asked: Json, name: str, most: int, first: int = 0) -> Json:
    number, size = int(asked["page"]) - first, int(asked["size"])
    if not (number >= 0 and 1 <= size <= 100 and (number + 1) * size <= most):
        raise ValueError(f"page from {first}, size from 1 to 100, {most} rows at most")
    return {
        name: rows[number * size : (number + 1) * size],
        "total": len(rows),
        "page": number + first,
        "size": size,
    }
