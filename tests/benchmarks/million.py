"""A million released orders, written by SQL alone: what the serving benchmarks look up. Not a benchmark itself."""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from typing import get_args

from pydantic import BaseModel
from sqlalchemy import Connection, text

from oms_core.api import models
from oms_core.release import history
from oms_core.release.tables import declared
from oms_core.store.postgres import Database

# Columns beside those the API shows.
_BESIDE = {"order_id": "text"}
_XREF = {
    "record_id": "text",
    "order_id": "text",
    "match_rule": "text",
    "valid_from": "timestamptz",
    "valid_to": "timestamptz",
}
_TYPES = {
    Decimal: "numeric(18,4)",
    datetime: "timestamptz",
    date: "date",
    bool: "boolean",
    int: "integer",
    str: "text",
}
_AT = "timestamptz '2026-01-01 08:00:00.25Z' + n * interval '17 seconds'"
_SOURCES = """'["shopify","tryton"]'"""
_ORDER = {
    "order_id": "'ORD-' || upper(substr(md5(n::text), 1, 16))",
    "order_number": "'#' || (1000 + n)",
    "channel": "'web'",
    "store_code": "'eu-1'",
    "order_type": "'b2c'",
    "source_systems": _SOURCES,
    "source_count": "2",
    "customer_id": "'CUS-' || upper(substr(md5((n / 3)::text), 1, 16))",
    "is_test": "false",
    "ordered_at": _AT,
    "payment_verified_at": f"{_AT} + interval '1 minute'",
    "picked_at": f"{_AT} + interval '3 hours'",
    "dispatched_at": f"{_AT} + interval '8 hours'",
    "delivered_at": f"{_AT} + interval '50 hours'",
    "order_status": "'delivered'",
    "order_to_dispatch_hours": "8",
    "order_to_delivery_hours": "50",
    "currency": "'EUR'",
    "gross_amount": "49.9",
    "discount_amount": "0",
    "shipping_amount": "4.9",
    "tax_amount": "8.75",
    "net_amount": "41.15",
    "paid_amount": "49.9",
    "payment_fee_amount": "0.91",
    "cogs_amount": "17.3",
    "logistics_cost_amount": "4.1",
    "contribution_margin_amount": "18.84",
    "reporting_currency": "'EUR'",
    "fx_rate": "1",
    "net_reporting_amount": "41.15",
    "margin_reporting_amount": "18.84",
    "line_count": "2",
    "unit_qty": "3",
    "distinct_sku_count": "2",
    "category_codes": """'["lips"]'""",
    "has_bundle": "false",
    "needs_cold_chain": "false",
    "gross_weight_kg": "0.42",
    "package_count": "1",
    "fulfilment_location_ids": """'["LOC-V5EL563GNY3IG247"]'""",
    "shipment_count": "1",
    "is_split": "false",
    "carrier_codes": """'["dhl"]'""",
    "tracking_numbers": """'["00340434161094022115"]'""",
    "ship_to_country": "'DE'",
    "ship_to_city": "'Köln'",
    "ship_to_postcode": "'50667'",
    "co2e_kg": "0.31",
    "quality_flags": """'["unknown:carbon"]'""",
    "completeness_ratio": "0.9",
    "first_seen_at": _AT,
    "last_changed_at": _AT,
}
# table -> (model, rows an order has, its columns by an expression over `n`, the order, and `part`, counted from 1)
_PARTS: dict[str, tuple[type[BaseModel], int, dict[str, str]]] = {
    "fct_order_addresses": (
        models.Recipient,
        1,
        {
            "customer_id": _ORDER["customer_id"], "ship_to_name": "'Rosalind ' || n", "ship_to_street": "'Breite Straße ' || n",
            "ship_to_city": "'Köln'", "ship_to_postcode": "'50667'", "ship_to_country": "'DE'", "source_system": "'odoo'",
        },
    ),
    "fct_order_lines": (
        models.OrderLine,
        2,
        {
            "order_line_id": "'shopify:order_lines:' || n || '-' || part", "line_number": "part", "sku_id": "'SKU-7QK2MZ5DTH3NAXEB'",
            "sku_code": "'LIP-07'", "description": "'Lipstick 07 red'", "qty": "part", "uom": "'C62'", "unit_price_amount": "16.6",
            "net_amount": "20.57", "currency": "'EUR'", "is_return": "false", "source_system": "'shopify'",
        },
    ),
    "fct_order_events": (
        models.OrderEvent,
        4,
        {
            "event_id": "'shopify:orders:' || n || ':' || part", "order_record_id": "'shopify:orders:' || n",
            "event_type": "(ARRAY['created','paid','dispatched','delivered'])[part]", "occurred_at": f"{_AT} + part * interval '9 hours'",
            "recorded_at": f"{_AT} + part * interval '9 hours'", "occurred_at_offset_minutes": "60", "is_counted": "true",
            "source_system": "'shopify'",
        },
    ),
    "fct_shipments": (
        models.Shipment,
        1,
        {
            "shipment_id": "'karrio:shipments:' || n", "order_record_id": "'karrio:orders:' || n", "carrier_code": "'dhl'",
            "tracking_number": "'0034043416' || n", "shipped_at": _AT, "package_count": "1", "cost_amount": "4.1", "currency": "'EUR'",
            "is_counted": "true", "source_system": "'karrio'",
        },
    ),
    "fct_payments": (
        models.Payment,
        1,
        {
            "payment_id": "'shopify:transactions:' || n", "order_record_id": "'shopify:orders:' || n", "method": "'card'",
            "amount": "49.9", "fee_amount": "0.91", "currency": "'EUR'", "paid_at": _AT, "is_paid": "true", "is_counted": "true",
            "source_system": "'shopify'",
        },
    ),
    "fct_refunds": (models.Refund, 0, {}),
    "fct_returns": (models.Return, 0, {}),
}  # fmt: skip
# Where each order is now, by two events told live.
_LIVE = (
    """INSERT INTO orderhub.flow_orders (order_id, flow, first_version, version, facts, state, entered_at, is_done, revision)
    SELECT {order}, 'b2c', '1', '1', '{{}}', 'delivered', {at}, true, 2 FROM generate_series(1, :count) AS n""",
    """INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, told_by, data, body_sha256,
        is_released)
    SELECT {order}, 'wms:' || part, (ARRAY['dispatched', 'delivered'])[part], {at} + part * interval '9 hours', 'wms', 'wms',
        '{{}}', '', false FROM generate_series(1, :count) AS n CROSS JOIN generate_series(1, 2) AS part""",
)


def release_orders(database: Database, count: int) -> None:
    """Release `count` orders of two lines, four events, a shipment, a payment and two source records each, all in a flow.

    Their ids are those `number_of` gives. Nothing is sealed: it is there to be read.
    """
    with database.begin() as connection:
        connection.execute(text("SET LOCAL synchronous_commit = off"))
        connection.execute(
            text(
                "INSERT INTO orderhub.releases (id, published_at, code_version, merkle_root) VALUES (1, now(), 'bench', '')"
            )
        )
        order = f"generate_series(1, {count}) AS n"
        _make(connection, "fct_orders", _columns(models.OrderAttributes), _ORDER, order)
        for table, (model, parts, columns) in _PARTS.items():
            types = {**_BESIDE, **_columns(model)}
            part = f"{order} CROSS JOIN generate_series(1, {parts}) AS part"
            _make(connection, table, types, {"order_id": _ORDER["order_id"], **columns}, part)
        record = "(ARRAY['shopify:orders:', 'tryton:sales:SO'])[part] || n"
        xref = {
            "record_id": record,
            "order_id": _ORDER["order_id"],
            "match_rule": "'number'",
            "valid_from": _AT,
        }
        two = f"{order} CROSS JOIN generate_series(1, 2) AS part"
        _make(connection, "order_xref", _XREF, xref, two)
        numbers = {"order_number": "text", "order_id": "text", "record_id": "text"}
        said = {"order_number": "'SO-' || n", "order_id": _ORDER["order_id"], "record_id": record}
        _make(connection, "order_numbers", numbers, said, two)
        connection.execute(
            text("SET LOCAL session_replication_role = replica")
        )  # no look-up of each row's order
        connection.execute(text("INSERT INTO orderhub.flow_versions VALUES ('b2c', '1', '{}', 'x')"))
        for statement in _LIVE:
            connection.execute(text(statement.format(order=_ORDER["order_id"], at=_AT)), {"count": count})
    with database.begin() as connection:
        connection.execute(text("ANALYZE"))


def _columns(model: type[BaseModel]) -> dict[str, str]:
    """Columns and types of a released table, as the API shows it."""
    found = {}
    for name, shown in model.model_fields.items():
        kinds = [kind for kind in (shown.annotation, *get_args(shown.annotation)) if kind in _TYPES]
        found[name] = _TYPES[kinds[0]] if kinds else "text"  # lists stand as JSON array text
    return found


def _make(
    connection: Connection, table: str, types: dict[str, str], values: dict[str, str], source: str
) -> None:
    history.create_history(connection, declared(table), types)
    listed, said = ", ".join(map(history.quoted, values)), ", ".join(values.values())
    connection.exec_driver_sql(
        f"INSERT INTO {history.history_table(table)} ({listed}, row_hash, release_from) "
        f"SELECT {said}, sha256(convert_to({next(iter(values.values()))}, 'UTF8')), 1 FROM {source}"
    )
    history.index_history(connection, declared(table))
    history.show(connection, declared(table))
