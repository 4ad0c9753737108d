"""Records that are gone at their source: found by sweeps, told by notifications, back when they come again."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from connectors.client import Client
from connectors.extract import PullResult, pull_source
from connectors.follow import follow
from connectors.landing import Landing
from connectors.notification import Receiver
from connectors.registry import source, sources
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving
from connectors.tombstone import Gone, land_tombstones, note_returned, sweep, tombstones
from connectors.webhook import Incoming

# Stream to sweep, and how the sandbox calls one of its records.
SWEPT = {
    "shopify": ("customers", "{}"),
    "hubspot": ("contacts", "{}"),
    "square": ("customers", "{}"),
    "tryton": ("parties", "party.party,{}"),
    "odoo": ("quants", "stock.quant,{}"),
    "sap_s4": ("products", "{}"),
    "pinduoduo": ("goods", "{}"),
    "wechat_shop": ("product_numbers", "{}"),
    "xiaohongshu": ("skus", "{}"),
    "square/catalogue": ("catalog_items", "{}"),
    "shopify/locations": ("locations", "{}"),
    "vendure": ("stock_locations", "{}"),
    "odoo/moves": ("moves", "stock.move,{}"),
    "tryton/lines": ("sale_lines", "sale.line,{}"),
}


SYSTEMS = sorted({name.partition("/")[0] for name in SWEPT})


@pytest.fixture(scope="module")
def systems() -> Iterator[Served]:
    with serving(Sandbox(generate(7, 150), sources=SYSTEMS, level="none")) as served:
        yield served


@pytest.fixture
def company(systems: Served) -> Iterator[Served]:
    """The systems, with everything in them at the beginning and afterwards."""
    yield systems
    for deleted in systems.sandbox._deleted.values():
        deleted.clear()


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    with contextlib.closing(Landing(tmp_path / "landing")) as opened:
        yield opened


def _pulled(landing: Landing, company: Served, name: str, **options: Any) -> list[PullResult]:
    asked = {"streams": [SWEPT[name][0]], **options}
    results = pull_source(source(name), landing, company.env, **asked)
    assert [item.error for item in results] == [None]
    return results + note_returned(source(name), landing, results)


def _swept(landing: Landing, company: Served, name: str, **options: Any) -> list[PullResult]:
    asked = {"streams": [SWEPT[name][0]], **options}
    return follow(source(name), landing, company.env, sweeps=True, **asked)


@pytest.mark.parametrize("name", SWEPT)
def test_a_sweep_finds_what_was_deleted_and_a_pull_what_came_back(
    name: str, company: Served, landing: Landing
) -> None:
    stream, called = SWEPT[name]
    name = name.partition("/")[0]
    _pulled(landing, company, name, streams=[stream])
    key = source(name).stream(stream).key[0]
    lost = landing.values(name, stream, key)[1]
    assert _swept(landing, company, name, streams=[stream]) == [], "nothing is gone yet"
    company.sandbox.delete(name, called.format(lost))
    results = _swept(landing, company, name, streams=[stream])
    assert [item.error for item in results] == [None] * len(results)
    assert {item: word.merged_into for item, word in tombstones(landing, source(name)).items()} == {
        (stream, lost): None
    }
    assert all(item.landed == 0 for item in _swept(landing, company, name, streams=[stream])), "said once"
    for count in landing.counts():
        assert count.pulled == count.landed + count.quarantined, count
    company.sandbox._deleted[name].clear()
    _pulled(landing, company, name, full=True, streams=[stream])
    assert tombstones(landing, source(name)) == {}


def test_every_stream_says_how_a_deletion_is_noticed() -> None:
    for found in sources().values():
        notices = found.webhook.notices if found.webhook is not None else ()
        told = {
            notice.streams[0] for notice in notices if notice.is_deletion or notice.merged_into is not None
        }
        for stream in found.streams:
            is_noticed = stream.sweep is not None or stream.delta is not None or stream.name in told
            assert is_noticed != bool(stream.kept), f"{found.name}.{stream.name}: say one of both"


def test_the_evidence_of_a_sweep_is_kept(company: Served, landing: Landing) -> None:
    _pulled(landing, company, "shopify")
    lost = landing.values("shopify", "customers", "customer_id")[0]
    company.sandbox.delete("shopify", lost)
    _swept(landing, company, "shopify")
    [batch] = [item for item in landing.batches() if item.stream == "tombstones"]
    import pyarrow.parquet as pq

    [row] = pq.read_table(batch.files["tombstones"]).to_pylist()
    page = orjson.loads(landing.read_page(row["_page_sha256"]))
    assert page["tombstones"][row["_row_index"]]["record_key"] == lost
    assert page["evidence"]["kind"] == "sweep"
    for listed in page["evidence"]["pages"]:
        assert lost.encode() not in landing.read_page(listed)


def test_a_record_that_the_list_passed_over_is_not_gone(
    company: Served, landing: Landing, monkeypatch: pytest.MonkeyPatch
) -> None:
    _pulled(landing, company, "square")
    import connectors.tombstone as module

    read = module._listed
    monkeypatch.setattr(module, "_listed", lambda *given: set(sorted(read(*given))[1:]))
    [result] = _swept(landing, company, "square")
    assert (result.stream, result.landed) == ("customers", 1), "it was asked for by its key"
    assert tombstones(landing, source("square")) == {}


def test_too_great_a_loss_is_refused_until_somebody_says_so(company: Served, landing: Landing) -> None:
    _pulled(landing, company, "odoo")
    keys = landing.values("odoo", "quants", "id")
    company.sandbox.delete("odoo", *(f"stock.quant,{key}" for key in keys[: len(keys) // 2]))
    [refused] = _swept(landing, company, "odoo")
    assert "--largest-loss" in (refused.error or "")
    assert tombstones(landing, source("odoo")) == {}
    [done] = _swept(landing, company, "odoo", largest_loss=0.6)
    assert done.landed == len(keys) // 2


def test_a_sweep_that_fails_says_so_and_buries_nobody(company: Served, landing: Landing) -> None:
    _pulled(landing, company, "tryton")
    parties = source("tryton").stream("parties")
    assert parties.sweep is not None
    broken = parties.model_copy(update={"sweep": parties.sweep.model_copy(update={"rows": "nowhere"})})
    with Client(source("tryton"), company.env) as client:
        [result] = sweep(source("tryton"), broken, landing, client)
    assert "no list of keys" in (result.error or "")
    assert tombstones(landing, source("tryton")) == {}


@pytest.fixture
def tell(company: Served, landing: Landing) -> Callable[..., list[PullResult]]:
    """Let a system tell something, and act on it."""

    def told(name: str, *changes: tuple[str, str]) -> list[PullResult]:
        address = f"http://hub.example/hooks/{name}"
        values = {**company.env, f"ORDERHUB_{name.upper()}_WEBHOOK_URL": address}
        receiver = Receiver(landing, sources(), values)
        for sent in company.sandbox.notifications(name, address, changes):
            headers = {key.lower(): value for key, value in sent.headers.items()}
            receipt = receiver.receive(name, Incoming(headers, sent.body, sent.params))
            assert receipt.outcome == "stored", receipt
        return follow(source(name), landing, company.env)

    return told


def test_a_deletion_that_is_told_of_is_believed(
    tell: Callable[..., list[PullResult]], company: Served, landing: Landing
) -> None:
    _pulled(landing, company, "shopify")
    lost = landing.values("shopify", "customers", "customer_id")[1]
    company.sandbox.delete("shopify", lost)
    [result] = tell("shopify", ("customers/delete", lost))
    assert result.stream == "tombstones"
    assert set(tombstones(landing, source("shopify"))) == {("customers", lost)}


def test_a_record_that_is_not_there_when_it_is_asked_for_is_gone(
    tell: Callable[..., list[PullResult]], company: Served, landing: Landing
) -> None:
    _pulled(landing, company, "square")
    lost = landing.values("square", "customers", "customer_id")[1]
    company.sandbox.delete("square", lost)
    results = tell("square", ("customer.updated", lost), ("customer.updated", "NEVERSEEN"))
    assert [item.error for item in results] == [None, None]
    assert set(tombstones(landing, source("square"))) == {("customers", lost)}, (
        "of the other nothing was known"
    )


@pytest.mark.parametrize(("name", "topic"), [("hubspot", "contact.merge"), ("square", "customer.created")])
def test_a_merge_at_the_source_names_what_took_the_place(
    name: str, topic: str, tell: Callable[..., list[PullResult]], company: Served, landing: Landing
) -> None:
    _pulled(landing, company, name)
    stream = SWEPT[name][0]
    first, second, kept = landing.values(name, stream, source(name).stream(stream).key[0])[:3]
    company.sandbox.delete(name, first, second)
    results = tell(name, (topic, f"{first}+{second}>{kept}"))
    assert [item.error for item in results] == [None, None]
    found = {key: word.merged_into for key, word in tombstones(landing, source(name)).items()}
    assert found == {(stream, first): kept, (stream, second): kept}


def test_a_word_is_not_repeated_but_a_merge_adds_to_a_deletion(landing: Landing) -> None:
    shop = source("shopify")
    assert land_tombstones(shop, landing, []) is None
    assert land_tombstones(shop, landing, [Gone("customers", "1", "sweep")]) is not None
    assert land_tombstones(shop, landing, [Gone("customers", "1", "sweep")]) is None
    assert land_tombstones(shop, landing, [Gone("customers", "1", "notification", "2")]) is not None
    assert tombstones(landing, shop)["customers", "1"].merged_into == "2"
    assert land_tombstones(shop, landing, (), returned={"customers": ["9"]}) is None
    assert land_tombstones(shop, landing, (), returned={"customers": ["1"]}) is not None
    assert tombstones(landing, shop) == {}
