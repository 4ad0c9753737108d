"""A real shop, real books and a real transport desk in one release, where they know the same customer, SKU and order."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from connectors.extract import pull_source
from connectors.landing import Landing
from connectors.registry import source
from oms_core.pipeline import unify
from oms_core.settings import Settings
from oms_core.warehouse import Warehouse, open_warehouse

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

_POUND = Decimal("0.45359237")  # of kilograms


def test_one_customer_one_sku_and_one_order_of_three_systems(
    vendure: Any, tryton: Any, karrio: Any, make_home: Callable[[str], Path]
) -> None:
    servers = {"vendure": vendure, "tryton": tryton, "karrio": karrio}
    [ordered] = [
        order["code"]
        for order in vendure.company("tell")["orders"]
        if order["customer"]["emailAddress"] == "wang.xm@mail.example"
    ]
    # The books copy the web order as people do, and the desk names what it sends by the books' number.
    booked = tryton.company("book", f"Webshop {ordered}")
    sent = karrio.company("ship", booked)["id"]

    values = {name: value for server in servers.values() for name, value in server.values.items()}
    settings = Settings.from_environment(make_home("together"), values)
    with closing(Landing(settings.landing)) as landing:
        for name, server in servers.items():
            results = pull_source(source(name), landing, server.values)
            assert [result.error for result in results if result.error] == []
    result = unify(settings)
    assert result.is_new
    assert result.conservation is not None
    assert result.conservation.faults == []

    warehouse = open_warehouse(settings.home, None)
    for entity, known_by in (("customer", "email = 'wang.xm@mail.example'"), ("sku", "sku_code = 'CRM-050'")):
        met = warehouse.read(
            f"select xref.{entity}_id, records.source_system "
            f"from intermediate.int_{entity}_records as records "
            f"inner join marts.{entity}_xref as xref on records.record_id = xref.record_id "
            f"where xref.is_current and records.{known_by}"
        ).to_pylist()
        assert len({row[f"{entity}_id"] for row in met}) == 1, (entity, met)
        assert {row["source_system"] for row in met} == {"tryton", "vendure"}, (entity, met)
    [order] = warehouse.read(
        f"select order_id, source_systems, shipment_count from marts.fct_orders where order_number = '{ordered}'"
    ).to_pylist()
    assert order["source_systems"] == '["karrio","tryton","vendure"]'
    assert order["shipment_count"] == 1
    linked = warehouse.read(
        "select xref.record_id, records.order_number from marts.order_xref as xref "
        "inner join intermediate.int_order_records as records on xref.record_id = records.record_id "
        f"where xref.is_current and xref.order_id = '{order['order_id']}'"
    ).to_pylist()
    told = {row["record_id"].split(":")[0]: row for row in linked}
    assert len(linked) == 3
    assert told["tryton"]["order_number"] == booked
    assert told["karrio"]["record_id"] == f"karrio:shipments:{sent}"
    _shipments_agree(warehouse, karrio.company("tell"))


def _shipments_agree(warehouse: Warehouse, told: list[dict[str, Any]]) -> None:
    rows = warehouse.read(
        "select source_key, tracking_number, carrier_code, gross_weight_kg, package_count, cost_amount, currency, "
        "shipment_status from intermediate.int_shipments where source_system = 'karrio'"
    ).to_pylist()
    assert {row["source_key"] for row in rows} == {one["id"] for one in told}
    for row in rows:
        [one] = [one for one in told if one["id"] == row["source_key"]]
        weights = [
            Decimal(str(parcel["weight"])) * (_POUND if parcel["weight_unit"] == "LB" else 1)
            for parcel in one["parcels"]
        ]
        assert row["package_count"] == len(weights)
        assert abs(row["gross_weight_kg"] - sum(weights)) < Decimal("0.001")
        assert (row["tracking_number"], row["carrier_code"]) == (one["tracking_number"], one["carrier_id"])
        rate = one["selected_rate"]
        assert (row["cost_amount"], row["currency"]) == (rate["total_charge"], rate["currency"])
        assert (row["shipment_status"] == "cancelled") is (one["status"] == "cancelled")
