"""A real Tryton, pulled over HTTP, changed, pulled again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from connectors.declare import Source
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.registry import source
from oms_core.pipeline import unify
from oms_core.settings import Settings
from oms_core.warehouse import open_warehouse

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

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


def test_everything_arrives_only_the_change_travels_and_the_orders_agree(
    tryton: Any, make_home: Callable[[str], Path], unrecorded: Callable[[Landing, str], set[str]]
) -> None:
    settings = Settings.from_environment(make_home("tryton"), tryton.values)
    billed = tryton.company("bill")
    with closing(Landing(settings.landing)) as landing:
        changed = _pull_change_and_pull_again(landing, tryton)
        assert unrecorded(landing, "tryton") == set()

    result = unify(settings)
    assert result.is_new
    assert result.conservation is not None
    assert result.conservation.faults == []
    # Tryton keeps a party's language apart for each company.
    languages = open_warehouse(settings.home, None).read(
        "select company_name, language from intermediate.int_customer_records where language is not null"
    )
    assert languages.to_pylist() == [{"company_name": "Müller & Söhne GmbH", "language": "de"}]
    orders = open_warehouse(settings.home, None).read(
        "select order_number, currency, net_amount, tax_amount from marts.fct_orders"
    )
    told = [sale for sale in tryton.company("sales") if sale["state"] not in ("draft", "quotation")]
    expected = [
        (sale["number"], sale["currency"], Decimal(sale["untaxed_amount"]), Decimal(sale["tax_amount"]))
        for sale in told
    ]
    assert sorted(map(repr, _rounded(expected))) == sorted(map(repr, _rounded(orders.to_pylist())))
    assert changed["sale_number"] in orders["order_number"].to_pylist()
    # One invoice for two sales, and its credit note whose lines name the invoice's, are split to both.
    parts = open_warehouse(settings.home, None).read(f"""
        select document_key, order_number, documents.net_amount, documents.tax_amount, documents.total_amount
        from intermediate.int_billing_documents as documents
        left join intermediate.int_order_records as orders on documents.order_record_id = orders.record_id
        where document_key in {tuple(billed["documents"])}
    """)
    money = {sale["number"]: (Decimal(sale["untaxed_amount"]), Decimal(sale["tax_amount"])) for sale in told}
    bills = [(number, *money[number], sum(money[number])) for number in billed["sales"]]
    credits = [(number, -net, -tax, -total) for number, net, tax, total in bills]
    assert sorted(tuple(row.values()) for row in parts.to_pylist()) == sorted(
        (document, *amounts)
        for document, several in zip(billed["documents"], (bills, credits), strict=True)
        for amounts in several
    )


def test_wrong_password_lands_nothing_and_says_what_to_do(tryton: Any, tmp_path: Path) -> None:
    values = {**tryton.values, "ORDERHUB_TRYTON_PASSWORD": "not-the-password"}
    with closing(Landing(tmp_path / "landing")) as landing:
        (result,) = pull_source(source("tryton"), landing, values, streams=["parties"])
        assert landing.batches() == []
    assert result.error is not None
    assert "ORDERHUB_TRYTON_PASSWORD" in result.error
    assert "not-the-password" not in result.error


def _pull_change_and_pull_again(landing: Landing, tryton: Any) -> Any:
    declared = source("tryton")

    first = _pull(declared, landing, tryton)
    landed = {name: result.landed for name, result in first.items() if name in STREAMS}
    assert landed == _by_stream(tryton.company("count"))

    changed = tryton.company("change")
    second = _pull(_without_lag(declared), landing, tryton)
    # Tryton stamps a record with the start of its transaction, so the pull begins at the very stamp it last saw, and
    # the records of that one instant come once more, unchanged.
    touched = _by_stream(changed["touched"])
    assert {name: second[name].changed for name in STREAMS} == {
        name: len(ids) for name, ids in touched.items()
    }
    for name, ids in touched.items():
        assert _ids(landing, second[name]) - _last_stamped(landing, first[name]) == set(ids), name

    # With its declared lag the source is read again from before the change: nothing more is found.
    third = _pull(declared, landing, tryton)
    assert {name: result.changed for name, result in third.items()} == dict.fromkeys(third, 0)
    return changed


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


def _rounded(rows: list[Any]) -> list[tuple[Any, ...]]:
    cent = Decimal("0.01")
    values = [tuple(row.values()) if isinstance(row, dict) else row for row in rows]
    return [
        (number, currency, net.quantize(cent), tax.quantize(cent)) for number, currency, net, tax in values
    ]


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
