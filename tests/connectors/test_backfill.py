"""Back-fill by interval: in parallel it brings what one pull brings, and a broken interval is pulled again alone."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.backfill import backfill, intervals, is_bounded
from connectors.extract import pull_source
from connectors.landing import Landing
from connectors.registry import source
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving

SPAN = datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def company() -> Iterator[Served]:
    with serving(Sandbox(generate(7, 150), sources=["shopify", "stripe", "zendesk"], level="none")) as served:
        yield served


@contextlib.contextmanager
def _landing(root: Path) -> Iterator[Landing]:
    with contextlib.closing(Landing(root)) as opened:
        yield opened


@pytest.mark.parametrize(
    ("name", "stream", "key"), [("shopify", "orders", "order_id"), ("stripe", "charges", "charge_id")]
)
def test_intervals_in_parallel_bring_what_one_pull_brings(
    name: str, stream: str, key: str, company: Served, tmp_path: Path
) -> None:
    with _landing(tmp_path / "a") as parts, _landing(tmp_path / "b") as whole:
        results = backfill(
            source(name), parts, company.env, *SPAN, timedelta(days=40), streams=[stream], parallel=4
        )
        assert [item.error for item in results] == [None] * 9
        [one] = pull_source(source(name), whole, company.env, streams=[stream])
        assert parts.values(name, stream, key) == whole.values(name, stream, key)
        assert sum(item.landed for item in results) == one.landed, "no record falls into two intervals"
        assert parts.cursor(name, stream) is None, "a later increment must not think that all before has come"


def test_an_interval_that_fails_is_pulled_again_alone(company: Served, tmp_path: Path) -> None:
    shop = source("stripe")
    with _landing(tmp_path) as landing:
        down = {**company.env, "ORDERHUB_STRIPE_KEY": "wrong"}
        failed = backfill(shop, landing, down, *SPAN, timedelta(days=200), streams=["charges"])
        assert all(item.error for item in failed)
        assert landing.batches() == []
        for start, end in intervals(*SPAN, timedelta(days=200)):
            [result] = pull_source(shop, landing, company.env, streams=["charges"], since=start, until=end)
            assert result.error is None
        once = landing.values("stripe", "charges", "charge_id")
        again = backfill(shop, landing, company.env, *SPAN, timedelta(days=100), streams=["charges"])
        assert sum(item.changed for item in again) == 0
        assert landing.values("stripe", "charges", "charge_id") == once


def test_a_stream_without_an_end_is_pulled_once(company: Served, tmp_path: Path) -> None:
    desk = source("zendesk")
    assert not is_bounded(desk.stream("tickets"), *SPAN)
    with _landing(tmp_path) as landing:
        results = backfill(desk, landing, company.env, *SPAN, timedelta(days=30), streams=["tickets"])
    assert len(results) == 1


@given(days=st.floats(min_value=0.01, max_value=400), every=st.floats(min_value=0.01, max_value=90))
def test_intervals_cover_a_span_without_gap_or_overlap(days: float, every: float) -> None:
    until = SPAN[0] + timedelta(days=min(days, every * 200))
    found = list(intervals(SPAN[0], until, timedelta(days=every)))
    assert found[0][0] == SPAN[0]
    assert found[-1][1] == until
    assert all(one[1] == following[0] for one, following in pairwise(found))
    assert all(timedelta(0) < end - start <= timedelta(days=every) for start, end in found)


def test_an_empty_span_is_refused() -> None:
    with pytest.raises(ValueError, match="nothing lies between"):
        list(intervals(SPAN[1], SPAN[0], timedelta(days=1)))
