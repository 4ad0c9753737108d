"""Douyin: its signature, what the twin refuses, windows that overflow, then pulls over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.conformance import Conformance
from connectors.declare import Ask, BrokenAnswerError, Outgoing, ProtocolError, RefusedError, ThrottledError
from connectors.extract import pull_source
from connectors.sandbox.world import Channel
from connectors.sources.douyin import SOURCE, decode, fault, parameters, sign, signature

_SECRETS = ("APP_KEY", "APP_SECRET", "ACCESS_TOKEN")
_WINDOW = {"update_time_start": 1793000000, "update_time_end": 1793001800, "page": 0, "size": 100}


class TestDouyin(Conformance):
    source = SOURCE
    days = 20
    orders = 60


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("hmac-sha256", "8a5350b8fdacaa753c0885ab9859d382a31de4add09c6943c1d34298bd2165f1"),
        ("md5", "a84d3597bbb7aaeb0540d1022623165c"),
    ],
)
def test_a_call_is_signed_as_other_clients_sign_it(method: str, expected: str) -> None:
    fields = {
        "app_key": "appkey123",
        "method": "order.searchList",
        "param_json": '{"page":0,"size":100}',
        "timestamp": "1800000000",
        "v": "2",
        "sign_method": method,
    }
    assert signature(fields, "secret123") == expected


def test_parameters_are_sorted_at_every_depth_and_not_escaped() -> None:
    assert parameters({"b": {"d": 1, "c": "甲/<&>"}, "a": [2]}) == '{"a":[2],"b":{"c":"甲/<&>","d":1}}'
    secrets = {"APP_KEY": "k", "APP_SECRET": "s", "ACCESS_TOKEN": "t"}
    asked = Outgoing("POST", "/order/searchList", body={"size": 1, "page": 0})
    signed = sign(asked, secrets, datetime(2026, 10, 31, tzinfo=UTC))
    assert list(signed.body) == ["page", "size"]
    assert (signed.params["method"], signed.params["timestamp"]) == ("order.searchList", "1793404800")


def test_the_twin_refuses_what_douyin_refuses(serve: Any) -> None:
    with serve("douyin", orders=10, level="none") as served:

        def sub_code(
            asked: Any = None,
            secrets: Any = None,
            path: str = "/order/searchList",
            late: timedelta = timedelta(0),
        ) -> Any:
            known = {name: served.env[f"ORDERHUB_DOUYIN_{name}"] for name in _SECRETS} | (secrets or {})
            call = sign(Outgoing("POST", path, body=_WINDOW | (asked or {})), known, datetime.now(UTC) - late)
            url = served.env["ORDERHUB_DOUYIN_URL"] + path
            body = httpx.post(url, params=dict(call.params), content=parameters(call.body)).json()
            return body["sub_code"]

        assert sub_code() == ""
        assert sub_code(late=timedelta(minutes=11)) == "isv.timestamp-invalid"
        assert sub_code(secrets={"APP_KEY": "0"}) == "isv.app-id-invalid"
        assert sub_code(secrets={"APP_SECRET": "0"}) == "isv.signature-invalid"
        assert sub_code(secrets={"ACCESS_TOKEN": "0"}) == "isv.access-token-expired"
        assert sub_code(path="/order/unknown") == "isp.api-service-off"
        assert sub_code({"page": 50}) == "isv.business-failed:40004"
        assert sub_code({"size": 101}) == "isv.business-failed:40004"


def test_faults_ask_for_what_helps() -> None:
    def said(code: int, sub_code: str = "") -> Any:
        return fault({"code": code, "msg": "m", "sub_code": sub_code, "sub_msg": ""})

    assert isinstance(said(60000), ThrottledError)
    assert isinstance(said(40003, "isv.access-token-expired"), RefusedError)
    assert "ORDERHUB_DOUYIN_ACCESS_TOKEN" in str(said(30001))
    assert isinstance(said(20000, "isp.service-error"), BrokenAnswerError)
    assert isinstance(said(40004), ProtocolError)
    assert said(10000) is None


def test_lists_are_found_whatever_they_are_called() -> None:
    detail = decode(b'{"code":10000,"data":{"process_info":{"after_sale_info":{"after_sale_id":1}}}}')
    assert detail["rows"] == [{"after_sale_id": 1}]
    assert decode(b'{"code":10000,"data":{"product_id":1,"spec_prices":[]}}')["rows"][0]["product_id"] == 1
    assert decode(b'{"code":10000,"data":{"total":0}}')["rows"] == []


def test_a_window_with_more_than_fifty_pages_is_halved(serve: Any, landing: Any, landed: Any) -> None:
    orders = SOURCE.stream("orders")
    # Fifty pages of a hundred are more than a small world has; five orders overflow alike.
    tight = orders.pages.model_copy(update={"size": 3, "count_size": 2, "ceiling": 5})
    source = SOURCE.model_copy(update={"streams": (orders.model_copy(update={"pages": tight}),)})
    with serve("douyin", orders=300, level="none") as served:
        (result,) = pull_source(source, landing, served.env)
        orders_there = served.sandbox.world.orders.values()
        placed = {order.number for order in orders_there if order.channel is Channel.DOUYIN}
    assert result.error is None
    assert len(placed) > 5
    assert {row["order_id"] for row in landed("orders")} == placed


def test_every_order_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("douyin", level="none") as served:
        results = pull("douyin", served.env)
        placed = [order for order in served.sandbox.world.orders.values() if order.channel is Channel.DOUYIN]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("orders")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        row = found[order.number]
        assert row["paid_amount"] == order.net_amount + order.tax_amount
        assert row["goods_amount"] - row["discount_amount"] + row["shipping_amount"] == order.net_amount
    refunds = [row["amount"] for row in landed("after_sale_details") if row["refund_status"] == 3]
    assert sum(refunds) == sum(taken.refund_amount for order in placed for taken in order.returns)
    assert len(refunds) == sum(len(order.returns) for order in placed)


def test_bills_tell_what_the_platform_kept(serve: Any, pull: Any, landed: Any, paid_and_sent: Any) -> None:
    with serve("douyin", orders=300, level="none") as served:
        world = served.sandbox.world
        result = pull("douyin", served.env, streams=["settle_bills"])["settle_bills"]
    assert result.error is None
    kept = {
        row["order_id"]: row["income_amount"] - row["settled_amount"]
        for row in landed("settle_bills")
        if row["trade_type"] == 0
    }
    placed = {order.number: order for order in world.orders.values() if order.channel is Channel.DOUYIN}
    assert len(kept) > 3
    for number, fee in kept.items():
        assert fee == placed[number].channel_fee_amount
    sent = paid_and_sent(world, Channel.DOUYIN, world.now - timedelta(days=3))
    assert sent <= set(kept)


def test_the_next_page_begins_where_the_answer_says() -> None:
    pages = SOURCE.stream("settle_bills").pages
    ask = pages.first(Ask(json_body={"start_time": "2026-10-01 00:00:00"}))
    body = {"rows": [], "is_end": 0, "next_start_index": "7", "next_start_time": "2026-10-02 00:00:00"}
    following = pages.after(ask, body, 0, {})
    assert following is not None
    assert following.json_body == {"start_time": "2026-10-02 00:00:00", "size": 100, "start_index": "7"}
    assert pages.after(ask, {**body, "is_end": 1}, 0, {}) is None
