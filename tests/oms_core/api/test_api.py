"""The API: any number leads to its order, of any release, and every failure is a problem a program can tell apart."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from fastapi import FastAPI
from openapi_spec_validator import validate
from sqlalchemy import text

from oms_core.api import keys, models
from oms_core.api.app import create_app
from oms_core.api.serve import ServeRefusedError, check_exposure
from oms_core.audit import log
from oms_core.store.postgres import Database

ROOT = Path(__file__).parents[3]
SNAPSHOT = Path(__file__).with_name("openapi.json")
KEY = "k" * 32


Serving = Callable[[FastAPI], httpx.Client]


@pytest.fixture
def client(database: Database, publish_small: Callable[..., Any], serving: Serving) -> httpx.Client:
    """A client of the API over one small release."""
    publish_small(database)
    return serving(create_app(database))


def problem(answer: Any, status: int, kind: str) -> dict[str, Any]:
    """Check that an answer is a problem of a kind; gives its body."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert (body["status"], body["type"]) == (status, f"urn:orderhub:problem:{kind}")
    models.Problem.model_validate(body)
    return body


@pytest.mark.parametrize(
    ("number", "found_by"),
    [
        ("order_a", "id"),
        ("1042", "order_number"),
        ("%231042", "order_number"),
        ("shopify:orders:5123", "record_id"),
        ("5123", "source_key"),
        ("SO:88", "source_key"),
        ("WH/OUT/00012", "order_number"),
        ("WH%2FOUT%2F00012", "order_number"),
    ],
)
def test_any_number_leads_to_the_order(client: httpx.Client, number: str, found_by: str) -> None:
    answer = client.get(f"/orders/{number}")
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert (body["order_id"], body["found_by"], body["release_id"]) == ("order_a", found_by, 1)
    assert body["record_ids"] == ["shopify:orders:5123", "tryton:sales:SO:88"]


def test_an_order_comes_whole_and_exact(client: httpx.Client) -> None:
    body = client.get("/orders/1042").json()
    assert (body["net_amount"], body["currency"]) == ("49.9000", "EUR")
    assert body["refunded_amount"] is None
    assert body["ordered_at"] == "2026-10-31T17:02:11Z"
    assert body["source_systems"] == ["shopify", "tryton"]
    assert body["quality_flags"] == ["unknown:carbon"]
    assert [line["sku_id"] for line in body["lines"]] == ["sku_l"]
    assert [event["event_type"] for event in body["events"]] == ["picked", "created"]
    assert [shipment["carrier_code"] for shipment in body["shipments"]] == ["dhl"]
    assert body["payments"] == body["refunds"] == body["returns"] == []
    assert body["provenance"] is None
    explained = client.get("/orders/1042?explain=true").json()["provenance"]
    assert [(item["attribute"], item["record_key"], item["row_index"]) for item in explained] == [
        ("net_amount", "5123", 0),
        ("order_number", "SO:88", 3),
    ]


def test_the_document_is_what_the_model_says(client: httpx.Client) -> None:
    for number in ("order_a", "order_b", "order_a?explain=true", "order_a?as_of=1"):
        body = client.get(f"/orders/{number}").json()
        assert models.Order.model_validate(body).model_dump(mode="json") == body


def test_a_recycled_number_is_never_guessed(client: httpx.Client) -> None:
    body = problem(client.get("/orders/RECYCLED?as_of=1"), 409, "ambiguous-number")
    assert body["candidates"] == ["/orders/order_a?as_of=1", "/orders/order_b?as_of=1"]
    assert [client.get(place).status_code for place in body["candidates"]] == [200, 200]


def test_ended_links_lead_nowhere(client: httpx.Client) -> None:
    problem(client.get("/orders/square:orders:old"), 404, "not-released")


def test_a_retired_id_leads_to_the_one_that_took_over(client: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        for golden_id, redirect in (
            ("order_old", "order_older"),
            ("order_older", "order_a"),
            ("order_gone", None),
        ):
            connection.execute(
                text(
                    "INSERT INTO orderhub.golden_ids (entity, golden_id, born_at, born_from_record_id, retired_at, "
                    "redirect_to) VALUES ('order', :golden_id, now(), 'x:y:z', now(), :redirect)"
                ),
                {"golden_id": golden_id, "redirect": redirect},
            )
    body = client.get("/orders/order_old").json()
    assert (body["order_id"], body["found_by"]) == ("order_a", "redirect")
    problem(client.get("/orders/order_gone"), 404, "not-released")


def test_customers_and_skus(client: httpx.Client) -> None:
    customer = client.get("/customers/301").json()
    assert (customer["customer_id"], customer["full_name"]) == ("customer_w", "王小明")
    assert (customer["preference_tags"], customer["order_ids"]) == (["fragrance-free"], ["order_a"])
    for number, found_by in (
        ("sku_l", "id"),
        ("LIP-07", "sku_code"),
        ("04006381333931", "gtin14"),
        ("4006381333931", "gtin14"),
        ("W62X", "source_key"),
    ):
        sku = client.get(f"/skus/{number}").json()
        assert (sku["sku_id"], sku["found_by"]) == ("sku_l", found_by)
        assert [position["on_hand_qty"] for position in sku["positions"]] == ["120.000000"]
    problem(client.get("/customers/nobody"), 404, "not-released")
    problem(client.get("/skus/nothing"), 404, "not-released")


def test_locations(client: httpx.Client, database: Database, publish_small: Callable[..., Any]) -> None:
    at = datetime(2026, 11, 1)
    publish_small(
        database,
        dim_locations=[
            {"location_id": "location_x", "location_code": "AMS", "gln": "8719333000017", "location_name": "Amsterdam",
             "source_systems": '["odoo"]'},
            {"location_id": "location_y", "location_code": "LYS", "gln": None},
        ],
        location_xref=[{"record_id": "odoo:warehouses:7", "location_id": "location_x", "valid_from": at, "valid_to": None}],
    )  # fmt: skip
    for number, found_by in (
        ("location_x", "id"),
        ("AMS", "location_code"),
        ("8719333000017", "gln"),
        ("odoo:warehouses:7", "record_id"),
        ("7", "source_key"),
    ):
        answer = client.get(f"/locations/{number}")
        body = answer.json()
        assert (body["location_id"], body["found_by"], body["location_name"]) == (
            "location_x",
            found_by,
            "Amsterdam",
        )
        assert (body["record_ids"], body["source_systems"]) == (["odoo:warehouses:7"], ["odoo"])
        seen = {"If-None-Match": answer.headers["ETag"]}
        assert client.get(f"/locations/{number}", headers=seen).status_code == 304
    problem(client.get("/locations/nowhere"), 404, "not-released")


def test_any_code_of_any_system_leads_to_a_sku_or_a_place_unless_it_leads_to_two(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    def sku(sku_id: str, code: str) -> dict[str, Any]:
        return {"sku_id": sku_id, "sku_code": code, "gtin14": None, "unit_cost_amount": None}

    def known(number: str, sku_id: str, source: str) -> dict[str, Any]:
        return {
            "sku_number": number,
            "sku_id": sku_id,
            "source_system": source,
            "record_id": f"{source}:items:{sku_id}",
        }

    publish_small(
        database,
        dim_skus=[sku("sku_l", "LIP-07"), sku("sku_m", "BALM")],
        sku_numbers=[
            known("lip 07/red", "sku_l", "lazada"), known("BALM", "sku_l", "square"), known("OLD", "sku_l", "square"),
            known("OLD", "sku_m", "lazada"),
        ],
        dim_locations=[{"location_id": "location_x", "location_code": "WHCN", "gln": None}],
        location_numbers=[
            {"location_number": "WH-CN", "location_id": "location_x", "source_system": "square", "record_id": "square:locations:1"}
        ],
    )  # fmt: skip
    for path, golden, found_by in (
        ("/skus/lip 07%2Fred", "sku_l", "sku_number"),
        ("/skus/BALM", "sku_m", "sku_code"),  # what one system calls another by mistake does not hide it
        ("/locations/WH-CN", "location_x", "location_number"),
    ):
        body = client.get(path).json()
        assert (body.get("sku_id", body.get("location_id")), body["found_by"]) == (golden, found_by)
    problem(client.get("/skus/OLD"), 409, "ambiguous-number")


def test_past_releases_stay_readable(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    published = publish_small(database, fct_order_lines=[], dim_skus=[])
    assert len(client.get("/orders/1042").json()["lines"]) == 0
    for as_of in ("1", "2026-01-01"):
        answer = client.get(f"/orders/1042?as_of={as_of}")
        assert answer.status_code == (200 if as_of == "1" else 404)
    old = client.get("/orders/1042?as_of=1").json()
    assert (old["release_id"], len(old["lines"])) == (1, 1)
    at = published.published_at.isoformat().replace("+", "%2B")
    assert client.get(f"/orders/1042?as_of={at}").json()["release_id"] == 2
    assert client.get("/skus/sku_l?as_of=1").status_code == 200
    problem(client.get("/skus/sku_l"), 404, "not-released")
    problem(client.get("/orders/1042?as_of=3"), 404, "not-released")
    problem(client.get("/orders/1042?as_of=soon"), 404, "not-released")


def test_an_unchanged_order_is_not_sent_twice(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    first = client.get("/orders/1042")
    tag = first.headers["etag"]
    again = client.get("/orders/1042", headers={"If-None-Match": f'"other", W/{tag}'})
    assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", tag)
    publish_small(database, dim_customers=[])
    unchanged = client.get("/orders/1042", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.headers["orderhub-release"]) == (304, "2")
    publish_small(database, dim_customers=[], fct_order_lines=[])
    assert client.get("/orders/1042", headers={"If-None-Match": tag}).status_code == 200
    assert client.get("/orders/1042?explain=true", headers={"If-None-Match": tag}).status_code == 200


def test_releases_are_listed_page_by_page(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database, dim_skus=[])
    publish_small(database)
    first = client.get("/releases?limit=2").json()
    assert [release["release_id"] for release in first["releases"]] == [3, 2]
    assert first["next_before"] == 2
    second = client.get("/releases?limit=2&before=2").json()
    assert [release["release_id"] for release in second["releases"]] == [1]
    assert second["next_before"] is None
    release = second["releases"][0]
    assert release["row_counts"]["fct_orders"] == 2
    assert release["control_totals"]["fct_orders"] == {
        "CNY": {"net_amount": "8.0000"},
        "EUR": {"net_amount": "49.9000"},
    }
    assert len(release["merkle_root"]) == 64


def key_of(database: Database, name: str, role: str) -> dict[str, str]:
    """A header with a fresh key of a role."""
    with database.begin() as connection:
        return {"X-API-Key": keys.make(connection, name, role=role, by="root")}


def test_who_need_not_reach_a_person_sees_persons_masked(client: httpx.Client, database: Database) -> None:
    whole = client.get("/customers/customer_w")
    assert whole.json()["full_name"] == "王小明" and whole.headers["orderhub-masked"] == "false"
    for role in ("finance", "auditor", "data_engineer"):
        masked = client.get("/customers/customer_w", headers=key_of(database, "eve", role))
        assert masked.json()["full_name"] == "王•••" and masked.headers["orderhub-masked"] == "true"
        assert masked.headers["etag"] != whole.headers["etag"]
        assert masked.json()["order_ids"] == whole.json()["order_ids"]
    steward = client.get("/customers/customer_w", headers=key_of(database, "sam", "steward"))
    assert steward.json()["full_name"] == "王小明"


def test_whom_an_order_goes_to_is_told_to_those_who_ship_it(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    before = client.get("/orders/1042")
    assert before.json()["recipient"] is None
    address = {
        "order_id": "order_a", "customer_id": "customer_w", "ship_to_name": "王小明", "ship_to_street": "人民路387号501室",
        "ship_to_city": "北京市", "ship_to_region": None, "ship_to_postcode": "100066", "ship_to_country": "CN", "source_system": "odoo",
    }  # fmt: skip
    publish_small(database, fct_order_addresses=[address])
    whole = client.get("/orders/1042", headers={"If-None-Match": before.headers["ETag"]})
    shown = {name: value for name, value in address.items() if name != "order_id"}
    assert (whole.status_code, whole.json()["recipient"]) == (200, shown)
    models.Order.model_validate(whole.json())
    assert client.get("/orders/77").json()["recipient"] is None
    masked = client.get("/orders/1042", headers=key_of(database, "eve", "finance")).json()["recipient"]
    assert masked == shown | {"ship_to_name": "王•••", "ship_to_street": "人•••", "ship_to_postcode": "1•••"}
    assert client.get("/orders/1042?as_of=1").json()["recipient"] is None


def test_an_auditors_purpose_lifts_the_mask_and_is_logged(client: httpx.Client, database: Database) -> None:
    auditor = key_of(database, "eve", "auditor") | {"Orderhub-Purpose": "complaint 12"}
    assert client.get("/customers/customer_w", headers=auditor).json()["full_name"] == "王小明"
    finance = key_of(database, "fay", "finance") | {"Orderhub-Purpose": "complaint 12"}
    problem(client.get("/customers/customer_w", headers=finance), 403, "forbidden")
    problem(
        client.get("/customers/customer_w", headers=auditor | {"Orderhub-Purpose": ""}),
        422,
        "invalid-request",
    )
    client.post("/orders/lookup", json={"numbers": ["#1042", "none"]}, headers=auditor)
    with database.begin() as connection:
        said = [entry.said for entry in log.read(connection, -1, 100)]
    assert [(item["actor"], item["data"]) for item in said if item["kind"] == "personal_data.read"] == [
        ("eve", {"purpose": "complaint 12", "query": "GET /customers/customer_w"}),
        ("eve", {"purpose": "complaint 12", "query": 'POST /orders/lookup {"numbers":["#1042","none"]}'}),
    ]
    # The first use of a key on a day is a log-in.
    assert [item["subject"] for item in said if item["kind"] == "key.used"] == ["auditor/eve", "finance/fay"]


def test_a_comparison_shows_no_more_of_a_person_than_a_look_up(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    changed = {"customer_id": "customer_w", "full_name": "李小红", "preference_tags": "[]"}
    publish_small(database, dim_customers=[changed])

    def names(headers: dict[str, str] | None = None) -> list[str]:
        answer = client.get("/releases/1/diff/2", params={"table": "dim_customers"}, headers=headers).json()
        found: list[str] = answer["tables"][0]["rows"][0]["columns"]["full_name"]
        return found

    assert names() == ["王小明", "李小红"]
    for role in ("finance", "auditor", "data_engineer"):
        assert names(key_of(database, "eve", role)) == ["王•••", "李•••"]
    assert names(key_of(database, "ann", "auditor") | {"Orderhub-Purpose": "complaint 12"}) == [
        "王小明",
        "李小红",
    ]


def test_many_orders_are_looked_up_at_once(client: httpx.Client) -> None:
    answer = client.post(
        "/orders/lookup", json={"numbers": ["#1042", "77", "RECYCLED", "nowhere", "77"]}
    ).json()
    assert {number: order["order_id"] for number, order in answer["orders"].items()} == {
        "#1042": "order_a", "77": "order_b",
    }  # fmt: skip
    assert answer["orders"]["#1042"]["lines"][0]["net_amount"] == "49.9000"
    assert set(answer["missing"]) == {"RECYCLED", "nowhere"}
    problem(client.post("/orders/lookup", json={"numbers": []}), 422, "invalid-request")
    problem(client.post("/orders/lookup", json={"numbers": ["x"] * 101}), 422, "invalid-request")


def test_changes_are_followed_from_a_cursor(client: httpx.Client, database: Database) -> None:
    first = client.get("/changes", params={"entity": "order", "limit": 1}).json()
    assert [event["subject"] for event in first["changes"]] == ["order_a"]
    rest = client.get("/changes", params={"entity": "order", "after": first["cursor"]}).json()
    assert [event["id"] for event in rest["changes"]] == ["1/order/order_b"]
    none = client.get("/changes", params={"entity": "order", "after": rest["cursor"]}).json()
    assert none == {"changes": [], "cursor": rest["cursor"]}
    problem(client.get("/changes", params={"after": "x"}), 422, "invalid-request")
    assert client.get("/changes", headers=key_of(database, "oms", "finance")).status_code == 200


def test_two_releases_are_compared(
    client: httpx.Client, database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database, fct_order_lines=[])
    counts = client.get("/releases/1/diff/2").json()
    assert (counts["left"], counts["right"]) == (1, 2)
    changed = {item["table"]: item["removed"] for item in counts["tables"] if item["removed"]}
    assert changed == {"fct_order_lines": 1}
    (rows,) = client.get("/releases/1/diff/2", params={"table": "fct_order_lines"}).json()["tables"]
    (row,) = rows["rows"]
    assert row["kind"] == "removed" and row["columns"]["net_amount"] == ["49.9000", None]
    (rest,) = client.get("/releases/1/diff/2", params={"table": "fct_order_lines", "offset": 1}).json()[
        "tables"
    ]
    assert (rest["removed"], rest["rows"]) == (1, [])
    of_order = client.get("/releases/2/diff/1", params={"order": "1042"}).json()["tables"]
    assert [(item["table"], item["added"]) for item in of_order if item["rows"]] == [("fct_order_lines", 1)]
    problem(client.get("/releases/1/diff/9"), 404, "not-released")
    problem(client.get("/releases/1/diff/2", params={"table": "fct_moods"}), 422, "invalid-request")


def test_before_the_first_release(database: Database, serving: Serving) -> None:
    client = serving(create_app(database))
    assert client.get("/health").json() == {"status": "ok", "release_id": None, "published_at": None}
    assert client.get("/releases").json() == {"releases": [], "next_before": None}
    body = problem(client.get("/orders/1042"), 404, "not-released")
    assert "nothing was released yet" in body["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/orders/" + "x" * 201, 422),
        ("/orders/x?as_of=" + "9" * 41, 422),
        ("/orders/x?" + "y" * 8200, 414),
        ("/releases?limit=0", 422),
        ("/releases?limit=lots", 422),
        ("/releases?before=99999999999999999999", 422),
    ],
)
def test_unfit_requests_are_refused(client: httpx.Client, path: str, status: int) -> None:
    problem(client.get(path), status, "invalid-request")


def test_numbers_that_look_like_sql_are_only_numbers(client: httpx.Client) -> None:
    for number in ("' OR 1=1 --", "\\N", "%00", ":number", "1042' UNION SELECT"):
        assert client.get("/orders/" + number).status_code in (404, 422)


def test_nothing_can_be_written(client: httpx.Client) -> None:
    problem(client.post("/orders/1042"), 405, "other-method")
    problem(client.get("/nowhere"), 404, "no-such-route")
    problem(client.request("GET", "/orders/1042", content=iter([b"{}"])), 413, "invalid-request")


def test_without_a_key_only_loopback_names_are_answered(client: httpx.Client) -> None:
    problem(client.get("/orders/1042", headers={"Host": "evil.example"}), 421, "invalid-request")
    assert client.get("/orders/1042", headers={"Host": "[::1]:8000"}).status_code == 200


def test_with_a_key_every_look_up_needs_it(
    database: Database, publish_small: Callable[..., Any], serving: Serving
) -> None:
    publish_small(database)
    client = serving(create_app(database, KEY))
    for headers in ({}, {"X-API-Key": "wrong"}, {"Authorization": "Bearer wröng".encode().decode("latin-1")}):
        for path in ("/orders/1042", "/customers/301", "/skus/sku_l", "/locations/AMS", "/releases"):
            answer = client.get(
                path, headers={name: value.encode("latin-1") for name, value in headers.items()}
            )
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"] == "Bearer"
    assert client.get("/orders/1042", headers={"X-API-Key": KEY}).status_code == 200
    assert client.get("/orders/1042", headers={"Authorization": f"Bearer {KEY}"}).status_code == 200
    assert client.get("/health").status_code == 200


def test_listening_elsewhere_needs_a_key() -> None:
    for host in ("127.0.0.1", "::1", "localhost", "127.8.0.1"):
        check_exposure(host, None)
    for host in ("0.0.0.0", "::", "192.168.1.5", "orderhub.example", ""):
        with pytest.raises(ServeRefusedError, match="ORDERHUB_API_KEY is not set"):
            check_exposure(host, None)
        check_exposure(host, KEY)
    with pytest.raises(ServeRefusedError, match="fewer than 16 characters"):
        check_exposure("0.0.0.0", "short")


def test_a_stopped_database_is_a_problem(database_url: Any, serving: Serving) -> None:
    with Database(database_url.update_query_dict({"host": "/nonexistent"})) as stopped:
        client = serving(create_app(stopped))
        for path in ("/health", "/orders/1042", "/releases"):
            answer = client.get(path)
            problem(answer, 503, "unavailable")
            assert answer.headers["retry-after"] == "2"


def test_a_fault_tells_no_secrets(client: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("ALTER TABLE release_history.fct_orders RENAME COLUMN ordered_at TO x"))
        connection.execute(text("DROP VIEW released.order_xref"))
        connection.execute(text("CREATE VIEW released.order_xref AS SELECT 1 AS nothing"))
        connection.execute(text("GRANT SELECT ON released.order_xref TO orderhub_reader"))
    body = problem(client.get("/orders/1042"), 500, "fault")
    assert "SELECT" not in json.dumps(body)


def test_every_released_column_is_answered() -> None:
    """The models follow the dbt contracts; lineage and what a release sets itself stand elsewhere in the answer."""
    contracts = {}
    for path in sorted((ROOT / "dbt/models/marts/core").glob("_*.yml")):
        for model in yaml.safe_load(path.read_text()).get("models", []):
            contracts[model["name"]] = {column["name"] for column in model.get("columns", [])}
    elsewhere = {"order_id", "sku_id", "row_hash", "release_id", "stream", "source_key"}
    for mart, model in {
        "fct_orders": models.OrderAttributes,
        "fct_order_addresses": models.Recipient,
        "fct_order_lines": models.OrderLine,
        "fct_order_events": models.OrderEvent,
        "fct_shipments": models.Shipment,
        "fct_payments": models.Payment,
        "fct_refunds": models.Refund,
        "fct_returns": models.Return,
        "fct_inventory_positions": models.InventoryPosition,
        "dim_customers": models.CustomerAttributes,
        "dim_skus": models.SkuAttributes,
        "dim_locations": models.LocationAttributes,
        "order_attribute_provenance": models.Origin,
    }.items():
        offered = {column for column in contracts[mart] if not column.startswith("_")} - elsewhere
        assert set(model.model_fields) - elsewhere == offered, f"{model.__name__} does not follow {mart}"


def test_examples_are_valid() -> None:
    models.Order.model_validate(models.ORDER_EXAMPLE)
    models.Customer.model_validate(models.CUSTOMER_EXAMPLE)
    models.Sku.model_validate(models.SKU_EXAMPLE)
    models.Location.model_validate(models.LOCATION_EXAMPLE)


def test_openapi_document_is_valid_and_as_agreed(database: Database) -> None:
    """A change of the API shows here. Meant? UPDATE_SNAPSHOTS=1 writes the new document."""
    document = json.loads(json.dumps(create_app(database).openapi()))
    validate(document)
    if os.environ.get("UPDATE_SNAPSHOTS"):
        SNAPSHOT.write_text(
            json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8"
        )
    assert document == json.loads(SNAPSHOT.read_text(encoding="utf-8"))
