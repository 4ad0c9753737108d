"""WeChat Shop (微信小店) as the sandbox company's shop there: tax is in the prices.

What is dirty here: presents that one person gives another, masked receivers, noughts where nothing happened, the seller's
code left out or typed in full width, after-sales that were withdrawn, errors of every kind answered 200.

Source: https://developers.weixin.qq.com/doc/store/shop/ (the calls of `connectors.sources.wechat_shop`)
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.marketplace import CARRIERS, REASONS, Shop, Stage, fen, seconds
from connectors.sandbox.notify import Change
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Product, Return, World

Json = dict[str, Any]
_STATUSES = {
    Stage.UNPAID: 10,
    Stage.CANCELLED: 250,
    Stage.UNSENT: 20,
    Stage.PART_SENT: 21,
    Stage.SENT: 30,
    Stage.CLOSED: 100,
    Stage.REFUNDED: 200,
}

_ORDER_WINDOW, _AFTER_SALE_WINDOW = timedelta(days=7), timedelta(days=1)
_TOKEN_SECONDS = 7200


class _CallError(Exception):
    """A call that is answered with an `errcode`."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.body = {"errcode": code, "errmsg": f"{message} rid: 6548f5c3-1d2d3c8a-0b2b9f7e"}


def _refuse(wait: float) -> Response:
    return JSONResponse(_CallError(45011, "api minute-quota reach limit mustslower retry next minute").body)


class Twin:
    """The shop's part of WeChat's API over one world."""

    name = "wechat_shop"
    rate_limit = RateLimit(limit=400, window=2.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self.deleted: set[str] = set()
        self._shop = Shop(
            world, dirt, Channel.WECHAT_SHOP, states_tax=False, buyer_prefix="o", buyer_length=27
        )
        self._world, self._dirt, self._credentials = world, dirt, credentials

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_WECHAT_SHOP_URL": f"{base_url}/wechat",
            "ORDERHUB_WECHAT_SHOP_SINCE": self._shop.opened_at.isoformat(),
            "ORDERHUB_WECHAT_SHOP_APPID": self._appid,
            "ORDERHUB_WECHAT_SHOP_SECRET": self._credentials.secret("wechat_shop", "SECRET", 32),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/wechat/{place:path}", self._answer, methods=["POST"])]

    def changed(self, since: datetime) -> Iterable[Change]:
        """Orders that were placed or moved on since then."""
        return [
            ("channels_ec_order_pay", number)
            for number, row in self._orders.items()
            if int(row["update_time"]) >= seconds(since)
        ]

    def truth(self) -> Iterable[Truth]:
        yield from self._shop.truth("orders", ("skus",))

    @property
    def _appid(self) -> str:
        return "wx" + self._credentials.secret("wechat_shop", "APPID", 16)

    # --- what the shop shows ------------------------------------------------------------------------------------------

    @cached_property
    def _orders(self) -> dict[str, Json]:
        return {order.number: self._order(order) for order in self._shop.orders}

    def _order(self, order: Order) -> Json:
        shop, key = self._shop, f"order/{order.order_id}"
        region, city, district = shop.place(order)
        lines = shop.lines(order)
        buyer = shop.buyer_id(order)
        is_present = self._dirt.fraction(f"{key}/present") < 0.08
        people: Json = {"openid": buyer, "is_present": False}
        if is_present:
            taker = self._dirt.token(f"{key}/taker", 27, "abcdefghijkmnpqrstuvwxyz0123456789")
            people = {"openid": f"o{taker}", "is_present": True, "present_giver_openid": buyer}
        detail: Json = {
            "product_infos": [self._order_product(order, number) for number in range(len(lines))],
            "price_info": {
                "product_price": fen(sum((shown.gross for shown in lines), start=order.gross_amount * 0)),
                "discounted_price": fen(
                    sum((shown.discount for shown in lines), start=order.gross_amount * 0)
                ),
                "freight": fen(order.shipping_amount),
                "order_price": fen(shop.total(order)),
            },
            "pay_info": {"payment_method": 1, "pay_time": seconds(order.paid_at)},
            "delivery_info": {
                "deliver_method": 0,
                "ship_done_time": seconds(shop.shipped_at(order)) if shop.is_sent(order) else 0,
                "address_info": {
                    "user_name": shop.name_mask(order),
                    "tel_number": shop.phone_mask(order),
                    "province_name": region,
                    "city_name": city,
                    "county_name": district,
                    "detail_info": "*" * 6,
                    "national_code": "156",
                },
                "delivery_product_info": self._deliveries(order),
            },
            "ext_info": {
                "customer_notes": "",
                "confirm_receipt_time": seconds(order.closed_at),
            },
        }
        if order.paid_at is not None:
            detail["pay_info"]["transaction_id"] = "42000" + self._dirt.token(f"{key}/pay", 23, "0123456789")
        if order.closed_at is not None:
            detail["settle_info"] = {"commission_fee": fen(order.channel_fee_amount)}
        if self._dirt.is_invalid(key):
            detail["price_info"]["order_price"] = "-"
        return {
            "order_id": order.number,
            "status": _STATUSES[self._shop.stage(order)],
            **people,
            "create_time": seconds(order.placed_at),
            "update_time": seconds(shop.updated_at(order)),
            "order_detail": detail,
        }

    def _order_product(self, order: Order, number: int) -> Json:
        shop = self._shop
        shown = shop.lines(order)[number]
        line, product = shown.line, shop.product(shown.line)
        back = sum(taken.quantity for taken in order.returns if taken.line_number == line.line_number)
        is_invalid = self._dirt.is_invalid(f"order/{order.order_id}/line/{line.line_number}")
        return {
            "product_id": str(shop.item_id(product)),
            "sku_id": str(shop.sku_id(product)),
            "sku_code": shop.code(product) or "",
            "out_product_id": "",
            "out_sku_id": "",
            "title": shop.title(product),
            "sku_cnt": -line.quantity if is_invalid else line.quantity,
            "sale_price": fen(shown.unit_price),
            "market_price": fen(shown.unit_price),
            "real_price": fen(shown.paid),
            "finish_aftersale_sku_cnt": back,
            "on_aftersale_sku_cnt": 0,
        }

    def _deliveries(self, order: Order) -> list[Json]:
        return [
            {
                "waybill_id": shipment.tracking_number,
                "delivery_id": CARRIERS[shipment.carrier][0],
                "delivery_name": CARRIERS[shipment.carrier][1],
                "delivery_time": seconds(shipment.dispatched_at),
                "deliver_type": 1,
            }
            for shipment in order.shipments
        ]

    @cached_property
    def _after_sales(self) -> dict[str, Json]:
        rows = [self._returned(order, taken) for order, taken, _ in self._shop.returns()]
        for order, at in self._shop.withdrawn():
            row = {
                "after_sale_order_id": self._dirt.token(f"withdrawn/{order.order_id}", 16, "123456789"),
                "status": "USER_CANCELD",
                "type": "REFUND",
                "reason_text": "拍错/多拍",
                "refund_info": {"amount": fen(order.lines[0].list_amount)},
                "create_time": seconds(at - timedelta(hours=6)),
                "update_time": seconds(at),
            }
            rows.append(self._of(order, 1, order.lines[0].quantity) | row)
        return {row["after_sale_order_id"]: row for row in rows}

    def _returned(self, order: Order, taken: Return) -> Json:
        return self._of(order, taken.line_number, taken.quantity) | {
            "after_sale_order_id": self._dirt.token(taken.return_id, 16, "123456789"),
            "status": "MERCHANT_RETURN_SUCCESS",
            "type": "RETURN",
            "reason_text": REASONS[taken.reason],
            "refund_info": {"amount": fen(taken.refund_amount)},
            "return_info": {
                "waybill_id": "SF" + self._dirt.token(f"back/{taken.return_id}", 13, "0123456789"),
                "delivery_id": "SF",
            },
            "create_time": seconds(taken.received_at - timedelta(days=3)),
            "update_time": seconds(taken.refunded_at),
        }

    def _of(self, order: Order, number: int, quantity: int) -> Json:
        shop, product = self._shop, self._shop.product(order.lines[number - 1])
        about = {
            "product_id": str(shop.item_id(product)),
            "sku_id": str(shop.sku_id(product)),
            "count": quantity,
        }
        return {"order_id": order.number, "openid": shop.buyer_id(order), "product_info": about}

    @cached_property
    def _products(self) -> dict[str, Json]:
        return {
            str(self._shop.item_id(product)): self._product(product)
            for product in self._world.products.values()
        }

    def _product(self, product: Product) -> Json:
        shop = self._shop
        sku = {
            "sku_id": str(shop.sku_id(product)),
            "out_sku_id": "",
            "sku_code": shop.code(product) or "",
            "bar_code": shop.barcode(product) or "",
            "sale_price": fen(shop.price(product)),
            "stock_num": shop.offered(product),
        }
        return {
            "product_id": str(shop.item_id(product)),
            "out_product_id": "",
            "title": shop.title(product),
            "status": 5,
            "edit_time": seconds(shop.listed_at(product)),
            "skus": [sku],
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        place = "/" + request.path_params["place"]
        try:
            asked = json.loads(await request.body())
            if place == "/cgi-bin/stable_token":
                return JSONResponse(self._grant(asked))
            token = request.query_params.get("access_token")
            if not self._credentials.accepts("wechat_shop", "ACCESS_TOKEN", token, 64):
                raise _CallError(
                    40001, "invalid credential, access_token is invalid or not latest, could get access_token"
                )
            return JSONResponse({"errcode": 0, "errmsg": "ok", **self._call(place, asked)})
        except _CallError as error:
            return JSONResponse(error.body)
        except (KeyError, ValueError) as error:
            return JSONResponse(_CallError(40097, f"invalid args {error}").body)

    def _grant(self, asked: Json) -> Json:
        if asked.get("grant_type") != "client_credential":
            raise _CallError(40002, "invalid grant_type")
        if asked.get("appid") != self._appid:
            raise _CallError(40013, "invalid appid")
        if not self._credentials.accepts("wechat_shop", "SECRET", asked.get("secret"), 32):
            raise _CallError(40125, "invalid appsecret")
        token = self._credentials.secret("wechat_shop", "ACCESS_TOKEN", 64)
        return {"access_token": token, "expires_in": _TOKEN_SECONDS}

    def _call(self, place: str, asked: Json) -> Json:
        match place.removeprefix("/channels/ec/"):
            case "order/list/get":
                window = asked["update_time_range"]
                low, high = window["start_time"], window["end_time"]
                if not 0 <= high - low <= _ORDER_WINDOW.total_seconds():
                    raise _CallError(31042, "time range exceeds 7 days")
                found = _within(self._orders, low, high)
                return _page(found, asked, "order_id_list", int(asked["page_size"]), 100)
            case "order/get":
                return {"order": _found(self._orders, asked["order_id"])}
            case "aftersale/getaftersalelist":
                low, high = asked["begin_update_time"], asked["end_update_time"]
                if not 0 <= high - low <= _AFTER_SALE_WINDOW.total_seconds():
                    raise _CallError(10020004, "time range exceeds 24 hours")
                return _page(_within(self._after_sales, low, high), asked, "after_sale_order_id_list", 50, 50)
            case "aftersale/getaftersaleorder":
                return {"after_sale_order": _found(self._after_sales, asked["after_sale_order_id"])}
            case "product/list/get":
                kept = [key for key in self._products if key not in self.deleted]
                page = _page(kept, asked, "product_ids", int(asked["page_size"]), 30)
                # Products do not say whether there are more: a page without any is the last.
                return {name: value for name, value in page.items() if name != "has_more"} | {
                    "total_num": len(kept)
                }
            case "product/get":
                if asked["product_id"] not in self._products or asked["product_id"] in self.deleted:
                    raise _CallError(10020052, "product not exist")
                return {"product": self._products[asked["product_id"]]}
        raise _CallError(40066, "invalid url")


def _found(rows: dict[str, Json], key: Any) -> Json:
    if key not in rows:
        raise ValueError(f"{key} not found")
    return rows[key]


def _within(rows: dict[str, Json], low: int, high: int) -> list[str]:
    """Ids of the rows whose change time lies in the window, oldest first."""
    at: Callable[[str], int] = lambda key: int(rows[key]["update_time"])  # noqa: E731
    return sorted((key for key in rows if low <= at(key) <= high), key=at)


def _page(ids: list[str], asked: Json, name: str, size: int, most: int) -> Json:
    if not 1 <= size <= most:
        raise ValueError(f"page_size from 1 to {most}")
    start = int(asked.get("next_key") or 0)
    end = start + size
    return {name: ids[start:end], "next_key": str(end), "has_more": end < len(ids)}
