"""Tmall: Taobao's own example of a signature, what the twin refuses, then pulls over HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from connectors.conformance import Conformance
from connectors.declare import BrokenAnswerError, Outgoing, ProtocolError, RefusedError, ThrottledError
from connectors.sandbox.world import Channel
from connectors.sources.tmall import SOURCE, TradeDetail, decode, fault, sign, signature

_SECRETS = {"APP_KEY": "1", "APP_SECRET": "s", "SESSION": "n"}
_DAY = {
    "method": "taobao.trades.sold.increment.get",
    "fields": "tid",
    "start_modified": "2026-10-01 00:00:00",
    "end_modified": "2026-10-02 00:00:00",
}


class TestTmall(Conformance):
    source = SOURCE
    days = 20
    orders = 60


def test_the_example_of_the_documentation_is_signed_alike() -> None:
    fields = {
        "method": "taobao.item.seller.get",
        "app_key": "12345678",
        "session": "test",
        "timestamp": "2016-01-01 12:00:00",
        "format": "json",
        "v": "2.0",
        "sign_method": "md5",
        "fields": "num_iid,title,nick,price,num",
        "num_iid": "11223344",
    }
    assert signature(fields, "helloworld") == "66987CB115214E59E6EC978214934FB8"


def test_a_call_is_a_form_with_china_time() -> None:
    asked = Outgoing("GET", "", {"method": "m", "fields": "tid"})
    signed = sign(asked, _SECRETS, datetime(2026, 10, 30, 20, 5, 6, tzinfo=UTC))
    assert (signed.method, signed.params, signed.form["timestamp"]) == ("POST", {}, "2026-10-31 04:05:06")
    unsigned = {name: value for name, value in signed.form.items() if name != "sign"}
    assert signed.form["sign"] == signature(unsigned, "s")


def test_the_twin_refuses_what_tmall_refuses(serve: Any) -> None:
    with serve("tmall", orders=10, level="none") as served:

        def code(asked: Any = None, secrets: Any = None, late: timedelta = timedelta(0)) -> Any:
            known = {name: served.env[f"ORDERHUB_TMALL_{name}"] for name in _SECRETS} | (secrets or {})
            form = sign(Outgoing("GET", "", _DAY | (asked or {})), known, datetime.now(UTC) - late).form
            body = httpx.post(served.env["ORDERHUB_TMALL_URL"], data=dict(form)).json()
            return body.get("error_response", {}).get("code")

        assert code() is None
        assert code(late=timedelta(minutes=11)) == 31
        assert code(secrets={"APP_KEY": "0"}) == 29
        assert code(secrets={"APP_SECRET": "0"}) == 25
        assert code(secrets={"SESSION": "0"}) == 27
        assert code({"method": "taobao.unknown.get"}) == 22
        assert code({"end_modified": "2026-10-02 00:00:01"}) == 15
        assert code({"page_size": "101"}) == 41


def test_faults_ask_for_what_helps() -> None:
    def said(code: int, sub_code: str = "", sub_msg: str = "") -> Any:
        return fault({"error_response": {"code": code, "msg": "m", "sub_code": sub_code, "sub_msg": sub_msg}})

    throttled = said(7, "accesscontrol.limited", "This ban will last for 12 more seconds")
    assert isinstance(throttled, ThrottledError)
    assert throttled.wait_seconds == 12
    assert isinstance(said(27), RefusedError)
    assert "ORDERHUB_TMALL_SESSION" in str(said(27))
    assert isinstance(said(15, "isp.top-remote-connection-timeout"), BrokenAnswerError)
    assert isinstance(said(15, "isv.trade-not-exist"), ProtocolError)
    assert fault({"trades_sold_increment_get_response": {}}) is None


def test_lists_are_found_whatever_they_are_called() -> None:
    assert decode(b'{"a_response":{"trade":{"tid":1}}}') == {
        "rows": [{"tid": 1}],
        "total": None,
        "more": None,
    }
    assert decode(b'{"a_response":{"total_results":0}}')["rows"] == []


def test_every_trade_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("tmall", level="none") as served:
        results = pull("tmall", served.env)
        placed = [order for order in served.sandbox.world.orders.values() if order.channel is Channel.TMALL]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("trade_details")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        row = found[order.number]
        discount = row["order_discount_amount"] + row["own_discount_amount"]
        assert row["paid_amount"] == order.net_amount + order.tax_amount
        assert row["goods_amount"] - discount + row["shipping_amount"] == order.net_amount
        assert row["receiver_name_mask"].endswith("*")
    refunds = [row["amount"] for row in landed("refunds") if row["status"] == "SUCCESS"]
    assert sum(refunds) == sum(taken.refund_amount for order in placed for taken in order.returns)
    assert len(refunds) == sum(len(order.returns) for order in placed)


def test_an_order_without_a_discount_is_no_trade() -> None:
    with pytest.raises(ValueError, match="discount_fee"):
        TradeDetail.model_validate({"tid": 1, "status": "s", "orders": {"order": [{}]}})
