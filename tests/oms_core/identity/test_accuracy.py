"""The two measures, against counting every pair and every record by hand."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.linking.accuracy import compare, compare_pairs, connected, pairwise

QUICK = settings(max_examples=150, deadline=None, database=None)
LABELS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 3), st.sampled_from("AB")), min_size=0, max_size=12
)


def by_hand(found: set[tuple[int, int]], true: set[tuple[int, int]]) -> tuple[float, float]:
    return (
        len(found & true) / len(found) if found else 1.0,
        len(found & true) / len(true) if true else 1.0,
    )


@QUICK
@given(LABELS, st.booleans())
def test_pairwise_equals_counting_every_pair(rows: list[tuple[int, int, str]], linking: bool) -> None:
    ours, theirs, files = ([row[place] for row in rows] for place in range(3))
    asked = [
        (one, other)
        for one, other in combinations(range(len(rows)), 2)
        if not linking or files[one] != files[other]
    ]
    found = {(one, other) for one, other in asked if ours[one] == ours[other]}
    true = {(one, other) for one, other in asked if theirs[one] == theirs[other]}
    score = compare(ours, theirs, files if linking else None).pairwise
    assert (score.precision, score.recall) == by_hand(found, true)
    assert score.records == len(rows)
    again = compare_pairs(ours, true, None, files if linking else None).pairwise
    assert again == score


@QUICK
@given(LABELS, st.booleans())
def test_b_cubed_equals_looking_at_every_record(rows: list[tuple[int, int, str]], linking: bool) -> None:
    ours, theirs, files = ([row[place] for row in rows] for place in range(3))

    def peers(labels: list[int], record: int) -> set[int]:
        return {
            other
            for other in range(len(rows))
            if labels[other] == labels[record]
            and (other == record or not linking or files[other] != files[record])
        }

    shares = [
        (
            len(peers(ours, record) & peers(theirs, record)) / len(peers(ours, record)),
            len(peers(ours, record) & peers(theirs, record)) / len(peers(theirs, record)),
        )
        for record in range(len(rows))
    ]
    score = compare(ours, theirs, files if linking else None).b_cubed
    if rows:
        assert score.precision == pytest.approx(sum(share[0] for share in shares) / len(rows))
        assert score.recall == pytest.approx(sum(share[1] for share in shares) / len(rows))


def test_a_perfect_answer_is_1_and_everything_apart_finds_nothing() -> None:
    truth = ["a", "a", "b", "c", "c"]
    assert compare(truth, truth).pairwise.f1 == compare(truth, truth).b_cubed.f1 == 1.0
    apart = compare(range(5), truth)
    assert (apart.pairwise.precision, apart.pairwise.recall, apart.pairwise.f1) == (1.0, 0.0, 0.0)
    assert apart.b_cubed.precision == 1.0
    assert apart.b_cubed.recall == pytest.approx(3 / 5)


def test_no_records_are_no_error() -> None:
    assert compare([], []).pairwise.f1 == compare([], []).b_cubed.f1 == 1.0
    assert compare_pairs([], []).pairwise.f1 == 1.0
    assert pairwise({}, {"a": "1"}).records == 0


def test_where_pairs_are_labelled_only_those_are_judged() -> None:
    found = ["x", "x", "x", "y", "y"]
    everything = compare_pairs(found, [(0, 1)])
    assert everything.pairwise.precision == pytest.approx(1 / 4)
    labelled = compare_pairs(found, [(0, 1)], [(3, 4), (0, 3)])
    assert labelled.pairwise.precision == pytest.approx(1 / 2)
    assert labelled.pairwise.recall == 1.0


def test_a_pair_named_twice_or_with_itself_counts_once_or_not_at_all() -> None:
    once = compare_pairs(["x", "x", "y"], [(0, 1)])
    assert compare_pairs(["x", "x", "y"], [(0, 1), (1, 0), (2, 2)]) == once


def test_pairs_within_one_file_do_not_count_in_linking() -> None:
    score = compare_pairs(["x", "x", "x"], [(0, 2), (1, 2), (0, 1)], None, ["A", "A", "B"])
    assert score.pairwise == compare(["x"] * 3, ["x"] * 3, ["A", "A", "B"]).pairwise
    assert score.pairwise.f1 == 1.0


def test_lengths_that_differ_are_an_error() -> None:
    with pytest.raises(ValueError, match="3 found and 2 true"):
        compare([1, 2, 3], [1, 2])


def test_connected_gives_every_record_a_label() -> None:
    labels = connected(5, np.array([[0, 3], [3, 4]]))
    assert labels[0] == labels[3] == labels[4]
    assert len(set(labels.tolist())) == 3
    assert len(set(connected(3, np.empty((0, 2), dtype=np.int64)).tolist())) == 3


@pytest.mark.parametrize("clusters", [1, 400_000])
def test_a_million_records_are_counted_without_listing_pairs(clusters: int) -> None:
    labels = np.random.default_rng(1).integers(0, clusters, 1_000_000)
    # Half a trillion pairs in one cluster: listing them would take hours, counting takes seconds.
    assert compare(labels, labels).pairwise.f1 == 1.0
