"""What the released facts say, held against the world that the demonstration was played on."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox
from connectors.sandbox.world import Order, World
from connectors.sandbox.zendesk import Twin as ServiceDesk
from oms_core.warehouse import open_warehouse

pytestmark = pytest.mark.slow


@dataclass(frozen=True)
class Told:
    """The facts, and what is true: `true_order` is golden order id -> order of the world."""

    world: World
    truth: dict[str, str]  # order record -> order of the world
    true_order: dict[str, Order]
    orders: dict[str, dict[str, Any]]  # golden order id -> row of fct_orders
    read: Any

    def rows(self, sql: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.read(sql).to_pylist()
        return found


@pytest.fixture(scope="module")
def told(demo: Any) -> Told:
    world = generate(demo.seed, demo.orders)
    sandbox = Sandbox(world)
    truth = {item.record_id: item.truth_id for item in sandbox.truths() if item.entity == "order"}
    read = open_warehouse(demo.settings.home, None).read
    links = read("select record_id, order_id from marts.order_xref where is_current").to_pylist()
    meant: dict[str, Counter[str]] = defaultdict(Counter)
    for link in links:
        if link["record_id"] in truth:
            meant[link["order_id"]][truth[link["record_id"]]] += 1
    # Only an order whose documents are all of one purchase can be held against that purchase.
    true_order = {golden: world.orders[next(iter(ids))] for golden, ids in meant.items() if len(ids) == 1}
    orders = {row["order_id"]: row for row in read("select * from marts.fct_orders").to_pylist()}
    return Told(world, truth, {key: true_order[key] for key in true_order if key in orders}, orders, read)


def _desk(told: Told) -> ServiceDesk:
    return ServiceDesk(told.world, Dirt(told.world.seed, "zendesk"), Credentials(told.world.seed))


def test_tickets_hang_on_the_order_the_customer_meant_or_are_orphans(told: Told) -> None:
    by_record = {f"zendesk:tickets:{ticket.id}": ticket for ticket in _desk(told).tickets}
    orphans = {row["record_id"] for row in told.rows("select record_id from marts.ops_orphans")}
    landed = {row["ticket_id"] for row in told.rows("select ticket_id from marts.fct_tickets")}
    expected: Counter[str] = Counter()
    for record, ticket in by_record.items():
        if record in told.truth and record in landed - orphans and "closed_by_merge" not in ticket.tags:
            expected[told.truth[record]] += 1
    assert sum(expected.values()) > 5
    found = {order.order_id: told.orders[golden]["ticket_count"] for golden, order in told.true_order.items()}
    assert {order_id: count for order_id, count in found.items() if count} == dict(expected)


def test_the_refund_gap_is_what_finance_paid_beyond_what_the_desk_promised(told: Told) -> None:
    promised: dict[str, Decimal] = defaultdict(Decimal)
    orphans = {row["record_id"] for row in told.rows("select record_id from marts.ops_orphans")}
    for ticket in _desk(told).tickets:
        record = f"zendesk:tickets:{ticket.id}"
        if record in told.truth and record not in orphans and "closed_by_merge" not in ticket.tags:
            promised[told.truth[record]] += Decimal(ticket.values.get("amount_promised") or 0)
    gaps = 0
    for golden, order in told.true_order.items():
        gap = told.orders[golden]["refund_gap_amount"]
        if gap is None:
            continue
        booked = sum((given.refund_amount for given in order.returns), Decimal(0))
        assert gap == booked - promised[order.order_id], order.order_id
        gaps += gap != 0
    assert gaps > 0


def test_returned_goods_are_the_worlds(told: Told) -> None:
    compared = 0
    for golden, order in told.true_order.items():
        row = told.orders[golden]
        if row["return_count"] is not None and row["returned_unit_qty"] is not None:
            compared += 1
            assert row["returned_unit_qty"] == sum(given.quantity for given in order.returns), order.order_id
    assert compared > len(told.orders) / 2
