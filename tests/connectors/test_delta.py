"""Delta links: what a source goes on telling after it was read whole, deletions included."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import connectors.sandbox.sap_s4 as twin
from connectors.declare import Delta
from connectors.extract import PullResult, pull_source
from connectors.follow import follow
from connectors.landing import Landing
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving
from connectors.sources.sap_s4 import SOURCE
from connectors.tombstone import note_returned, tombstones

STREAMS = ["products", "sales_orders"]


@pytest.fixture
def company() -> Iterator[Served]:
    with serving(Sandbox(generate(7, 80), sources=["sap_s4"], level="none")) as served:
        yield served


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with contextlib.closing(Landing(tmp_path / "landing")) as opened:
        yield opened


def _pull(landing: Landing, company: Served, **options: Any) -> dict[str, PullResult]:
    results = pull_source(SOURCE, landing, company.env, streams=STREAMS, **options)
    results += note_returned(SOURCE, landing, results)
    results += follow(SOURCE, landing, company.env)
    assert [item.error for item in results if item.error] == []
    return {item.stream: item for item in results}


def _asked(landing: Landing, result: PullResult) -> list[str]:
    import sqlalchemy as sa

    from connectors.landing import PAGES

    with landing.transaction() as connection:
        rows = connection.execute(sa.select(PAGES).where(PAGES.c.batch_id == result.batch_id))
        return [row.origin for row in rows]


def test_the_second_pull_follows_the_link_and_hears_of_deletions(company: Served, landing: Landing) -> None:
    first = _pull(landing, company)
    lost = landing.values("sap_s4", "products", "product")[2]
    link = landing.delta_link("sap_s4", "products")
    assert link is not None
    company.sandbox.delete("sap_s4", lost)
    company.sandbox.advance(4, timedelta(days=2))
    second = _pull(landing, company)
    assert second["products"].pulled == 0
    assert 0 < second["sales_orders"].pulled < first["sales_orders"].pulled
    assert all("$deltatoken" in origin for origin in _asked(landing, second["sales_orders"]))
    assert landing.delta_link("sap_s4", "products") != link, "each answer brings the next link"
    assert set(tombstones(landing, SOURCE)) == {("products", lost)}
    assert _pull(landing, company)["products"].pulled == 0
    for count in landing.counts():
        assert count.pulled == count.landed + count.quarantined, count


def test_a_link_that_has_run_out_means_reading_it_all(
    company: Served, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = _pull(landing, company)
    link = landing.delta_link("sap_s4", "products")
    monkeypatch.setattr(twin, "_LINKS_LAST", timedelta(seconds=-1))
    again = _pull(landing, company)
    assert again["products"].pulled == first["products"].pulled
    assert not any("$deltatoken" in origin for origin in _asked(landing, again["products"]))
    assert landing.delta_link("sap_s4", "products") is not None
    assert link is not None


def test_a_back_fill_asks_for_its_window_and_leaves_the_link(company: Served, landing: Landing) -> None:
    _pull(landing, company)
    link = landing.delta_link("sap_s4", "sales_orders")
    since = company.sandbox.world.now - timedelta(days=20)
    window = _pull(landing, company, since=since)
    assert not any("$deltatoken" in origin for origin in _asked(landing, window["sales_orders"]))
    assert landing.delta_link("sap_s4", "sales_orders") == link


def test_what_comes_back_is_no_longer_gone(company: Served, landing: Landing) -> None:
    _pull(landing, company)
    lost = landing.values("sap_s4", "products", "product")[0]
    company.sandbox.delete("sap_s4", lost)
    _pull(landing, company)
    company.sandbox._deleted["sap_s4"].clear()
    _pull(landing, company, full=True)
    assert tombstones(landing, SOURCE) == {}


def test_a_sweep_finds_what_no_link_told(company: Served, landing: Landing) -> None:
    _pull(landing, company)
    lost = landing.values("sap_s4", "products", "product")[1]
    company.sandbox.delete("sap_s4", lost)
    follow(SOURCE, landing, company.env, sweeps=True, streams=["products"])
    assert set(tombstones(landing, SOURCE)) == {("products", lost)}


@pytest.mark.parametrize(
    ("row", "key"),
    [
        ({"Product": "7", "name": "x"}, None),
        ("not a row", None),
        ({"@removed": {"reason": "deleted"}, "@id": "Product('A''7')"}, "A'7"),
        ({"@removed": {"reason": "deleted"}, "Product": "7"}, "7"),
        ({"@removed": {"reason": "changed"}, "Product": "7"}, ""),
        (
            {"@odata.context": "$metadata#Product/$deletedEntity", "id": "Product(7)", "reason": "deleted"},
            "7",
        ),
        (
            {"@odata.context": "$metadata#Product/$deletedEntity", "id": "Product('7')", "reason": "changed"},
            "",
        ),
    ],
)
def test_removed_entities_are_told_from_records(row: Any, key: str | None) -> None:
    assert Delta(key="Product").removed(row) == key
