"""What needs a person, and what does not: detectors and baselines over plain rows."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.exceptions import detect
from oms_core.exceptions.baseline import FEWEST, Baselines, Stay

NOW = datetime(2026, 11, 20, tzinfo=UTC)


def address(**given: Any) -> dict[str, Any]:
    return {"order_id": "A", "country": "DE", "region": None, "city": "Hamburg", "postcode": "20457", **given}


@pytest.mark.parametrize(
    ("given", "faults"),
    [
        ({}, []),
        ({"country": "CN", "city": "成都市", "postcode": "610090", "region": "四川省"}, []),
        ({"country": "HK", "postcode": None}, []),  # has no postcodes
        ({"country": "GB", "city": "Bristol", "postcode": "bs2 9qa"}, []),
        ({"postcode": "2045"}, ["postcode has not the form of DE"]),
        ({"postcode": None, "city": ""}, ["city is missing", "postcode is missing"]),
        ({"country": None}, ["country is not known"]),
        ({"country": "ZZ"}, ["country is none that addresses are known of"]),
    ],
)
def test_an_address_is_doubted_where_its_country_knows_none_like_it(
    given: dict[str, Any], faults: list[str]
) -> None:
    found = detect.address_doubtful([address(**given)])
    assert [item.evidence["faults"] for item in found] == ([faults] if faults else [])
    assert not any(str(given.get("postcode")) in str(item) for item in found if given.get("postcode"))


def test_a_corrected_address_is_asked_anew_and_time_alone_is_not() -> None:
    one, other = (detect.address_doubtful([address(postcode=code)])[0] for code in ("1", "2"))
    assert one.exception_id == other.exception_id
    assert one.fingerprint != other.fingerprint
    baselines = Baselines(stays([1.0] * FEWEST))
    row = {
        "order_id": "A",
        "flow": "f",
        "state": "packed",
        "channel": "web",
        "entered_at": NOW - timedelta(hours=5),
    }
    first, later = (detect.stuck([row], baselines, NOW + timedelta(hours=hours))[0] for hours in (0, 9))
    assert first.fingerprint == later.fingerprint
    assert first.evidence["hours"] != later.evidence["hours"]


def stays(hours: list[float], channel: str | None = "web", event: str | None = "dispatched") -> list[Stay]:
    return [Stay("f", "packed", channel, timedelta(hours=each), event) for each in hours]


def test_stuck_is_longer_than_nearly_all_before() -> None:
    history = stays([float(hour) for hour in range(1, 101)])
    baseline = Baselines(history).of("f", "packed", "web")
    assert baseline is not None
    assert (baseline.limit, baseline.median, baseline.stays, baseline.usual_exit) == (
        timedelta(hours=95), timedelta(hours=50), 100, ("dispatched", 100),
    )  # fmt: skip
    rows = [
        {"order_id": str(hours), "flow": "f", "state": "packed", "channel": "web", "entered_at": NOW - timedelta(hours=hours)}
        for hours in (94, 95, 96)
    ]  # fmt: skip
    found = detect.stuck(rows, Baselines(history), NOW)
    assert [(item.order_id, item.suggestion.resolution) for item in found] == [("96", "chase")]


def test_a_channel_with_little_history_is_judged_by_all_and_too_little_by_nothing() -> None:
    both = Baselines([*stays([1.0] * (FEWEST - 1), "web"), *stays([9.0], "pos")])
    found = both.of("f", "packed", "web")
    assert found is not None
    assert (found.channel, found.stays) == (None, FEWEST)
    assert Baselines(stays([1.0] * (FEWEST - 1))).of("f", "packed", "web") is None
    assert Baselines(stays([1.0] * FEWEST, event=None)).all() == []


@given(st.lists(st.integers(1, 10_000), min_size=FEWEST, max_size=60), st.integers(1, 10_000))
def test_no_more_than_the_share_that_is_said_is_ever_longer(hours: list[int], more: int) -> None:
    baseline = Baselines(stays([float(each) for each in hours])).of("f", "packed", "web")
    assert baseline is not None
    longer = [each for each in hours if timedelta(hours=each) > baseline.limit]
    assert len(longer) <= 0.05 * len(hours)
    outlier = Baselines(stays([float(each) for each in [*hours, 10**6 + more]])).of("f", "packed", "web")
    assert outlier is not None
    assert outlier.limit <= timedelta(
        hours=max(hours)
    )  # one that never ended well does not move it out of sight


def difference(**given: Any) -> dict[str, Any]:
    return {
        "difference_id": "d1", "order_id": "A", "leg": "payment", "document": "payment", "cause": "amount_mismatch",
        "missing_in": None, "period": "2026-11", "currency": "EUR", "left_amount": Decimal("10.0000"),
        "right_amount": Decimal("7.5000"), "difference_amount": Decimal("2.5000"), "left_records": "[]",
        "right_records": "[]", **given,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("given", "kind", "resolution", "because"),
    [
        ({}, "payment_mismatch", "collect_rest", "the payment is 2.5 EUR short"),
        ({"difference_amount": Decimal(-3)}, "payment_mismatch", "refund_excess", "the payment is 3 EUR over"),
        ({"cause": "missing", "missing_in": "stripe"}, "payment_mismatch", "find_payment", "no payment of 2.5 EUR in stripe"),
        ({"leg": "settlement", "document": "settlement"}, "reconciliation_difference", "reclaim", "the settlement is 2.5 EUR short"),
        ({"leg": "promise", "document": "refund"}, "reconciliation_difference", "pay_rest", "the refund is 2.5 EUR short"),
        ({"leg": "billing", "document": "invoice", "cause": "duplicate"}, "reconciliation_difference", "correct_books", "the invoice is there twice, 2.5 EUR too much"),
        ({"cause": "timing"}, None, "", ""),
        ({"order_id": None}, None, "", ""),
    ],
)  # fmt: skip
def test_a_difference_needs_a_person_only_where_nothing_explains_it(
    given: dict[str, Any], kind: str | None, resolution: str, because: str
) -> None:
    rows = [difference(**given)]
    found = [*detect.payment_mismatch(rows), *detect.reconciliation_difference(rows)]
    assert [(item.kind, item.suggestion.resolution, item.suggestion.because) for item in found] == (
        [] if kind is None else [(kind, resolution, because)]
    )
    assert all(item.suggestion.resolution in detect.RESOLUTIONS[item.kind] for item in found)


def test_goods_that_are_not_there_and_goods_that_got_warm() -> None:
    base = {"order_id": "A", "sku_id": "S", "asked_qty": Decimal(3), "available_qty": Decimal(1), "uom": "C62", "expected_on": None, "decision_id": None}  # fmt: skip
    given = [{}, {"available_qty": Decimal(0)}, {"expected_on": date(2026, 12, 1)}]
    assert [detect.no_stock([base | more])[0].suggestion.resolution for more in given] == [
        "ship_partly", "offer_substitute", "wait_for_inbound",
    ]  # fmt: skip
    warm = {
        "order_id": "A", "order_status": "shipped", "delivered_at": None, "min_temperature_c": Decimal(2),
        "max_temperature_c": Decimal("14.2"), "excursion_minutes": 90, "excursion_count": 1, "sensor_coverage_ratio": None,
    }  # fmt: skip
    found = [detect.cold_chain_broken([warm | more])[0] for more in ({}, {"order_status": "delivered"})]
    assert [item.suggestion.resolution for item in found] == ["hold_goods", "inspect"]
    assert found[0].fingerprint == found[1].fingerprint
