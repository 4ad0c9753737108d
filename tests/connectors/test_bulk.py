"""Bulk operations: what a shop hands out as a file is what its pages show."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import connectors.sandbox.shopify as twin
from connectors.bulk import pull_bulk
from connectors.client import Client
from connectors.errors import ProtocolError
from connectors.extract import pull_source
from connectors.landing import Landing
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving
from connectors.sources.shopify import SOURCE, assemble

STREAMS = ["orders", "customers", "products", "variants"]


@pytest.fixture(scope="module")
def shop() -> Iterator[Served]:
    with serving(Sandbox(generate(7, 400), sources=["shopify"])) as served:
        yield served


@contextlib.contextmanager
def _landing(root: Path) -> Iterator[Landing]:
    with contextlib.closing(Landing(root)) as opened:
        yield opened


def _rows(landing: Landing, stream: str) -> list[dict[str, Any]]:
    files = [batch.files[stream] for batch in landing.batches() if stream in batch.files]
    rows = [row for file in files for row in pq.read_table(file).to_pylist()]
    own = [{name: value for name, value in row.items() if not name.startswith("_")} for row in rows]
    return sorted(own, key=lambda row: [str(value) for value in row.values()])


def test_a_file_brings_what_the_pages_bring(shop: Served, tmp_path: Path) -> None:
    with _landing(tmp_path / "bulk") as bulk, _landing(tmp_path / "pages") as pages:
        results = pull_bulk(SOURCE, bulk, shop.env)
        assert [item.error for item in results] == [None] * len(results)
        assert {item.stream for item in results} == set(STREAMS)
        pull_source(SOURCE, pages, shop.env, streams=STREAMS)
        for stream in [*STREAMS, *(child.name for child in SOURCE.stream("orders").children)]:
            assert _rows(bulk, stream) == _rows(pages, stream), stream
        assert _rows(bulk, "order_refund_line_items"), "orders with refunds were asked for one by one"
        for count in bulk.counts():
            assert count.pulled == count.landed + count.quarantined, count
        assert bulk.cursor("shopify", "products") is not None
        again = pull_source(SOURCE, bulk, shop.env, streams=["products", "customers"])
        assert [item.changed for item in again] == [0, 0], "an increment goes on from there"


def test_what_is_too_much_for_one_file_comes_in_parts(shop: Served, tmp_path: Path) -> None:
    middle = shop.sandbox.world.now - timedelta(days=20)
    with _landing(tmp_path / "parts") as parts, _landing(tmp_path / "whole") as whole:
        for since, until in ((None, middle), (middle, None)):
            results = pull_bulk(SOURCE, parts, shop.env, streams=["orders"], since=since, until=until)
            assert [item.error for item in results] == [None, None]
        pull_bulk(SOURCE, whole, shop.env, streams=["orders"])
        assert _rows(parts, "orders") == _rows(whole, "orders")
        assert parts.cursor("shopify", "orders") is None


def test_a_file_that_is_not_whole_is_fetched_again(
    shop: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = twin.Twin._lines
    monkeypatch.setattr(twin.Twin, "_lines", lambda self, document: lines(self, document)[:3])
    told: Callable[..., Any] = twin.Twin._operation
    monkeypatch.setattr(
        twin.Twin, "_operation", lambda self, key, address: {**told(self, key, address), "objectCount": "4"}
    )
    with _landing(tmp_path) as landing:
        [result] = pull_bulk(SOURCE, landing, shop.env, streams=["products"])
        assert "3 lines, 4 were made" in (result.error or "")
        assert landing.batches() == []


@pytest.mark.parametrize("status", ["FAILED", "CANCELED", "EXPIRED"])
def test_an_operation_that_fails_lands_nothing(
    status: str, shop: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: Callable[..., Any] = twin.Twin._operation
    monkeypatch.setattr(
        twin.Twin, "_operation", lambda self, key, address: {**told(self, key, address), "status": status}
    )
    with _landing(tmp_path) as landing:
        [result] = pull_bulk(SOURCE, landing, shop.env, streams=["products"])
        assert status in (result.error or "")
        assert landing.batches() == []


def test_a_query_that_is_refused_says_why(
    shop: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusal = {"bulkOperation": None, "userErrors": [{"field": None, "message": "already in progress"}]}
    monkeypatch.setattr(twin.Twin, "_begin", lambda self, document: refusal)
    with _landing(tmp_path) as landing:
        [result] = pull_bulk(SOURCE, landing, shop.env, streams=["products"])
    assert "already in progress" in (result.error or "")


def test_no_file_is_fetched_from_a_stranger(shop: Served) -> None:
    with Client(SOURCE, shop.env) as client, pytest.raises(ProtocolError, match="another host"):
        client.download(SOURCE.stream("orders"), "https://files.example/x.jsonl")


def test_lines_go_back_below_their_parents() -> None:
    one, two = "gid://shopify/Order/1", "gid://shopify/Order/2"
    rows, refunded = assemble(
        [
            {"id": "l1", "__parentId": one},
            {"id": one, "refunds": []},
            {"id": two, "refunds": [{"id": "r"}]},
            {"id": "l3", "__parentId": two},
            {"id": "l2", "__parentId": one},
        ]
    )
    assert [row["id"] for row in rows] == [one]
    assert [line["id"] for line in rows[0]["lineItems"]["nodes"]] == ["l1", "l2"]
    assert refunded == [two]
