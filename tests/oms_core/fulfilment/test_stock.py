"""What is free to promise: lots, dates, safety stock, ring fences and caps, as plain arithmetic."""

from __future__ import annotations

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.fulfilment.errors import RequestError
from oms_core.fulfilment.stock import Allotment, Inbound, Lot, Pool, profile
from oms_core.fulfilment.unit import check_quantity

TODAY = date(2026, 11, 2)
D = Decimal


def lot(
    number: int, on_hand: int | str, days: int | None = None, reserved: int = 0, committed: int = 0
) -> Lot:
    return Lot(
        number,
        f"L{number}",
        None if days is None else TODAY + timedelta(days=days),
        D(on_hand),
        D(reserved),
        D(committed),
    )


def pool(*lots: Lot, **given: object) -> Pool:
    return Pool("S", "N", str(given.pop("uom", "C62")), lots=list(lots), **given)  # type: ignore[arg-type]


def test_what_others_hold_and_what_is_kept_back_is_not_free() -> None:
    stock = pool(lot(1, 10, reserved=3, committed=2), safety=D(1))
    assert stock.available("web", TODAY, TODAY) == 4


def test_first_expired_goes_first_and_must_last_until_the_promised_date() -> None:
    stock = pool(lot(1, 5, days=30), lot(2, 5, days=3), lot(3, 5, days=-1))
    assert stock.available(None, TODAY, TODAY) == 10
    assert stock.available(None, TODAY + timedelta(days=3), TODAY) == 10
    assert stock.available(None, TODAY + timedelta(days=4), TODAY) == 5
    assert [(item.lot_number, qty) for item, qty in stock.take(D(7), TODAY)] == [("L2", 5), ("L1", 2)]


def test_perishable_goods_without_a_date_are_not_promised() -> None:
    assert pool(lot(1, 5), needs_expiry=True).available(None, TODAY, TODAY) == 0
    assert pool(lot(1, 5)).available(None, TODAY, TODAY) == 5


def test_a_ring_fence_keeps_others_out_and_a_cap_keeps_its_channel_in() -> None:
    stock = pool(lot(1, 10))
    stock.allotments = {
        "tmall": Allotment("tmall", "ring_fence", D(6), D(1)),
        "till": Allotment("till", "cap", D(2), D(1)),
    }
    assert stock.available("web", TODAY, TODAY) == 5
    assert stock.available(None, TODAY, TODAY) == 5
    assert stock.available("tmall", TODAY, TODAY) == 10
    assert stock.available("till", TODAY, TODAY) == 1


def test_safety_stock_is_covered_by_lots_too_short_lived_for_a_promise() -> None:
    stock = pool(lot(1, 5, days=1), lot(2, 5, days=90), safety=D(5))
    assert stock.available(None, TODAY + timedelta(days=30), TODAY) == 5


def test_by_date_counts_what_is_expected_and_not_what_is_overdue() -> None:
    stock = pool(lot(1, 2))
    stock.inbound = [
        Inbound("purchase", "PO-1", D(5), TODAY + timedelta(days=4), "", None),
        Inbound("transfer", "TR-1", D(3), TODAY + timedelta(days=2), "", None),
        Inbound("purchase", "PO-0", D(9), TODAY - timedelta(days=2), "", None),
    ]
    assert profile(stock, None, TODAY, None) == [
        (TODAY, 2),
        (TODAY + timedelta(days=2), 5),
        (TODAY + timedelta(days=4), 10),
    ]


def test_a_lot_that_is_short_takes_nothing_at_all() -> None:
    stock = pool(lot(1, 2), lot(2, 1))
    with pytest.raises(ValueError, match="less than was to be taken"):
        stock.take(D(4), TODAY)
    assert [item.reserved for item in stock.lots] == [0, 0]


@pytest.mark.parametrize(
    ("qty", "uom", "asked", "code"),
    [
        ("0", "C62", None, "bad-quantity"),
        ("-1", "C62", None, "bad-quantity"),
        ("NaN", "C62", None, "bad-quantity"),
        ("1e15", "C62", None, "bad-quantity"),
        ("1.5", "C62", None, "fractional-quantity"),
        ("1.5", "XYZ", None, "fractional-quantity"),
        ("0.0000001", "KGM", None, "bad-quantity"),
        ("1", "C62", "KGM", "other-unit"),
    ],
)
def test_quantities_that_make_no_sense(qty: str, uom: str, asked: str | None, code: str) -> None:
    with pytest.raises(RequestError) as caught:
        check_quantity(D(qty), uom, asked_uom=asked)
    assert caught.value.code == code


def test_fractions_are_fine_where_the_unit_is_divisible() -> None:
    check_quantity(D("0.25"), "KGM", asked_uom="KGM")
    assert pool(lot(1, "2.75"), uom="KGM").available(None, TODAY, TODAY) == D("2.75")
    assert pool(lot(1, "2.75")).available(None, TODAY, TODAY) == 2


_QTY = st.integers(-5, 30).map(D)
_LOTS = st.lists(st.tuples(_QTY, st.none() | st.integers(-5, 20), st.integers(0, 5)), max_size=6)


@given(_LOTS, st.integers(0, 10), st.integers(0, 15), st.integers(0, 20), st.booleans())
def test_what_is_available_can_be_taken_and_leaves_what_is_set_aside(
    lots: list[tuple[Decimal, int | None, int]], safety: int, fence: int, horizon: int, needs_expiry: bool
) -> None:
    stock = pool(
        *(lot(place, int(qty), days, committed=committed) for place, (qty, days, committed) in enumerate(lots)),
        safety=D(safety), needs_expiry=needs_expiry,
    )  # fmt: skip
    stock.allotments = {"own": Allotment("own", "ring_fence", D(fence))}
    until = TODAY + timedelta(days=horizon)
    before = sum((item.free("C62") for item in stock.good_lots(TODAY)), D(0))
    free = stock.available("web", until, TODAY)
    assert free >= 0
    taken = stock.take(free, until)
    assert sum((qty for _, qty in taken), D(0)) == free
    assert all(item.expires_on is None or item.expires_on >= until for item, _ in taken)
    assert all(item.reserved <= max(item.on_hand, D(0)) for item in stock.lots)
    assert free == 0 or before - free >= safety + fence
    assert stock.available("web", until, TODAY) == 0
