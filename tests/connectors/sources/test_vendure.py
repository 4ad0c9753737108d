"""Vendure: its session and its two kinds of errors, then pulls over HTTP.

`tests/live` pulls the real software with the same declaration.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from connectors.conformance import Conformance
from connectors.declare import Bounds, BrokenAnswerError, FatalError, RefusedError, Secrets
from connectors.extract import PullResult
from connectors.sandbox.world import Channel, Order
from connectors.sources.vendure import SOURCE, OrderLine, Session, decode, fault

BASE = "http://shop.example"
FORBIDDEN = {
    "errors": [
        {
            "message": "You are not currently authorized to perform this action",
            "path": ["orders"],
            "extensions": {"code": "FORBIDDEN"},
        }
    ],
    "data": None,
}


class TestVendure(Conformance):
    source = SOURCE


def test_an_increment_asks_for_what_changed_is_open_or_is_young() -> None:
    since = datetime(2026, 9, 30, 12, tzinfo=UTC)
    options = SOURCE.stream("orders").ask(Bounds(since=since)).json_body["variables"]["options"]
    assert options["sort"] == {"id": "ASC"}
    assert options["filter"] == {
        "active": {"eq": False},
        "_or": [
            {"updatedAt": {"after": "2026-09-30T11:59:59.999Z"}},
            {"orderPlacedAt": {"after": "2026-07-02T11:59:59.999Z"}},
            {"state": {"notIn": ["Delivered", "Cancelled"]}},
        ],
    }
    first = SOURCE.stream("orders").ask(Bounds()).json_body["variables"]["options"]
    assert first["filter"] == {"active": {"eq": False}}
    piece = SOURCE.stream("orders").ask(Bounds(since=since, until=datetime(2026, 10, 1, tzinfo=UTC)))
    assert piece.json_body["variables"]["options"]["filter"]["updatedAt"] == {
        "after": "2026-09-30T11:59:59.999Z",
        "before": "2026-10-01T00:00:00.000Z",
    }


def test_an_order_is_as_new_as_its_newest_part() -> None:
    order = {
        "updatedAt": "2026-09-01T10:00:00.000Z",
        "payments": [{"updatedAt": "2026-09-01T10:00:01.000Z", "refunds": [{"updatedAt": "2026-09-20T08:00:00.000Z"}]}],
        "fulfillments": [{"updatedAt": "2026-09-04T15:00:00.000Z"}],
        "history": {"items": [{"createdAt": "2026-09-01T10:00:00.000Z"}]},
    }  # fmt: skip
    bare = {"updatedAt": "2026-09-01T10:00:00.000Z", "payments": None, "fulfillments": None, "history": None}
    body = decode(json.dumps({"data": {"orders": {"items": [order, bare, None]}}}).encode())
    assert [row and row["changedAt"] for row in body["data"]["orders"]["items"]] == [
        "2026-09-20T08:00:00.000Z",
        "2026-09-01T10:00:00.000Z",
        None,
    ]


def test_amounts_are_whole_hundredths() -> None:
    line = {
        "id": "1", "productVariant": {"id": "2"}, "quantity": 1, "orderPlacedQuantity": 1, "unitPrice": 1499,
        "linePrice": 1499, "proratedLinePrice": 1349, "lineTax": 256,
    }  # fmt: skip
    assert OrderLine.model_validate(line).net_amount == Decimal("13.49")
    with pytest.raises(ValueError, match="whole number of hundredths"):
        OrderLine.model_validate(line | {"lineTax": 256.5})


def test_errors_inside_an_answer_are_found() -> None:
    assert fault({"data": {"orders": {"items": [], "totalItems": 0}}}) is None
    refused = fault(FORBIDDEN)
    assert isinstance(refused, RefusedError) and "permission to read orders" in str(refused)
    internal = {
        "errors": [{"message": "database is locked", "extensions": {"code": "INTERNAL_SERVER_ERROR"}}]
    }
    assert isinstance(fault(internal), BrokenAnswerError)
    too_many = {
        "errors": [
            {"message": "Cannot take more than 50 results", "extensions": {"code": "USER_INPUT_ERROR"}}
        ]
    }
    assert isinstance(fault(too_many), FatalError)
    result = {
        "data": {
            "order": {
                "__typename": "NoActiveOrderError",
                "errorCode": "NO_ACTIVE_ORDER_ERROR",
                "message": "no",
            }
        }
    }
    assert "NO_ACTIVE_ORDER_ERROR" in str(fault(result))


def test_a_session_that_ended_is_opened_anew_once() -> None:
    seen: list[str] = []
    valid = {"token": "first"}

    def serve(request: httpx.Request) -> httpx.Response:
        query = json.loads(request.content)["query"]
        if "login(" in query:
            seen.append("login")
            body = {"data": {"login": {"__typename": "CurrentUser"}}}
            return httpx.Response(200, json=body, headers={"vendure-auth-token": valid["token"]})
        is_known = request.headers["authorization"] == f"Bearer {valid['token']}"
        seen.append("known" if is_known else "unknown")
        return httpx.Response(
            200, json={"data": {"orders": []}} if is_known and valid["token"] != "none" else FORBIDDEN
        )

    with httpx.Client(transport=httpx.MockTransport(serve), auth=_flow()) as client:
        ask = {"query": "{ orders { totalItems } }"}
        client.post(f"{BASE}/admin-api", json=ask)
        valid["token"] = "second"
        assert "errors" not in client.post(f"{BASE}/admin-api", json=ask).json()
        valid["token"] = "none"  # a new session is refused just the same: the permission is missing
        assert client.post(f"{BASE}/admin-api", json=ask).json() == FORBIDDEN
    assert seen == ["login", "known", "unknown", "login", "known", "unknown", "login", "known"]


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(503), BrokenAnswerError, "failed at login"),
        (httpx.Response(200, text='{"data"'), BrokenAnswerError, "not JSON"),
        (httpx.Response(200, json={"data": {"login": {"__typename": "InvalidCredentialsError", "message": "no"}}}),
         RefusedError, "ORDERHUB_VENDURE_PASSWORD"),
        (httpx.Response(200, json={"data": {"login": {"__typename": "CurrentUser"}}}), FatalError, "tokenMethod"),
        (httpx.Response(404, text='"Not found"'), RefusedError, "ORDERHUB_VENDURE_URL"),
    ],
    ids=["busy", "half", "password", "cookies", "address"],
)  # fmt: skip
def test_a_failed_login_says_why(answer: httpx.Response, error: type[Exception], says: str) -> None:
    with httpx.Client(transport=httpx.MockTransport(lambda _: answer), auth=_flow()) as client:
        with pytest.raises(error, match=says):
            client.post(f"{BASE}/admin-api", json={})


def test_every_order_lands_with_the_money_it_has(
    serve: Any, pull: Callable[..., dict[str, PullResult]], landed: Callable[[str], list[dict[str, Any]]]
) -> None:
    with serve("vendure", orders=600) as served:
        results = pull("vendure", served.env)
        world = served.sandbox.world
    assert [result.quarantined for result in results.values()] == [0] * len(results)
    truth = {order.number: order for order in world.orders.values() if order.channel is Channel.VENDURE}
    orders = {row["code"]: row for row in landed("orders")}
    assert set(orders) == set(truth)
    lines: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in landed("order_lines"):
        lines[row["order_id"]].append(row)
    for number, order in truth.items():
        _same_money(order, orders[number], lines[orders[number]["order_id"]])
    refunds = sum(row["amount"] for row in landed("order_refunds"))
    assert refunds == sum(taken.refund_amount for order in truth.values() for taken in order.returns)


def _same_money(order: Order, row: dict[str, Any], lines: list[dict[str, Any]]) -> None:
    assert row["currency"] == order.currency
    assert row["shipping_amount"] == order.shipping_amount
    assert sum(line["placed_qty"] * line["unit_price_amount"] for line in lines) == order.gross_amount
    if order.cancelled_at is None:
        assert row["net_amount"] == order.net_amount
        assert row["total_amount"] == order.net_amount + order.tax_amount
        assert sum(line["list_amount"] for line in lines) == order.gross_amount
        assert sum(line["net_amount"] for line in lines) == order.gross_amount - order.discount_amount
        assert sum(line["tax_amount"] for line in lines) == order.tax_amount


def _flow() -> httpx.Auth:
    values = {"ORDERHUB_VENDURE_USERNAME": "orderhub", "ORDERHUB_VENDURE_PASSWORD": "secret"}
    return Session().open(Secrets("vendure", values), BASE)
