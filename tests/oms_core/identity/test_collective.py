"""Scores between groups of records: what groups know, who else it could be, and weights that proven records calibrate."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from oms_core.identity.collective import Found, Group, Pair, WeighPairs, link
from oms_core.identity.scoring.calibrate import Choices, calibrate
from oms_core.identity.scoring.threshold import Thresholds

ANNA, ANN, ANNE, OTTO = "crm:contacts:1", "shop:customers:1", "till:customers:1", "shop:customers:2"
NOTHING = Group(own={}, mailboxes={}, registers={}, two_mailboxes=-8.0)


def weights(bits: Mapping[frozenset[str], Mapping[str, float]]) -> WeighPairs:
    """Weighs pairs as listed; pairs that are not listed say nothing."""
    fields = {field for found in bits.values() for field in found} or {"surname"}

    def weigh(pairs: Sequence[Pair]) -> dict[str, NDArray[np.float64]]:
        return {
            field: np.array([bits.get(frozenset(pair), {}).get(field, math.nan) for pair in pairs])
            for field in fields
        }

    return weigh


def linked(
    clusters: Sequence[set[str]], bits: Mapping[tuple[str, str], Mapping[str, float]], known: Group = NOTHING
) -> list[Found]:
    weigh = weights({frozenset(pair): found for pair, found in bits.items()})
    groups = [frozenset(records) for records in clusters]
    return link(groups, sorted(bits), known, weigh, -5.0, lambda _: Thresholds(0.9, 0.2))


def test_without_proof_a_pair_has_the_models_probability() -> None:
    [found] = linked([{ANNA}, {ANN}], {(ANNA, ANN): {"surname": 9.0}})
    assert (found.left, found.right) == (ANNA, ANN)
    assert math.isclose(found.probability, 1 / (1 + 2**-4))


def test_groups_are_compared_by_the_best_that_each_knows() -> None:
    bits = {
        (ANNA, ANN): {"surname": 6.0, "address": -2.0},
        (ANNA, ANNE): {"surname": 1.0, "address": 4.0},
    }
    [found] = linked([{ANNA}, {ANN, ANNE}], bits)
    assert math.isclose(found.probability, 1 / (1 + 2**-5))


def test_who_is_in_a_register_is_not_entered_there_again() -> None:
    known = Group({}, {}, {ANN: "shop:customers", OTTO: "shop:customers"}, -8.0)
    assert linked([{ANN}, {OTTO}], {(ANN, OTTO): {"surname": 20.0}}, known) == []


def test_a_record_is_one_of_two_rivals_at_most() -> None:
    known = Group({}, {}, {ANN: "shop:customers", OTTO: "shop:customers"}, -8.0)
    bits = {(ANNA, ANN): {"surname": 12.0}, (ANNA, OTTO): {"surname": 12.0}}
    found = linked([{ANNA}, {ANN}, {OTTO}], bits, known)
    assert all(0.4 < item.probability < 0.5 for item in found) and len(found) == 2


def test_what_may_be_one_itself_is_no_rival() -> None:
    bits = {(ANNA, ANN): {"surname": 12.0}, (ANNA, ANNE): {"surname": 12.0}, (ANN, ANNE): {"surname": 12.0}}
    assert all(item.probability > 0.98 for item in linked([{ANNA}, {ANN}, {ANNE}], bits))


def test_two_mailboxes_speak_against_groups_whose_likest_records_name_none() -> None:
    known = Group({}, {ANN: "ann@a.example", ANNE: "anne@b.example"}, {}, -8.0)
    groups = [{ANNA, ANN}, {ANNE, OTTO}]
    with_names = {(ANNA, OTTO): {"surname": 12.0}}
    assert linked(groups, with_names)[0].probability > 0.99
    assert linked(groups, with_names, known)[0].probability < 0.5


def test_one_likely_pair_does_not_join_what_the_others_hold_apart() -> None:
    bits = {(ANNA, ANN): {"surname": 12.0}, (ANN, ANNE): {"surname": 10.0}, (ANNA, ANNE): {"surname": -9.0}}
    found = {(item.left, item.right): item.probability for item in linked([{ANNA}, {ANN}, {ANNE}], bits)}
    # Ann can be Anna or Anne; the two are not one, so neither is sure, and never are all three joined.
    assert sum(chance >= 0.9 for chance in found.values()) <= 1


def test_the_order_of_records_means_nothing() -> None:
    bits = {(ANNA, ANN): {"surname": 9.0}, (ANN, ANNE): {"surname": 8.5}, (ANNA, OTTO): {"surname": 7.0}}
    groups = [{ANNA}, {ANN}, {ANNE}, {OTTO}]
    first = {(item.left, item.right): item.probability for item in linked(groups, bits)}
    again = {(item.left, item.right): item.probability for item in linked(groups[::-1], bits)}
    assert first == again


def choices(weight: Sequence[float], right: Sequence[bool]) -> Choices:
    size = len(weight)
    return Choices(
        np.arange(size), np.zeros(size, np.int64), np.array(weight, float), np.array(right, bool), size
    )


def test_proven_records_teach_what_a_weight_is_worth() -> None:
    timid = calibrate(choices([0.0] * 400, [True] * 392 + [False] * 8), 1)
    assert 0.96 < 1 / (1 + math.exp(-timid.odds(np.zeros(1), np.zeros(1, np.int64))[0])) < 0.985
    bold = calibrate(choices([4.0] * 400, [True] * 200 + [False] * 200), 1)
    assert 0.45 < 1 / (1 + math.exp(-bold.odds(np.full(1, 4.0), np.zeros(1, np.int64))[0])) < 0.6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(-8, 12), st.booleans()), max_size=30))
def test_a_larger_weight_is_never_worth_less(seen: list[tuple[float, bool]]) -> None:
    found = calibrate(choices([weight for weight, _ in seen], [right for _, right in seen]), 1)
    odds = found.odds(np.linspace(-8, 12, 9), np.zeros(9, np.int64))
    assert bool((np.diff(odds) >= 0).all()) and bool(np.isfinite(odds).all())
