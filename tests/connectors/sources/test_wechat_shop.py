"""WeChat Shop: tokens, what the twin refuses, then pulls over HTTP."""

from __future__ import annotations

from typing import Any

import httpx

from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, BrokenAnswerError, ProtocolError, RefusedError, ThrottledError
from connectors.sandbox.world import Channel
from connectors.sources.wechat_shop import SOURCE, decode, fault, grant, is_outdated

_WEEK = {"update_time_range": {"start_time": 1792000000, "end_time": 1792604800}, "page_size": 100}


class TestWechatShop(Conformance):
    source = SOURCE
    days = 20
    orders = 60


def test_the_twin_refuses_what_wechat_refuses(serve: Any) -> None:
    with serve("wechat_shop", orders=10, level="none") as served:
        url = served.env["ORDERHUB_WECHAT_SHOP_URL"]
        known = {name: served.env[f"ORDERHUB_WECHAT_SHOP_{name}"] for name in ("APPID", "SECRET")}

        def token(**changed: str) -> Any:
            return httpx.post(f"{url}/cgi-bin/stable_token", json=grant(known | changed)).json()

        def code(path: str, body: Any, access_token: str) -> Any:
            address = f"{url}/channels/ec/{path}"
            return httpx.post(address, params={"access_token": access_token}, json=body).json()["errcode"]

        assert token(APPID="wx0")["errcode"] == 40013
        assert token(SECRET="0")["errcode"] == 40125
        good = token()
        assert (token(), good["expires_in"]) == (good, 7200)
        right = good["access_token"]
        assert code("order/list/get", _WEEK, right) == 0
        assert code("order/list/get", _WEEK, "0") == 40001
        long = {"update_time_range": {"start_time": 1792000000, "end_time": 1792604801}}
        assert code("order/list/get", _WEEK | long, right) == 31042
        assert code("order/list/get", _WEEK | {"page_size": 101}, right) == 40097
        assert code("product/list/get", {"page_size": 31}, right) == 40097
        day = {"begin_update_time": 1792000000, "end_update_time": 1792086401}
        assert code("aftersale/getaftersalelist", day, right) == 10020004


def test_the_token_is_in_the_query_and_asked_for_once(serve: Any) -> None:
    stream = SOURCE.stream("product_numbers")
    with serve("wechat_shop", orders=10) as served, Client(SOURCE, served.env) as client:
        ask = stream.ask(Bounds())
        for _ in range(3):
            assert len(client.send(stream, ask).body["rows"]) == 30
        assert served.sandbox.stats()["wechat_shop"]["requests"] == 4


def test_faults_ask_for_what_helps() -> None:
    def said(code: int) -> Any:
        return fault({"errcode": code, "errmsg": "m"})

    assert isinstance(said(45011), ThrottledError)
    assert isinstance(said(40125), RefusedError)
    assert "ORDERHUB_WECHAT_SHOP_SECRET" in str(said(48001))
    assert isinstance(said(-1), BrokenAnswerError)
    assert isinstance(said(40097), ProtocolError)
    assert said(0) is None
    assert [is_outdated({"errcode": code}) for code in (40001, 42001, 40014, 40125, 0)] == [
        True, True, True, False, False,
    ]  # fmt: skip


def test_ids_become_records_and_an_empty_page_ends_a_list() -> None:
    page = decode(b'{"errcode":0,"order_id_list":["1","2"],"next_key":"k","has_more":true}')
    assert page == {
        "rows": [{"order_id": "1"}, {"order_id": "2"}],
        "has_more": True,
        "total_num": None,
        "next_key": "k",
    }
    assert decode(b'{"errcode":0,"product_ids":[],"next_key":"k"}')["next_key"] is None
    assert decode(b'{"errcode":0,"order":{"order_id":"1"}}')["rows"] == [{"order_id": "1"}]


def test_every_order_arrives_with_its_money_and_its_buyer(serve: Any, pull: Any, landed: Any) -> None:
    with serve("wechat_shop", orders=300, level="none") as served:
        streams = ["order_numbers", "orders", "after_sale_numbers", "after_sales"]
        results = pull("wechat_shop", served.env, streams=streams)
        orders = served.sandbox.world.orders.values()
    placed = [order for order in orders if order.channel is Channel.WECHAT_SHOP]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("orders")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        row = found[order.number]
        assert row["paid_amount"] == order.net_amount + order.tax_amount
        assert row["paid_amount"] == row["goods_amount"] - row["discount_amount"] + row["shipping_amount"]
    buyers = {row["giver_openid"] or row["openid"] for row in found.values()}
    assert len(buyers) == len({order.customer_id for order in placed})
    refunds = [row["amount"] for row in landed("after_sales") if row["status"].endswith("SUCCESS")]
    assert sum(refunds) == sum(taken.refund_amount for order in placed for taken in order.returns)
