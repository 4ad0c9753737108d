"""A small company whose one order can be sourced, released and with stock on two nodes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.store.postgres import Database

_BLANK = (
    "loyalty_tier", "customer_segment", "fx_rate", "fulfilment_location_ids", "gross_weight_kg", "logistics_cost_amount",
    "transport_co2e_kg", "dispatched_at", "delivered_at", "promise_slip_hours", "needs_cold_chain", "is_cold_chain_intact",
    "shipment_count", "customer_id",
)  # fmt: skip


@pytest.fixture
def release_company(database: Database, publish_small: Callable[..., Any]) -> Callable[..., None]:
    """Releases order O1, number 1042, of two pieces: `release_company(stock={"HAM": 4, "MUC": 1}, order_type="b2c", tables={})`."""

    def run(*, stock: dict[str, int], tables: dict[str, Any] | None = None, **order: Any) -> None:
        at = datetime.now(UTC).replace(tzinfo=None)
        publish_small(
            database,
            dim_locations=[
                {"location_id": name, "location_code": name, "gln": None, "location_type": "warehouse", "country": "DE", "latitude": lat,
                 "longitude": 10.0, "timezone": None}
                for name, lat in (("HAM", 53.6), ("MUC", 48.1))
            ],
            dim_skus=[
                {"sku_id": "S1", "sku_code": "LIP", "gtin14": None, "weight_kg": Decimal(1), "needs_cold_chain": False,
                 "category_code": None}
            ],
            fct_orders=[
                {**dict.fromkeys(_BLANK), "order_id": "O1", "order_number": "1042", "channel": "web", "order_status": "open",
                 "ordered_at": at, "promised_at": at + timedelta(days=4), "ship_to_country": "DE", "ship_to_city": "Berlin",
                 "reporting_currency": "EUR", "is_test": False, **order}
            ],
            fct_order_lines=[
                {"order_line_id": "l1", "order_id": "O1", "line_number": 1, "sku_id": "S1", "sku_code": "LIP",
                 "qty": Decimal(2), "uom": "C62", "is_return": False}
            ],
            order_numbers=[{"order_number": "#1042", "order_id": "O1", "record_id": "shopify:orders:1"}],
            order_xref=[{"record_id": "shopify:orders:1", "order_id": "O1", "valid_from": at, "valid_to": None}],
            **(tables or {}),
        )  # fmt: skip
        with database.begin() as connection:
            for node, qty in stock.items():
                for statement in (
                    "INSERT INTO orderhub.stock_nodes (location_id) VALUES (:node)",
                    "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) "
                    "VALUES ('S1', :node, 'C62', false)",
                    "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty, base_qty) "
                    "VALUES ('S1', :node, '', :qty, :qty)",
                ):
                    connection.execute(text(statement), {"node": node, "qty": qty})

    return run
