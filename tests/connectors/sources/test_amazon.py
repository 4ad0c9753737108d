"""Amazon: our requests and the twin's answers against Amazon's own contracts, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, ThrottledError
from connectors.sandbox.world import Channel
from connectors.sources.amazon import SOURCE, Order, Transaction, fault

UNITED_STATES = "ATVPDKIKX0DER"


class TestAmazon(Conformance):
    source = SOURCE
    days = 60
    orders = 120  # of every marketplace, from the first


@pytest.mark.parametrize(
    ("stream", "file", "answered"),
    [
        ("orders", "amazon-orders-2026-01-01.json", "SearchOrdersResponse"),
        ("inventory_summaries", "amazon-fba-inventory.json", "GetInventorySummariesResponse"),
    ],
)
def test_requests_and_answers_keep_the_contract(
    stream: str, file: str, answered: str, contract: Callable[..., Any], serve: Any
) -> None:
    amazon, declared = contract(file), SOURCE.stream(stream)
    bounds = Bounds(since=datetime(2026, 6, 1, tzinfo=UTC), keys=(UNITED_STATES,))
    ask = declared.pages.first(declared.ask(bounds))
    with serve("amazon", level="none") as served, Client(SOURCE, served.env) as client:
        body = client.send(declared, ask).body
    parameters = {item["name"]: item for item in amazon.document["paths"][declared.path]["get"]["parameters"]}
    assert set(ask.params) <= set(parameters)
    if stream == "orders":
        assert set(ask.params["includedData"].split(",")) <= set(parameters["includedData"]["items"]["enum"])
    assert amazon.faults(answered, body) == []


def test_stock_is_asked_for_whole_where_the_last_change_is_too_long_ago() -> None:
    stream, now = SOURCE.stream("inventory_summaries"), datetime.now(UTC)
    asked = [
        stream.ask(Bounds(since=now - timedelta(days=days), keys=(UNITED_STATES,))).params
        for days in (530, 550)
    ]
    assert ["startDateTime" in params for params in asked] == [True, False]


def test_every_order_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("amazon", level="none") as served:
        results = pull("amazon", served.env)
        placed = [order for order in served.sandbox.world.orders.values() if order.channel is Channel.AMAZON]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["order_id"]: row for row in landed("orders")}
    assert set(found) == {order.number for order in placed}
    for order in placed:
        row = found[order.number]
        if order.cancelled_at is None and order.paid_at is not None:
            assert row["total_amount"] == order.net_amount + order.tax_amount
            assert row["item_amount"] - row["discount_amount"] + row["shipping_amount"] == order.net_amount
        else:
            assert row["total_amount"] is row["currency"] is None


def test_settlements_older_than_one_window_arrive(serve: Any, pull: Any, landed: Any) -> None:
    with serve("amazon", level="none") as served:
        # Counted from the company's own day, so that the test does not age.
        since = served.sandbox.world.now - timedelta(days=730)
        env = {**served.env, "ORDERHUB_AMAZON_SINCE": since.isoformat()}
        result = pull("amazon", env, streams=["transactions"])["transactions"]
        settled = {
            order.number
            for order in served.sandbox.world.orders.values()
            if order.channel is Channel.AMAZON
            and any(s.dispatched_at + timedelta(days=1) <= served.sandbox.world.now for s in order.shipments)
        }
    # Two years in windows of 180 days: Amazon answers a longer range with nothing.
    assert result.pages >= 5
    assert {
        row["order_id"] for row in landed("transactions") if row["transaction_type"] == "Shipment"
    } == settled


def test_stock_names_its_marketplace(serve: Any, pull: Any, landed: Any) -> None:
    with serve("amazon") as served:
        pull("amazon", served.env)
    assert UNITED_STATES in {row["marketplace_id"] for row in landed("inventory_summaries")}


def test_every_record_that_lands_has_a_truth(serve: Any, pull: Any, landed: Any) -> None:
    with serve("amazon") as served:
        pull("amazon", served.env)
        truths = {truth.record_id for truth in served.sandbox.truths()}
    keys = {"orders": "order_id", "order_items": "seller_sku", "inventory_summaries": "seller_sku"}
    for stream, key in keys.items():
        assert {f"amazon:{stream}:{row[key]}" for row in landed(stream)} <= truths


def test_a_discount_counts_positive_whatever_its_sign() -> None:
    def money(amount: str) -> dict[str, str]:
        return {"amount": amount, "currencyCode": "EUR"}

    parts = [("ITEM", "10.00"), ("DISCOUNT", "-2.50"), ("TAX", "1.50")]
    breakdowns = [{"type": kind, "subtotal": money(amount)} for kind, amount in parts]
    order = {
        "orderId": "1",
        "createdTime": "2026-10-01T00:00:00Z",
        "lastUpdatedTime": "2026-10-01T00:00:00Z",
        "proceeds": {"grandTotal": money("9.00"), "breakdowns": breakdowns},
    }
    landed = Order.model_validate(order)
    assert (str(landed.discount_amount), str(landed.shipping_amount)) == ("2.50", "0")
    with pytest.raises(ValueError, match="has no amount"):
        Order.model_validate({**order, "proceeds": {"breakdowns": [{"type": "ITEM", "subtotal": {}}]}})


def test_a_transaction_without_an_order_is_kept() -> None:
    transaction = {
        "transactionId": "t1",
        "relatedIdentifiers": [{"relatedIdentifierName": "SHIPMENT_ID", "relatedIdentifierValue": "S1"}],
        "totalAmount": {"currencyAmount": 35.199999999999996, "currencyCode": "EUR"},
        "breakdowns": [],
        "postedDate": "2026-10-01T00:00:00Z",
    }
    landed = Transaction.model_validate(transaction)
    assert (landed.order_id, landed.expenses_amount) == (None, None)
    assert str(landed.total_amount) == "35.2000"


def test_breakdowns_are_read_as_the_contract_has_them_and_as_its_example_does() -> None:
    sales = {
        "breakdownType": "Sales",
        "breakdownAmount": {"currencyAmount": 35.2, "currencyCode": "EUR"},
        "breakdowns": [],
    }
    told = {
        "transactionId": "t2",
        "totalAmount": {"currencyAmount": 35.2, "currencyCode": "EUR"},
        "postedDate": "2026-10-01T00:00:00Z",
    }
    for breakdowns in ([sales], {"breakdowns": [sales]}):
        landed = Transaction.model_validate({**told, "breakdowns": breakdowns})
        assert (str(landed.sales_amount), landed.expenses_amount) == ("35.2000", None)


def test_errors_beside_a_payload_are_faults() -> None:
    assert isinstance(fault({"errors": [{"code": "QuotaExceeded", "message": "slow"}]}), ThrottledError)
    assert "bad marketplace" in str(
        fault({"errors": [{"code": "InvalidInput", "message": "bad marketplace"}]})
    )
    assert fault({"payload": {}}) is None


def test_without_the_restricted_role_buyers_stay_unknown_and_the_pull_says_so(
    serve: Any,
    pull: Callable[..., Any],
    landed: Callable[[str], list[dict[str, Any]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with serve("amazon", orders=300) as served:
        twin = served.sandbox._classes["amazon"]
        monkeypatch.setattr(twin, "has_restricted_role", False)
        results = pull("amazon", served.env, streams=["orders"])
    assert results["orders"].error is None
    assert "may not see" in results["orders"].remarks[0]
    assert "403" in results["orders"].remarks[0]
    rows = landed("orders")
    assert len(rows) > 10
    assert {row["buyer_name"] for row in rows} == {row["ship_to_street"] for row in rows} == {None}
    assert sum(row["total_amount"] is not None for row in rows) > 10, "the rest of the order is known"
