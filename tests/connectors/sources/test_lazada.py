"""Lazada: its signature, its tokens and its errors inside an answer 200, then pulls over HTTP."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import (
    Ask,
    Bounds,
    BrokenAnswerError,
    OffsetPages,
    ProtocolError,
    RefusedError,
    Secrets,
    ThrottledError,
)
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sandbox.world import Channel
from connectors.sources.lazada import SOURCE, OrderItem, Transaction, fault, sign

BASE = "http://api.example/rest"
VALUES = {
    "ORDERHUB_LAZADA_APP_KEY": "123456",
    "ORDERHUB_LAZADA_APP_SECRET": "helloworld",
    "ORDERHUB_LAZADA_REFRESH_TOKEN": "refresh-1",
    "ORDERHUB_LAZADA_TOKEN_URL": "http://auth.example/rest",
}


class TestLazada(Conformance):
    source = SOURCE


def test_the_example_of_the_documentation_is_signed_alike() -> None:
    params = {
        "app_key": "123456",
        "access_token": "test",
        "timestamp": "1517820392000",
        "sign_method": "sha256",
        "order_id": "1234",
    }
    assert sign("/order/get", params, "helloworld") == (
        "4190D32361CFB9581350222F345CB77F3B19F0E31D162316848A2C1FFD5FAB4A"
    )


def test_errors_inside_an_answer_are_found() -> None:
    assert fault({"code": "0", "data": {}}) is None
    limit = fault(
        {
            "code": "ApiCallLimit",
            "type": "ISP",
            "message": "This ban will last for 3 more seconds",
            "request_id": "r",
        }
    )
    assert isinstance(limit, ThrottledError) and limit.wait_seconds == pytest.approx(3.1)
    token = fault(
        {"code": "IllegalAccessToken", "type": "ISP", "message": "invalid or expired", "request_id": "r"}
    )
    assert isinstance(token, RefusedError) and "ORDERHUB_LAZADA_REFRESH_TOKEN" in str(token)
    assert isinstance(
        fault({"code": "ServiceTimeout", "type": "SYSTEM", "message": "busy"}), BrokenAnswerError
    )
    wrong = fault({"code": "36", "type": "ISV", "message": "Invalid date format", "request_id": "0ba2"})
    assert isinstance(wrong, ProtocolError) and "request 0ba2" in str(wrong)


def test_a_token_is_refreshed_when_it_is_refused_and_the_newest_refresh_token_is_used() -> None:
    seen: list[str] = []
    valid = {"token": "one"}

    def serve(request: httpx.Request) -> httpx.Response:
        params = dict(request.url.params)
        given = params.pop("sign")
        path = request.url.path.removeprefix("/rest")
        assert given == sign(path, params, "helloworld")
        if request.url.host == "auth.example":
            seen.append(params["refresh_token"])
            body = {
                "access_token": valid["token"],
                "refresh_token": "refresh-2",
                "expires_in": 3600,
                "code": "0",
            }
            return httpx.Response(200, json=body)
        is_known = params["access_token"] == valid["token"]
        seen.append("known" if is_known else "unknown")
        code = "0" if is_known else "IllegalAccessToken"
        return httpx.Response(200, json={"code": code})

    with httpx.Client(transport=httpx.MockTransport(serve), auth=_flow()) as client:
        client.get(f"{BASE}/orders/get", params={"update_after": "2026-09-01T00:00:00+00:00"})
        valid["token"] = "two"
        assert client.get(f"{BASE}/orders/get").json() == {"code": "0"}
    assert seen == ["refresh-1", "known", "unknown", "refresh-2", "known"]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(503), BrokenAnswerError, "503"),
        (httpx.Response(200, text="<html>"), BrokenAnswerError, "not JSON"),
        (httpx.Response(200, json={"code": "ApiCallLimit", "message": "slower"}), ThrottledError, "slower"),
        (
            httpx.Response(200, json={"code": "IllegalRefreshToken", "message": "expired"}),
            RefusedError,
            "180 days",
        ),
    ],
    ids=["busy", "html", "limit", "expired"],
)
def test_a_failed_refresh_says_why(answer: httpx.Response, error: type[Exception], says: str) -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer), auth=_flow()) as client:
        with pytest.raises(error, match=says):
            client.get(f"{BASE}/orders/get")


def test_times_keep_the_offset_they_were_printed_with() -> None:
    item = {
        "order_item_id": 1, "order_id": 2, "status": "shipped", "currency": "SGD", "item_price": 10.9, "paid_price": "9.81",
        "voucher_amount": 1.09, "tax_amount": 0.81, "shipping_amount": 0, "payment_time": "", "buyer_id": "",
        "created_at": "2026-09-25 15:14:34 +0800", "updated_at": "2026-09-25 15:14:34 +0800",
    }  # fmt: skip
    read = OrderItem.model_validate(item)
    assert read.created_at == datetime(2026, 9, 25, 7, 14, 34, tzinfo=UTC)
    assert read.created_at.utcoffset() is not None and read.created_at.utcoffset().total_seconds() == 28_800  # type: ignore[union-attr]
    assert (read.item_price_amount, read.paid_amount, read.paid_at) == (
        Decimal("10.9000"),
        Decimal("9.81"),
        None,
    )


def test_an_order_that_moves_to_the_end_hides_none() -> None:
    rows = list(range(30))
    pages = OffsetPages(offset="params.offset", limit="params.limit", size=10, overlap=2, total="total")
    found: list[int] = []
    ask: Ask | None = pages.first(Ask())
    while ask is not None:
        page = rows[ask.params["offset"] : ask.params["offset"] + 10]
        found += page
        rows.append(rows.pop(0))  # the first one changes: all the others move up
        ask = pages.after(ask, {"total": len(rows)}, len(page), {})
    assert set(found) == set(range(30))


def test_a_wrong_secret_is_refused_by_the_signature(serve: Any) -> None:
    with serve("lazada") as served:
        wrong = {**served.env, "ORDERHUB_LAZADA_APP_SECRET": "wrong"}
        stream = SOURCE.stream("orders")
        with Client(SOURCE, wrong) as client, pytest.raises(RefusedError, match="does not conform"):
            client.send(stream, stream.pages.first(stream.ask(Bounds())))


def test_beyond_the_ceiling_the_list_starts_anew(serve: Any, landing: Landing) -> None:
    pages = OffsetPages(
        offset="params.offset", limit="params.limit", size=5, overlap=1, total="data.countTotal", ceiling=20
    )
    orders = SOURCE.stream("orders").model_copy(update={"pages": pages})
    with serve("lazada", orders=900) as served:
        [result] = pull_source(SOURCE.model_copy(update={"streams": (orders,)}), landing, served.env)
        placed = [o for o in served.sandbox.world.orders.values() if o.channel is Channel.LAZADA]
    assert result.error is None
    assert result.changed + result.quarantined >= len(placed) > 20


def test_every_order_lands_with_the_money_it_has(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("lazada", orders=700, level="none") as served:
        results = pull("lazada", served.env)
        truth = {o.number: o for o in served.sandbox.world.orders.values() if o.channel is Channel.LAZADA}
    assert [result.quarantined for result in results.values()] == [0] * len(results)
    sums: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in landed("order_items"):
        for name in ("item_price_amount", "paid_amount", "voucher_amount", "tax_amount", "shipping_amount"):
            sums[row["order_id"]][name] += row[name]
    shipping = {row["order_id"]: row["shipping_amount"] for row in landed("orders")}
    assert set(sums) == set(shipping) == set(truth)
    for number, order in truth.items():
        found = sums[number]
        assert found["item_price_amount"] - found["tax_amount"] == order.gross_amount
        assert found["voucher_amount"] == order.discount_amount
        assert found["tax_amount"] == order.tax_amount
        assert found["shipping_amount"] == shipping[number] == order.shipping_amount
        assert found["paid_amount"] - found["tax_amount"] + shipping[number] == order.net_amount
    refunds = sum(row["hundredth_amount"] for row in landed("reverse_order_lines"))
    assert refunds == sum(taken.refund_amount for order in truth.values() for taken in order.returns)


def _flow() -> httpx.Auth:
    return SOURCE.auth.open(Secrets("lazada", VALUES), BASE)


def test_statements_tell_every_fee_of_what_was_sent(serve: Any, pull: Any, landed: Any) -> None:
    with serve("lazada", orders=300, level="none") as served:
        world = served.sandbox.world
        results = pull("lazada", {**served.env, "ORDERHUB_LAZADA_SINCE": "2026-01-01T00:00:00Z"})
    assert [result.error for result in results.values()] == [None] * len(results)
    told: dict[str, dict[str, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    for row in landed("transactions"):
        told[row["order_number"]][row["fee_name"]] += row["amount"]
    # Booked a day after the first parcel left.
    sent = {
        order.number: order
        for order in world.orders.values()
        if order.channel is Channel.LAZADA
        and order.paid_at is not None
        and order.cancelled_at is None
        and order.shipments
        and min(one.dispatched_at for one in order.shipments) + timedelta(days=1) <= world.now
    }
    assert set(told) == set(sent)
    for number, order in sent.items():
        found = told[number]
        taken = found["Item Price Credit"] + found["Shipping Fee (Paid By Customer)"]
        assert taken == order.net_amount + order.tax_amount
        assert -found["Commission"] == order.channel_fee_amount
        assert -found["Payment Fee"] == order.payment_fee_amount
        assert -found["Reversal Item Price"] == sum(item.refund_amount for item in order.returns)


def test_a_statement_is_read_by_its_days() -> None:
    entry = {
        "transaction_number": "A1", "transaction_date": "06 Dec 2026", "fee_name": "Commission", "amount": "-15.2",
        "statement": "30 Nov 2026 - 06 Dec 2026", "order_no": "123456",
    }  # fmt: skip
    read = Transaction.model_validate(entry)
    assert (read.statement_from, read.statement_until) == (date(2026, 11, 30), date(2026, 12, 6))
    assert read.booked_at.astimezone(UTC) == datetime(2026, 12, 5, 16, tzinfo=UTC)
    for wrong in ("06 Dez 2026", "31 Feb 2026", "", None):
        with pytest.raises(ValueError, match=r"booked_at|transaction_date"):
            Transaction.model_validate({**entry, "transaction_date": wrong})
    assert Transaction.model_validate({**entry, "statement": ""}).statement_from is None
