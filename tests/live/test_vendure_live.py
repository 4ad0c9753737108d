"""A real Vendure, pulled over HTTP, changed, pulled again."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from connectors.declare import Secrets, Source
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.registry import source
from oms_core.pipeline import unify
from oms_core.settings import Settings
from oms_core.warehouse import open_warehouse

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]


def test_everything_arrives_only_the_change_travels_and_the_orders_agree(
    vendure: Any, make_home: Callable[[str], Path], unrecorded: Callable[[Landing, str], set[str]]
) -> None:
    settings = Settings.from_environment(make_home("vendure"), vendure.values)
    with closing(Landing(settings.landing)) as landing:
        changed = _pull_change_and_pull_again(landing, vendure)
        assert unrecorded(landing, "vendure") == set()

    result = unify(settings)
    assert result.is_new
    assert result.conservation is not None
    assert result.conservation.faults == []
    warehouse = open_warehouse(settings.home, None)
    orders = warehouse.read(
        "select order_number, currency, gross_amount, net_amount, tax_amount, refunded_amount, order_status "
        "from marts.fct_orders"
    ).to_pylist()
    told = {order["code"]: order for order in vendure.company("tell")["orders"]}
    assert {order["order_number"] for order in orders} == set(told)
    assert changed["new"] in told
    for order in orders:
        _agrees(order, told[order["order_number"]])
    # Guests who give the same e-mail address are one customer, to Vendure and to us.
    buyers = {order["customer"]["emailAddress"] for order in told.values()}
    assert len(warehouse.read("select customer_id from marts.dim_customers").to_pylist()) == len(buyers)


def test_a_session_that_the_server_ended_is_opened_anew(vendure: Any) -> None:
    declared, url = source("vendure"), f"{vendure.url}/admin-api"
    ask = {"query": "{ orders { totalItems } }"}
    with httpx.Client(auth=declared.auth.open(Secrets("vendure", vendure.values), vendure.url)) as client:
        first = client.post(url, json=ask)
        token = first.request.headers["authorization"]
        ended = httpx.post(
            url, json={"query": "mutation { logout { success } }"}, headers={"authorization": token}
        )
        assert ended.json() == {"data": {"logout": {"success": True}}}
        second = client.post(url, json=ask)
    assert second.json() == first.json()
    assert second.request.headers["authorization"] != token


def test_wrong_password_lands_nothing_and_says_what_to_do(vendure: Any, tmp_path: Path) -> None:
    values = {**vendure.values, "ORDERHUB_VENDURE_PASSWORD": "not-the-password"}
    with closing(Landing(tmp_path / "landing")) as landing:
        (result,) = pull_source(source("vendure"), landing, values, streams=["orders"])
        assert landing.batches() == []
    assert result.error is not None
    assert "ORDERHUB_VENDURE_PASSWORD" in result.error
    assert "not-the-password" not in result.error


def _pull_change_and_pull_again(landing: Landing, vendure: Any) -> Any:
    declared = source("vendure")
    first = _pull(declared, landing, vendure)
    before = vendure.company("tell")
    assert first["orders"].changed == len(before["orders"])
    assert first["customers"].changed == len(before["customers"])
    assert first["variants"].changed == first["stock_levels"].changed == len(before["variants"])

    changed = vendure.company("change")
    after = vendure.company("tell")
    # Why the declaration does not go by the order's own stamp alone: a delivery and a refund leave it as it was.
    stamps = {order["code"]: order["updatedAt"] for order in before["orders"]}
    assert {
        order["code"] for order in after["orders"] if stamps.get(order["code"]) != order["updatedAt"]
    } == {changed["new"]}

    second = _pull(_without_lag(declared), landing, vendure)
    assert _new_codes(landing, first["orders"], second["orders"]) == set(changed["orders"])
    assert {name: result.changed for name, result in second.items()} == {
        "stock_locations": 0,
        "variants": 0,
        "stock_levels": _differing(before, after, "variants"),
        "customers": _differing(before, after, "customers"),
        "orders": len(changed["orders"]),
    }
    # With its declared lag the source is read again from before the change: nothing more is found.
    third = _pull(declared, landing, vendure)
    assert {name: result.changed for name, result in third.items()} == dict.fromkeys(third, 0)
    return changed


def _agrees(order: dict[str, Any], told: dict[str, Any]) -> None:
    assert order["currency"] == told["currencyCode"]
    refunds = [refund["total"] for payment in told["payments"] for refund in payment["refunds"]]
    assert order["refunded_amount"] == _money(sum(refunds))
    if told["state"] == "Cancelled":  # the shop no longer tells what the buyer was to pay
        placed = sum(line["orderPlacedQuantity"] * line["unitPrice"] for line in told["lines"])
        assert order["order_status"] == "cancelled"
        assert order["gross_amount"] == _money(placed)
        assert order["net_amount"] is None
    else:
        assert order["net_amount"] == _money(told["total"])
        assert order["tax_amount"] == _money(told["totalWithTax"] - told["total"])


def _money(hundredths: int) -> Decimal:
    return Decimal(hundredths).scaleb(-2)


def _differing(before: Any, after: Any, kind: str) -> int:
    rows = {row["id"]: row for row in before[kind]}
    return sum(rows.get(row["id"]) != row for row in after[kind])


def _pull(declared: Source, landing: Landing, vendure: Any) -> dict[str, PullResult]:
    results = pull_source(declared, landing, vendure.values)
    assert [result.error for result in results if result.error] == []
    assert all(result.quarantined == 0 for result in results), results
    return {result.stream: result for result in results}


def _without_lag(declared: Source) -> Source:
    streams = tuple(stream.model_copy(update={"lag": timedelta(0)}) for stream in declared.streams)
    return declared.model_copy(update={"streams": streams})


def _new_codes(landing: Landing, first: PullResult, second: PullResult) -> set[str]:
    """Codes of the orders whose version in the second pull did not land in the first."""
    files = {
        batch.batch_id: str(batch.files[second.stream])
        for batch in landing.batches()
        if second.stream in batch.files
    }
    with duckdb.connect() as connection:
        rows = connection.execute(
            "select code from read_parquet(?) where _record_hash not in (select _record_hash from read_parquet(?))",
            [files[str(second.batch_id)], files[str(first.batch_id)]],
        ).fetchall()
    return {row[0] for row in rows}
