"""A small stock to reserve from, and short words for asking."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.fulfilment.reservation import Ask, Line
from oms_core.store.postgres import Database

_numbers = itertools.count(1)


@pytest.fixture
def put() -> Callable[..., None]:
    """Puts a position there: `put(database, "S1", "N1", 10, lot="A", expires_on=…, uom="KGM")`."""

    def run(
        database: Database,
        sku: str,
        node: str,
        qty: int | str,
        *,
        lot: str = "",
        expires_on: date | None = None,
        uom: str = "C62",
        needs_expiry: bool = False,
        committed: int = 0,
    ) -> None:
        with database.begin() as connection:
            values = {
                "sku": sku, "node": node, "qty": Decimal(qty), "lot": lot, "day": expires_on, "uom": uom,
                "perish": needs_expiry, "committed": committed,
            }  # fmt: skip
            for statement in (
                "INSERT INTO orderhub.stock_nodes (location_id) VALUES (:node) ON CONFLICT DO NOTHING",
                "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) "
                "VALUES (:sku, :node, :uom, :perish) ON CONFLICT DO NOTHING",
                "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, expires_on, on_hand_qty, base_qty, "
                "committed_qty) VALUES (:sku, :node, :lot, :day, :qty, :qty, :committed)",
            ):
                connection.execute(text(statement), values)

    return run


@pytest.fixture
def asking() -> Callable[..., Ask]:
    """Makes requests: `asking(("S1", 2), ("S2", 1, "N1"), ttl=60, key="k")`."""

    def run(*lines: tuple[Any, ...], **given: Any) -> Ask:
        values: dict[str, Any] = {
            "tenant": "acme", "by": "shop", "channel": "web", "key": f"k{next(_numbers)}", "ttl": 900,
            "is_partial": False, "promised_on": None, "days": None, "uom": None, "from_inbound": False, **given,
        }  # fmt: skip
        made = tuple(
            Line(
                line[0],
                Decimal(line[1]),
                values["uom"],
                tuple(line[2:]),
                values["promised_on"],
                values["days"],
            )
            for line in lines
        )
        body = hashlib.sha256(
            repr((made, values["ttl"], values["is_partial"], values["channel"])).encode()
        ).digest()
        return Ask(
            values["tenant"], values["key"], body, values["by"], values["channel"], made, timedelta(seconds=values["ttl"]),
            values["is_partial"], from_inbound=values["from_inbound"],
        )  # fmt: skip

    return run


@pytest.fixture
def check_books() -> Callable[[Database], None]:
    """Checks that what positions and channels say is reserved is what holds hold, and never more than there is."""

    def run(database: Database) -> None:
        with database.begin() as connection:
            wrong = connection.execute(
                text(
                    "SELECT p.id, p.reserved_qty, p.on_hand_qty, coalesce(sum(h.qty), 0) AS held "
                    "FROM orderhub.stock_positions AS p LEFT JOIN orderhub.reservation_holds AS h ON h.position_id = p.id "
                    "GROUP BY p.id HAVING p.reserved_qty <> coalesce(sum(h.qty), 0) "
                    "OR p.reserved_qty > greatest(p.on_hand_qty, 0)"
                )
            ).all()
            assert wrong == []
            wrong = connection.execute(
                text(
                    "SELECT l.reservation_id, l.granted_qty - l.issued_qty - l.lost_qty AS due, coalesce(sum(h.qty), 0) AS held "
                    "FROM orderhub.reservation_lines AS l JOIN orderhub.reservations AS r USING (reservation_id) "
                    "LEFT JOIN orderhub.reservation_holds AS h USING (reservation_id, line_number) "
                    "WHERE r.state = 'allocated' OR (r.state = 'held' AND r.expires_at > clock_timestamp()) "
                    "GROUP BY l.reservation_id, l.line_number "
                    "HAVING l.granted_qty - l.issued_qty - l.lost_qty <> coalesce(sum(h.qty), 0)"
                )
            ).all()
            assert wrong == []

    return run
