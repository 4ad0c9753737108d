"""Reserving goods that are under way: never more than is to come, and whoever waits is told when they come late or short."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.fulfilment import book, look
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import Desk, apply, repeat
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Change
from oms_core.fulfilment.movement import Movement
from oms_core.fulfilment.reservation import Ask
from oms_core.fulfilment.stock import profile
from oms_core.fulfilment.sweep import sweep
from oms_core.store.postgres import Database

TODAY = datetime.now(UTC).date()
D = Decimal


def day(days: int) -> date:
    return TODAY + timedelta(days=days)


class Told:
    """Tells movements of S1 at N1, one after the other."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._number = 0

    def __call__(self, kind: str, qty: int, **more: Any) -> str:
        self._number += 1
        at = datetime.now(UTC) - timedelta(hours=1) + timedelta(seconds=self._number)
        item = Movement("wms", f"m{self._number}", kind, "S1", "N1", D(qty), at, b"%d" % self._number, **more)
        nodes = [node for node in ("N1", item.to_location_id) if node is not None]
        places = [Place("S1", node, "C62", False) for node in nodes]
        (outcome,) = repeat(
            self._database,
            lambda connection, also: book.record(
                connection, [item], places, by="wms", tenant="acme", also=also
            ),
        )
        return outcome

    def announce(self, qty: int, on: date, reference: str = "PO-1") -> str:
        return self("announcement", qty, reference=reference, expected_on=on)

    def receive(self, qty: int, reference: str = "PO-1", **more: Any) -> str:
        return self("receipt", qty, reference=reference, **more)


@pytest.fixture
def told(database: Database, put: Callable[..., None]) -> Told:
    put(database, "S1", "N1", 2)
    return Told(database)


@pytest.fixture
def one(database: Database) -> Callable[[Any], Answer]:
    def run(command: Any) -> Answer:
        (outcome,) = apply(database, [command])
        if isinstance(outcome, FulfilmentError):
            raise outcome
        return outcome

    return run


def held(database: Database, answer: Answer) -> dict[str, int]:
    """What a reservation holds now: by what it comes with, "" what lies there; and what it lost."""
    with look.looking(database) as connection:
        made = look.reservation_of(connection, answer.reservation.reservation_id, None).reservation
    found: dict[str, int] = {}
    for hold in made.holds:
        found[hold.lot.reference] = found.get(hold.lot.reference, 0) + int(hold.qty)
    lost = sum(int(line.lost) for line in made.lines)
    return found | ({"lost": lost} if lost else {})


def kinds(database: Database) -> list[str]:
    with database.begin() as connection:
        said = connection.execute(text("SELECT entry FROM orderhub.audit_entries ORDER BY seq")).scalars()
        return [kind for entry in said for kind in re.findall(r"reservation\.[a-z]+", entry)]


def test_what_arrives_in_time_is_promised_once_where_it_is_asked_for(
    database: Database, told: Told, one: Callable[[Any], Answer], asking: Callable[..., Ask],
    check_books: Callable[[Database], None],
) -> None:  # fmt: skip
    told.announce(10, day(5))
    for refused in (
        {"promised_on": day(6)},  # did not say that it can wait
        {"promised_on": day(4), "from_inbound": True},  # arrives later
        {"from_inbound": True},  # promised today
    ):
        with pytest.raises(FulfilmentError) as caught:
            one(asking(("S1", 5, "N1"), **refused))
        assert caught.value.code == "insufficient-stock"
    first = one(asking(("S1", 5, "N1"), promised_on=day(6), from_inbound=True))
    assert held(database, first) == {"": 2, "wms/PO-1": 3}
    with look.looking(database) as connection:
        (pool,) = look.stock_of(connection, "S1").pools.values()
    assert profile(pool, None, TODAY, None) == [(TODAY, 0), (day(5), 7)]
    with pytest.raises(FulfilmentError):
        one(asking(("S1", 8, "N1"), promised_on=day(6), from_inbound=True))
    part = one(asking(("S1", 8), promised_on=day(6), from_inbound=True, is_partial=True))
    assert held(database, part) == {"wms/PO-1": 7}
    check_books(database)
    one(Change("release", "acme", part.reservation.reservation_id, "shop"))
    again = one(asking(("S1", 7), promised_on=day(6), from_inbound=True, ttl=1))
    with database.begin() as connection:
        for table in ("reservations", "reservation_holds"):
            connection.execute(
                text(
                    f"UPDATE orderhub.{table} SET expires_at = clock_timestamp() WHERE reservation_id = :id"
                ),
                {"id": again.reservation.reservation_id},
            )
    assert sweep(database, by="root") == 1
    check_books(database)
    assert held(database, one(asking(("S1", 7), promised_on=day(5), from_inbound=True))) == {"wms/PO-1": 7}


def test_a_cap_and_safety_stock_hold_for_what_is_under_way(
    database: Database, told: Told, one: Callable[[Any], Answer], asking: Callable[..., Ask]
) -> None:
    told.announce(10, day(5))
    with database.begin() as connection:
        connection.execute(text("UPDATE orderhub.stock_pools SET safety_qty = 3"))
        connection.execute(
            text(
                "INSERT INTO orderhub.channel_allotments (sku_id, location_id, channel, kind, qty, used_qty) "
                "VALUES ('S1', 'N1', 'tmall', 'cap', 4, 0)"
            )
        )
    given: dict[str, Any] = {"promised_on": day(5), "from_inbound": True, "is_partial": True}
    assert held(database, one(asking(("S1", 20), channel="tmall", **given))) == {"wms/PO-1": 4}
    # Two lie there and six are still to come: three of the eight stay.
    assert held(database, one(asking(("S1", 20), channel="web", **given))) == {"wms/PO-1": 5}


def test_goods_go_to_those_who_waited_longest_as_they_arrive_and_can_be_issued(
    database: Database, told: Told, one: Callable[[Any], Answer], asking: Callable[..., Ask],
    check_books: Callable[[Database], None],
) -> None:  # fmt: skip
    told.announce(10, day(5))
    one(asking(("S1", 2, "N1")))
    first, second = (one(asking(("S1", qty), promised_on=day(6), from_inbound=True)) for qty in (4, 5))
    one(Change("allocate", "acme", first.reservation.reservation_id, "shop"))
    assert held(database, first) == {"wms/PO-1": 4}
    with pytest.raises(FulfilmentError) as caught:
        told("issue", 4, reservation_id=first.reservation.reservation_id)
    assert caught.value.code == "not-held"
    told.receive(6, lot_number="")
    assert (held(database, first), held(database, second)) == ({"": 4}, {"": 2, "wms/PO-1": 3})
    check_books(database)
    told("issue", 4, reservation_id=first.reservation.reservation_id)
    told.receive(4)
    assert held(database, second) == {"": 5}
    check_books(database)
    with pytest.raises(FulfilmentError):
        one(asking(("S1", 2), promised_on=day(6), from_inbound=True))
    one(asking(("S1", 1), promised_on=day(6), from_inbound=True))
    assert set(kinds(database)) == {
        "reservation.made", "reservation.allocated", "reservation.moved", "reservation.issued",
    }  # fmt: skip


@pytest.mark.parametrize("is_called_off", [False, True])
def test_what_comes_short_is_lost_to_the_latest_and_said(
    is_called_off: bool, database: Database, told: Told, one: Callable[[Any], Answer], asking: Callable[..., Ask],
    check_books: Callable[[Database], None],
) -> None:  # fmt: skip
    told.announce(10, day(5))
    first, second = (one(asking(("S1", qty), promised_on=day(9), from_inbound=True)) for qty in (6, 4))
    told.announce(2, day(8), "PO-2")
    told.announce(0 if is_called_off else 5, day(5))
    if is_called_off:  # two lie there for the first, and two come with another delivery
        assert held(database, first)[""] == 2
        assert held(database, first).get("lost", 0) + held(database, second).get("lost", 0) == 6
    else:  # three of eight are not to come: two of them come with another delivery
        assert held(database, first) == {"": 2, "wms/PO-1": 4}
        assert held(database, second) == {"wms/PO-1": 1, "wms/PO-2": 2, "lost": 1}
    assert "reservation.lost" in kinds(database)
    check_books(database)


def test_what_comes_late_is_kept_and_said(
    database: Database, told: Told, one: Callable[[Any], Answer], asking: Callable[..., Ask]
) -> None:
    told.announce(10, day(5))
    made = one(asking(("S1", 6), promised_on=day(6), from_inbound=True))
    told.announce(10, day(6))
    assert "reservation.delayed" not in kinds(database)  # still in time
    told.announce(10, day(8))
    assert held(database, made) == {"": 2, "wms/PO-1": 4}
    assert "reservation.delayed" in kinds(database)
    with look.looking(database) as connection:
        found = look.reservation_of(connection, made.reservation.reservation_id, None).reservation
    assert {hold.lot.arrives_on for hold in found.holds} == {None, day(8)}


def test_a_transfer_is_promised_where_it_goes_to(
    database: Database, told: Told, put: Callable[..., None], one: Callable[[Any], Answer], asking: Callable[..., Ask],
    check_books: Callable[[Database], None],
) -> None:  # fmt: skip
    put(database, "S1", "N2", 0)
    told("transfer_shipped", 2, reference="TR-1", expected_on=day(2), to_location_id="N2")
    made = one(asking(("S1", 2, "N2"), promised_on=day(3), from_inbound=True))
    assert held(database, made) == {"wms/TR-1": 2}
    item = Movement(
        "wms", "arrived", "transfer_received", "S1", "N2", D(2), datetime.now(UTC), b"arrived", reference="TR-1"
    )  # fmt: skip
    repeat(
        database,
        lambda connection, also: book.record(
            connection, [item], [Place("S1", "N2", "C62", False)], by="wms", tenant="acme", also=also
        ),
    )
    assert held(database, made) == {"": 2}
    check_books(database)


def test_buyers_who_race_for_what_is_to_come_get_what_is_to_come(
    database: Database, told: Told, asking: Callable[..., Ask], check_books: Callable[[Database], None]
) -> None:
    told.announce(8, day(5))
    desks = [Desk(database) for _ in range(4)]
    asks = [asking(("S1", 1), promised_on=day(5), from_inbound=True) for _ in range(40)]
    got: list[str] = []

    def buy(number: int) -> None:
        try:
            desks[number % len(desks)].ask(asks[number])
        except FulfilmentError as error:
            got.append(error.code)
        else:
            got.append("reserved")

    buyers = [threading.Thread(target=buy, args=(number,)) for number in range(len(asks))]
    for buyer in buyers:
        buyer.start()
    for buyer in buyers:
        buyer.join()
    assert (got.count("reserved"), got.count("insufficient-stock")) == (10, 30)
    check_books(database)
