"""Order flows over HTTP: look-up, events, approvals, and a code for everything that cannot be."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from oms_core.api import keys, models
from oms_core.api.app import create_app
from oms_core.flows import book, definition, lanes, versions
from oms_core.store.postgres import Database

NOW = datetime.now(UTC).replace(microsecond=0)


def problem(answer: httpx.Response, status: int, kind: str) -> None:
    """Check that an answer is a problem of a kind."""
    assert answer.status_code == status, answer.text
    models.Problem.model_validate(answer.json())
    assert answer.json()["type"] == f"urn:orderhub:problem:{kind}"


@pytest.fixture
def callers(
    database: Database, publish_small: Callable[..., Any], serving: Callable[[FastAPI], httpx.Client]
) -> Iterator[dict[str, httpx.Client]]:
    """Clients with a key of each role that matters, over a release whose order 1042 waits for finance."""
    publish_small(database)
    flow = definition.load(
        resources.files("oms_core.flows").joinpath("shipped", "b2b.yaml").read_text("utf-8")
    )
    with database.begin() as connection:
        versions.activate(connection, flow, by="root", reason="test")
        book.begin(connection, flow, {"order_a": {"order_type": "b2b"}})
        made = {
            role: keys.make(connection, role, role=role, by="root", tenant="acme" if role == keys.OMS_SERVICE else None)
            for role in (keys.OMS_SERVICE, keys.FINANCE, keys.STEWARD, keys.DATA_ENGINEER)
        }  # fmt: skip
    base = serving(create_app(database))
    with contextlib.ExitStack() as stack:
        yield {
            role: stack.enter_context(
                httpx.Client(base_url=base.base_url, headers={"X-API-Key": key}, timeout=60)
            )
            for role, key in made.items()
        }


def event(client: httpx.Client, kind: str = "created", key: str = "k1", **given: Any) -> httpx.Response:
    body = {
        "event": kind,
        "occurred_at": (NOW - timedelta(hours=1)).isoformat(),
        "source_system": "shop",
        **given,
    }
    return client.post("/orders/1042/events", json=body, headers={"Idempotency-Key": key})


def decide(client: httpx.Client, decision: str = "approved", key: str = "d1", **given: Any) -> httpx.Response:
    body = {"decision": decision, "reason": "checked", **given}
    return client.post("/orders/shopify:orders:5123/approvals", json=body, headers={"Idempotency-Key": key})


def test_the_order_says_where_it_is_now(callers: dict[str, httpx.Client]) -> None:
    shop = callers[keys.OMS_SERVICE]
    before = shop.get("/orders/1042")
    assert (before.json()["live"]["state"], before.json()["live"]["events"]) == ("new", [])
    assert event(shop).status_code == 201
    seen = {"If-None-Match": before.headers["ETag"]}
    after = shop.get("/orders/1042", headers=seen)
    assert after.status_code == 200
    live = after.json()["live"]
    flow = shop.get("/orders/1042/flow").json()
    assert {name: live[name] for name in live if name != "events"} == {
        name: flow[name] for name in live if name != "events"
    }
    assert [(told["event_type"], told["source_system"]) for told in live["events"]] == [("created", "shop")]
    assert live["events"][0]["event_id"] == flow["steps"][0]["event_id"]
    assert shop.get("/orders/1042", headers={"If-None-Match": after.headers["ETag"]}).status_code == 304
    # What was told late, and changes nothing, is to be seen, too.
    assert (
        event(shop, "dispatched", "k2", occurred_at=(NOW - timedelta(hours=9)).isoformat()).status_code == 201
    )
    newest = shop.get("/orders/1042", headers={"If-None-Match": after.headers["ETag"]})
    assert [told["event_type"] for told in newest.json()["live"]["events"]] == ["created", "dispatched"]
    models.Order.model_validate(newest.json())
    assert set(newest.json()["live"]) == set(models.Live.model_fields)
    assert all(set(told) == set(models.LiveEvent.model_fields) for told in newest.json()["live"]["events"])
    assert shop.get("/orders/1042?as_of=1").json()["live"] is None
    assert callers[keys.FINANCE].get("/orders/1042").json()["live"] == newest.json()["live"]
    many = shop.post("/orders/lookup", json={"numbers": ["1042", "77"]}).json()["orders"]
    assert (many["1042"]["live"], many["77"]["live"]) == (newest.json()["live"], None)


def test_from_event_to_approval(callers: dict[str, httpx.Client]) -> None:
    shop, finance, steward = callers[keys.OMS_SERVICE], callers[keys.FINANCE], callers[keys.STEWARD]
    made = event(shop)
    assert made.status_code == 201, made.text
    assert (made.json()["state"], made.json()["waits_for"], made.json()["steps"][0]["from_state"]) == (
        "to_approve", "finance", "new",
    )  # fmt: skip
    again = event(shop)
    assert (again.headers["Idempotency-Replayed"], again.json()["revision"]) == ("true", 1)
    problem(event(shop, "dispatched"), 409, "key-reused")
    problem(event(finance), 403, "forbidden")
    problem(decide(steward), 403, "other-role")
    problem(decide(finance, revision=7), 409, "revision-past")
    assert decide(finance, revision=1).json()["state"] == "accepted"
    # Whoever did not hear the answer asks again, and hears it.
    assert decide(finance, revision=1).headers["Idempotency-Replayed"] == "true"
    problem(decide(finance, "rejected"), 409, "key-reused")
    problem(decide(finance, key="d2"), 409, "nothing-to-approve")
    shown = shop.get("/orders/WH/OUT/00012/flow").json()
    assert [step["event"] for step in shown["steps"]] == ["created", "approved"]
    assert [change["to_state"] for change in shown["changes"]] == ["to_approve", "accepted"]
    assert shown["steps"][1]["told_by"] == "finance"


def test_a_flow_is_drawn_with_where_an_order_is(callers: dict[str, httpx.Client]) -> None:
    shop = callers[keys.OMS_SERVICE]
    event(shop)
    drawn = shop.get("/flows/b2b/diagram.svg")
    assert (drawn.status_code, drawn.headers["content-type"]) == (200, "image/svg+xml")
    assert shop.get("/flows/b2b/diagram.svg", params={"version": "1"}).text == drawn.text
    flow = definition.load(
        resources.files("oms_core.flows").joinpath("shipped", "b2b.yaml").read_text("utf-8")
    )
    assert shop.get("/flows/b2b/diagram.svg", params={"order": "1042"}).text == lanes.svg(flow, "to_approve")
    problem(shop.get("/flows/b2c/diagram.svg"), 404, "unknown-flow")
    problem(shop.get("/flows/b2b/diagram.svg", params={"version": "9"}), 404, "unknown-flow")
    problem(shop.get("/flows/b2c/diagram.svg", params={"order": "1042"}), 404, "no-flow")


def test_what_makes_no_sense_is_refused_by_code(callers: dict[str, httpx.Client]) -> None:
    shop = callers[keys.OMS_SERVICE]
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({"kind": "nonsense"}, 422, "unknown-event"),
        ({"kind": "approved"}, 403, "approval-needed"),
        ({"kind": "payment_overdue"}, 403, "timeout-only"),
        ({"occurred_at": (NOW + timedelta(hours=1)).isoformat()}, 422, "event-from-the-future"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, 422, "bad-instant"),
        ({"occurred_at": "2026-11-01T00:00:00"}, 422, "invalid-request"),
        ({"data": {"colour": "red"}}, 422, "bad-data"),
        ({"data": {"colour": "a\0"}}, 422, "invalid-request"),
        ({"data": {"n": 10**400}}, 422, "invalid-request"),
        ({"key": "x" * 201}, 422, "invalid-request"),
        ({"revision": 5}, 409, "revision-past"),
    ]
    for given, status, kind in cases:
        problem(event(shop, **given), status, kind)
        assert shop.get("/orders/order_a/flow").json()["revision"] == 0
    problem(shop.get("/orders/77/flow"), 404, "no-flow")
    problem(shop.get("/orders/nowhere/flow"), 404, "not-released")


def test_a_flow_with_a_trap_is_refused_and_one_without_is_put_in_force(
    callers: dict[str, httpx.Client],
) -> None:
    engineer, shop = callers[keys.DATA_ENGINEER], callers[keys.OMS_SERVICE]
    source = resources.files("oms_core.flows").joinpath("shipped", "b2b.yaml").read_text("utf-8")
    document = json.loads(definition.load(source).document) | {"version": "2"}
    hole = {**document["states"], "hole": {"title": "Hole"}, "pit": {"title": "Pit"}}
    ways = [{"from": ["new"], "on": "refunded", "to": "hole"}, {"from": ["hole"], "on": "refunded", "to": "pit"}, {"from": ["pit"], "on": "refunded", "to": "hole"}]  # fmt: skip
    trap = {**document, "states": hole, "transitions": [*document["transitions"], *ways]}

    def activate(client: httpx.Client, sent: dict[str, Any]) -> httpx.Response:
        return client.post("/flows", json={"document": sent, "reason": "test"})

    refused = activate(engineer, trap)
    problem(refused, 422, "trap-state")
    assert {finding["place"] for finding in refused.json()["findings"]} == {"states.hole", "states.pit"}
    problem(activate(engineer, {"flow": "x"}), 422, "bad-flow")
    problem(activate(shop, document), 403, "forbidden")
    problem(activate(engineer, document | {"version": "1", "title": "Another"}), 409, "version-reused")
    assert event(shop).json()["version"] == "1"
    made = activate(engineer, document)
    assert (made.status_code, made.json()["warnings"]) == (201, [])
