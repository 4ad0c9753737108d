"""Square: our requests and the twin's answers against Square's own contract, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, Stream, ThrottledError
from connectors.sandbox.places import is_sold_at
from connectors.sources.square import SOURCE, fault

MESSAGES = {
    "locations": (None, "ListLocationsResponse"),
    "catalog_categories": (None, "ListCatalogResponse"),
    "catalog_items": (None, "ListCatalogResponse"),
    "customers": ("SearchCustomersRequest", "SearchCustomersResponse"),
    "orders": ("SearchOrdersRequest", "SearchOrdersResponse"),
    "payments": (None, "ListPaymentsResponse"),
    "refunds": (None, "ListPaymentRefundsResponse"),
    "inventory_counts": ("BatchRetrieveInventoryCountsRequest", "BatchRetrieveInventoryCountsResponse"),
}


class TestSquare(Conformance):
    source = SOURCE
    page_size = 40
    page_limits = ("json.limit", "params.limit")


@pytest.mark.parametrize("stream", SOURCE.streams, ids=lambda stream: stream.name)
def test_requests_and_answers_keep_the_contract(
    stream: Stream, contract: Callable[..., Any], serve: Any
) -> None:
    square = contract("square.json")
    asked, answered = MESSAGES[stream.name]
    with serve("square", level="none") as served, Client(SOURCE, served.env) as client:
        places = client.send(SOURCE.stream("locations"), SOURCE.stream("locations").ask(Bounds())).body
        keys = tuple(place["id"] for place in places["locations"])[: stream.fan_out_size]
        bounds = Bounds(
            since=datetime(2026, 7, 1, tzinfo=UTC), until=datetime(2026, 11, 1, tzinfo=UTC), keys=keys
        )
        ask = stream.pages.first(stream.ask(bounds))
        body = client.send(stream, ask).body
    if asked is not None:
        assert square.faults(asked, ask.json_body) == []
    named = {
        item["name"] for item in square.document["paths"][stream.path][stream.method.lower()]["parameters"]
    }
    assert set(ask.params) <= named
    assert square.faults(answered, body) == []
    assert body[stream.rows]


def test_every_sale_arrives_once_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("square", level="none") as served:
        results = pull("square", served.env)
        world = served.sandbox.world
        sales = [order for order in world.orders.values() if is_sold_at(world, order, "square")]
    assert [result.error for result in results.values()] == [None] * len(results)
    found = {row["reference_id"]: row for row in landed("orders") if row["reference_id"]}
    assert {order.number: order.net_amount + order.tax_amount for order in sales} == {
        number: row["total_amount"] for number, row in found.items()
    }
    units: dict[str, Decimal] = {}
    for line in landed("order_line_items"):
        units[line["order_id"]] = units.get(line["order_id"], Decimal(0)) + line["quantity"]
    assert {order.number: sum(line.quantity for line in order.lines) for order in sales} == {
        number: units[row["order_id"]] for number, row in found.items()
    }


def test_returned_lines_name_their_sale(serve: Any, pull: Any, landed: Any) -> None:
    with serve("square", orders=600, level="none") as served:
        pull("square", served.env)
    sales = {row["order_id"] for row in landed("order_line_items")}
    returned = landed("order_return_line_items")
    assert returned
    assert {row["source_order_id"] for row in returned} <= sales


def test_rows_that_break_the_rules_are_quarantined_with_a_reason(serve: Any, pull: Any) -> None:
    with serve("square", orders=900, level="heavy") as served:
        results = pull("square", served.env)
    assert results["orders"].quarantined > 0
    assert results["orders"].pulled == results["orders"].landed + results["orders"].quarantined


def test_every_record_that_lands_has_a_truth(serve: Any, pull: Any, landed: Any) -> None:
    with serve("square") as served:
        pull("square", served.env)
        truths = {truth.record_id for truth in served.sandbox.truths()}
    for stream, key in (
        ("locations", "location_id"),
        ("catalog_variations", "variation_id"),
        ("customers", "customer_id"),
        ("orders", "order_id"),
    ):
        assert {f"square:{stream}:{row[key]}" for row in landed(stream)} <= truths


def test_a_cursor_is_good_only_for_its_own_query(serve: Any) -> None:
    with serve("square") as served:
        url = f"{served.url}/square/v2/customers/search"
        headers = {"Authorization": f"Bearer {served.env['ORDERHUB_SQUARE_TOKEN']}"}
        first = httpx.post(url, json={"limit": 1}, headers=headers).json()
        other = {"limit": 1, "cursor": first["cursor"], "query": {"sort": {"field": "CREATED_AT"}}}
        refused = httpx.post(url, json=other, headers=headers)
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["code"] == "INVALID_CURSOR"


def test_errors_in_an_answer_are_faults() -> None:
    throttled = {"errors": [{"category": "RATE_LIMIT_ERROR", "code": "RATE_LIMITED"}]}
    assert isinstance(fault(throttled), ThrottledError)
    assert "no such location" in str(fault({"errors": [{"code": "NOT_FOUND", "detail": "no such location"}]}))
    assert fault({"orders": []}) is None


def test_orders_are_not_asked_for_before_the_locations_came(serve: Any, pull: Any) -> None:
    with serve("square", orders=20) as served:
        results = pull("square", served.env, streams=["orders"])
    assert "pull locations first" in str(results["orders"].error)
