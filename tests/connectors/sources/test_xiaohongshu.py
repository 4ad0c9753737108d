"""Xiaohongshu: its signature, what the twin refuses, then pulls over HTTP."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from connectors.conformance import Conformance
from connectors.declare import (
    Bounds,
    BrokenAnswerError,
    Outgoing,
    ProtocolError,
    RefusedError,
    ThrottledError,
)
from connectors.sandbox.world import Channel
from connectors.sources.xiaohongshu import SOURCE, AfterSaleDetail, decode, fault, sign, signature

_SECRETS = ("APP_ID", "APP_SECRET", "ACCESS_TOKEN")
_HALF_HOUR = {
    "method": "order.getOrderList",
    "timeType": 2,
    "startTime": 1793000000,
    "endTime": 1793001800,
    "pageNo": 1,
    "pageSize": 100,
}


class TestXiaohongshu(Conformance):
    source = SOURCE
    days = 20
    orders = 60


def test_a_call_is_signed_as_the_documentation_describes_it() -> None:
    fields = {"method": "order.getOrderList", "appId": "xhs", "timestamp": "1612518379", "version": "2.0"}
    text = "order.getOrderList?appId=xhs&timestamp=1612518379&version=2.0secret"
    assert signature(fields, "secret") == hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
    secrets = {"APP_ID": "xhs", "APP_SECRET": "secret", "ACCESS_TOKEN": "token"}
    asked = Outgoing("POST", "", body={"method": "order.getOrderList", "pageNo": 1})
    body = sign(asked, secrets, datetime.fromtimestamp(1612518379, UTC)).body
    assert body == {**fields, "pageNo": 1, "accessToken": "token", "sign": signature(fields, "secret")}


def test_the_twin_refuses_what_xiaohongshu_refuses(serve: Any) -> None:
    with serve("xiaohongshu", orders=10, level="none") as served:

        def message(asked: Any = None, secrets: Any = None) -> str:
            known = {name: served.env[f"ORDERHUB_XIAOHONGSHU_{name}"] for name in _SECRETS} | (secrets or {})
            call = sign(Outgoing("POST", "", body=_HALF_HOUR | (asked or {})), known, datetime.now(UTC))
            answer = httpx.post(served.env["ORDERHUB_XIAOHONGSHU_URL"], json=call.body).json()
            return str(answer["error_msg"])

        assert message() == ""
        assert "appId" in message(secrets={"APP_ID": "0"})
        assert "签名" in message(secrets={"APP_SECRET": "0"})
        assert "accessToken" in message(secrets={"ACCESS_TOKEN": "0"})
        assert "method" in message({"method": "order.unknown"})
        assert "endTime" in message({"endTime": 1793001801})
        assert "pageNo" in message({"pageNo": 101})
        assert message({"timeType": 1, "endTime": 1793000000 + 86400}) == ""


def test_windows_are_seconds_for_orders_and_milliseconds_for_after_sales() -> None:
    now = datetime(2026, 10, 31, tzinfo=UTC)
    bounds = Bounds(since=now - timedelta(minutes=30), until=now, is_first=True)
    orders = SOURCE.stream("order_numbers").ask(bounds).json_body
    after_sales = SOURCE.stream("after_sales").ask(bounds.model_copy(update={"is_first": False})).json_body
    assert (orders["timeType"], orders["endTime"]) == (1, 1793404800)
    assert (after_sales["timeType"], after_sales["endTime"]) == (2, 1793404800000)


def test_faults_ask_for_what_helps() -> None:
    def said(message: str) -> Any:
        return fault({"success": False, "error_code": -1, "error_msg": message})

    assert isinstance(said("请求过于频繁"), ThrottledError)
    assert isinstance(said("accessToken 已过期"), RefusedError)
    assert "ORDERHUB_XIAOHONGSHU_ACCESS_TOKEN" in str(said("签名错误"))
    assert isinstance(said("系统异常"), BrokenAnswerError)
    assert isinstance(said("参数错误"), ProtocolError)
    assert fault({"success": True, "data": {"total": 0}}) is None
    inner = {"success": False, "code": -1, "msg": "售后单不存在"}
    assert isinstance(fault({"success": True, "data": inner}), ProtocolError)


def test_an_envelope_within_the_envelope_is_opened() -> None:
    inner = b'{"code":0,"success":true,"data":{"afterSaleBasicInfos":[{"returnsId":"R1"}],"totalCount":1}}'
    answer = decode(b'{"success":true,"error_code":0,"data":' + inner + b"}")
    assert answer == {"rows": [{"returnsId": "R1"}], "total": 1}


def test_after_sales_of_several_skus_name_none() -> None:
    one = {"skuId": "1", "appliedCount": 2}
    assert AfterSaleDetail.model_validate({"returnsId": "R", "skus": [one]}).sku_id == "1"
    assert AfterSaleDetail.model_validate({"returnsId": "R", "skus": [one, one]}).sku_id is None


def test_every_order_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("xiaohongshu", level="none") as served:
        results = pull("xiaohongshu", served.env)
        orders = served.sandbox.world.orders.values()
    placed = [order for order in orders if order.channel is Channel.XIAOHONGSHU]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("orders")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        skus = [row for row in landed("order_skus") if row["order_id"] == order.number]
        assert found[order.number]["paid_amount"] == order.net_amount + order.tax_amount
        assert found[order.number]["shipping_amount"] == order.shipping_amount
        assert sum(row["tax_amount"] for row in skus) == order.tax_amount
        assert sum(row["merchant_discount_amount"] for row in skus) == order.discount_amount
        assert (
            sum(row["paid_amount"] for row in skus) + order.shipping_amount
            == order.net_amount + order.tax_amount
        )
    refunds = [row["amount"] for row in landed("after_sale_details") if row["refund_status"] == 2]
    assert sum(refunds) == sum(taken.refund_amount for order in placed for taken in order.returns)


def test_transactions_tell_what_was_kept_of_an_order(
    serve: Any, pull: Any, landed: Any, paid_and_sent: Any
) -> None:
    with serve("xiaohongshu", orders=300, level="none") as served:
        result = pull("xiaohongshu", served.env, streams=["transactions"])["transactions"]
        world = served.sandbox.world
    assert result.error is None
    placed = {order.number: order for order in world.orders.values() if order.channel is Channel.XIAOHONGSHU}
    rows = landed("transactions")
    settled = {row["order_id"]: row for row in rows if row["settle_kind"] == 0}
    sent = paid_and_sent(world, Channel.XIAOHONGSHU, world.now - timedelta(days=2))
    assert len(sent) > 3
    assert sent <= set(settled)
    for number, row in settled.items():
        order = placed[number]
        assert row["commission_amount"] == order.channel_fee_amount
        assert row["payment_channel_amount"] == order.payment_fee_amount
        kept = order.channel_fee_amount + order.payment_fee_amount
        assert row["moved_amount"] + kept == order.net_amount + order.tax_amount
    taken = [row["moved_amount"] for row in rows if row["settle_kind"] == 1]
    assert sum(taken) == -sum(back.refund_amount for order in placed.values() for back in order.returns)


def test_transactions_are_asked_for_by_the_day_of_their_settlement() -> None:
    now = datetime(2026, 10, 31, tzinfo=UTC)
    stream = SOURCE.stream("transactions")
    ask = stream.pages.first(stream.ask(Bounds(since=now - timedelta(days=1), until=now)))
    assert ask.json_body == {
        "method": "finance.pageQueryTransaction",
        "commonSettleStatus": 1,
        "startTime": 1793318400000,
        "endTime": 1793404800000,
        "pageNum": 1,
        "pageSize": ask.json_body["pageSize"],
    }
