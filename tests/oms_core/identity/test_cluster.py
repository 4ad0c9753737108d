"""Clusters: independent of order, and obedient to stewards."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.cluster import SCORED, Edge, cluster
from oms_core.identity.linking.accuracy import pairwise

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


def test_a_kit_never_joins_what_is_in_it_but_a_steward_may() -> None:
    edges = [Edge(1, "bridge", "kit", "gtin"), Edge(3, "bridge", "cream", "sku_code")]
    found = cluster(["kit", "cream", "bridge"], edges, parts=[("cream", "kit")])
    assert found.clusters == [frozenset({"bridge", "kit"}), frozenset({"cream"})]
    assert [refusal.reason for refusal in found.refusals] == ["one is a kit that holds the other"]
    forced = cluster(
        ["kit", "cream", "bridge"], [Edge(0, "cream", "kit", "steward")], parts=[("cream", "kit")]
    )
    assert frozenset({"cream", "kit"}) in forced.clusters


def test_a_score_does_not_join_what_one_register_tells_apart() -> None:
    told = {"crm:1": "crm", "crm:2": "crm"}
    scored = [Edge(SCORED, "crm:1", "shop:9", "score"), Edge(SCORED + 7, "crm:2", "shop:9", "score")]
    found = cluster(["crm:1", "crm:2", "shop:9"], scored, told_apart=told)
    assert found.clusters == [frozenset({"crm:1", "shop:9"}), frozenset({"crm:2"})]
    assert [refusal.reason for refusal in found.refusals] == ["crm tells them apart"]
    exact = [Edge(1, "crm:1", "crm:2", "tax_number")]
    assert len(cluster(["crm:1", "crm:2", "shop:9"], [*scored, *exact], told_apart=told).clusters) == 1
