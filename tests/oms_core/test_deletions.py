"""Products that marketplaces delete: the next pull or sweep notices, the SKU says so, and orders go on naming it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from connectors.extract import pull_source
from connectors.follow import follow
from connectors.landing import Landing
from connectors.registry import source
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving
from oms_core import pipeline
from oms_core.builder import Builder
from oms_core.warehouse import DuckDBWarehouse

# The stream whose records are deleted; two shops show what they deleted, of two a sweep finds that it is not there.
_PRODUCTS = {
    "douyin": "products",
    "lazada": "products",
    "pinduoduo": "goods",
    "wechat_shop": "product_numbers",
}
_LINES = {
    "douyin": "sku_orders",
    "lazada": "order_items",
    "pinduoduo": "order_items",
    "wechat_shop": "order_products",
}
_SWEPT = ("pinduoduo", "wechat_shop")


@pytest.fixture
def shops() -> Iterator[Served]:
    with serving(Sandbox(generate(7, 60), level="none", sources=list(_PRODUCTS), limits=False)) as served:
        yield served


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with contextlib.closing(Landing(tmp_path / "landing")) as opened:
        yield opened


def _pull(landing: Landing, shops: Served, name: str, streams: Sequence[str] | None = None) -> None:
    declared = source(name).model_copy(update={"limit": None})
    results = pull_source(declared, landing, shops.env, streams=streams)
    if name in _SWEPT:
        results += follow(source(name), landing, shops.env, streams=[_PRODUCTS[name]], sweeps=True)
    assert [result.error for result in results if result.error] == []


def _warehouse(landing: Landing, home: Path) -> DuckDBWarehouse:
    """What landed, as models; every record of a SKU is a SKU of its own."""
    for batch in landing.batches(gate="pending"):
        landing.pass_gate(batch.batch_id, "", [])
    warehouse = DuckDBWarehouse(home / "warehouse.duckdb")
    pipeline.load(landing, warehouse)
    with Builder(warehouse, home) as builder:
        builder.start(list(_PRODUCTS))
        builder.build(["+int_sku_records", "+int_order_lines", "+int_tombstones"])
        records = warehouse.read("select record_id from intermediate.int_sku_records")[
            "record_id"
        ].to_pylist()
        now = pa.scalar(0, pa.timestamp("us"))
        links = {
            "record_id": records,
            "sku_id": [f"SKU/{record}" for record in records],
            "match_rule": ["code"] * len(records),
            "valid_from": pa.array([now] * len(records)),
            "valid_to": pa.nulls(len(records), pa.timestamp("us")),
        }
        warehouse.replace("identity", {"sku_xref": pa.table(links)})
        builder.build(["sku_xref"])
    return warehouse


def _rows(landing: Landing, name: str, table: str) -> list[dict[str, Any]]:
    files = [batch.files[table] for batch in landing.batches(source=name) if table in batch.files]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


def _sold(landing: Landing, name: str) -> tuple[str, set[str]]:
    """A product that an order names, and its SKUs."""
    named = {row["sku_id"] for row in _rows(landing, name, _LINES[name])}
    owners = {row["sku_id"]: row["item_id"] for row in _rows(landing, name, "skus")}
    item = owners[min(named & set(owners))]
    return item, {sku for sku, owner in owners.items() if owner == item}


def test_a_deleted_product_is_noticed_and_stays_linked(
    shops: Served, landing: Landing, tmp_path: Path
) -> None:
    gone: set[str] = set()
    for name in _PRODUCTS:
        _pull(landing, shops, name)
        item, skus = _sold(landing, name)
        gone |= {f"{name}:skus:{sku}" for sku in skus}
        shops.sandbox.delete(name, item)
        # WeChat's products are asked for one by one, also those that are not there any more.
        _pull(landing, shops, name, [_PRODUCTS[name], *(["products"] if name == "wechat_shop" else [])])
    warehouse = _warehouse(landing, tmp_path)
    links = warehouse.read("select record_id, is_current, source_deleted_at from marts.sku_xref").to_pylist()
    assert {row["record_id"] for row in links if row["source_deleted_at"] is not None} == gone
    assert all(row["is_current"] for row in links)
    assert len(links) > 10 * len(gone)
    orphans = warehouse.read(
        "select lines.sku_key from intermediate.int_order_lines as lines "
        "left join marts.sku_xref as xref on lines.sku_key = xref.record_id where xref.record_id is null"
    )
    assert orphans.num_rows == 0
    named = warehouse.read("select distinct sku_key from intermediate.int_order_lines")["sku_key"].to_pylist()
    assert {key.partition(":")[0] for key in gone & set(named)} == set(_PRODUCTS)
