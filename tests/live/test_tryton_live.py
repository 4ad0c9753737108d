"""A real Tryton, pulled over HTTP, changed, pulled again."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connectors.declare import Source
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.registry import source

pytestmark = [pytest.mark.live, pytest.mark.timeout(900), pytest.mark.xdist_group("tryton")]

# Landing stream -> Tryton's model, spelled out so that the comparison does not rest on the declaration it checks.
STREAMS = {
    "parties": "party.party",
    "addresses": "party.address",
    "contact_mechanisms": "party.contact_mechanism",
    "party_identifiers": "party.identifier",
    "templates": "product.template",
    "products": "product.product",
    "product_identifiers": "product.identifier",
    "sales": "sale.sale",
    "sale_lines": "sale.line",
    "moves": "stock.move",
    "shipments": "stock.shipment.out",
    "shipment_returns": "stock.shipment.out.return",
    "locations": "stock.location",
    "invoices": "account.invoice",
    "invoice_lines": "account.invoice.line",
}


def test_everything_arrives_and_then_only_the_change_travels(tryton: Any, tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    declared = source("tryton")

    first = _pull(declared, landing, tryton)
    assert {name: result.landed for name, result in first.items() if name in STREAMS} == _by_stream(
        tryton.company("count")
    )

    changed = tryton.company("change")
    second = _pull(_without_lag(declared), landing, tryton)
    # Tryton stamps a record with the start of its transaction, so the pull begins at the very stamp it last saw, and
    # the records of that one instant come once more, unchanged.
    assert {name: second[name].changed for name in STREAMS} == {
        name: len(ids) for name, ids in _by_stream(changed["touched"]).items()
    }
    for name, ids in _by_stream(changed["touched"]).items():
        assert _ids(landing, second[name]) - _last_stamped(landing, first[name]) == set(ids), name

    # With its declared lag the source is read again from before the change: nothing more is found.
    third = _pull(declared, landing, tryton)
    assert {name: result.changed for name, result in third.items()} == dict.fromkeys(third, 0)


def test_wrong_password_lands_nothing_and_says_what_to_do(tryton: Any, tmp_path: Path) -> None:
    landing = Landing(tmp_path / "landing")
    values = {**tryton.values, "ORDERHUB_TRYTON_PASSWORD": "not-the-password"}
    (result,) = pull_source(source("tryton"), landing, values, streams=["parties"])
    assert result.error is not None
    assert "ORDERHUB_TRYTON_PASSWORD" in result.error
    assert "not-the-password" not in result.error
    assert landing.batches() == []


def _pull(declared: Source, landing: Landing, tryton: Any) -> dict[str, PullResult]:
    results = pull_source(declared, landing, tryton.values)
    assert [result.error for result in results if result.error] == []
    assert all(result.quarantined == 0 for result in results), results
    return {result.stream: result for result in results}


def _without_lag(declared: Source) -> Source:
    streams = tuple(stream.model_copy(update={"lag": timedelta(0)}) for stream in declared.streams)
    return declared.model_copy(update={"streams": streams})


def _by_stream(by_model: dict[str, Any]) -> dict[str, Any]:
    assert set(by_model) == set(STREAMS.values())
    return {stream: by_model[model] for stream, model in STREAMS.items()}


def _ids(landing: Landing, result: PullResult) -> set[int]:
    return _query(landing, result, "select id from rows")


def _last_stamped(landing: Landing, result: PullResult) -> set[int]:
    return _query(
        landing, result, "select id from rows where modified_at = (select max(modified_at) from rows)"
    )


def _query(landing: Landing, result: PullResult, query: str) -> set[int]:
    files = [
        batch.files.get(result.stream) for batch in landing.batches() if batch.batch_id == result.batch_id
    ]
    assert len(files) == 1
    if files[0] is None:
        return set()
    with duckdb.connect() as connection:
        connection.execute("create view rows as select * from read_parquet('" + str(files[0]) + "')")
        return {row[0] for row in connection.execute(query).fetchall()}
