"""Stock and reservations over HTTP: a service's own key, any id of a SKU, and a code for everything that cannot be."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from oms_core.api import keys, models
from oms_core.api.app import create_app
from oms_core.audit import log
from oms_core.fulfilment.rebase import rebase
from oms_core.store.postgres import Database

Serving = Callable[[FastAPI], httpx.Client]
NOW = datetime.now(UTC)
TODAY = NOW.date()
NODES = [
    {"location_id": "location_x", "location_code": "AMS", "gln": None},
    {"location_id": "location_y", "location_code": "LYS", "gln": None},
]


def problem(answer: httpx.Response, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is a problem of a kind; gives its body."""
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"urn:orderhub:problem:{kind}"
    models.Problem.model_validate(body)
    return body


@pytest.fixture
def shop(database: Database, publish_small: Callable[..., Any], serving: Serving) -> httpx.Client:
    """A client with the key of a service of the tenant acme, over a small release."""
    publish_small(database, dim_locations=NODES)
    with database.begin() as connection:
        key = keys.make(connection, "shop", role=keys.OMS_SERVICE, tenant="acme", by="root")
    client = serving(create_app(database))
    client.headers["X-API-Key"] = key
    return client


def moved(client: httpx.Client, **given: Any) -> httpx.Response:
    """Tell one movement."""
    said = {
        "source_system": "wms", "movement_id": "m1", "kind": "receipt", "sku": "LIP-07", "location": "AMS", "qty": "10",
        "uom": "C62", "recorded_at": NOW.isoformat(), **given,
    }  # fmt: skip
    return client.post("/inventory/movements", json={"movements": [said]})


def ask(client: httpx.Client, key: str = "k1", qty: Any = "2", **given: Any) -> httpx.Response:
    """Ask for a reservation of one line."""
    line = {
        "sku": "LIP-07",
        "qty": qty,
        **{name: given.pop(name) for name in ("uom", "locations", "promised_on") if name in given},
    }
    return client.post(
        "/reservations", json={"channel": "web", "lines": [line], **given}, headers={"Idempotency-Key": key}
    )


def test_from_receipt_to_issue(shop: httpx.Client, database: Database) -> None:
    assert moved(shop).json() == {"movements": [{"movement_id": "m1", "outcome": "applied"}]}
    assert moved(shop).json()["movements"][0]["outcome"] == "known"
    problem(moved(shop, qty="11"), 409, "movement-reused")
    assert shop.get("/availability", params={"sku": "04006381333931"}).json()["available_qty"] == "10"
    made = ask(shop)
    assert made.status_code == 201, made.text
    body = made.json()
    assert (body["state"], body["lines"][0]["holds"]) == (
        "held", [{"location_id": "location_x", "lot_number": None, "expires_on": None, "qty": "2", "arrives_on": None, "inbound": None}],
    )  # fmt: skip
    again = ask(shop, qty=2.0)
    assert (again.status_code, again.headers["idempotency-replayed"]) == (201, "true")
    assert again.json()["reservation_id"] == body["reservation_id"]
    problem(ask(shop, qty=3), 409, "key-reused")
    where = made.headers["location"]
    assert shop.post(f"{where}/extension", json={"ttl_seconds": 3600}).status_code == 200
    assert shop.post(f"{where}/allocation").json()["expires_at"] is None
    left = moved(
        shop, movement_id="m2", kind="issue", qty=2, reservation_id=body["reservation_id"],
        recorded_at=(NOW + timedelta(seconds=1)).isoformat(),
    )  # fmt: skip
    assert left.status_code == 200, left.text
    assert shop.get(where).json()["state"] == "fulfilled"
    problem(shop.delete(where), 409, "reservation-state")
    pool = shop.get("/inventory/square:items:W62X").json()["nodes"][0]
    assert (pool["on_hand_qty"], pool["reserved_qty"]) == ("8", "0")
    with database.begin() as connection:
        kinds = [entry.said["kind"] for entry in log.read(connection)]
    assert kinds[-5:] == [
        "reservation.made", "reservation.extended", "reservation.allocated", "stock.issue", "reservation.issued",
    ]  # fmt: skip


def test_bad_requests_have_codes_and_change_nothing(shop: httpx.Client) -> None:
    moved(shop)
    problem(ask(shop, qty="0"), 422, "bad-quantity")
    problem(ask(shop, qty="-1"), 422, "bad-quantity")
    problem(ask(shop, qty="0.5"), 422, "fractional-quantity")
    problem(ask(shop, qty="many"), 422, "invalid-request")
    problem(ask(shop, uom="KGM"), 422, "other-unit")
    problem(ask(shop, ttl_seconds=0), 422, "bad-ttl")
    problem(ask(shop, locations=["LYS"]), 404, "unknown-node")
    problem(ask(shop, locations=["NOWHERE"]), 404, "unknown-node")
    assert problem(ask(shop, qty=11), 409, "insufficient-stock")["lines"][0]["available_qty"] == "10"
    lines = [{"sku": "NO-SUCH", "qty": 1}]
    headers = {"Idempotency-Key": "k9"}
    problem(
        shop.post("/reservations", json={"channel": "web", "lines": lines}, headers=headers),
        404,
        "unknown-sku",
    )
    problem(shop.post("/reservations", json={"channel": "web", "lines": lines}), 422, "invalid-request")
    problem(shop.get("/reservations/rsv_0"), 404, "unknown-reservation")
    problem(
        moved(shop, movement_id="m3", recorded_at=(NOW + timedelta(hours=1)).isoformat()),
        422,
        "from-the-future",
    )
    problem(moved(shop, movement_id="m3", location="LYS", uom=None), 422, "unit-needed")
    problem(moved(shop, movement_id="m3", kind="transfer_shipped", reference="T1"), 422, "bad-movement")
    problem(moved(shop, movement_id="m3", kind="issue", reservation_id="rsv_0"), 404, "unknown-reservation")
    problem(
        shop.get("/availability", params={"sku": "LIP-07", "on": str(TODAY - timedelta(days=1))}),
        422,
        "bad-date",
    )
    assert shop.get("/inventory/LIP-07").json()["nodes"][0]["reserved_qty"] == "0"


def test_policies_channels_closures_and_what_is_on_its_way(shop: httpx.Client) -> None:
    moved(shop)
    there = {"sku": "LIP-07", "location": "AMS"}
    assert shop.put("/inventory/policies", json={**there, "safety_qty": 1}).status_code == 204
    fence = {**there, "channel": "tmall", "kind": "ring_fence", "qty": 4}
    assert shop.put("/inventory/allotments", json=fence).status_code == 204
    soon = str(TODAY + timedelta(days=2))
    assert (
        moved(
            shop, movement_id="m4", kind="announcement", qty=5, reference="PO-1", expected_on=soon
        ).status_code
        == 200
    )
    shipped = {"kind": "transfer_shipped", "reference": "T1", "expected_on": soon, "to_location": "LYS"}
    assert moved(shop, movement_id="m5", qty=3, **shipped).status_code == 200

    def free(**query: str) -> Any:
        return shop.get("/availability", params={"sku": "LIP-07", **query}).json()

    assert (free()["available_qty"], free(channel="tmall")["available_qty"]) == ("2", "6")
    assert {node["location_id"]: node["available_qty"] for node in free(on=soon)["nodes"]} == {
        "location_x": "7", "location_y": "3",
    }  # fmt: skip
    assert [day["available_qty"] for day in free(location="AMS")["nodes"][0]["days"]] == [
        "2",
        "7",
    ]
    assert shop.get("/inventory/LIP-07").json()["nodes"][1]["in_transit_qty"] == "3"
    assert shop.put("/inventory/closures", json={"location": "AMS", "reason": "flood"}).status_code == 204
    problem(ask(shop, qty=1, locations=["AMS"]), 409, "node-closed")
    assert free()["available_qty"] == "0"
    assert shop.put("/inventory/closures", json={"location": "AMS", "reason": None}).status_code == 204
    arrived = moved(shop, movement_id="m6", kind="transfer_received", location="LYS", qty=3, reference="T1")
    assert arrived.status_code == 200
    nodes = shop.get("/inventory/LIP-07").json()["nodes"]
    assert [node["on_hand_qty"] for node in nodes] == ["7", "3"]
    assert nodes[1]["in_transit_qty"] == "0"


def test_goods_under_way_are_reserved_for_the_day_they_arrive_by(shop: httpx.Client) -> None:
    arrives, later = str(TODAY + timedelta(days=3)), str(TODAY + timedelta(days=9))
    moved(shop, qty="1")
    moved(shop, movement_id="m2", kind="announcement", qty="5", reference="PO-1", expected_on=arrives)
    problem(ask(shop, qty=4, promised_on=arrives), 409, "insufficient-stock")
    problem(ask(shop, qty=4, from_inbound=True), 409, "insufficient-stock")
    made = ask(shop, qty=4, promised_on=arrives, from_inbound=True)
    assert made.status_code == 201, made.text
    assert [(hold["qty"], hold["arrives_on"], hold["inbound"]) for hold in made.json()["lines"][0]["holds"]] == [
        ("1", None, None), ("3", arrives, "wms/PO-1"),
    ]  # fmt: skip
    problem(ask(shop, "k2", qty=3, promised_on=arrives, from_inbound=True), 409, "insufficient-stock")
    pool = shop.get("/inventory/LIP-07").json()["nodes"][0]
    assert [(item["qty"], item["reserved_qty"]) for item in pool["inbound"]] == [("5", "3")]
    found = shop.get("/availability", params={"sku": "LIP-07", "on": arrives}).json()
    assert found["available_qty"] == "2"
    at = (NOW + timedelta(seconds=1)).isoformat()
    told = {"movement_id": "m3", "kind": "announcement", "qty": "2", "reference": "PO-1", "recorded_at": at}
    assert moved(shop, **told, expected_on=later).status_code == 200
    (line,) = shop.get(made.headers["location"]).json()["lines"]
    assert (line["lost_qty"], [(hold["qty"], hold["arrives_on"]) for hold in line["holds"]]) == (
        "1", [("1", None), ("2", later)],
    )  # fmt: skip


def test_only_a_services_key_changes_stock_and_only_its_tenants(
    shop: httpx.Client, database: Database
) -> None:
    moved(shop)
    where = ask(shop).headers["location"]
    with database.begin() as connection:
        other = keys.make(connection, "rival", role=keys.OMS_SERVICE, tenant="globex", by="root")
        auditor = keys.make(connection, "ada", role=keys.AUDITOR, by="root")
    for method, path in (("GET", where), ("DELETE", where), ("POST", f"{where}/allocation")):
        problem(shop.request(method, path, headers={"X-API-Key": other}), 403, "other-tenant")
        problem(shop.request(method, path, headers={"X-API-Key": auditor}), 403, "forbidden")
        problem(shop.request(method, path, headers={"X-API-Key": "x"}), 401, "unauthorized")
    assert shop.get("/inventory/LIP-07", headers={"X-API-Key": auditor}).status_code == 200
    assert shop.delete(where).json()["state"] == "released"


def test_what_channels_offer_stands_beside_what_lies_somewhere(
    database: Database, shop: httpx.Client, publish_small: Callable[..., Any]
) -> None:
    assert shop.get("/inventory/LIP-07").json()["offers"] == []
    offer = {
        "position_id": "douyin:skus:5001", "sku_id": "sku_l", "location_id": None, "lot_number": None, "on_hand_qty": None,
        "reserved_qty": 3, "uom": "C62", "counted_at": None, "expires_on": None, "source_system": "douyin",
        "_extracted_at": NOW.replace(tzinfo=None), "channel": "douyin", "offered_qty": 40,
    }  # fmt: skip
    counted = {
        **offer, "position_id": "odoo:quants:5", "location_id": "location_x", "on_hand_qty": 12, "reserved_qty": 2, "channel": None,
        "offered_qty": None, "counted_at": NOW.replace(tzinfo=None), "source_system": "odoo",
    }  # fmt: skip
    sku = {"sku_id": "sku_l", "sku_code": "LIP-07", "gtin14": "04006381333931", "needs_cold_chain": False}
    publish_small(database, dim_locations=NODES, dim_skus=[sku], fct_inventory_positions=[offer, counted])
    assert rebase(database, {"odoo": 0}, by="root").left_out == {}
    body = shop.get("/inventory/LIP-07").json()
    assert [(node["location_id"], node["on_hand_qty"]) for node in body["nodes"]] == [("location_x", "12")]
    (told,) = body["offers"]
    assert (told["channel"], told["offered_qty"], told["held_qty"]) == ("douyin", "40", "3")
    assert shop.get("/availability", params={"sku": "LIP-07"}).json()["available_qty"] == "10"
    shown = {row["position_id"]: row for row in shop.get("/skus/LIP-07").json()["positions"]}
    assert (shown["douyin:skus:5001"]["offered_qty"], shown["odoo:quants:5"]["channel"]) == (
        "40.000000",
        None,
    )


def test_the_order_says_what_is_held_for_it(shop: httpx.Client, database: Database) -> None:
    moved(shop)
    before = shop.get("/orders/1042")
    assert before.json()["reserved"] == []
    # By its id and by its number; a number that leads to two orders tells nothing of either.
    made = [
        ask(shop, reference, qty=qty, order_reference=reference).json()["reservation_id"]
        for reference, qty in (("order_a", 2), (before.json()["order_number"], 1), ("RECYCLED", 3))
    ]
    after = shop.get("/orders/1042", headers={"If-None-Match": before.headers["ETag"]})
    assert after.status_code == 200, "what is held belongs to the ETag"
    models.Order.model_validate(after.json())
    held = {item["reservation_id"]: item for item in after.json()["reserved"]}
    assert {name: (item["state"], item["qty"], item["location_id"]) for name, item in held.items()} == {
        made[0]: ("held", "2.000000", "location_x"), made[1]: ("held", "1.000000", "location_x"),
    }  # fmt: skip
    assert all(set(item) == set(models.Reserved.model_fields) for item in held.values())
    assert shop.post(f"/reservations/{made[0]}/allocation").status_code == 200
    assert shop.delete(f"/reservations/{made[1]}").status_code == 200
    (now,) = shop.get("/orders/%231042").json()["reserved"]
    assert (now["reservation_id"], now["state"], now["expires_at"]) == (made[0], "allocated", None)
    assert shop.get("/orders/1042?as_of=1").json()["reserved"] is None
    many = shop.post("/orders/lookup", json={"numbers": ["order_a", "order_b"]}).json()["orders"]
    assert (many["order_a"]["reserved"], many["order_b"]["reserved"]) == ([now], [])
    ask(shop, "lapsed", qty=1, order_reference="order_b")
    assert len(shop.get("/orders/order_b").json()["reserved"]) == 1
    with database.begin() as connection:
        connection.execute(text("UPDATE orderhub.reservations SET expires_at = now() WHERE key = 'lapsed'"))
    assert shop.get("/orders/order_b").json()["reserved"] == []
