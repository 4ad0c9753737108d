"""Tmall as the sandbox company's cross-border shop there: tax stands beside the prices.

What is dirty here: masked receivers, discounts of a trade that its orders share, freight in the payment of a trade's only
order, the seller's code left out or typed in full width, refunds that were withdrawn. Unlike the real one, which shows
three months, this shop shows all its trades.

Source: https://open.taobao.com (API call protocol, docId 101617; the calls of `connectors.sources.tmall`)
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.limit import RateLimit
from connectors.sandbox.marketplace import CARRIERS, CST, REASONS, Shop, Stage, local_text, yuan
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Order, Product, Return, World

Json = dict[str, Any]
_STATUSES = {
    Stage.UNPAID: "WAIT_BUYER_PAY",
    Stage.CANCELLED: "TRADE_CLOSED_BY_TAOBAO",
    Stage.UNSENT: "WAIT_SELLER_SEND_GOODS",
    Stage.PART_SENT: "SELLER_CONSIGNED_PART",
    Stage.SENT: "WAIT_BUYER_CONFIRM_GOODS",
    Stage.CLOSED: "TRADE_FINISHED",
    Stage.REFUNDED: "TRADE_CLOSED",
}

_CLOCK_TOLERANCE = timedelta(minutes=10)
_LONGEST_WINDOW = timedelta(days=1)


class _CallError(Exception):
    """A call TOP answers with `error_response`."""

    def __init__(self, code: int, msg: str, sub_code: str = "", sub_msg: str = "") -> None:
        super().__init__(msg)
        self.body = _error(code, msg, sub_code, sub_msg)


def _error(code: int, msg: str, sub_code: str = "", sub_msg: str = "") -> Json:
    said = {"code": code, "msg": msg, "request_id": "15ql7hzjh0x9b"}
    return {"error_response": said | ({"sub_code": sub_code, "sub_msg": sub_msg} if sub_code else {})}


def _refuse(wait: float) -> Response:
    said = f"This ban will last for {max(1, math.ceil(wait))} more seconds"
    return JSONResponse(_error(7, "App Call Limited", "accesscontrol.limited-by-app-access-count", said))


class Twin:
    """The Taobao Open Platform over one world."""

    name = "tmall"
    rate_limit = RateLimit(limit=400, window=2.0, refuse=_refuse)

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._shop = Shop(world, dirt, Channel.TMALL, states_tax=True, buyer_prefix="AAH", buyer_length=21)
        self._world, self._dirt, self._credentials = world, dirt, credentials

    def env(self, base_url: str) -> dict[str, str]:
        return {
            "ORDERHUB_TMALL_URL": f"{base_url}/router/rest",
            "ORDERHUB_TMALL_SINCE": self._shop.opened_at.isoformat(),
            "ORDERHUB_TMALL_APP_KEY": self._credentials.secret("tmall", "APP_KEY", 8),
            "ORDERHUB_TMALL_APP_SECRET": self._credentials.secret("tmall", "APP_SECRET"),
            "ORDERHUB_TMALL_SESSION": self._credentials.secret("tmall", "SESSION", 56),
        }

    def routes(self) -> Sequence[BaseRoute]:
        return [Route("/router/rest", self._answer, methods=["GET", "POST"])]

    def truth(self) -> Iterable[Truth]:
        yield from self._shop.truth("trade_details", ("skus",))

    # --- what the shop shows ------------------------------------------------------------------------------------------

    @cached_property
    def _trades(self) -> dict[str, Json]:
        return {order.number: self._trade(order) for order in self._shop.orders}

    def _trade(self, order: Order) -> Json:
        shop, key = self._shop, f"order/{order.order_id}"
        # A promotion of the whole trade, which its orders share, or one of each order.
        is_shared = self._dirt.fraction(f"{key}/shared") < 0.5
        is_step = self._dirt.fraction(f"{key}/step") < 0.05
        region, city, district = shop.place(order)
        row: Json = {
            "tid": int(order.number),
            "tid_str": order.number,
            "type": "step" if is_step else "fixed",
            "status": _STATUSES[self._shop.stage(order)],
            "created": local_text(order.placed_at),
            "modified": local_text(shop.updated_at(order)),
            "payment": yuan(shop.total(order)),
            "total_fee": yuan(order.gross_amount),
            "discount_fee": yuan(order.discount_amount if is_shared else Decimal(0)),
            "post_fee": yuan(order.shipping_amount),
            "order_tax_fee": yuan(order.tax_amount),
            "buyer_open_uid": shop.buyer_id(order),
            "receiver_name": shop.name_mask(order),
            "receiver_mobile": shop.phone_mask(order),
            "receiver_address": "*" * 8,
            "receiver_state": region,
            "receiver_city": city,
            "receiver_district": district,
            "orders": {"order": self._orders(order, is_shared)},
        }
        times = {"pay_time": order.paid_at, "consign_time": shop.shipped_at(order)}
        times["end_time"] = order.closed_at or order.cancelled_at
        row |= {name: local_text(at) for name, at in times.items() if at is not None}
        if is_step:
            row["step_trade_status"] = (
                "FRONT_PAID_FINAL_PAID" if order.paid_at else "FRONT_NOPAID_FINAL_NOPAID"
            )
        if order.closed_at is not None:
            row["commission_fee"] = yuan(order.channel_fee_amount)
        if self._dirt.is_invalid(key):
            row["total_fee"] = "面议"
        return row

    def _orders(self, order: Order, is_shared: bool) -> list[Json]:
        shop = self._shop
        rows: list[Json] = []
        refunds = {taken.line_number: taken for taken in order.returns}
        for shown in shop.lines(order):
            line, product = shown.line, shop.product(shown.line)
            own = Decimal(0) if is_shared else shown.discount
            payment = shown.gross - own + (order.shipping_amount if len(order.lines) == 1 else 0)
            key = f"order/{order.order_id}/line/{line.line_number}"
            row: Json = {
                "oid": self._oid(order, line.line_number),
                "num_iid": shop.item_id(product),
                "sku_id": str(shop.sku_id(product)),
                "title": shop.title(product),
                "num": -line.quantity if self._dirt.is_invalid(key) else line.quantity,
                "price": yuan(shown.unit_price),
                "discount_fee": yuan(own),
                "adjust_fee": "0.00",
                "payment": yuan(payment),
                "sub_order_tax_fee": yuan(shown.tax),
                "status": _STATUSES[self._shop.stage(order)],
                "refund_status": "SUCCESS" if line.line_number in refunds else "NO_REFUND",
            }
            sent = next(
                (parcel for parcel in order.shipments if any(n == line.line_number for n, _ in parcel.lines)),
                None,
            )
            if sent is not None:
                row |= {"invoice_no": sent.tracking_number, "consign_time": local_text(sent.dispatched_at)}
            code = shop.code(product)
            row |= {"outer_sku_id": code} if code else {}
            row |= {"part_mjz_discount": yuan(shown.discount)} if is_shared and shown.discount else {}
            rows.append(row)
        return rows

    def _oid(self, order: Order, line_number: int) -> int:
        # The only order of a trade has the trade's number.
        return int(order.number) if len(order.lines) == 1 else int(order.number) + line_number

    def _shippings(self, tid: str) -> list[Json]:
        order = next((order for order in self._shop.orders if order.number == tid), None)
        if order is None:
            raise _CallError(15, "Remote service error", "isv.trade-not-exist", "交易不存在")
        rows = []
        for shipment in order.shipments:
            row: Json = {
                "order_code": "LP" + self._dirt.token(shipment.shipment_id, 14, "0123456789"),
                "tid": int(tid),
                "out_sid": shipment.tracking_number,
                "company_name": CARRIERS[shipment.carrier][1],
                # The shop books its carriers itself: this says no more than that it sent the parcel.
                "status": "ACCEPTED_BY_RECEIVER",
                "created": local_text(shipment.packed_at),
                "modified": local_text(shipment.dispatched_at),
            }
            rows.append(row)
        return rows

    @cached_property
    def _refunds(self) -> list[Json]:
        rows = [self._refund(order, taken) for order, taken, _ in self._shop.returns()]
        for order, at in self._shop.withdrawn():
            row: Json = {
                "refund_id": self._dirt.token(f"withdrawn/{order.order_id}", 16, "0123456789"),
                "tid": int(order.number),
                "oid": self._oid(order, 1),
                "status": "CLOSED",
                "created": local_text(at - timedelta(hours=6)),
                "modified": local_text(at),
                "refund_fee": yuan(order.lines[0].list_amount),
                "reason": "拍错/多拍",
                "has_good_return": False,
                "num": order.lines[0].quantity,
            }
            rows.append(row)
        return rows

    def _refund(self, order: Order, taken: Return) -> Json:
        shop, line = self._shop, order.lines[taken.line_number - 1]
        row: Json = {
            "refund_id": self._dirt.token(taken.return_id, 16, "0123456789"),
            "tid": int(order.number),
            "oid": self._oid(order, taken.line_number),
            "status": "SUCCESS",
            "created": local_text(taken.received_at - timedelta(days=1)),
            "modified": local_text(taken.refunded_at),
            "refund_fee": yuan(taken.refund_amount),
            "reason": REASONS[taken.reason],
            "has_good_return": True,
            "num": taken.quantity,
        }
        code = shop.code(shop.product(line))
        return row | ({"outer_id": code} if code else {})

    def _item(self, product: Product) -> Json:
        shop = self._shop
        sku: Json = {
            "sku_id": shop.sku_id(product),
            "quantity": shop.offered(product),
            "price": yuan(shop.price(product)),
            "properties_name": f"规格:{product.size_qty}",
        }
        code, barcode = shop.code(product), shop.barcode(product)
        sku |= ({"outer_id": code} if code else {}) | ({"barcode": barcode} if barcode else {})
        return {
            "num_iid": shop.item_id(product),
            "title": shop.title(product),
            "modified": local_text(shop.listed_at(product)),
            "skus": {"sku": [sku]},
        }

    # --- the protocol -------------------------------------------------------------------------------------------------

    async def _answer(self, request: Request) -> Response:
        fields = dict(request.query_params) | dict(
            parse_qsl((await request.body()).decode(), keep_blank_values=True)
        )
        try:
            self._check(fields)
            name, body = self._call(fields)
        except _CallError as error:
            return JSONResponse(error.body)
        except (KeyError, ValueError) as error:
            return JSONResponse(_error(41, "Invalid arguments", "isv.invalid-parameter", f"{error}"))
        answer = f"{name.removeprefix('taobao.').replace('.', '_')}_response"
        return JSONResponse({answer: body | {"request_id": "15ql7hzjh0x9b"}})

    def _check(self, fields: Mapping[str, str]) -> None:
        if not self._credentials.accepts("tmall", "APP_KEY", fields.get("app_key"), 8):
            raise _CallError(29, "Invalid app Key", "isv.appkey-not-exists", "appkey不存在")
        try:
            told = datetime.strptime(fields.get("timestamp", ""), "%Y-%m-%d %H:%M:%S").replace(tzinfo=CST)
        except ValueError:
            raise _CallError(31, "Invalid timestamp") from None
        if abs(datetime.now(UTC) - told) > _CLOCK_TOLERANCE:
            raise _CallError(31, "Invalid timestamp")
        secret = self._credentials.secret("tmall", "APP_SECRET").encode()
        text = "".join(name + fields[name] for name in sorted(fields) if name != "sign").encode()
        digests = {
            "md5": hashlib.md5(secret + text + secret, usedforsecurity=False).hexdigest(),
            "hmac": hmac.new(secret, text, hashlib.md5).hexdigest(),
            "hmac-sha256": hmac.new(secret, text, hashlib.sha256).hexdigest(),
        }
        right = digests.get(fields.get("sign_method", ""))
        if right is None or not hmac.compare_digest(right.upper(), fields.get("sign", "")):
            raise _CallError(25, "Invalid signature", "isv.invalid-signature", "签名无效")
        if not self._credentials.accepts("tmall", "SESSION", fields.get("session"), 56):
            raise _CallError(27, "Invalid session", "invalid-sessionkey", "SessionKey非法")

    def _call(self, fields: Mapping[str, str]) -> tuple[str, Json]:
        method = fields.get("method", "")
        match method:
            case "taobao.trades.sold.increment.get":
                rows = _changed(list(self._trades.values()), fields, _LONGEST_WINDOW)
                shown = [{name: row[name] for name in ("tid", "status", "modified")} for row in rows]
                return method, _page(shown, fields, "trades", "trade", 100)
            case "taobao.trade.fullinfo.get":
                if fields["tid"] not in self._trades:
                    raise _CallError(15, "Remote service error", "isv.trade-not-exist", "交易不存在")
                return method, {"trade": self._trades[fields["tid"]]}
            case "taobao.logistics.orders.get":
                return method, _page(self._shippings(fields["tid"]), fields, "shippings", "shipping", 100)
            case "taobao.refunds.receive.get":
                return method, _page(_changed(self._refunds, fields), fields, "refunds", "refund", 100)
            case "taobao.items.onsale.get":
                rows = [self._item(product) for product in self._world.products.values()]
                shown = [{"num_iid": row["num_iid"], "modified": row["modified"]} for row in rows]
                return method, _page(shown, fields, "items", "item", 200)
            case "taobao.items.seller.list.get":
                wanted = fields["num_iids"].split(",")
                if len(wanted) > 20:
                    raise ValueError("num_iids: at most 20")
                rows = [self._item(product) for product in self._world.products.values()]
                return method, {"items": {"item": [row for row in rows if str(row["num_iid"]) in wanted]}}
        raise _CallError(22, "Invalid method", "isv.method-not-exists", "不存在的方法名")


def _changed(rows: list[Json], fields: Mapping[str, str], longest: timedelta | None = None) -> list[Json]:
    """Rows whose change time lies in the window, newest first."""
    start, end = (
        datetime.strptime(fields[name], "%Y-%m-%d %H:%M:%S") for name in ("start_modified", "end_modified")
    )
    if end < start or (longest is not None and end - start > longest):
        raise _CallError(
            15, "Remote service error", "isv.invalid-parameter:end_modified", "查询时间跨度不能超过一天"
        )
    found = [row for row in rows if fields["start_modified"] <= row["modified"] <= fields["end_modified"]]
    return sorted(found, key=lambda row: (row["modified"], str(row.get("tid"))), reverse=True)


def _page(rows: list[Json], fields: Mapping[str, str], many: str, one: str, most: int) -> Json:
    number, size = int(fields.get("page_no", 1)), int(fields.get("page_size", 40))
    if not (number >= 1 and 1 <= size <= most):
        raise ValueError(f"page_no from 1, page_size from 1 to {most}")
    shown = rows[(number - 1) * size : number * size]
    body: Json = {many: {one: shown}} if shown else {}
    if fields.get("use_has_next") == "true":
        return body | {"has_next": number * size < len(rows)}
    return body | {"total_results": len(rows)}
