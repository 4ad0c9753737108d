"""How scored pairs of files become clusters."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.linking.grouping import grouped

QUICK = settings(max_examples=100, deadline=None, database=None)
Pairs = list[tuple[int, int, float]]


def clusters(records: int, pairs: Pairs, sides: list[int] | None = None) -> set[frozenset[int]]:
    columns = [np.array(column) for column in zip(*pairs, strict=True)] if pairs else [np.zeros(0)] * 3
    left, right, probability = columns[0].astype(np.int64), columns[1].astype(np.int64), columns[2]
    labels = grouped(
        records, left, right, probability, 0.5, None if sides is None else np.array(sides, dtype=np.int64)
    )
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in set(labels.tolist())}


def test_one_weak_pair_does_not_join_two_clusters() -> None:
    sure = [(0, 1, 0.99), (2, 3, 0.99)]
    assert clusters(4, [*sure, (1, 2, 0.6)]) == {frozenset({0, 1}), frozenset({2, 3})}
    assert clusters(4, [*sure, (1, 2, 0.99)]) == {frozenset({0, 1, 2, 3})}
    # Four weak pairs, all that there can be, do.
    weak = [(one, other, 0.6) for one in (0, 1) for other in (2, 3)]
    assert clusters(4, [*sure, *weak]) == {frozenset({0, 1, 2, 3})}


def test_what_speaks_against_counts_as_much() -> None:
    assert clusters(3, [(0, 1, 0.99), (0, 2, 0.7), (1, 2, 0.05)]) == {frozenset({0, 1}), frozenset({2})}
    assert clusters(2, [(0, 1, 0.5)]) == {frozenset({0, 1})}


def test_pairs_within_one_of_two_files_are_not_missing() -> None:
    assert clusters(4, [(0, 2, 0.9), (0, 3, 0.7), (1, 2, 0.7), (1, 3, 0.7)], [0, 0, 1, 1]) == {
        frozenset(range(4))
    }
    # From one record of the first file to several of the second, no pair is missing.
    assert clusters(4, [(0, 1, 0.6), (0, 2, 0.6), (0, 3, 0.6)], [0, 1, 1, 1]) == {frozenset(range(4))}


@QUICK
@given(
    st.lists(
        st.tuples(st.integers(0, 7), st.integers(0, 7), st.floats(0.01, 1.0)),
        max_size=20,
        unique_by=lambda p: p[:2],
    ),
    st.randoms(),
)
def test_the_order_of_pairs_changes_nothing_and_only_what_pairs_connect_is_joined(
    pairs: Pairs, random: object
) -> None:
    kept = [pair for pair in pairs if pair[0] < pair[1]]
    shuffled = list(kept)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    found = clusters(8, kept)
    assert found == clusters(8, shuffled)
    near = {frozenset(pair[:2]) for pair in kept if pair[2] >= 0.5}
    for members in found:
        reached = {min(members)}
        while more := {one for pair in near if pair & reached for one in pair & members} - reached:
            reached |= more
        assert reached == members
