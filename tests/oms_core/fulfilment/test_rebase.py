"""A new release becomes the base: newer movements and promises stay on top, and what is lost is said, not oversold."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from oms_core.fulfilment import book, look
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import Desk, repeat
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Change
from oms_core.fulfilment.movement import Movement, Step, fold
from oms_core.fulfilment.rebase import Rebased, rebase
from oms_core.fulfilment.reservation import Ask
from oms_core.store.postgres import Database

RANKS = {"wms": 0, "shop": 1}
NOON = datetime(2026, 11, 1, 12)
_places = itertools.count(1)

Publish = Callable[..., Any]
Asking = Callable[..., Ask]
Check = Callable[[Database], None]


def counted(sku: str | None, node: str, qty: int | None, at: datetime = NOON, **given: Any) -> dict[str, Any]:
    """One released position."""
    return {
        "position_id": f"wms:quants:{sku}/{node}/{given.get('lot_number')}/{given.get('source_system')}", "sku_id": sku,
        "location_id": node, "lot_number": None, "on_hand_qty": None if qty is None else Decimal(qty), "reserved_qty": None,
        "uom": "C62", "counted_at": at, "expires_on": None, "source_system": "wms", "_extracted_at": at, **given,
    }  # fmt: skip


@pytest.fixture
def release(database: Database, publish_small: Publish) -> Callable[..., Rebased]:
    """Publishes positions and puts stock on them."""

    def run(*positions: dict[str, Any]) -> Rebased:
        publish_small(
            database,
            fct_inventory_positions=list(positions),
            dim_skus=[
                {"sku_id": "S1", "needs_cold_chain": False},
                {"sku_id": "COLD", "needs_cold_chain": True},
            ],
        )
        return rebase(database, RANKS, by="root")

    return run


def move(
    database: Database, kind: str, qty: int, at: datetime, sku: str = "S1", node: str = "N1", **given: Any
) -> str:
    """Tell one movement of the WMS."""
    number = next(_places)
    told = Movement(
        "wms", f"m{number}", kind, sku, node, Decimal(qty), at.replace(tzinfo=UTC), b"%d" % number, **given
    )
    places = [Place(sku, item, "C62", False) for item in (node, given.get("to_location_id")) if item]
    (outcome,) = repeat(
        database,
        lambda connection, also: book.record(connection, [told], places, by="wms", tenant="acme", also=also),
    )
    return outcome


def on_hand(database: Database, sku: str = "S1") -> dict[tuple[str, str], tuple[int, int]]:
    """(node, lot) -> on hand and reserved."""
    with look.looking(database) as connection:
        pools = look.stock_of(connection, sku).pools.values()
        return {
            (pool.location_id, lot.lot_number): (int(lot.on_hand), int(lot.reserved))
            for pool in pools
            for lot in pool.lots
        }


def test_a_position_knows_where_it_comes_from(database: Database, release: Callable[..., Rebased]) -> None:
    done = release(counted("S1", "N1", 5, lot_number="A", expires_on="2027-01-31", reserved_qty=Decimal(2)))
    assert (done.positions, done.changed, done.left_out) == (1, 1, {})
    with look.looking(database) as connection:
        pool = look.stock_of(connection, "S1").pools["S1", "N1"]
        (lot,) = pool.lots
        origin = look.origins(connection, "S1")[lot.position_id]
    assert (lot.on_hand, lot.committed, lot.expires_on) == (5, 2, date(2027, 1, 31))
    assert (origin.source_system, origin.release_id, origin.counted_at) == (
        "wms",
        1,
        NOON.replace(tzinfo=UTC),
    )
    assert origin.position_ids == ["wms:quants:S1/N1/A/None"]
    assert rebase(database, RANKS, by="root").changed == 0


def test_newer_movements_stay_on_top_and_older_ones_are_in_the_count(
    database: Database, release: Callable[..., Rebased]
) -> None:
    release(counted("S1", "N1", 10))
    minute = timedelta(minutes=1)
    assert move(database, "receipt", 5, NOON + 10 * minute) == "applied"
    assert move(database, "issue", 2, NOON + 30 * minute) == "applied"
    assert move(database, "receipt", 7, NOON - minute) == "counted"
    assert on_hand(database) == {("N1", ""): (13, 0)}
    release(counted("S1", "N1", 15, NOON + 20 * minute))
    assert on_hand(database) == {("N1", ""): (13, 0)}
    release(counted("S1", "N1", 13, NOON + 40 * minute))
    assert on_hand(database) == {("N1", ""): (13, 0)}
    # A late message about an early movement changes nothing; a count sets what earlier ones made of it.
    assert move(database, "count", 9, NOON + 60 * minute) == "applied"
    assert move(database, "receipt", 4, NOON + 50 * minute) == "applied"
    assert move(database, "adjustment", -1, NOON + 70 * minute) == "applied"
    assert on_hand(database) == {("N1", ""): (8, 0)}


def test_promises_survive_a_release_and_what_is_not_there_is_lost_by_the_latest(
    database: Database, release: Callable[..., Rebased], asking: Asking, check_books: Check
) -> None:
    release(counted("S1", "N1", 10), counted("S1", "N2", 2))
    desk = Desk(database)
    first, second = desk.ask(asking(("S1", 4, "N1"))), desk.ask(asking(("S1", 3, "N1"), ("S1", 1, "N2")))
    third = desk.ask(asking(("S1", 3, "N1")))
    desk.ask(Change("allocate", "acme", third.reservation.reservation_id, "shop"))
    release(counted("S1", "N1", 8, NOON + timedelta(hours=1)), counted("S1", "N2", 2))
    assert on_hand(database) == {("N1", ""): (8, 8), ("N2", ""): (2, 1)}
    check_books(database)
    with look.looking(database) as connection:
        lost = {
            name: [int(line.lost) for line in look.reservation_of(connection, made.reservation.reservation_id, None).reservation.lines]
            for name, made in (("first", first), ("second", second), ("third", third))
        }  # fmt: skip
    assert lost == {"first": [0], "second": [2, 0], "third": [0]}, (
        "allocations last, the latest reservation first"
    )
    release(counted("S1", "N2", 2))
    assert on_hand(database) == {("N1", ""): (0, 0), ("N2", ""): (2, 1)}
    check_books(database)


def test_a_lost_lot_is_replaced_by_another_one(
    database: Database, release: Callable[..., Rebased], asking: Asking, check_books: Check
) -> None:
    year = datetime.now(UTC).date() + timedelta(days=365)
    lots = [
        counted("S1", "N1", 5, lot_number=name, expires_on=str(year + timedelta(days=place)))
        for place, name in enumerate("AB")
    ]
    release(*lots)
    made = Desk(database).ask(asking(("S1", 4)))
    assert on_hand(database) == {("N1", "A"): (5, 4), ("N1", "B"): (5, 0)}
    move(database, "count", 1, NOON + timedelta(hours=1), lot_number="A")
    assert on_hand(database) == {("N1", "A"): (1, 1), ("N1", "B"): (5, 3)}
    with look.looking(database) as connection:
        (line,) = look.reservation_of(connection, made.reservation.reservation_id, None).reservation.lines
    assert line.lost == 0
    check_books(database)


def test_one_system_is_believed_at_a_node(database: Database, release: Callable[..., Rebased]) -> None:
    done = release(
        counted("S1", "N1", 10),
        counted("S1", "N1", 9, source_system="shop"),
        counted("COLD", "N1", 3, source_system="shop"),
        counted("S1", "N2", 4, source_system="shop"),
        counted(None, "N2", 4),
        counted("S1", "N2", None, source_system="shop", lot_number="X"),
        counted("S1", "N1", 1, lot_number="K", uom="KGM"),
    )
    assert done.left_out == {
        "copy of a better-ranked count": 2, "no sku_id": 1, "no on_hand_qty": 1, "other unit": 1,
    }  # fmt: skip
    assert on_hand(database) == {("N1", ""): (10, 0), ("N2", ""): (4, 0)}


def test_stock_of_a_retired_id_goes_to_the_one_that_took_over(
    database: Database, release: Callable[..., Rebased], asking: Asking, check_books: Check
) -> None:
    release(counted("S1", "N1", 10), counted("COLD", "N1", 5))
    made = Desk(database).ask(asking(("S1", 4)))
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.golden_ids (entity, golden_id, born_at, born_from_record_id, retired_at, redirect_to) "
                "VALUES ('sku', 'S1', now(), 'r1', now(), 'S2'), ('sku', 'S2', now(), 'r2', NULL, NULL)"
            )
        )
        connection.execute(
            text(
                "INSERT INTO orderhub.identity_members (entity, record_id, golden_id, match_rule, valid_from) "
                "VALUES ('sku', 'r2', 'S2', 'born', now())"
            )
        )
    release(counted("S2", "N1", 11, NOON + timedelta(hours=1)), counted("COLD", "N1", 5))
    assert (on_hand(database, "S1"), on_hand(database, "S2")) == ({}, {("N1", ""): (11, 4)})
    assert (
        Desk(database).ask(Change("allocate", "acme", made.reservation.reservation_id, "shop")).state
        == "allocated"
    )
    check_books(database)


def test_goods_are_issued_for_their_reservation_and_for_no_other(
    database: Database, release: Callable[..., Rebased], asking: Asking, check_books: Check
) -> None:
    release(counted("S1", "N1", 10))
    made = Desk(database).ask(asking(("S1", 6))).reservation
    late = NOON + timedelta(hours=1)
    with pytest.raises(FulfilmentError, match="holds less"):
        move(database, "issue", 7, late, reservation_id=made.reservation_id)
    assert on_hand(database) == {("N1", ""): (10, 6)}
    move(database, "issue", 2, late, reservation_id=made.reservation_id)
    assert on_hand(database) == {("N1", ""): (8, 4)}
    move(database, "issue", 4, late, reservation_id=made.reservation_id)
    with look.looking(database) as connection:
        assert look.reservation_of(connection, made.reservation_id, None).state == "fulfilled"
    assert on_hand(database) == {("N1", ""): (4, 0)}
    check_books(database)


_AT = datetime(2026, 1, 1, tzinfo=UTC)
_STEPS = st.lists(
    st.tuples(st.integers(0, 20), st.sampled_from(["receipt", "issue", "count"]), st.integers(0, 9)),
    max_size=12,
)


@given(_STEPS, st.integers(0, 20), st.randoms())
def test_the_order_of_arrival_and_the_moment_of_the_release_do_not_matter(
    told: list[tuple[int, str, int]], watermark: int, dice: Any
) -> None:
    steps = [
        Step(_AT + timedelta(minutes=minute), place, kind, Decimal(qty))
        for place, (minute, kind, qty) in enumerate(sorted(told, key=lambda item: item[0]))
    ]
    whole = fold(Decimal(50), None, steps)
    shuffled = list(steps)
    dice.shuffle(shuffled)
    assert fold(Decimal(50), None, shuffled) == whole
    at = _AT + timedelta(minutes=watermark)
    counted_then = fold(Decimal(50), None, [step for step in steps if step.recorded_at <= at])
    assert fold(counted_then, at, shuffled) == whole
