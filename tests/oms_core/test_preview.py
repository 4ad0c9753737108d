"""A model is tried on the records there are, and nothing is written."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from sqlalchemy import text

from oms_core import identification
from oms_core.identity.scoring.model import Model
from oms_core.identity.stewardship import evidence
from oms_core.identity.stewardship.worth import Worth, worth_by_record, worth_sql
from oms_core.store.postgres import Database
from oms_core.warehouse import Warehouse, open_warehouse

_T0 = datetime(2026, 10, 1)
_MORE = {
    "int_order_records": [
        "order_status",
        "net_amount",
        "currency",
        "store_location_key",
        "fulfilment_location_key",
    ],
    "int_order_lines": ["order_record_id", "sku_key", "qty", "is_return", "net_amount", "currency"],
    "int_shipments": ["order_record_id", "from_location_key"],
    "int_tombstones": ["gone_record_id", "merged_into_record_id", "is_deleted"],
}


def _kind(column: str) -> pa.DataType:
    if column in ("net_amount", "qty") or column.endswith("_qty"):
        return pa.decimal128(18, 4)
    if column.endswith("_at"):
        return pa.timestamp("us")
    return pa.bool_() if column.startswith("is_") else pa.string()


def _table(columns: list[str], rows: list[dict[str, Any]]) -> pa.Table:
    whole = [dict.fromkeys(columns) | row for row in rows]
    return pa.Table.from_pylist(whole, schema=pa.schema([(name, _kind(name)) for name in columns]))


@pytest.fixture
def warehouse(tmp_path: Path) -> Warehouse:
    """Two customer records with one e-mail address and two orders of the second, one of them known to two systems."""
    rows: dict[str, list[dict[str, Any]]] = {
        "int_customer_records": [
            {"record_id": record, "source_system": record.split(":")[0], "email": "ann@example.org", "full_name": name, "_first_seen_at": _T0}
            for record, name in (("crm:contacts:1", "Ann Lee"), ("shop:customers:2", "Zoe Kim"))
        ],
        "int_order_records": [
            {
                "record_id": record, "source_system": record.split(":")[0], "document_role": "order", "customer_key": buyer,
                "order_status": status, "net_amount": amount, "currency": "EUR", "_first_seen_at": _T0,
                "store_location_key": "shop:places:1",
            }
            for record, buyer, status, amount in (
                ("erp:sales:1", None, "processing", None),
                ("shop:orders:1", "shop:customers:2", "open", Decimal("9.90")),
                ("shop:orders:2", "shop:customers:2", "open", Decimal("5")),
                ("shop:orders:3", "shop:customers:2", "shipped", Decimal("1")),
            )
        ],
        "int_order_lines": [
            {"order_record_id": "shop:orders:2", "sku_key": "shop:skus:1", "net_amount": Decimal(amount), "currency": "EUR"}
            for amount in (2, 3)
        ],
    }  # fmt: skip
    names = {name: columns.split(", ") for name, columns in identification.IDENTITY_COLUMNS.items()}
    for name, columns in _MORE.items():
        names[name] = list(dict.fromkeys([*names.get(name, []), *columns]))
    made = open_warehouse(tmp_path, None)
    made.replace(
        "intermediate", {name: _table(columns, rows.get(name, [])) for name, columns in names.items()}
    )
    links = [
        ("erp:sales:1", "ORD-1"),
        ("shop:orders:1", "ORD-1"),
        ("shop:orders:2", "ORD-2"),
        ("shop:orders:3", "ORD-3"),
    ]
    made.replace(
        "identity",
        {
            "order_xref": pa.table(
                {
                    "record_id": pa.array([record for record, _ in links]),
                    "order_id": pa.array([order for _, order in links]),
                    "valid_to": pa.nulls(len(links), pa.timestamp("us")),
                }
            )
        },
    )
    costs = {
        "entity": ["customer", "sku", "location"],
        "wrong_merge": [10.0] * 3,
        "missed_match": [1.0] * 3,
        "review": [0.5] * 3,
    }
    made.replace("seeds", {"match_costs": pa.table(costs)})
    return made


def test_worth_counts_each_order_once(warehouse: Warehouse) -> None:
    worth = worth_by_record(warehouse.read(worth_sql()).to_pylist())
    assert worth["customer"] == {"shop:customers:2": Worth(3, 2, {"EUR": (3, Decimal("15.9000"))})}
    assert worth["sku"] == {"shop:skus:1": Worth(1, 1, {"EUR": (1, Decimal("5.0000"))})}
    assert worth["location"] == {"shop:places:1": Worth(3, 2, {"EUR": (3, Decimal("15.9000"))})}
    assert sum(item.orders for item in worth["order"].values()) == 3


def test_an_order_with_goods_set_aside_is_open_whatever_its_status(
    warehouse: Warehouse, database: Database
) -> None:
    made = (
        "INSERT INTO orderhub.reservations (reservation_id, tenant, key, body_sha256, channel, order_reference, state, made_at, "
        "made_by, expires_at) VALUES (:state, 't', :state, '', 'web', :order, :state, now(), 'ann', :expires)"
    )
    with database.begin() as connection:
        for state, order_id, expires in (
            ("allocated", "ORD-3", None),
            ("fulfilled", "ORD-2", None),
            ("held", "ORD-1", datetime(2020, 1, 1, tzinfo=UTC)),
        ):
            connection.execute(text(made), {"state": state, "order": order_id, "expires": expires})
        allocated = evidence.allocated_orders(connection)
    assert allocated == ["ORD-3"]
    worth = worth_by_record(warehouse.read(worth_sql([*allocated, "Ann's"])).to_pylist())
    assert worth["customer"]["shop:customers:2"].open_orders == 3


def test_a_model_is_tried_without_a_trace(
    warehouse: Warehouse, database: Database, small_model: Model
) -> None:
    def stored() -> list[Any]:
        with database.begin() as connection:
            tables = connection.execute(
                text("SELECT tablename FROM pg_tables WHERE schemaname = 'orderhub' ORDER BY 1")
            ).scalars()
            return [
                connection.execute(text(f"SELECT count(*) FROM orderhub.{name}")).scalar()
                for name in list(tables)
            ]

    before = stored()
    sure = small_model.model_copy(update={"prior": 0.5})
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        seen = identification.preview(warehouse, connection, sure)
    assert set(seen.before) == set(seen.after) == {"crm:contacts:1", "shop:customers:2"}
    assert (len(set(seen.before.values())), len(set(seen.after.values()))) == (2, 1)
    assert seen.worth["shop:customers:2"].orders == 3
    assert stored() == before
