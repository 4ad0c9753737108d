"""Reservations in PostgreSQL: all or nothing, once per key, free again when they end, and another tenant's are untouchable."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from oms_core.audit import log
from oms_core.fulfilment import look, policy
from oms_core.fulfilment.desk import Desk, apply
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Change
from oms_core.fulfilment.reservation import Ask
from oms_core.fulfilment.sweep import sweep
from oms_core.store.postgres import Database

Put = Callable[..., None]
Asking = Callable[..., Ask]
Check = Callable[[Database], None]


def reserved(database: Database) -> dict[tuple[str, str, str], int]:
    with database.begin() as connection:
        rows = connection.execute(
            text("SELECT sku_id, location_id, lot_number, reserved_qty FROM orderhub.stock_positions")
        )
        return {(row[0], row[1], row[2]): int(row[3]) for row in rows}


def held(answer: Answer) -> list[tuple[str, str, Decimal]]:
    return [(item.location_id, item.lot.lot_number, item.qty) for item in answer.reservation.holds]


def refused(database: Database, command: Any, code: str) -> FulfilmentError:
    """Check that a command is refused with a code and nothing changed."""
    before, entries = reserved(database), _entries(database)
    with pytest.raises(FulfilmentError) as caught:
        Desk(database).ask(command)
    assert caught.value.code == code
    assert (reserved(database), _entries(database)) == (before, entries)
    return caught.value


def _entries(database: Database) -> list[str]:
    with database.begin() as connection:
        return [entry.said["kind"] for entry in log.read(connection, limit=1000)]


def change(verb: Any, answer: Answer, ttl: int = 60, tenant: str = "acme") -> Change:
    return Change(verb, tenant, answer.reservation.reservation_id, "shop", timedelta(seconds=ttl))


def pass_time(database: Database) -> None:
    """Let everything held have expired a second ago."""
    with database.begin() as connection:
        for table in ("reservations", "reservation_holds"):
            connection.execute(
                text(
                    f"UPDATE orderhub.{table} SET expires_at = clock_timestamp() - interval '1 second' "
                    "WHERE expires_at IS NOT NULL"
                )
            )


def test_a_life_from_reservation_to_cancellation(
    database: Database, put: Put, asking: Asking, check_books: Check
) -> None:
    put(database, "S1", "N1", 10)
    desk = Desk(database)
    made = desk.ask(asking(("S1", 4)))
    assert (made.state, held(made), made.is_replayed) == ("held", [("N1", "", 4)], False)
    longer = desk.ask(change("extend", made, ttl=3600))
    assert longer.reservation.expires_at is not None and made.reservation.expires_at is not None
    assert longer.reservation.expires_at > made.reservation.expires_at
    assert desk.ask(change("extend", made, ttl=1)).reservation.expires_at == longer.reservation.expires_at
    allocated = desk.ask(change("allocate", made))
    assert (allocated.state, allocated.reservation.expires_at) == ("allocated", None)
    assert desk.ask(change("allocate", made)).state == "allocated"
    refused(database, change("extend", made), "reservation-state")
    check_books(database)
    assert desk.ask(change("release", made)).state == "released"
    assert desk.ask(change("release", made)).state == "released"
    assert reserved(database) == {("S1", "N1", ""): 0}
    refused(database, change("allocate", made), "reservation-state")
    assert _entries(database) == [
        f"reservation.{verb}" for verb in ("made", "extended", "allocated", "released")
    ]


def test_the_same_key_gives_the_same_answer_and_another_body_is_refused(
    database: Database, put: Put, asking: Asking
) -> None:
    put(database, "S1", "N1", 10)
    desk = Desk(database)
    first = desk.ask(asking(("S1", 4), key="k"))
    again = desk.ask(asking(("S1", 4), key="k"))
    assert again.is_replayed and again.reservation == first.reservation
    error = refused(database, asking(("S1", 5), key="k"), "key-reused")
    assert error.details == {"reservation_id": first.reservation.reservation_id}
    other = desk.ask(asking(("S1", 4), key="k", tenant="globex"))
    assert other.reservation.reservation_id != first.reservation.reservation_id
    assert reserved(database) == {("S1", "N1", ""): 8}


def test_the_same_key_twice_in_one_transaction(database: Database, put: Put, asking: Asking) -> None:
    put(database, "S1", "N1", 10)
    outcomes = apply(
        database,
        [
            asking(("S1", 4), key="k"),
            asking(("S1", 4), key="k"),
            asking(("S1", 9), key="k"),
            asking(("S1", 7)),
        ],
    )
    assert isinstance(outcomes[0], Answer) and isinstance(outcomes[1], Answer)
    assert outcomes[1].reservation == outcomes[0].reservation
    assert [getattr(item, "code", None) for item in outcomes] == [
        None,
        None,
        "key-reused",
        "insufficient-stock",
    ]
    assert reserved(database) == {("S1", "N1", ""): 4}


def test_all_or_nothing_over_lines_and_nodes_or_what_there_is(
    database: Database, put: Put, asking: Asking, check_books: Check
) -> None:
    put(database, "S1", "N1", 3)
    put(database, "S1", "N2", 5)
    put(database, "S2", "N1", 1)
    error = refused(database, asking(("S1", 8), ("S2", 2)), "insufficient-stock")
    assert error.details["lines"] == [
        {"line_number": 1, "asked_qty": "8", "available_qty": "8"},
        {"line_number": 2, "asked_qty": "2", "available_qty": "1"},
    ]
    made = Desk(database).ask(asking(("S1", 4, "N1", "N2"), ("S2", 2), is_partial=True))
    assert held(made) == [("N1", "", 3), ("N2", "", 1), ("N1", "", 1)]
    assert [(line.asked, line.granted) for line in made.reservation.lines] == [(4, 4), (2, 1)]
    assert held(Desk(database).ask(asking(("S1", 4)))) == [("N2", "", 4)]
    refused(database, asking(("S1", 1), is_partial=True), "insufficient-stock")
    check_books(database)


def test_expired_ones_free_their_stock_at_once_and_the_sweep_cleans_up(
    database: Database, put: Put, asking: Asking, check_books: Check
) -> None:
    put(database, "S1", "N1", 5)
    put(database, "S2", "N1", 5)
    desk = Desk(database)
    made = desk.ask(asking(("S1", 5), ("S2", 5)))
    pass_time(database)
    with look.looking(database) as connection:
        pool = look.stock_of(connection, "S1").pools["S1", "N1"]
        assert pool.available("web", date.today(), date.today()) == 5
        assert look.reservation_of(connection, made.reservation.reservation_id, "acme").state == "expired"
    assert held(desk.ask(asking(("S1", 5)))) == [("N1", "", 5)]
    assert reserved(database) == {("S1", "N1", ""): 5, ("S2", "N1", ""): 5}
    check_books(database)
    assert sweep(database, by="root") == 1
    assert reserved(database) == {("S1", "N1", ""): 5, ("S2", "N1", ""): 0}
    assert sweep(database, by="root") == 0
    for verb in ("extend", "allocate"):
        refused(database, change(verb, made), "reservation-expired")
    assert desk.ask(change("release", made)).state == "expired"


def test_another_tenants_reservation_is_untouchable(database: Database, put: Put, asking: Asking) -> None:
    put(database, "S1", "N1", 5)
    made = Desk(database).ask(asking(("S1", 5)))
    for verb in ("release", "extend", "allocate"):
        refused(database, change(verb, made, tenant="globex"), "other-tenant")
    refused(database, Change("release", "acme", "rsv_none", "shop"), "unknown-reservation")
    with look.looking(database) as connection, pytest.raises(FulfilmentError, match="another tenant"):
        look.reservation_of(connection, made.reservation.reservation_id, "globex")


def test_unfit_requests_change_nothing(database: Database, put: Put, asking: Asking) -> None:
    put(database, "S1", "N1", 5)
    put(database, "S1", "N2", 5)
    put(database, "K1", "N1", "5.5", uom="KGM")
    with database.begin() as connection:
        policy.close_node(connection, "N2", "stock-taking", by="root")
    past = datetime.now(UTC).date() - timedelta(days=1)
    for ask, code in (
        (asking(("S9", 1)), "unknown-sku"),
        (asking(("K1", 1, "N2")), "node-closed"),
        (asking(("S1", 1, "N9")), "unknown-node"),
        (asking(("S1", 1, "N2")), "node-closed"),
        (asking(("S1", 1, "N1", "N2")), "node-closed"),
        (asking(("S1", 6)), "insufficient-stock"),
        (asking(("S1", 0)), "bad-quantity"),
        (asking(("S1", -1)), "bad-quantity"),
        (asking(("S1", "0.5")), "fractional-quantity"),
        (asking(("S1", 1), uom="KGM"), "other-unit"),
        (asking(("S1", 1), ttl=0), "bad-ttl"),
        (asking(("S1", 1), ttl=10**8), "bad-ttl"),
        (asking(("S1", 1), promised_on=past), "bad-date"),
        (asking(("S1", 1), days=-1), "bad-request"),
        (asking(), "bad-request"),
    ):
        refused(database, ask, code)
    assert held(Desk(database).ask(asking(("K1", "0.25")))) == [("N1", "", Decimal("0.25"))]


def test_a_closed_node_allocates_nothing_until_it_opens(database: Database, put: Put, asking: Asking) -> None:
    put(database, "S1", "N1", 5)
    made = Desk(database).ask(asking(("S1", 5)))
    with database.begin() as connection:
        policy.close_node(connection, "N1", "flood", by="root")
    refused(database, change("allocate", made), "node-closed")
    with database.begin() as connection:
        policy.close_node(connection, "N1", None, by="root")
    assert Desk(database).ask(change("allocate", made)).state == "allocated"


def test_lots_are_chosen_anew_when_allocated(
    database: Database, put: Put, asking: Asking, check_books: Check
) -> None:
    soon, late = (datetime.now(UTC).date() + timedelta(days=days) for days in (5, 60))
    put(database, "S1", "N1", 2, lot="SOON", expires_on=soon, needs_expiry=True)
    put(database, "S1", "N1", 2, lot="LATE", expires_on=late, needs_expiry=True)
    desk = Desk(database)
    first = desk.ask(asking(("S1", 2)))
    second = desk.ask(asking(("S1", 1)))
    assert (held(first), held(second)) == ([("N1", "SOON", 2)], [("N1", "LATE", 1)])
    refused(database, asking(("S1", 2), days=30), "insufficient-stock")
    desk.ask(change("release", first))
    assert held(desk.ask(change("allocate", second))) == [("N1", "SOON", 1)]
    assert held(desk.ask(asking(("S1", 2), days=30))) == [("N1", "LATE", 2)]
    check_books(database)


def test_channels_get_what_is_allotted_to_them(
    database: Database, put: Put, asking: Asking, check_books: Check
) -> None:
    put(database, "S1", "N1", 10)
    desk = Desk(database)
    with database.begin() as connection:
        policy.set_policy(connection, "S1", "N1", Decimal(1), 0, by="root")
        policy.set_allotment(connection, "S1", "N1", "tmall", "ring_fence", Decimal(4), by="root")
        policy.set_allotment(connection, "S1", "N1", "till", "cap", Decimal(2), by="root")
    refused(database, asking(("S1", 6)), "insufficient-stock")
    desk.ask(asking(("S1", 5)))
    refused(database, asking(("S1", 1)), "insufficient-stock")
    made = desk.ask(asking(("S1", 4), channel="tmall"))
    refused(database, asking(("S1", 1), channel="tmall"), "insufficient-stock")
    desk.ask(change("release", made))
    assert held(desk.ask(asking(("S1", 4), channel="tmall"))) == [("N1", "", 4)]
    with database.begin() as connection:
        used = connection.execute(
            text("SELECT channel, used_qty FROM orderhub.channel_allotments ORDER BY channel")
        ).all()
        assert [(row[0], int(row[1])) for row in used] == [("till", 0), ("tmall", 4)]
        policy.set_allotment(connection, "S1", "N1", "till", "cap", None, by="root")
    check_books(database)


def test_a_cap_never_lies_below_what_the_channel_holds(database: Database, put: Put, asking: Asking) -> None:
    put(database, "S1", "N1", 10)
    Desk(database).ask(asking(("S1", 5)))
    with pytest.raises(FulfilmentError, match="comes too late"), database.begin() as connection:
        policy.set_allotment(connection, "S1", "N1", "web", "cap", Decimal(4), by="root")


def test_the_table_itself_refuses_an_oversell(database: Database, put: Put) -> None:
    put(database, "S1", "N1", 5)
    for value in ("6", "-1"):
        with pytest.raises(IntegrityError, match="reserved_is_on_hand"), database.begin() as connection:
            connection.execute(text(f"UPDATE orderhub.stock_positions SET reserved_qty = {value}"))


def test_one_request_at_fault_does_not_harm_those_that_share_its_transaction(
    database: Database, put: Put, asking: Asking, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(database, "S1", "N1", 5)
    desk = Desk(database)
    from oms_core.fulfilment import desk as room

    plain = room.ledger.apply

    def faulty(connection: Any, commands: Any, requests: Any) -> Any:
        if any(item.key == "bad" for item in commands):
            raise RuntimeError("a fault")
        return plain(connection, commands, requests)

    monkeypatch.setattr(room.ledger, "apply", faulty)
    batch = [room._Waiting(asking(("S1", 1), key=key)) for key in ("good", "bad", "fine")]
    desk._work(batch)
    assert [type(item.outcome).__name__ for item in batch] == ["Answer", "RuntimeError", "Answer"]
    assert reserved(database) == {("S1", "N1", ""): 2}
