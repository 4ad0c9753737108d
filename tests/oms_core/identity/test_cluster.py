"""Clusters and ids: independent of order, obedient to stewards, and stable from run to run."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.accuracy import pairwise
from oms_core.identity.cluster import Edge, cluster
from oms_core.identity.stable import Assignment, assign, birth_id

QUICK = settings(max_examples=120, deadline=None, database=None)
RECORDS = list("abcdefghij")
RECORD = st.sampled_from(RECORDS)
PAIR = st.tuples(RECORD, RECORD).filter(lambda pair: pair[0] != pair[1]).map(lambda pair: tuple(sorted(pair)))
EDGE = st.builds(
    lambda strength, pair, rule: Edge(strength, pair[0], pair[1], rule),
    st.integers(0, 4),
    PAIR,
    st.sampled_from(["email", "phone+name"]),
)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


@QUICK
@given(
    st.lists(EDGE, max_size=25),
    st.lists(PAIR, max_size=5),
    st.dictionaries(RECORD, st.sampled_from(["shopify", "tryton", "odoo"])),
    st.sets(PAIR, max_size=4),
    st.randoms(use_true_random=False),
)
def test_clusters_do_not_depend_on_order_and_respect_every_bar(
    edges: list[Edge], apart: list[Any], labels: dict[str, str], vetoed: set[Any], dice: Any
) -> None:
    def veto(left: str, right: str) -> str | None:
        return "contradiction" if (left, right) in vetoed else None

    found = cluster(RECORDS, edges, apart, labels, veto)
    records, shuffled, parted = list(RECORDS), [*edges, *edges[:3]], [(right, left) for left, right in apart]
    for items in (records, shuffled, parted):
        dice.shuffle(items)
    assert cluster(records, shuffled, parted, dict(sorted(labels.items(), reverse=True)), veto) == found

    assert sorted(record for group in found.clusters for record in group) == RECORDS, "a partition"
    place = {record: number for number, group in enumerate(found.clusters) for record in group}
    for left, right in apart:
        assert place[left] != place[right], "a steward's 'different' is never joined, by whatever chain"
    followed = [edge for edge in edges if edge not in {refusal.edge for refusal in found.refusals}]
    for edge in followed:
        assert place[edge.left] == place[edge.right], "evidence is followed or refused with a reason"
    assert all(refusal.reason for refusal in found.refusals)
    joined_by_hand = {record for edge in edges if edge.strength == 0 for record in (edge.left, edge.right)}
    for group in found.clusters:
        carried = [labels[record] for record in group - joined_by_hand if record in labels]
        assert len(carried) == len(set(carried)), "one document per system, but for a steward's word"
    assert set(found.rules) == {record for group in found.clusters if len(group) > 1 for record in group}


@QUICK
@given(st.lists(EDGE, max_size=25))
def test_without_bars_clusters_are_the_connected_components(edges: list[Edge]) -> None:
    place = {record: record for record in RECORDS}
    for edge in edges:
        old, new = place[edge.left], place[edge.right]
        place = {record: new if value == old else value for record, value in place.items()}
    groups: dict[str, set[str]] = {}
    for record, value in place.items():
        groups.setdefault(value, set()).add(record)
    assert cluster(RECORDS, edges).clusters == sorted(
        (frozenset(group) for group in groups.values()), key=min
    )


def test_evidence_about_unknown_records_is_passed_over() -> None:
    found = cluster(["a", "b"], [Edge(1, "a", "z", "email"), Edge(1, "y", "b", "email")], [("a", "z")])
    assert found.clusters == [frozenset("a"), frozenset("b")]
    assert found.refusals == []


def test_a_record_without_an_identifier_cannot_bridge_two_that_differ() -> None:
    edges = [Edge(3, "a", "b", "title"), Edge(3, "b", "c", "title")]
    gtin = {"a": "04006381333931", "c": "06941161507011"}
    found = cluster("abc", edges, agree={"GTIN": gtin})
    assert found.clusters == [frozenset("ab"), frozenset("c")]
    assert [item.reason for item in found.refusals] == ["their GTINs differ"]
    decided = cluster(
        "abcd", [Edge(0, "a", "c", "steward"), *edges, Edge(3, "c", "d", "title")], agree={"GTIN": gtin}
    )
    assert decided.clusters == [frozenset("abcd")]


def test_a_steward_outranks_a_veto_and_a_label_but_not_another_steward() -> None:
    same, labels = [Edge(0, "a", "b", "steward")], {"a": "odoo", "b": "odoo"}

    def veto(left: str, right: str) -> str | None:
        return "never"

    assert cluster("ab", same, exclusive=labels, veto=veto).clusters == [frozenset("ab")]
    assert cluster("ab", same, [("b", "a")]).clusters == [frozenset("a"), frozenset("b")]


# Ids


class Memory:
    """Ids over several runs, as the store keeps them."""

    def __init__(self) -> None:
        self.members: dict[str, str] = {}
        self.born_at: dict[str, datetime] = {}
        self.retired: set[str] = set()
        self.day = 0

    def run(self, clusters: list[frozenset[str]]) -> Assignment:
        self.day += 1
        found = assign("customer", clusters, SEEN, self.members, self.born_at, taken=self.born_at)
        now = EPOCH + timedelta(days=self.day)
        self.born_at |= dict.fromkeys(found.born, now)
        assert not self.retired & set(found.members.values()), "a retired id is never used again"
        self.retired |= set(found.retired)
        self.members = found.members
        return found


SEEN = {
    record: EPOCH + timedelta(hours=number % 3) for number, record in enumerate([*RECORDS, "k", "l", "m"])
}
PARTITION = st.lists(st.integers(0, 4), min_size=len(RECORDS), max_size=len(RECORDS)).map(
    lambda places: [
        frozenset(record for record, at in zip(RECORDS, places, strict=True) if at == place)
        for place in sorted(set(places))
    ]
)


@QUICK
@given(st.lists(PARTITION, min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_ids_over_any_history(history: list[list[frozenset[str]]], dice: Any) -> None:
    memory = Memory()
    for clusters in history:
        before = dict(memory.members)
        shuffled = list(clusters)
        dice.shuffle(shuffled)
        twin = assign("customer", shuffled, SEEN, before, memory.born_at, taken=memory.born_at)
        found = memory.run(clusters)
        assert found == twin, "the order of clusters does not matter"
        for group in clusters:
            assert len({found.members[record] for record in group}) == 1
        assert len(set(found.members.values())) == len(clusters), "one id per cluster"
        kept = set(before.values()) & set(found.members.values())
        assert set(found.retired) == set(before.values()) - kept
        for old, heir in found.retired.items():
            assert heir in found.members.values()
            assert any(before[record] == old and found.members[record] == heir for record in before)
        for golden_id in kept:
            group = next(group for group in clusters if found.members[min(group)] == golden_id)
            assert any(before.get(record) == golden_id for record in group), "nobody inherits a stranger's id"
        again = memory.run(clusters)
        assert again.members == found.members
        assert (again.events, again.born, again.retired) == ([], {}, {}), (
            "the same input twice changes nothing"
        )


@QUICK
@given(PARTITION, st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_adding_records_changes_no_id(clusters: list[frozenset[str]], places: list[int]) -> None:
    memory = Memory()
    before = memory.run(clusters)
    grown = [set(group) for group in clusters] + [set() for _ in range(6)]
    for record, place in zip("klm", places, strict=True):
        grown[min(place, len(clusters)) if place < 5 else -1].add(record)
    after = memory.run([frozenset(group) for group in grown if group])
    assert {record: after.members[record] for record in RECORDS} == before.members
    assert after.retired == {}
    assert {event.kind for event in after.events} <= {"born"}


@QUICK
@given(PARTITION, st.randoms(use_true_random=False))
def test_a_rebuild_gives_the_same_births(clusters: list[frozenset[str]], dice: Any) -> None:
    first = Memory().run(clusters)
    dice.shuffle(clusters)
    assert Memory().run(clusters) == first
    for golden_id, record in first.born.items():
        group = next(group for group in clusters if record in group)
        assert record == min(group, key=lambda item: (SEEN[item], item))
        assert golden_id == birth_id("customer", record)


def test_a_merge_retires_the_smaller_share_with_a_redirect() -> None:
    memory = Memory()
    first = memory.run([frozenset("abc"), frozenset("de")])
    large, small = first.members["a"], first.members["d"]
    merged = memory.run([frozenset("abcde")])
    assert set(merged.members.values()) == {large}
    assert merged.retired == {small: large}
    assert [
        (event.kind, event.golden_id, event.other_id) for event in merged.events if event.kind == "merged"
    ] == [("merged", small, large)]


def test_equal_shares_leave_the_older_id() -> None:
    memory = Memory()
    old = memory.run([frozenset("j")]).members["j"]
    memory.run([frozenset("j"), frozenset("a")])
    assert set(memory.run([frozenset("aj")]).members.values()) == {old}


def test_a_split_leaves_the_id_on_the_larger_part_and_its_return_revives_nothing() -> None:
    memory = Memory()
    whole = memory.run([frozenset("abcde")]).members["a"]
    split = memory.run([frozenset("ab"), frozenset("cde")])
    assert split.members["c"] == whole
    part = split.members["a"]
    assert part != whole
    assert [(event.golden_id, event.other_id) for event in split.events if event.kind == "split"] == [
        (part, whole)
    ]
    joined = memory.run([frozenset("abcde")])
    assert (set(joined.members.values()), joined.retired) == ({whole}, {part: whole})
    again = memory.run([frozenset("ab"), frozenset("cde")])
    assert again.members["a"] not in (part, whole), "a retired id stays retired"


def test_an_id_whose_records_are_gone_retires_without_an_heir() -> None:
    memory = Memory()
    gone = memory.run([frozenset("a"), frozenset("b")]).members["b"]
    assert memory.run([frozenset("a")]).retired == {gone: None}


def test_ids_differ_by_entity_and_look_alike() -> None:
    ids = {birth_id(entity, "square:orders:1") for entity in ("customer", "sku", "location", "order")}
    assert len({golden_id.split("-")[1] for golden_id in ids}) == 4
    with pytest.raises(KeyError):
        birth_id("truck", "x")


# Scores


@QUICK
@given(
    st.dictionaries(RECORD, st.integers(0, 3).map(str)), st.dictionaries(RECORD, st.integers(0, 3).map(str))
)
def test_pairwise_scores_equal_counting_every_pair(found: dict[str, str], truth: dict[str, str]) -> None:
    both = sorted(found.keys() & truth.keys())
    said = {pair for pair in combinations(both, 2) if found[pair[0]] == found[pair[1]]}
    true = {pair for pair in combinations(both, 2) if truth[pair[0]] == truth[pair[1]]}
    score = pairwise(found, truth)
    assert score.precision == (len(said & true) / len(said) if said else 1.0)
    assert score.recall == (len(said & true) / len(true) if true else 1.0)
    expected = 2 * len(said & true) / (len(said) + len(true)) if said and true else score.f1
    assert score.f1 == pytest.approx(expected)
    assert 0 <= score.f1 <= 1
    assert score.records == len(both)
