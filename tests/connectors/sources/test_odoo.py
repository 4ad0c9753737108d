"""Odoo: the JSON-2 protocol's peculiarities, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest

import connectors.sources.odoo as declared
from connectors import registry
from connectors.check import check_source
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, KeysetPages, ProtocolError
from connectors.errors import GoneError
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sandbox.differences import Cause
from connectors.sandbox.generate import generate
from connectors.sandbox.odoo_till import order_row_id
from connectors.sandbox.places import is_sold_at, till_of
from connectors.sandbox.server import Sandbox, serving
from connectors.sandbox.world import Channel, Order, World
from connectors.sources.odoo import SOURCE, Product
from connectors.tombstone import sweep


class TestOdoo(Conformance):
    source = SOURCE
    page_size = 60
    page_limits = ("json.limit",)


def test_false_is_empty_except_where_it_is_an_answer() -> None:
    product = Product.model_validate(
        {
            "id": 3,
            "name": "Rosehip Face Cream",
            "default_code": False,
            "barcode": False,
            "categ_id": [7, "All / COS-FACE"],
            "cost_currency_id": False,
            "weight": 0.30000000000000004,
            "active": False,
            "create_date": "2026-07-01 08:00:00",
            "write_date": "2026-07-02 08:00:00",
        }
    )
    assert (product.default_code, product.barcode, product.cost_currency) == (None, None, None)
    assert product.category_name == "All / COS-FACE"
    assert product.weight_kg == Decimal("0.300000")
    assert product.is_active is False
    assert product.modified_at == datetime(2026, 7, 2, 8, tzinfo=UTC)


def test_requests_carry_key_database_and_a_naive_utc_window(serve: Any) -> None:
    stream = SOURCE.stream("pickings")
    since, until = datetime.fromisoformat("2026-09-01T08:00:00+08:00"), datetime(2026, 10, 1, tzinfo=UTC)
    ask = stream.ask(Bounds(since=since, until=until))
    assert ask.json_body["domain"][1:] == [
        ["write_date", ">=", "2026-09-01 00:00:00"],
        ["write_date", "<", "2026-10-01 00:00:00"],
    ]
    with serve("odoo") as served, Client(SOURCE, served.env) as client:
        rows = client.send(stream, ask).body
        url = served.env["ORDERHUB_ODOO_URL"] + stream.path
        refused = httpx.post(url, json=ask.json_body, headers={"Authorization": "bearer nobody"})
        elsewhere = {**served.env, "ORDERHUB_ODOO_DATABASE": "another"}
        with Client(SOURCE, elsewhere) as other, pytest.raises(ProtocolError, match="404"):
            other.send(stream, ask)
    assert rows
    assert all("2026-09-01 00:00:00" <= row["write_date"] < "2026-10-01 00:00:00" for row in rows)
    assert (refused.status_code, refused.json()["name"]) == (401, "werkzeug.exceptions.Unauthorized")


def test_pages_by_id_bring_every_row_once(
    serve: Any, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(declared, "PAGE_SIZE", 50)
    pages = KeysetPages(write="json.domain.0.2", size=50)
    pickings = SOURCE.stream("pickings").model_copy(update={"pages": pages})
    with serve("odoo") as served, Client(SOURCE, served.env) as client:
        [result] = pull_source(SOURCE.model_copy(update={"streams": (pickings,)}), landing, served.env)
        whole = client.send(pickings, pickings.ask(Bounds()).put("json.limit", 100_000)).body
    assert result.error is None
    assert result.pages > 3
    assert result.pulled == len(whole)


def test_an_odoo_without_tills_is_read_all_the_same(serve: Any, landing: Landing) -> None:
    tills = SOURCE.stream("pos_orders")
    unknown = tills.model_copy(update={"path": "/json/2/pos.orders.of.nobody/search_read"})
    without = SOURCE.model_copy(update={"streams": (SOURCE.stream("warehouses"), unknown)})
    with serve("odoo") as served:
        warehouses, left_out = pull_source(without, landing, served.env)
        _, checked = check_source(without, served.env)
        with Client(SOURCE, served.env) as client:
            swept = sweep(SOURCE, unknown, landing, client)
        [first] = pull_source(SOURCE, landing, served.env, streams=["pos_orders"])
        _, gone = pull_source(without, landing, served.env)
    assert warehouses.landed > 0
    assert (left_out.error, left_out.batch_id, left_out.pulled) == (None, None, 0)
    [remark] = left_out.remarks
    assert "no Point of Sale app" in remark
    assert "404" in remark
    assert not checked.differs
    assert "no Point of Sale app" in checked.verdict
    assert swept == []
    # What was there once and is not now is no app that a company does without.
    assert first.error is None
    assert gone.error is not None
    assert "404" in gone.error


def test_an_app_that_answers_and_then_does_not_is_a_failure(
    serve: Any, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Breaking(Client):
        asked = 0

        def send(self, *asked: Any) -> Any:
            self.asked += 1
            if self.asked == 2:
                raise GoneError("the request was rejected (404)")
            return super().send(*asked)

    monkeypatch.setattr(declared, "PAGE_SIZE", 50)
    pages = KeysetPages(write="json.domain.0.2", size=50)
    pickings = SOURCE.stream("pickings").model_copy(
        update={"pages": pages, "count": None, "app": "Inventory app"}
    )
    source = SOURCE.model_copy(update={"streams": (pickings,)})
    with serve("odoo") as served:
        [broken] = pull_source(source, landing, served.env, open_client=Breaking)
    assert broken.pages == 1
    assert broken.error is not None
    assert "404" in broken.error
    assert broken.remarks == ()


def test_archived_products_are_pulled_too(serve: Any, pull: Callable[..., dict[str, PullResult]]) -> None:
    with serve("odoo") as served:
        pulled = pull("odoo", served.env, streams=["products"])["products"].pulled
        stream = SOURCE.stream("products")
        with Client(SOURCE, served.env) as client:
            visible = client.send(stream, stream.ask(Bounds()).put("json.context.active_test", True)).body
    assert 0 < len(visible) < pulled


def test_rows_that_break_the_rules_are_quarantined(
    serve: Any, pull: Callable[..., dict[str, PullResult]]
) -> None:
    with serve("odoo", orders=400) as served:
        results = pull("odoo", served.env, streams=["moves"])
    assert results["moves"].quarantined > 0
    assert results["moves"].pulled == results["moves"].landed + results["moves"].quarantined


def _sales(world: World) -> dict[int, Order]:
    """Sales rung up at Odoo's tills, by the number that their names end in."""
    return {order_row_id(order): order for order in world.orders.values() if is_sold_at(world, order, "odoo")}


def test_every_sale_of_a_till_arrives_once_with_its_money(serve: Any, pull: Any, landed: Any) -> None:
    with serve("odoo", orders=400, level="none") as served:
        results = pull("odoo", served.env, streams=["pos_orders", "pos_order_lines", "pos_payments"])
        sales = _sales(served.sandbox.world)
    assert [result.error for result in results.values()] == [None] * len(results)
    orders = {row["id"]: row for row in landed("pos_orders") if not row["is_refund"]}
    assert {key: order.net_amount + order.tax_amount for key, order in sales.items()} == {
        key: row["total_amount"] for key, row in orders.items()
    }
    goods: dict[int, list[tuple[Decimal, Decimal, Decimal]]] = {key: [] for key in sales}
    for line in sorted(landed("pos_order_lines"), key=lambda line: line["id"]):
        # What a discount takes off is in the amounts, to the cent; its percentage is for people to read.
        off = line["quantity"] * line["unit_price"] - line["net_amount"]
        if line["quantity"] > 0:
            goods[line["order_id"]].append((line["quantity"], off, line["total_amount"] - line["net_amount"]))
    assert goods == {
        key: [(line.quantity, line.discount_amount, line.tax_amount) for line in order.lines]
        for key, order in sales.items()
    }
    paid: dict[int, Decimal] = {}
    for payment in landed("pos_payments"):
        if payment["order_id"] in sales:
            paid[payment["order_id"]] = paid.get(payment["order_id"], Decimal(0)) + payment["amount"]
    assert paid == {key: row["total_amount"] for key, row in orders.items() if sales[key].paid_at is not None}
    assert any(payment["is_change"] for payment in landed("pos_payments"))


def test_what_a_till_gives_back_is_a_sale_of_its_own_that_names_the_other(
    serve: Any, pull: Any, landed: Any
) -> None:
    with serve("odoo", orders=900, level="none") as served:
        pull("odoo", served.env, streams=["pos_orders", "pos_order_lines"])
        sales = _sales(served.sandbox.world)
    lines = {row["id"]: row for row in landed("pos_order_lines")}
    refunds = [row for row in landed("pos_orders") if row["is_refund"]]
    told = sorted((row["refunded_order_id"], row["total_amount"]) for row in refunds)
    assert told == sorted(
        (key, -item.refund_amount) for key, order in sales.items() for item in order.returns
    )
    assert told
    back = [row for row in lines.values() if row["refunded_line_id"] is not None]
    assert {row["order_id"] for row in back} == {row["id"] for row in refunds}
    for row in back:
        sold = lines[row["refunded_line_id"]]
        assert (row["product_id"], row["quantity"] < 0) == (sold["product_id"], True)
        assert -row["quantity"] <= sold["quantity"]


def test_a_till_and_square_share_the_stores_between_them(landing: Landing) -> None:
    world = generate(7, 400)
    tills = {store: till_of(place) for store, place in world.locations.items() if place.kind == "store"}
    assert {place.code for key, place in world.locations.items() if tills.get(key) == "odoo"} == {
        "SH1",
        "BJ1",
    }
    with serving(Sandbox(world, sources=["odoo", "square"], level="none")) as served:
        for name, streams in (
            ("odoo", ["pos_orders"]),
            ("square", ["locations", "orders", "inventory_counts"]),
        ):
            results = pull_source(registry.source(name), landing, served.env, streams=streams)
            assert [result.error for result in results if result.error] == []
        truths = {truth.record_id: truth.truth_id for truth in served.sandbox.truths()}
    sold = {
        name: {truths[f"{name}:{stream}:{key}"] for key in landing.values(name, stream, column)}
        for name, stream, column in (("odoo", "pos_orders", "id"), ("square", "orders", "order_id"))
    }
    rung_up = {key for key, order in world.orders.items() if order.channel is Channel.POS}
    assert sold["odoo"] | sold["square"] == rung_up
    assert not sold["odoo"] & sold["square"]
    places = landing.values("square", "locations", "location_id")
    assert {tills[truths[f"square:locations:{key}"]] for key in places} == {"square"}
    assert set(landing.values("square", "inventory_counts", "location_id")) <= set(places)


def test_a_session_that_closes_posts_its_sales(serve: Any, pull: Any, landed: Any) -> None:
    with serve("odoo", orders=60, level="none") as served:
        for orders, hours in ((40, 8), (0, 30)):
            served.sandbox.advance(orders, timedelta(hours=hours))
            pull("odoo", served.env, streams=["pos_orders"])
        sales = _sales(served.sandbox.world)
    states: dict[int, list[str]] = {}
    for row in sorted(landed("pos_orders"), key=lambda row: row["modified_at"]):
        states.setdefault(row["id"], []).append(row["state"])
    assert ["paid", "done"] in states.values(), "sales of an open session are posted when it closes"
    assert all(
        (found[-1] == "cancel") is (sales[key].cancelled_at is not None)
        for key, found in states.items()
        if key in sales
    )
    assert all(found[-1] == "done" for key, found in states.items() if key in sales and sales[key].paid_at)


def test_a_paid_sale_cannot_be_deleted_and_a_cancelled_one_takes_its_lines_with_it() -> None:
    world = generate(7, 150)
    first, *_ = _sales(world).values()
    never_paid = replace(first, paid_at=None, closed_at=None, cancelled_at=first.paid_at, returns=())
    world = replace(world, orders=world.orders | {first.order_id: never_paid})
    with (
        serving(Sandbox(world, sources=["odoo"], level="none")) as served,
        Client(SOURCE, served.env) as client,
    ):

        def rows(name: str) -> list[dict[str, Any]]:
            stream = SOURCE.stream(name)
            found: list[dict[str, Any]] = client.send(stream, stream.ask(Bounds())).body
            return found

        before = {row["id"]: row["state"] for row in rows("pos_orders")}
        assert {key for key, state in before.items() if state == "cancel"} == {order_row_id(first)}
        served.sandbox.delete("odoo", *(f"pos.order,{key}" for key in before))
        left = set(before) - {order_row_id(first)}
        assert {row["id"] for row in rows("pos_orders")} == left
        assert {row["order_id"][0] for row in rows("pos_order_lines")} == left


def test_a_till_that_sold_nothing_yet_has_no_rows_and_is_there(serve: Any, pull: Any) -> None:
    with serve("odoo", orders=1, level="none") as served:
        results = pull("odoo", served.env, streams=["pos_configs", "pos_orders", "pos_payments"])
    assert {name: (result.error, result.pulled) for name, result in results.items()} == {
        "pos_configs": (None, 2),
        "pos_orders": (None, 0),
        "pos_payments": (None, 0),
    }


def test_till_rows_that_break_the_rules_are_quarantined_and_differences_stay_true(
    serve: Any, pull: Any
) -> None:
    with serve("odoo", orders=1500, level="heavy", differences="planted") as served:
        results = pull("odoo", served.env, streams=["pos_orders", "pos_order_lines", "pos_payments"])
        planted = [item for item in served.sandbox.planted() if item.document == "payment"]
    for name in ("pos_orders", "pos_order_lines", "pos_payments"):
        assert results[name].quarantined > 0, name
        assert results[name].pulled == results[name].landed + results[name].quarantined
    assert {item.cause for item in planted} >= {Cause.MISSING, Cause.DUPLICATE, Cause.UNEXPLAINED}
    assert any(item.order_id.startswith("odoo:pos_payments:") for item in planted), (
        "a payment whose sale cannot be read"
    )


def test_every_till_record_that_lands_has_a_truth(serve: Any, pull: Any, landed: Any) -> None:
    with serve("odoo", orders=300) as served:
        pull("odoo", served.env, streams=["pos_orders", "partners", "warehouses"])
        truths = [truth.record_id for truth in served.sandbox.truths()]
        places = {f"odoo:partners:{row['partner_id']}" for row in landed("warehouses")}
    known = set(truths)
    assert {f"odoo:pos_orders:{row['id']}" for row in landed("pos_orders")} <= known
    assert {f"odoo:partners:{row['id']}" for row in landed("partners")} <= known | places
    named = {row["partner_id"] for row in landed("pos_orders") if row["partner_id"] is not None}
    assert named <= {row["id"] for row in landed("partners")}
