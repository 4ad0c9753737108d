"""Pinduoduo: its own example of a signature, what the twin refuses, then pulls over HTTP."""

from __future__ import annotations

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
from connectors.sources.pinduoduo import SOURCE, decode, fault, sign, signature

_SECRETS = ("CLIENT_ID", "CLIENT_SECRET", "ACCESS_TOKEN")
_HALF_HOUR = {
    "type": "pdd.order.number.list.increment.get",
    "order_status": "5",
    "refund_status": "5",
    "is_lucky_flag": "0",
    "start_updated_at": "1793000000",
    "end_updated_at": "1793001800",
}


class TestPinduoduo(Conformance):
    source = SOURCE
    days = 20
    orders = 60


def test_the_example_of_the_documentation_is_signed_alike() -> None:
    fields = {
        "access_token": "asd78172s8ds9a921j9qqwda12312w1w21211",
        "client_id": "1",
        "data_type": "XML",
        "order_status": "1",
        "page": "1",
        "page_size": "10",
        "timestamp": "1480411125",
        "type": "pdd.order.number.list.get",
    }
    assert signature(fields, "testSecret") == "E4DE3ED21002510DED352819E7AE6775"


def test_the_twin_refuses_what_pinduoduo_refuses(serve: Any) -> None:
    with serve("pinduoduo", orders=10, level="none") as served:

        def code(asked: Any = None, secrets: Any = None, late: timedelta = timedelta(0)) -> Any:
            known = {name: served.env[f"ORDERHUB_PINDUODUO_{name}"] for name in _SECRETS} | (secrets or {})
            form = sign(Outgoing("GET", "", _HALF_HOUR | (asked or {})), known, datetime.now(UTC) - late).form
            body = httpx.post(served.env["ORDERHUB_PINDUODUO_URL"], data=dict(form)).json()
            return body.get("error_response", {}).get("error_code")

        assert code() is None
        assert code(late=timedelta(minutes=11)) == 10000
        assert code(secrets={"CLIENT_ID": "0"}) == 10001
        assert code(secrets={"CLIENT_SECRET": "0"}) == 20004
        assert code(secrets={"ACCESS_TOKEN": "0"}) == 10019
        assert code({"type": "pdd.unknown.get"}) == 10001
        assert code({"end_updated_at": "1793001801"}) == 10000
        assert code({"page_size": "101"}) == 10000
        assert code({"type": "pdd.order.information.get", "order_sn": "0"}) == 50001


def test_the_first_pull_asks_by_confirmation_and_later_ones_by_change() -> None:
    stream, now = SOURCE.stream("order_numbers"), datetime(2026, 10, 31, tzinfo=UTC)
    bounds = Bounds(since=now - timedelta(minutes=30), until=now)
    later = stream.ask(bounds).params
    first = stream.ask(bounds.model_copy(update={"is_first": True})).params
    assert (later["type"], later["start_updated_at"]) == ("pdd.order.number.list.increment.get", "1793403000")
    assert (first["type"], first["end_confirm_at"]) == ("pdd.order.list.get", "1793404800")


def test_faults_ask_for_what_helps() -> None:
    def said(code: int) -> Any:
        return fault({"error_response": {"error_code": code, "error_msg": "m", "sub_msg": None}})

    assert isinstance(said(70031), ThrottledError)
    assert isinstance(said(10019), RefusedError)
    assert "ORDERHUB_PINDUODUO_ACCESS_TOKEN" in str(said(10019))
    assert isinstance(said(52001), BrokenAnswerError)
    assert isinstance(said(10000), ProtocolError)
    assert fault({"goods_list_get_response": {}}) is None


def test_an_order_in_full_is_a_list_of_one() -> None:
    assert decode(b'{"order_info_get_response":{"order_info":{"order_sn":"1"}}}')["rows"] == [
        {"order_sn": "1"}
    ]


def test_every_order_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("pinduoduo", level="none") as served:
        results = pull("pinduoduo", served.env)
        orders = served.sandbox.world.orders.values()
    placed = [order for order in orders if order.channel is Channel.PINDUODUO and order.paid_at is not None]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("orders")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        row = found[order.number]
        assert row["paid_amount"] == order.net_amount + order.tax_amount
        assert row["paid_amount"] == row["goods_amount"] - row["discount_amount"] + row["shipping_amount"]
    refunds = [row["amount"] for row in landed("refunds") if row["status"] == 10]
    assert sum(refunds) == sum(taken.refund_amount for order in placed for taken in order.returns)
    assert len(refunds) == sum(len(order.returns) for order in placed)
