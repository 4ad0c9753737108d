"""Pinduoduo as the sandbox company's shop there: tax is in the prices.

What is dirty here: ciphertext for receivers until the goods leave and nothing after, empty texts where nothing happened,
the seller's code left out or typed in full width, after-sales that were withdrawn, second parcels apart from the first.
Orders show once they are confirmed. Unlike the real one, which shows three months, this shop shows all its orders.

Source: https://open.pinduoduo.com/application/document/api (the calls of `connectors.sources.pinduoduo`)
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.marketplace import CARRIERS, REASONS, Shop, local_text, yuan
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Return, World

Json = dict[str, Any]

_CLOCK_TOLERANCE = timedelta(minutes=10)
_LONGEST = {"updated": timedelta(minutes=30), "confirm": timedelta(days=1)}
_CARRIER_IDS = {"sf_express": 44, "zto": 115}
_PAY_TYPES = {"alipay": "ALIPAY", "wechat_pay": "WEIXIN"}
_LISTED = (
    "order_sn", "order_status", "refund_status", "after_sales_status", "confirm_status", "group_status", "trade_type",
    "pay_type", "pay_no", "country", "province", "city", "town", "created_time", "pay_time", "confirm_time",
    "last_ship_time", "shipping_time", "receive_time", "updated_at",
)  # fmt: skip
_SECRETS = {"CLIENT_ID": 32, "CLIENT_SECRET": 40, "ACCESS_TOKEN": 40}


class _CallError(Exception):
    """A call that is answered with `error_response`."""

    def __init__(self, code: int, msg: str, sub_msg: str = "") -> None:
        super().__init__(msg)
        said = {"error_code": code, "error_msg": msg, "sub_code": None, "sub_msg": sub_msg or msg}
        self.body = {"error_response": said | {"request_id": "15440104776643887"}}


def _refuse(wait: float) -> Response:
    return JSONResponse(_CallError(70031, "调用过于频繁，请调整调用频率").body)


class Twin:
    """Pinduoduo's open platform over one world."""

    name = "pinduoduo"
    rate_limit = RateLimit(limit=400, window=2.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._shop = Shop(world, dirt, Channel.PINDUODUO, states_tax=False, shows_unpaid=False)
        self._world, self._dirt, self._credentials = world, dirt, credentials
        self.deleted: set[str] = set()

    def env(self, base_url: str) -> dict[str, str]:
        secrets = {
            f"ORDERHUB_PINDUODUO_{name}": self._credentials.secret("pinduoduo", name, length)
            for name, length in _SECRETS.items()
        }
        return secrets | {
            "ORDERHUB_PINDUODUO_URL": f"{base_url}/api/router",
            "ORDERHUB_PINDUODUO_SINCE": self._shop.opened_at.isoformat(),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/api/router", self._answer, methods=["POST"])]

    def truth(self) -> Iterable[Truth]:
        yield from self._shop.truth("orders", ("skus",))

    # --- what the shop shows ------------------------------------------------------------------------------------------

    @cached_property
    def _orders(self) -> dict[str, Json]:
        return {order.number: self._order(order) for order in self._shop.orders}

    def _order(self, order: Order) -> Json:
        shop, key = self._shop, f"order/{order.order_id}"
        lines = shop.lines(order)
        goods, discount = sum(shown.gross for shown in lines), sum(shown.discount for shown in lines)
        region, city, district = shop.place(order)
        shipments = [
            {"logistics_id": _CARRIER_IDS[shipment.carrier], "tracking_number": shipment.tracking_number}
            for shipment in order.shipments
        ]
        first, *others = shipments or [{"logistics_id": 0, "tracking_number": ""}]
        is_waiting = not shop.is_sent(order)
        delivered = [shipment.delivered_at for shipment in order.shipments if shipment.delivered_at]
        is_refunded = bool(order.returns)
        row: Json = {
            "order_sn": order.number,
            "order_status": 1 if is_waiting else 3 if shop.is_delivered(order) else 2,
            "refund_status": 4 if is_refunded else 1,
            "after_sales_status": 10 if is_refunded else 11 if order.order_id in self._withdrawn else 0,
            "confirm_status": 1,
            "group_status": 1,
            "trade_type": int(self._dirt.fraction(f"{key}/step") < 0.05),
            "pay_type": _PAY_TYPES[order.payment_method],
            "pay_no": self._dirt.token(f"{key}/pay", 28, "0123456789"),
            "goods_amount": float(goods),
            "discount_amount": float(discount),
            "platform_discount": 0,
            "seller_discount": float(discount),
            "postage": float(order.shipping_amount),
            "pay_amount": float(shop.total(order)),
            "open_address_id": shop.buyer_id(order),
            "receiver_name": f"~{shop.cipher(order, 'name')}~0~" if is_waiting else "",
            "receiver_phone": f"${shop.cipher(order, 'phone')}$0$" if is_waiting else "",
            "receiver_address": f"~{shop.cipher(order, 'address')}~0~" if is_waiting else "",
            "receiver_name_mask": shop.name_mask(order),
            "receiver_phone_mask": shop.phone_mask(order),
            "receiver_address_mask": "*" * 6,
            "country": "中国",
            "province": region,
            "city": city,
            "town": district,
            "remark": "",
            "buyer_memo": "",
            "created_time": local_text(order.placed_at),
            "pay_time": local_text(order.paid_at),
            "confirm_time": local_text(order.paid_at),
            "last_ship_time": local_text(order.promised_at),
            "shipping_time": local_text(shop.shipped_at(order)),
            "receive_time": local_text(max(delivered)) if shop.is_delivered(order) else "",
            "updated_at": local_text(shop.updated_at(order)),
            "item_list": self._items(order),
            "extra_delivery_list": others,
            **first,
        }
        if self._dirt.is_invalid(key):
            row["goods_amount"] = "面议"
        return row

    def _items(self, order: Order) -> list[Json]:
        shop = self._shop
        return [
            {
                "goods_id": shop.item_id(shop.product(shown.line)),
                "sku_id": shop.sku_id(shop.product(shown.line)),
                "outer_id": shop.code(shop.product(shown.line)) or "",
                "outer_goods_id": "",
                "goods_name": shop.title(shop.product(shown.line)),
                "goods_price": float(shown.unit_price),
                "goods_count": shown.line.quantity,
                "goods_spec": str(shop.product(shown.line).size_qty),
            }
            for shown in shop.lines(order)
        ]

    @cached_property
    def _withdrawn(self) -> dict[str, datetime]:
        return {order.order_id: at for order, at in self._shop.withdrawn()}

    @cached_property
    def _refunds(self) -> list[Json]:
        rows = [self._refund(order, taken) for order, taken, _ in self._shop.returns()]
        for order in self._shop.orders:
            if order.order_id not in self._withdrawn:
                continue
            at = self._withdrawn[order.order_id]
            rows.append(
                self._after_sales(order, 1, f"withdrawn/{order.order_id}")
                | {
                    "after_sales_status": 11,
                    "after_sales_type": 2,
                    "after_sale_reason": "多拍/错拍/不想要",
                    "refund_amount": yuan(order.lines[0].list_amount),
                    "created_time": local_text(at - timedelta(hours=6)),
                    "updated_time": local_text(at),
                }
            )
        return rows

    def _refund(self, order: Order, taken: Return) -> Json:
        return self._after_sales(order, taken.line_number, taken.return_id) | {
            "after_sales_status": 10,
            "after_sales_type": 3,
            "after_sale_reason": REASONS[taken.reason],
            "refund_amount": yuan(taken.refund_amount),
            "goods_number": str(taken.quantity),
            "tracking_number": "SF" + self._dirt.token(f"back/{taken.return_id}", 13, "0123456789"),
            "created_time": local_text(taken.received_at - timedelta(days=3)),
            "updated_time": local_text(taken.refunded_at),
        }

    def _after_sales(self, order: Order, line_number: int, key: str) -> Json:
        shop, line = self._shop, order.lines[line_number - 1]
        return {
            "id": int(self._dirt.token(key, 12, "123456789")),
            "order_sn": order.number,
            "goods_id": shop.item_id(shop.product(line)),
            "sku_id": str(shop.sku_id(shop.product(line))),
            "outer_id": shop.code(shop.product(line)) or "",
            "goods_number": str(line.quantity),
            "order_amount": yuan(shop.total(order)),
            "tracking_number": "",
        }

    @cached_property
    def _goods(self) -> list[Json]:
        shop = self._shop
        return [
            {
                "goods_id": shop.item_id(product),
                "goods_name": shop.title(product),
                "is_onsale": 1,
                "sku_list": [
                    {
                        "sku_id": shop.sku_id(product),
                        "outer_id": shop.code(product) or "",
                        "outer_goods_id": "",
                        "spec": str(product.size_qty),
                        "sku_quantity": shop.offered(product),
                        "reserve_quantity": shop.held(product),
                        "is_sku_onsale": 1,
                    }
                ],
            }
            for product in self._world.products.values()
        ]

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        fields = dict(request.query_params) | dict(
            parse_qsl((await request.body()).decode(), keep_blank_values=True)
        )
        try:
            self._check(fields)
            return JSONResponse(self._call(fields))
        except _CallError as error:
            return JSONResponse(error.body)
        except (KeyError, ValueError) as error:
            return JSONResponse(_CallError(10000, "参数错误", f"{error}").body)

    def _check(self, fields: Mapping[str, str]) -> None:
        accepts = self._credentials.accepts
        if not accepts("pinduoduo", "CLIENT_ID", fields.get("client_id"), _SECRETS["CLIENT_ID"]):
            raise _CallError(10001, "公共参数错误:client_id")
        told = fields.get("timestamp", "")
        if not told.isdecimal() or abs(int(told) - datetime.now(UTC).timestamp()) > _CLOCK_TOLERANCE.seconds:
            raise _CallError(10000, "参数错误", "公共参数错误:timestamp")
        secret = self._credentials.secret("pinduoduo", "CLIENT_SECRET", _SECRETS["CLIENT_SECRET"])
        text = "".join(name + fields[name] for name in sorted(fields) if name != "sign")
        right = hashlib.md5(f"{secret}{text}{secret}".encode(), usedforsecurity=False).hexdigest().upper()
        if not hmac.compare_digest(right, fields.get("sign", "")):
            raise _CallError(20004, "签名sign校验失败")
        if not accepts("pinduoduo", "ACCESS_TOKEN", fields.get("access_token"), _SECRETS["ACCESS_TOKEN"]):
            raise _CallError(10019, "access_token已过期")

    def _call(self, fields: Mapping[str, str]) -> Json:
        match fields.get("type", ""):
            case "pdd.order.list.get":
                rows = _within(self._orders.values(), fields, "confirm", "confirm_time")
                return {"order_list_get_response": _page(_listed(rows), fields, "order_list")}
            case "pdd.order.number.list.increment.get":
                rows = _within(self._orders.values(), fields, "updated", "updated_at")
                return {"order_sn_increment_get_response": _page(_listed(rows), fields, "order_sn_list")}
            case "pdd.order.information.get":
                if fields["order_sn"] not in self._orders:
                    raise _CallError(50001, "业务服务错误", "订单不存在")
                return {"order_info_get_response": {"order_info": self._orders[fields["order_sn"]]}}
            case "pdd.refund.list.increment.get":
                if "order_sn" in fields:
                    rows = [row for row in self._refunds if row["order_sn"] == fields["order_sn"]]
                else:
                    rows = _within(self._refunds, fields, "updated", "updated_time")
                return {"refund_increment_get_response": _page(rows, fields, "refund_list")}
            case "pdd.goods.list.get":
                rows = [row for row in self._goods if str(row["goods_id"]) not in self.deleted]
                return {"goods_list_get_response": _page(rows, fields, "goods_list")}
            case "pdd.logistics.companies.get":
                rows = [
                    {"id": _CARRIER_IDS[carrier], "code": code, "logistics_company": name, "available": 1}
                    for carrier, (code, name) in CARRIERS.items()
                ]
                return {"logistics_companies_get_response": {"logistics_companies": rows}}
        raise _CallError(10001, "公共参数错误:type")


def _listed(rows: list[Json]) -> list[Json]:
    """Orders as lists show them here: the real ones show more."""
    return [{name: row[name] for name in _LISTED} for row in rows]


def _within(rows: Iterable[Json], fields: Mapping[str, str], window: str, column: str) -> list[Json]:
    """Rows whose time lies in the window, newest first."""
    start, end = int(fields[f"start_{window}_at"]), int(fields[f"end_{window}_at"])
    if not 0 <= end - start <= _LONGEST[window].total_seconds():
        raise ValueError(f"end_{window}_at - start_{window}_at: at most {_LONGEST[window]}")
    low, high = (local_text(datetime.fromtimestamp(at, UTC)) for at in (start, end))
    return sorted(
        (row for row in rows if low <= row[column] <= high), key=lambda row: str(row[column]), reverse=True
    )


def _page(rows: list[Json], fields: Mapping[str, str], name: str) -> Json:
    number, size = int(fields.get("page", 1)), int(fields.get("page_size", 100))
    if not (number >= 1 and 1 <= size <= 100):
        raise ValueError("page from 1, page_size from 1 to 100")
    shown = rows[(number - 1) * size : number * size]
    if fields.get("use_has_next") == "true":
        return {name: shown, "has_next": number * size < len(rows)}
    return {name: shown, "total_count": len(rows)}
