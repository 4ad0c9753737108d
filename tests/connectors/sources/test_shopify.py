"""Shopify: queries within the cost limit, throttling by cost, pulls over HTTP."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest
from graphql import build_schema, execute_sync, validate
from graphql import parse as graphql_parse

from connectors.conformance import BulkConformance
from connectors.declare import Bounds, RefusedError, ThrottledError
from connectors.sandbox import shopify as twin
from connectors.sandbox.graphql import GraphQLError, parse, static_cost
from connectors.sandbox.world import Channel
from connectors.sources import shopify
from connectors.sources.shopify import SOURCE, Order, Transaction, fault

QUERIES = ("ORDERS", "CUSTOMERS", "PRODUCTS", "VARIANTS", "LOCATIONS", "INVENTORY_LEVELS")


class TestShopify(BulkConformance):
    source = SOURCE


@pytest.mark.parametrize("name", QUERIES)
def test_no_query_can_cost_more_than_one_may(name: str) -> None:
    assert static_cost(parse(getattr(shopify, name))) <= 1000


def test_every_query_keeps_the_schema_and_every_documented_answer_is_one_of_its() -> None:
    folder = Path(__file__).with_name("answers") / "shopify"
    schema = build_schema((folder / "schema.graphql").read_text("utf-8"))
    asked = list(_documents())
    assert len(asked) >= 4 * len(SOURCE.streams)
    for document in asked:
        assert validate(schema, graphql_parse(document)) == []
    for stream in SOURCE.streams:
        document = stream.ask(Bounds(keys=("gid://shopify/Location/1",))).json_body["query"]
        for path in folder.glob(f"{stream.name}*.json"):
            answer = json.loads(path.read_bytes())["answer"]["data"]
            found = execute_sync(
                schema,
                graphql_parse(document),
                answer,
                variable_values={"location": "gid://shopify/Location/1"},
                field_resolver=lambda node, info, **arguments: node.get(info.path.key),
            )
            assert (found.data, found.errors) == (answer, None)


@pytest.mark.parametrize(
    "wrong", ["{ orders(first: 1) { nodes { sku } } }", "{ orders(page: 1) { nodes { id } } }"]
)
def test_a_query_that_breaks_the_schema_is_found(wrong: str) -> None:
    schema = Path(__file__).with_name("answers") / "shopify" / "schema.graphql"
    assert validate(build_schema(schema.read_text("utf-8")), graphql_parse(wrong)) != []


def _documents() -> Iterator[str]:
    """Every query we send: of streams, by key, all keys, counts, and those that run in bulk."""
    bounds = Bounds(since=datetime(2026, 7, 1, tzinfo=UTC), keys=("gid://shopify/Order/1",))
    for stream in SOURCE.streams:
        asked = [stream.ask(bounds)]
        asked += [one.ask(bounds) for one in [stream.lookup] if one is not None]
        asked += [one.ask for one in (stream.sweep, stream.count) if one is not None]
        yield from (ask.json_body["query"] for ask in asked)
        if stream.bulk is not None:
            begun = stream.bulk.start(bounds).json_body
            yield begun["query"]
            yield begun["variables"]["query"]
            yield stream.bulk.ask("gid://shopify/BulkOperation/1").json_body["query"]


def test_every_order_arrives_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("shopify", level="none") as served:
        results = pull("shopify", served.env)
        placed = [order for order in served.sandbox.world.orders.values() if order.channel is Channel.SHOPIFY]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["name"]: row for row in landed("orders")}
    assert {order.number: order.total_amount for order in placed} == {
        number: row["total_amount"] for number, row in found.items()
    }
    goods: dict[str, Decimal] = {}
    for line in landed("order_line_items"):
        net = line["quantity"] * line["unit_price_amount"] - line["discount_amount"]
        goods[line["order_id"]] = goods.get(line["order_id"], Decimal(0)) + net
    assert {order.number: order.net_amount - order.shipping_amount for order in placed} == {
        number: goods[row["order_id"]] for number, row in found.items()
    }


def test_refunded_lines_know_their_refund(serve: Any, pull: Any, landed: Any) -> None:
    with serve("shopify", orders=500, level="none") as served:
        pull("shopify", served.env)
    lines = landed("order_refund_line_items")
    assert lines
    assert {line["refund_id"] for line in lines} <= {
        refund["refund_id"] for refund in landed("order_refunds")
    }
    assert all(line["refunded_at"] for line in lines)


def test_every_record_that_lands_has_a_truth(serve: Any, pull: Any, landed: Any) -> None:
    with serve("shopify") as served:
        pull("shopify", served.env)
        truths = {truth.record_id for truth in served.sandbox.truths()}
    keys = {
        "locations": "location_id",
        "variants": "variant_id",
        "customers": "customer_id",
        "orders": "order_id",
    }
    for stream, key in keys.items():
        assert {f"shopify:{stream}:{row[key]}" for row in landed(stream)} <= truths


def test_a_small_bucket_slows_a_pull_and_loses_nothing(
    serve: Any, pull: Any, landed: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(twin.Twin, "bucket_points", 1000.0)
    monkeypatch.setattr(twin.Twin, "points_per_second", 1500.0)
    with serve("shopify", orders=60, level="none") as served:
        result = pull("shopify", served.env, streams=["orders"])["orders"]
        placed = [order for order in served.sandbox.world.orders.values() if order.channel is Channel.SHOPIFY]
    assert result.error is None
    assert len(landed("orders")) == len(placed)


def test_a_throttle_names_the_seconds_until_the_bucket_holds_enough() -> None:
    bucket = {"maximumAvailable": 1000.0, "currentlyAvailable": 100, "restoreRate": 50.0}
    body = {
        "errors": [{"message": "Throttled", "extensions": {"code": "THROTTLED"}}],
        "extensions": {
            "cost": {"requestedQueryCost": 400, "actualQueryCost": None, "throttleStatus": bucket}
        },
    }
    error = fault(body)
    assert isinstance(error, ThrottledError)
    assert error.wait_seconds == pytest.approx(6.0)


def test_a_missing_scope_is_a_refusal() -> None:
    error = {"message": "Access denied for orders field.", "extensions": {"code": "ACCESS_DENIED"}}
    assert isinstance(fault({"errors": [error]}), RefusedError)
    assert fault({"data": {}}) is None


def test_an_order_with_more_lines_than_asked_for_is_refused() -> None:
    money = {"presentmentMoney": {"amount": "1.00", "currencyCode": "EUR"}}
    order = {
        "id": "gid://shopify/Order/1",
        "name": "#1",
        "presentmentCurrencyCode": "EUR",
        "totalPriceSet": money,
        "createdAt": "2026-10-01T00:00:00Z",
        "updatedAt": "2026-10-01T00:00:00Z",
        "lineItems": {"pageInfo": {"hasNextPage": True}},
    }
    with pytest.raises(ValueError, match="more lines than one answer holds"):
        Order.model_validate(order)


def test_a_fee_nobody_states_is_unknown_and_not_nought() -> None:
    money = {"presentmentMoney": {"amount": "1.00", "currencyCode": "EUR"}}
    assert Transaction.model_validate({"id": "1", "amountSet": money, "fees": []}).fee_amount is None


def test_a_field_that_does_not_exist_is_an_error_in_a_200_answer(serve: Any) -> None:
    with serve("shopify", orders=20) as served:
        url = f"{served.env['ORDERHUB_SHOPIFY_URL']}/admin/api/2026-07/graphql.json"
        headers = {"X-Shopify-Access-Token": served.env["ORDERHUB_SHOPIFY_TOKEN"]}
        query = {"query": "{ orders(first: 1) { nodes { id colour } } }"}
        answer = httpx.post(url, json=query, headers=headers)
    assert answer.status_code == 200
    assert "colour" in answer.json()["errors"][0]["message"]


@pytest.mark.parametrize("document", ["", "{", "mutation { a }", "{ a(b: ) }", "{ a ? }"])
def test_what_is_not_a_query_is_refused(document: str) -> None:
    with pytest.raises(GraphQLError):
        parse(document)
