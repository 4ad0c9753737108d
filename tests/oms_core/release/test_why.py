"""Why a row differs between two releases."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.release.publish import Batch
from oms_core.release.read import QueryRefusedError, diff, fetch_rows, query, query_as_auditor
from oms_core.release.why import reasons
from oms_core.store.postgres import Database


def released(database: Database, table: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name not in ("row_hash", "release_id")}
        for row in fetch_rows(database, table)
    ]


def test_a_changed_value_names_the_batch_that_brought_it(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database, batches=[Batch("shopify", "orders", "b1"), Batch("tryton", "sales", "b2")])
    orders, provenance = released(database, "fct_orders"), released(database, "order_attribute_provenance")
    for row in orders:
        if row["order_id"] == "order_a":
            row["net_amount"] = Decimal("59.9")
    for row in provenance:
        if row["attribute"] == "net_amount":
            row["batch_id"] = "b3"
    publish_small(
        database,
        batches=[Batch("shopify", "orders", "b3")],
        fct_orders=orders,
        order_attribute_provenance=provenance,
    )
    found = diff(database, 1, 2, "fct_orders")
    assert [(change.key, change.columns) for change in found.changes] == [
        ({"order_id": "order_a"}, {"net_amount": (Decimal("49.9000"), Decimal("59.9000"))})
    ]
    assert reasons(database, 1, 2, found) == [
        ["net_amount: orders:5123 in shopify orders batch b3 (source_priority)"]
    ]
    asked = (
        "select release_id, change_kind, key, column_name, because, source_system, stream, batch_id, record_id, rule "
        "from change_reasons(1, 2, 'fct_orders', 'order_a')"
    )
    told = (
        2,
        "changed",
        "order_a",
        "net_amount",
        "batch",
        "shopify",
        "orders",
        "b3",
        "shopify:orders:5123",
        "source_priority",
    )
    assert query(database, asked).rows == (told,)
    assert query_as_auditor(database, asked, actor="eve").rows == (told,)
    assert query(database, "select * from change_reasons(1, 2, row_key => 'order_b')").rows == ()
    assert query(
        database,
        "select distinct change_kind, batch_id, record_id from change_reasons(0, 1, row_key => 'order_a') order by 2",
    ).rows == (("added", "b1", "shopify:orders:5123"), ("added", "b2", "tryton:sales:SO:88"))
    with pytest.raises(QueryRefusedError, match="no released table 'orders'"):
        query(database, "select * from change_reasons(1, 2, 'orders')")


def test_a_moved_record_names_the_event(database: Database, publish_small: Callable[..., Any]) -> None:
    first, second = f"CUS-{'A' * 16}", f"CUS-{'B' * 16}"
    xref = {"record_id": "hubspot:contacts:301", "valid_from": None, "valid_to": None}
    publish_small(database)
    (row,) = released(database, "customer_xref")
    publish_small(database, customer_xref=[{**row, "customer_id": first}])
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.identity_events (entity, kind, golden_id, record_id, other_id, at, reason) "
                "VALUES ('customer', 'moved', :second, :record, :first, clock_timestamp(), 'anna judged them the same')"
            ),
            {"first": first, "second": second, "record": xref["record_id"]},
        )
    publish_small(database, customer_xref=[{**row, "customer_id": second}])
    found = diff(database, 2, 3, "customer_xref")
    assert reasons(database, 2, 3, found) == [
        [f"hubspot:contacts:301 moved from {first} to {second} (anna judged them the same)"]
    ]
    assert reasons(database, 1, 2, diff(database, 1, 2, "customer_xref")) == [[]]


def test_a_difference_can_be_of_one_order(database: Database, publish_small: Callable[..., Any]) -> None:
    publish_small(database)
    publish_small(database, fct_orders=[], fct_payments=[{"payment_id": "p", "order_id": "order_a"}])
    assert diff(database, 1, 2, "fct_orders").removed == 2
    only = diff(database, 1, 2, "fct_orders", where={"order_id": "order_a"})
    assert (only.removed, [change.key for change in only.changes]) == (1, [{"order_id": "order_a"}])
    assert diff(database, 1, 2, "fct_payments", where={"order_id": "order_b"}).added == 0
    assert diff(database, 1, 2, "dim_skus", where={"order_id": "order_a"}).changes == ()
