"""Thresholds from costs: the decision they give is the cheapest one, at every probability."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.identity.scoring.threshold import Costs, Thresholds, thresholds

COST = st.floats(0.01, 1000)


def expected(costs: Costs, probability: float) -> dict[str, float]:
    """What each decision costs on average, by Bayes' rule."""
    review = math.inf if costs.review is None else costs.review
    return {
        "merge": (1 - probability) * costs.wrong_merge,
        "apart": probability * costs.missed_match,
        "review": review,
    }


@given(COST, COST, st.none() | st.floats(0, 1000), st.floats(0, 1))
def test_the_decision_is_the_cheapest(
    wrong: float, missed: float, review: float | None, probability: float
) -> None:
    costs = Costs(wrong, missed, review)
    cost = expected(costs, probability)
    decided = thresholds(costs).decide(probability)
    assert cost[decided] <= min(cost.values()) + 1e-9 * max(wrong, missed)


@given(COST, COST, st.none() | st.floats(0, 1000), st.floats(0.1, 10))
def test_only_the_ratios_of_costs_matter(
    wrong: float, missed: float, review: float | None, unit: float
) -> None:
    here = thresholds(Costs(wrong, missed, review))
    there = thresholds(Costs(wrong * unit, missed * unit, None if review is None else review * unit))
    assert there.merge == pytest.approx(here.merge, abs=1e-9) or review is not None
    assert 0 <= here.review <= here.merge <= 1


def test_a_wrong_merge_that_costs_more_asks_for_more_certainty() -> None:
    assert thresholds(Costs(1, 1)) == Thresholds(0.5, 0.5)
    assert thresholds(Costs(9, 1)) == Thresholds(0.9, 0.9)
    assert thresholds(Costs(10, 1, 0.1)) == Thresholds(pytest.approx(0.99), pytest.approx(0.1))  # type: ignore[arg-type]


def test_a_review_that_costs_more_than_it_saves_is_never_asked_for() -> None:
    assert thresholds(Costs(1, 1, 5)) == Thresholds(0.5, 0.5)
    assert thresholds(Costs(1, 1, 0.5)).decide(0.499) == "apart"


@pytest.mark.parametrize("costs", [{"wrong_merge": 0}, {"missed_match": -1}, {"review": math.nan}])
def test_costs_that_mean_nothing_are_refused(costs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="cost of a"):
        Costs(**costs)
