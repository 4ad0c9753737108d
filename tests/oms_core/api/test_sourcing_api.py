"""Sourcing over HTTP: a decision with its reasons, carried out or dry, kept, reviewed, and a code for what makes no sense."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import httpx
import pytest
from fastapi import FastAPI

from oms_core.api import keys, models
from oms_core.api.app import create_app
from oms_core.fulfilment.sourcing import policy
from oms_core.store.postgres import Database

NOW = datetime.now(UTC).replace(tzinfo=None)


def problem(answer: httpx.Response, status: int, kind: str) -> None:
    """Check that an answer is a problem of a kind."""
    assert answer.status_code == status, answer.text
    assert answer.json()["type"] == f"urn:orderhub:problem:{kind}"
    models.Problem.model_validate(answer.json())


@pytest.fixture
def shop(
    database: Database, release_company: Callable[..., None], serving: Callable[[FastAPI], httpx.Client]
) -> httpx.Client:
    """A client with a service's key; one order of two pieces, four of them in Hamburg and one in Munich."""
    release_company(stock={"HAM": 4, "MUC": 1}, order_type="b2c")
    with database.begin() as connection:
        key = keys.make(connection, "shop", role=keys.OMS_SERVICE, tenant="acme", by="root")
        finance = keys.make(connection, "anna", role=keys.FINANCE, tenant=None, by="root")
    client = serving(create_app(database))
    client.headers["X-API-Key"] = key
    client.headers["X-Finance"] = finance
    return client


def test_from_a_dry_run_to_a_refusal(shop: httpx.Client) -> None:
    dry = shop.post("/orders/1042/sourcing", json={})
    assert dry.status_code == 201, dry.text
    assert dry.json()["parcels"][0]["takes"] == {"S1": "2"}
    assert dry.json()["reservation_id"] is None
    assert shop.get(dry.headers["location"]).json() == dry.json()
    kept = shop.get(f"{dry.headers['location']}/inputs").json()
    assert (kept["is_same"], kept["day"]["orders"][0]["order_id"]) == (True, "O1")
    made = shop.post("/orders/%231042/sourcing", json={"commit": True}, headers={"Idempotency-Key": "k"})
    assert made.status_code == 201, made.text
    body = made.json()
    assert [item["verdict"] for item in body["counterfactuals"]] == ["short"]
    reserved = shop.get(f"/reservations/{body['reservation_id']}").json()
    assert (reserved["state"], reserved["order_reference"]) == ("allocated", "O1")
    again = shop.post("/orders/%231042/sourcing", json={"commit": True}, headers={"Idempotency-Key": "k"})
    assert again.json() == body
    problem(
        shop.post("/orders/O1/sourcing", json={"commit": True}, headers={"Idempotency-Key": "k2"}),
        409,
        "already-sourced",
    )
    where = f"/sourcing/decisions/{body['decision_id']}"
    assert shop.post(f"{where}/review", json={"commit": True}).json()["keeps"] is True
    assert shop.post(f"{where}/refusal", json={"location": "HAM", "reason": "broken"}).status_code == 204
    left = shop.post("/orders/O1/sourcing", json={"commit": True}, headers={"Idempotency-Key": "k3"}).json()
    assert (left["is_filled"], left["unfillable"][0]["sendable_qty"]) == (False, "1")
    about = {"order_id": "O1"}
    found = shop.get("/sourcing/decisions", params=about).json()
    assert [item["decision_id"] for item in found[1:]] == [body["decision_id"], dry.json()["decision_id"]]
    for limit in (1, 2):
        seen = shop.get("/sourcing/decisions", params={**about, "limit": limit}).json()
        rest = shop.get("/sourcing/decisions", params={**about, "before": seen[-1]["decision_id"]}).json()
        assert seen + rest == found
    problem(shop.get("/sourcing/decisions", params={**about, "before": "src_none"}), 404, "unknown-decision")


def test_rules_and_what_if(shop: httpx.Client) -> None:
    known = shop.get("/sourcing/rules/policy").json()
    assert known["sha256"] == policy.default().sha256
    green = known["document"] | {"version": "green", "most_parcels": 1}
    done = shop.put("/sourcing/rules/policy", json={"document": green, "reason": "carbon"})
    assert done.status_code == 200, done.text
    assert shop.get("/sourcing/rules/policy").json()["activations"][0]["reason"] == "carbon"
    assert shop.get("/sourcing/rules/policy", params={"offset": 1}).json()["activations"] == []
    shop.post("/orders/O1/sourcing", json={})
    asked = {"on": datetime.now(UTC).date().isoformat(), "policies": [known["document"]], "without": ["HAM"]}
    told = shop.post("/sourcing/what-if", json=asked).json()
    assert (told["told_by"], [row["fill_rate"] for row in told["outcomes"]]) == ("decisions", [0, 0])


def test_what_makes_no_sense_has_a_code(shop: httpx.Client) -> None:
    document = shop.get("/sourcing/rules/policy").json()["document"]
    heavy = document | {"parameters": document["parameters"] | {"carbon": {"weight": 0.9, "scale": 2}}}
    problem(shop.post("/orders/O1/sourcing", json={"policy": heavy}), 422, "bad-weights")
    problem(shop.put("/sourcing/rules/policy", json={"document": heavy, "reason": "x"}), 422, "bad-weights")
    problem(
        shop.put("/sourcing/rules/facts", json={"document": {"version": 1}, "reason": "x"}), 422, "bad-facts"
    )
    problem(shop.post("/orders/O1/sourcing", json={"commit": True}), 422, "key-needed")
    problem(shop.post("/orders/NOPE/sourcing", json={}), 404, "not-released")
    problem(shop.get("/sourcing/decisions/src_none"), 404, "unknown-decision")
    problem(shop.post("/sourcing/what-if", json={"on": "2001-01-01"}), 422, "no-orders")
    finance = {"X-API-Key": shop.headers["X-Finance"]}
    problem(shop.post("/orders/O1/sourcing", json={}, headers=finance), 403, "forbidden")
    assert shop.get("/sourcing/rules/policy", headers=finance).status_code == 200
