"""Odoo: the JSON-2 protocol's peculiarities, then pulls over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

import connectors.sources.odoo as declared
from connectors.client import Client
from connectors.conformance import Conformance
from connectors.declare import Bounds, KeysetPages, ProtocolError
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.sources.odoo import SOURCE, Product


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
