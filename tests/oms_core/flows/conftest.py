"""A release with orders that begin flows, and a small flow."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from oms_core.flows.guard import ORDER_FACTS
from oms_core.store.postgres import Database

NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def release_orders(publish_small: Callable[..., Any]) -> Callable[..., None]:
    """Publishes orders: `release_orders(database, {"A": {"order_type": "b2b"}}, [("A", "dispatched", 3)])`, hours ago."""

    def run(
        database: Database, orders: dict[str, dict[str, Any]], events: list[tuple[str, str, float]]
    ) -> None:
        blank = dict.fromkeys(name for name in ORDER_FACTS if name != "fulfilled_by")
        publish_small(
            database,
            fct_orders=[
                {
                    **blank, "order_id": order_id, "order_number": order_id, "order_type": "b2c", "channel": "web",
                    "net_amount": Decimal(50), "is_test": False, "customer_id": None, "fulfilment_location_ids": "[]",
                    "ordered_at": None, "delivered_at": NOW.replace(tzinfo=None), "source_systems": "[]", "currency": "EUR",
                    "refunded_amount": None, "quality_flags": None, "row_hash": "x", "release_id": None, **given,
                }
                for order_id, given in orders.items()
            ],
            fct_order_events=[
                {
                    "event_id": f"{order_id}:{kind}:{ago}", "order_id": order_id, "event_type": kind,
                    "occurred_at": (NOW - timedelta(hours=ago)).replace(tzinfo=None), "source_system": "shop",
                    "is_counted": True,
                }
                for order_id, kind, ago in events
            ],
            dim_locations=[
                {"location_id": "FBA", "location_code": "FBA", "location_type": "third_party"},
                {"location_id": "OWN", "location_code": "OWN", "location_type": "warehouse"},
            ],
            order_numbers=[], order_xref=[],
        )  # fmt: skip

    return run
