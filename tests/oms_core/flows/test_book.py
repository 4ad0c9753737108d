"""Orders in their flows, kept: releases and live events, approvals, timeouts, versions, and two writers at once."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from importlib import resources
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.audit import log
from oms_core.flows import book, definition, versions
from oms_core.flows.errors import ConflictError, DocumentError, EventError, FlowError, RoleError, UnknownError
from oms_core.flows.fold import Event
from oms_core.flows.follow import follow
from oms_core.flows.migrate import Migrated
from oms_core.flows.migrate import migrate as migrate_orders
from oms_core.flows.sweep import sweep
from oms_core.store import outbox
from oms_core.store.postgres import Database

NOW = datetime.now(UTC).replace(microsecond=0)
SHIPPED = resources.files("oms_core.flows").joinpath("shipped")
Release = Callable[..., None]


def activate(database: Database, *names: str, **changed: str) -> None:
    """Put shipped flows in force, words in them replaced."""
    for name in names:
        source = SHIPPED.joinpath(f"{name}.yaml").read_text("utf-8")
        for old, new in changed.items():
            source = source.replace(old, new)
        with database.begin() as connection:
            versions.activate(connection, definition.load(source), by="root", reason="test")


def tell(
    database: Database, order: str, kind: str, hours_ago: float = 0, event_id: str = "", **more: Any
) -> book.Told:
    revision = more.pop("revision", None)
    event = Event(
        event_id or str(uuid.uuid4()), kind, NOW - timedelta(hours=hours_ago), "wms", "anna", **more
    )
    with database.begin() as connection:
        return book.tell(connection, order, event, by="anna", revision=revision)


def decide(database: Database, order: str, is_approved: bool, **more: Any) -> book.Told:
    given = {"by": "fin", "reason": "checked", "role": "finance", "key": str(uuid.uuid4()), **more}
    with database.begin() as connection:
        return book.decide(connection, order, is_approved=is_approved, **given)


def state(database: Database, order: str) -> str:
    with database.begin() as connection:
        return book.placed(connection, order).state


def told(database: Database) -> list[tuple[str, str]]:
    with database.begin() as connection:
        found = outbox.read(connection, limit=1000)
    return [(item.telling.kind, str(item.telling.data.get("action") or item.telling.data.get("notification") or item.telling.data["to_state"])) for item in found]  # fmt: skip


def test_a_release_puts_orders_where_its_events_say(database: Database, release_orders: Release) -> None:
    with pytest.raises(UnknownError, match="no flow is active"):
        follow(database, by="root")
    activate(database, "b2c", "b2b", "marketplace")
    orders = {
        "A": {}, "B": {"order_type": "b2b"}, "C": {"fulfilment_location_ids": '["FBA"]'}, "D": {"order_type": None},
        "E": {"fulfilment_location_ids": '["FBA", "OWN"]', "ordered_at": (NOW - timedelta(days=9)).replace(tzinfo=None)},
    }  # fmt: skip
    events = [("A", "created", 90.0), ("A", "dispatched", 60.0), ("B", "created", 5.0), ("C", "created", 5.0)]
    release_orders(database, orders, events)
    done = follow(database, by="root")
    assert (done.begun, done.in_none) == ({"marketplace": 1, "b2b": 1, "b2c": 2}, 1)
    assert [state(database, order) for order in "ABCE"] == [
        "shipped",
        "accepted",
        "with_marketplace",
        "placed",
    ]
    with database.begin() as connection:
        changes = book.changes(connection, "A")
        assert [(each["from_state"], each["to_state"], each["changed_by"]) for each in changes] == [
            (None, "shipped", "root")
        ]
    # What happened long ago is known now, and nobody is told of it again.
    assert ("orderhub.flow.notification", "order_shipped") not in told(database)
    assert ("orderhub.flow.action", "reserve_stock") in told(database)
    assert follow(database, by="root").events == 0
    release_orders(database, orders, [*events[:1], ("A", "delivered", 50.0), *events[2:]])
    assert follow(database, by="root").moved == 1
    assert state(database, "A") == "delivered"
    activate(database, "b2c")
    tell(database, "A", "return_requested", 1)
    release_orders(database, orders, events[:1])
    follow(database, by="root")
    assert state(database, "A") == "placed"  # the release takes back what it told; what was told live stays
    with database.begin() as connection:
        folded = book.history(connection, book.placed(connection, "A"))
        assert [each.event.kind for each in folded.idle] == ["return_requested"]


@pytest.fixture
def orders(database: Database, release_orders: Release) -> Database:
    """A b2c order A and a large b2b order B, both just created."""
    activate(database, "b2c", "b2b")
    release_orders(
        database, {"A": {}, "B": {"order_type": "b2b", "net_amount": 20_000}}, [("A", "created", 3.0), ("B", "created", 3.0)]
    )  # fmt: skip
    follow(database, by="root")
    return database


def test_live_events_move_orders_once_and_are_told_to_others(orders: Database) -> None:
    first = tell(orders, "A", "payment_verified", 2, "pay-1")
    assert (first.placed.state, first.is_replayed) == ("paid", False)
    assert tell(orders, "A", "payment_verified", 2, "pay-1").is_replayed
    with pytest.raises(ConflictError, match="another event"):
        tell(orders, "A", "payment_verified", 1, "pay-1")
    late = tell(orders, "A", "stock_reserved", 2.5)
    assert late.placed.state == "reserved" and late.steps
    delivered = tell(orders, "A", "delivered", 1)
    scan = tell(orders, "A", "carrier_scanned", 0.5)
    assert (scan.placed.state, scan.placed.revision, scan.because) == (
        "delivered", delivered.placed.revision, "nothing waits for it in delivered",
    )  # fmt: skip
    happened = told(orders)
    assert happened.count(("orderhub.flow.notification", "order_confirmed")) == 1
    assert ("orderhub.flow.moved", "delivered") in happened
    with orders.begin() as connection:
        logged = connection.execute(text("SELECT count(*) FROM orderhub.audit_entries WHERE entry LIKE '%flow.event%'")).scalar()  # fmt: skip
        assert logged == 4
        event = outbox.read(connection, limit=1)[0].cloud_event()
        assert (event["specversion"], event["source"]) == ("1.0", "urn:orderhub:oms")


@pytest.mark.parametrize(
    ("kind", "more", "error", "code"),
    [
        ("nonsense", {}, EventError, "unknown-event"),
        ("delivered", {"hours_ago": -1}, EventError, "event-from-the-future"),
        ("delivered", {"hours_ago": 24 * 366 * 1000}, EventError, "bad-instant"),
        ("carrier_scanned", {"data": {"weight": 3}}, EventError, "bad-data"),
        ("carrier_scanned", {"data": {"waybill": 3}}, EventError, "bad-data"),
        ("payment_overdue", {}, RoleError, "timeout-only"),
        ("delivered", {"revision": 99}, ConflictError, "revision-past"),
    ],
)
def test_an_event_that_makes_no_sense_changes_nothing(
    orders: Database, kind: str, more: dict[str, Any], error: type[FlowError], code: str
) -> None:
    with pytest.raises(error) as caught:
        tell(orders, "A", kind, **more)
    assert caught.value.code == code
    with orders.begin() as connection:
        assert book.placed(connection, "A").revision == 1
        with pytest.raises(UnknownError):
            book.placed(connection, "Z")


def test_events_told_together_are_told_as_one_by_one(orders: Database) -> None:
    def news(order: str, kind: str, hours: float, event_id: str, **given: Any) -> book.News:
        return book.News(order, Event(event_id, kind, NOW - timedelta(hours=hours), "wms"), "anna", **given)

    told_of = [
        news("A", "payment_verified", 2, "1"), news("B", "approved", 2, "2"), news("X", "picked", 2, "3"),
        news("A", "picked", 1, "4"), news("A", "payment_verified", 2, "1"), news("A", "packed", 1, "4"),
        news("A", "packed", 0.5, "5", revision=1), news("B", "cancelled", 1, "6"),
    ]  # fmt: skip
    with orders.begin() as connection:
        outcomes = book.tell_all(connection, told_of)
        entries = [entry.said for entry in log.read(connection, limit=1000)]
    assert [item.code if isinstance(item, FlowError) else item.placed.state for item in outcomes] == [
        "paid", "approval-needed", "no-flow", "picked", "picked", "key-reused", "revision-past", "cancelled",
    ]  # fmt: skip
    again = outcomes[4]
    assert isinstance(again, book.Told) and again.is_replayed
    assert sum(entry["kind"] == "flow.event" for entry in entries) == 3
    assert [state(orders, order) for order in "AB"] == ["picked", "cancelled"]


def test_an_approval_is_one_persons_and_the_first_decides(orders: Database) -> None:
    with pytest.raises(RoleError, match="decided, not told"):
        tell(orders, "B", "approved")
    with pytest.raises(RoleError, match="waits for finance"):
        decide(orders, "B", True, role="steward")
    with pytest.raises(ConflictError, match="waits for nobody"):
        decide(orders, "A", True)
    done = decide(orders, "B", True, key="k")
    assert (done.placed.state, done.steps[0].event.by, done.steps[0].event.reason) == (
        "accepted",
        "fin",
        "checked",
    )
    assert decide(orders, "B", True, key="k").is_replayed
    with pytest.raises(ConflictError, match="another decision"):
        decide(orders, "B", False, key="k")
    with pytest.raises(ConflictError, match="fin approved it"):
        decide(orders, "B", False, by="other")


def test_of_two_writers_nobody_is_lost(orders: Database) -> None:
    kinds = ["payment_verified", "stock_reserved", "picked", "packed", "dispatched", "delivered"]
    refused: list[Exception] = []

    def write(number: int) -> None:
        tell(orders, "A", kinds[number], 2 - number / 10)
        try:
            decide(orders, "B", number % 2 == 0, by=f"fin{number}")
        except ConflictError as error:
            refused.append(error)

    threads = [threading.Thread(target=write, args=[number]) for number in range(len(kinds))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refused) == len(kinds) - 1
    with orders.begin() as connection:
        item = book.placed(connection, "A")
        assert item.state == "delivered"
        folded = book.history(connection, item)
        assert [step.event.kind for step in folded.steps] == ["created", *kinds]
        changes = book.changes(connection, "A")
        assert [each["revision"] for each in changes] == list(range(1, item.revision + 1))


def test_timeouts_happen_once_when_time_is_up(database: Database, release_orders: Release) -> None:
    activate(database, "b2c")
    release_orders(database, {"A": {}, "B": {}}, [("A", "created", 24.0 * 8), ("B", "created", 24.0 * 6)])
    follow(database, by="root")
    with database.begin() as connection:
        assert sweep(connection, by="root") == ["A"]
    with database.begin() as connection:
        assert sweep(connection, by="root") == []
    assert [state(database, order) for order in "AB"] == ["cancelled", "placed"]
    assert ("orderhub.flow.action", "release_stock") in told(database)
    # It had been paid all along, and this was told late.
    tell(database, "A", "payment_verified", 24 * 7.5)
    assert state(database, "A") == "paid"


def test_a_business_is_dunned_for_what_is_unpaid_alone(database: Database, release_orders: Release) -> None:
    activate(database, "b2b")
    business = {"order_type": "b2b"}
    long_ago = [("created", 24.0 * 75), ("dispatched", 24.0 * 74), ("delivered", 24.0 * 70)]
    events = [(order, kind, ago) for order in "AB" for kind, ago in long_ago]
    # The books write that the invoice is paid; of B nobody says so.
    release_orders(database, {"A": business, "B": business}, [*events, ("A", "payment_verified", 24.0 * 20)])
    follow(database, by="root")
    with database.begin() as connection:
        assert sweep(connection, by="root") == ["B"]
    assert [state(database, order) for order in "AB"] == ["settled", "dunned"]
    tell(database, "B", "payment_verified", 1)
    assert state(database, "B") == "settled"


def test_versions_are_fixed_and_orders_move_only_when_told(orders: Database) -> None:
    with pytest.raises(ConflictError, match="another document already"):
        activate(orders, "b2b", Accepted="Taken")
    with pytest.raises(ConflictError, match="precedence"):
        activate(orders, "b2b", **{"flow: b2b": "flow: trade"})
    with pytest.raises(DocumentError, match="timeout-without-exit"):
        activate(
            orders,
            "b2b",
            **{'version: "1"': 'version: "2"', "on: approval_overdue, to: escalated": "on: approval_overdue"},
        )
    second = {'version: "1"': 'version: "2"', "escalated": "reminded", "accepted": "cleared"}
    activate(orders, "b2b", **second)
    assert decide(orders, "B", True).placed.version == "1"

    def migrate(states: dict[str, str], *, dry_run: bool = False) -> Migrated:
        with orders.begin() as connection:
            return migrate_orders(connection, "b2b", "1", "2", states, by="root", reason="r", dry_run=dry_run)

    with pytest.raises(ConflictError) as caught:
        migrate({"escalated": "reminded"})
    assert (caught.value.code, caught.value.details["states"]) == ("no-mapping", ["accepted"])
    with pytest.raises(UnknownError, match="no state 'gone'"):
        migrate({"gone": "cleared"})
    mapping = {"escalated": "reminded", "accepted": "cleared"}
    assert (migrate(mapping, dry_run=True).states, state(orders, "B")) == (
        {"accepted": ("cleared", 1)},
        "accepted",
    )
    assert migrate(mapping).is_done
    assert state(orders, "B") == "cleared"
    assert migrate(mapping).orders == 0
    assert tell(orders, "B", "stock_reserved").placed.version == "2"


def test_an_order_that_turns_out_to_be_another_brings_what_was_told_of_it(
    orders: Database, release_orders: Release
) -> None:
    tell(orders, "A", "payment_verified", 2)
    release_orders(orders, {"C": {}, "B": {"order_type": "b2b"}}, [("C", "created", 3.0)])
    follow(orders, by="root")
    with orders.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.golden_ids (entity, golden_id, born_at, born_from_record_id, retired_at, redirect_to) "
                "VALUES ('order', 'A', now(), 'r', now(), 'C')"
            )
        )
    assert state(orders, "C") == "placed"
    follow(orders, by="root")
    assert state(orders, "C") == "paid"
    assert follow(orders, by="root").moved == 0
    with orders.begin() as connection:
        connection.execute(
            text("UPDATE orderhub.flow_orders SET due_at = now() - interval '1 day' WHERE order_id = 'A'")
        )
        assert sweep(connection, by="root") == []  # it is no order of its own any more
