"""Ids that do not move: who keeps which id when clusters change, one sentence at a time. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.stable import Assignment, GoldenId, Memory, assign, birth_id, remembered

QUICK = settings(max_examples=150, deadline=None, database=None)
RECORDS = list("abcdefghij")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
SEEN = {record: EPOCH + timedelta(hours=number // 2) for number, record in enumerate("abcdefghijklmnopqrst")}


def parts(*groups: str) -> list[frozenset[str]]:
    """Clusters by their records: parts("abc", "d")."""
    return [frozenset(group) for group in groups]


class Company:
    """Ids over several runs, remembered as the store remembers them."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.day = 0

    @property
    def ids(self) -> Mapping[str, GoldenId]:
        return self.memory.ids

    @property
    def homes(self) -> Mapping[str, str | None]:
        return self.memory.homes

    def run(self, clusters: Iterable[frozenset[str]], **more: Any) -> Assignment:
        """One run, checked against everything that must hold of any run, and remembered."""
        clusters, before = list(clusters), self.memory
        found = assign("customer", clusters, SEEN, before, **more)
        self.day += 1
        self.memory = remembered(before, found, EPOCH + timedelta(days=self.day))
        self._check(clusters, before, found, more.get("rewritten", {}), more.get("hangers", {}))
        return found

    def _check(
        self,
        clusters: list[frozenset[str]],
        before: Memory,
        found: Assignment,
        rewritten: Mapping[str, str],
        hangers: Mapping[str, str],
    ) -> None:
        for group in clusters:
            assert len({found.members[record] for record in group}) == 1
        assert len({found.members[min(group)] for group in clusters}) == len(clusters), "one id per cluster"
        in_force = set(found.members.values())
        assert in_force == {golden_id for golden_id, known in self.ids.items() if not known.is_retired}
        for golden_id in in_force - set(found.born):
            inheriting = [r for r, i in found.members.items() if i == golden_id and r not in rewritten]
            assert any(golden_id in (before.members.get(r), before.homes.get(r)) for r in inheriting), (
                "nobody inherits a stranger's id"
            )
        assert replay(before.members, found) == found.members, "the events tell every link"
        for golden_id, known in self.ids.items():
            if known.is_retired:
                claimants = {
                    found.members[r]
                    for r, home in self.homes.items()
                    if home == golden_id and r in found.members
                }
                end = self.follow(golden_id)
                assert end is None or end in in_force, "redirects end at an id in force"
                assert not claimants or end in claimants, "a retired id leads to its records"
        assert all(event.reason for event in found.events)

    def follow(self, golden_id: str) -> str | None:
        end: str | None = golden_id
        for _ in range(len(self.ids) + 1):
            if end is None or not self.ids[end].is_retired:
                return end
            end = self.ids[end].redirect_to
        raise AssertionError("redirects in a circle")

    def rerun_changes_nothing(self) -> None:
        groups: dict[str, set[str]] = {}
        for record, golden_id in self.memory.members.items():
            groups.setdefault(golden_id, set()).add(record)
        again = assign("customer", [frozenset(group) for group in groups.values()], SEEN, self.memory)
        assert again == Assignment(dict(self.memory.members))


def replay(members: Mapping[str, str], found: Assignment) -> dict[str, str]:
    """Links as a service keeps them that knows the last run's links and reads the events."""
    links = dict(members)
    for event in found.events:
        if event.kind in ("born", "joined", "moved"):
            assert event.record_id is not None
            assert event.kind == "born" or links.get(event.record_id) == event.other_id
            if event.kind == "born" and event.record_id in members:
                continue  # it moves there by an event of its own
            links[event.record_id] = event.golden_id
        elif event.kind == "left":
            assert event.record_id is not None
            assert links.pop(event.record_id) == event.golden_id
    return links


def told(found: Assignment, *kinds: str) -> list[tuple[str, str, str | None, str | None, str]]:
    return [
        (event.kind, event.golden_id, event.record_id, event.other_id, event.reason)
        for event in found.events
        if not kinds or event.kind in kinds
    ]


PLACES = st.lists(st.integers(0, 4), min_size=len(RECORDS), max_size=len(RECORDS))


def _partition(places: list[int], present: Iterable[str] = RECORDS) -> list[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for record, place in zip(RECORDS, places, strict=True):
        if record in present:
            groups.setdefault(place, set()).add(record)
    return [frozenset(group) for group in groups.values()]


PARTITION = PLACES.map(_partition)
SOME = st.builds(_partition, PLACES, st.sets(st.sampled_from(RECORDS)))


# Laws over any history


@QUICK
@given(
    st.lists(st.tuples(SOME, st.sets(st.sampled_from(RECORDS), max_size=2)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
)
def test_any_history_of_clusters_deletions_and_rewritings_keeps_the_laws(
    history: list[tuple[list[frozenset[str]], set[str]]], dice: Any
) -> None:
    company = Company()
    for clusters, other_people in history:
        known = {record: "name and e-mail differ" for record in other_people if record in company.homes}
        shuffled = list(clusters)
        dice.shuffle(shuffled)
        twin = assign("customer", shuffled, SEEN, company.memory, rewritten=known)
        assert company.run(clusters, rewritten=known) == twin, "the order of clusters does not matter"
        company.rerun_changes_nothing()


@QUICK
@given(PARTITION, PARTITION)
def test_a_cluster_that_did_not_change_keeps_its_id_whatever_happens_around_it(
    first: list[frozenset[str]], second: list[frozenset[str]]
) -> None:
    company = Company()
    before = company.run(first).members
    after = company.run(second).members
    for group in set(first) & set(second):
        assert after[min(group)] == before[min(group)]


@QUICK
@given(PARTITION, PARTITION)
def test_back_to_the_same_clusters_brings_back_the_same_ids(
    first: list[frozenset[str]], second: list[frozenset[str]]
) -> None:
    company = Company()
    before = company.run(first).members
    company.run(second)
    assert company.run(first).members == before


@QUICK
@given(PARTITION, st.lists(st.integers(0, 5), min_size=3, max_size=3))
def test_adding_records_changes_no_id(clusters: list[frozenset[str]], places: list[int]) -> None:
    company = Company()
    before = company.run(clusters)
    grown = [set(group) for group in clusters] + [set() for _ in range(6)]
    for record, place in zip("klm", places, strict=True):
        grown[min(place, len(clusters)) if place < 5 else -1].add(record)
    after = company.run([frozenset(group) for group in grown if group])
    assert {record: after.members[record] for record in RECORDS} == before.members
    assert (after.retired, after.revived) == ({}, [])
    assert {event.kind for event in after.events} <= {"born", "joined"}


@QUICK
@given(
    st.lists(st.integers(0, 4), min_size=20, max_size=20), st.lists(st.integers(1, 19), max_size=4), st.data()
)
def test_batches_in_landing_order_give_the_ids_of_one_batch(
    places: list[int], cuts: list[int], data: st.DataObject
) -> None:
    """Clusters that only grow and merge, as a bridge makes them: ids change by merges alone, and end as if all came at once."""
    order = sorted(SEEN, key=lambda record: (SEEN[record], record))
    cuts = sorted({*cuts, 20})
    # Each batch sees the final clusters, or finer ones: a part is joined in the batch the die says.
    late = data.draw(st.lists(st.booleans(), min_size=20, max_size=20))
    company = Company()
    former: dict[str, str] = {}
    for number, cut in enumerate(cuts):
        groups: dict[object, set[str]] = {}
        for record, place, waits in zip(order[:cut], places, late, strict=False):
            alone = waits and number + 1 < len(cuts)
            groups.setdefault((place, record) if alone else place, set()).add(record)
        found = company.run([frozenset(group) for group in groups.values()])
        for record, golden_id in former.items():
            if found.members[record] != golden_id:
                assert golden_id in found.retired, "an existing id changes only by a merge"
        former = found.members
    whole = Company().run(_by_place(order, places))
    assert former == whole.members


def _by_place(order: list[str], places: list[int]) -> list[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for record, place in zip(order, places, strict=True):
        groups.setdefault(place, set()).add(record)
    return [frozenset(group) for group in groups.values()]


@QUICK
@given(PARTITION, st.randoms(use_true_random=False))
def test_a_rebuild_on_an_empty_store_bears_the_same_ids(clusters: list[frozenset[str]], dice: Any) -> None:
    first = Company().run(clusters)
    dice.shuffle(clusters)
    assert Company().run(clusters) == first
    for golden_id, birth in first.born.items():
        group = next(group for group in clusters if birth.record_id in group)
        assert birth.record_id == min(group, key=lambda item: (SEEN[item], item))
        assert golden_id == birth_id("customer", birth.record_id)


@QUICK
@given(PARTITION, PARTITION)
def test_a_split_leaves_each_id_where_most_of_its_records_are(
    first: list[frozenset[str]], second: list[frozenset[str]]
) -> None:
    company = Company()
    before = company.run(first).members
    after = company.run(second)
    for golden_id in set(before.values()):
        shares = Counter(after.members[record] for record, former in before.items() if former == golden_id)
        holder = after.retired.get(golden_id, golden_id)
        assert shares[str(holder)] == max(shares.values())


# Merges and their undoing


def test_a_merge_keeps_the_older_id_and_retires_the_younger_with_a_redirect() -> None:
    company = Company()
    first = company.run(parts("a", "cdef"))
    old, young = first.members["a"], first.members["c"]
    merged = company.run(parts("acdef"))
    assert set(merged.members.values()) == {old}, "the older, not the larger"
    assert merged.retired == {young: old}
    assert told(merged, "merged") == [("merged", young, None, old, "other evidence")]
    assert [event.record_id for event in merged.events if event.kind == "moved"] == list("cdef")


def test_a_merge_undone_gives_the_retired_id_back_to_those_born_with_it() -> None:
    company = Company()
    first = company.run(parts("ab", "cdef"))
    old, young = first.members["a"], first.members["c"]
    company.run(parts("abcdef"))
    undone = company.run(parts("ab", "cdef"))
    assert undone.members == first.members
    assert (undone.born, undone.retired, undone.revived) == ({}, {}, [young])
    assert told(undone, "revived", "split") == [
        ("revived", young, None, None, "evidence gone"),
        ("split", young, None, old, "evidence gone"),
    ]
    assert company.ids[young].redirect_to is None


def test_a_bridge_record_appears_and_vanishes() -> None:
    company = Company()
    apart = company.run(parts("a", "c")).members
    bridged = company.run(parts("abc"))
    assert set(bridged.members.values()) == {apart["a"]}
    gone = company.run(parts("a", "c"))
    assert gone.members == apart
    assert told(gone, "left") == [("left", apart["a"], "b", None, "record gone")]
    assert company.run(parts("abc")).members == bridged.members


def test_records_that_came_after_a_merge_do_not_take_an_id_from_its_owner() -> None:
    company = Company()
    apart = company.run(parts("a", "c")).members
    company.run(parts("abc"))
    company.run(parts("abcdefg"))  # four more, which all turn out to be with c
    undone = company.run(parts("a", "cdefg"))
    assert (undone.members["a"], undone.members["c"]) == (apart["a"], apart["c"])
    assert undone.members["g"] == apart["c"]
    assert company.run(parts("a", "c", "defg")).members["c"] != apart["a"]


def test_redirects_are_followed_through_every_later_merge_and_turn_when_a_part_leaves() -> None:
    company = Company()
    first = company.run(parts("a", "c", "e")).members
    company.run(parts("a", "ce"))
    company.run(parts("ace"))
    assert company.ids[first["e"]].redirect_to == first["c"]
    assert company.follow(first["e"]) == company.follow(first["c"]) == first["a"]
    company.run(parts("ac", "e"))
    assert company.follow(first["e"]) == first["e"]
    assert company.follow(first["c"]) == first["a"]
    company.run(parts("ace"))
    company.run(parts("a", "ce"))
    assert company.follow(first["e"]) == company.follow(first["c"]) == first["c"]


# Splits


def test_a_split_keeps_the_id_on_the_larger_part_and_bears_one_for_the_other() -> None:
    company = Company()
    whole = company.run(parts("abcde")).members["a"]
    split = company.run(parts("ab", "cde"))
    assert split.members["c"] == whole
    part = split.members["a"]
    assert told(split, "born", "split") == [
        ("born", part, "a", None, "evidence gone"),
        ("split", part, None, whole, "evidence gone"),
    ]
    joined = company.run(parts("abcde"))
    assert (set(joined.members.values()), joined.retired) == ({whole}, {part: whole})
    again = company.run(parts("ab", "cde"))
    assert again.members == split.members, "the same split has the same ids every time"


def test_equal_parts_leave_the_id_with_its_birth_record() -> None:
    company = Company()
    whole = company.run(parts("abcd")).members["a"]
    assert company.run(parts("ac", "bd")).members["a"] == whole


def test_a_split_by_a_steward_says_so_and_stands_when_the_run_is_repeated() -> None:
    company = Company()
    whole = company.run(parts("abc")).members["a"]
    split = company.run(parts("ab", "c"), apart=[("a", "c")])
    part = split.members["c"]
    assert told(split) == [
        ("born", part, "c", None, "steward"),
        ("split", part, None, whole, "steward"),
        ("moved", part, "c", whole, "steward"),
    ]
    again = company.run(parts("ab", "c"), apart=[("a", "c")])
    assert again.members == split.members
    assert again.events == []


def test_a_merge_by_a_steward_says_so() -> None:
    company = Company()
    first = company.run(parts("a", "b")).members
    merged = company.run(parts("ab"), same=[("a", "b")])
    assert {event.reason for event in merged.events} == {"steward"}
    assert merged.retired == {first["b"]: first["a"]}


def test_a_record_that_moves_alone_is_at_home_where_it_went() -> None:
    company = Company()
    first = company.run(parts("abc", "de")).members
    moved = company.run(parts("ab", "cde"))
    assert told(moved) == [("moved", first["d"], "c", first["a"], "other evidence")]
    assert company.run(parts("a", "b", "cde")).members["c"] == first["d"]


# Deleted records


def test_a_deleted_record_leaves_its_id_to_the_others_and_gets_it_back_when_it_reappears() -> None:
    company = Company()
    golden_id = company.run(parts("abc")).members["a"]
    gone = company.run(parts("bc"))
    assert set(gone.members.values()) == {golden_id}
    assert told(gone) == [("left", golden_id, "a", None, "record gone")]
    back = company.run(parts("abc"))
    assert set(back.members.values()) == {golden_id}
    assert told(back) == [("joined", golden_id, "a", None, "record back")]


def test_an_id_without_records_retires_and_returns_with_its_record() -> None:
    company = Company()
    gone_id = company.run(parts("a", "b")).members["b"]
    gone = company.run(parts("a"))
    assert gone.retired == {gone_id: None}
    assert told(gone, "retired") == [("retired", gone_id, None, None, "no record left")]
    back = company.run(parts("a", "b"))
    assert back.members["b"] == gone_id
    assert told(back) == [
        ("revived", gone_id, None, None, "record back"),
        ("joined", gone_id, "b", None, "record back"),
    ]


def test_a_record_that_reappears_with_others_merges_with_them() -> None:
    company = Company()
    first = company.run(parts("a", "b")).members
    company.run(parts("b"))
    back = company.run(parts("ab"))
    assert set(back.members.values()) == {first["a"]}, "it merges with them, and the older id survives"
    assert company.follow(first["b"]) == first["a"]


# Rewritten records


def test_a_rewritten_record_leaves_with_an_event_and_gets_an_id_of_its_own() -> None:
    company = Company()
    golden_id = company.run(parts("ab")).members["a"]
    left = company.run(parts("a", "b"), rewritten={"a": "name and e-mail differ"})
    assert left.members["b"] == golden_id, "the id stays with who is still that person"
    other = left.members["a"]
    assert other != golden_id
    assert told(left) == [
        ("born", other, "a", None, "rewritten: name and e-mail differ"),
        ("moved", other, "a", golden_id, "rewritten: name and e-mail differ"),
    ]
    assert company.run(parts("a", "b")).events == []


def test_a_rewritten_record_brings_no_claim_along_not_even_alone() -> None:
    company = Company()
    golden_id = company.run(parts("a")).members["a"]
    left = company.run(parts("a"), rewritten={"a": "name and e-mail differ"})
    assert left.members["a"] != golden_id
    assert left.retired == {golden_id: None}, "the former person has no heir"
    back = company.run(parts("a"), rewritten={"a": "name and e-mail differ"})
    assert back.members["a"] not in (golden_id, left.members["a"]), "recycled twice, three people"


def test_a_rewritten_record_joins_who_it_is_now_and_retires_nobody() -> None:
    company = Company()
    first = company.run(parts("ab", "cd")).members
    moved = company.run(parts("b", "acd"), rewritten={"a": "name and phone differ"})
    assert (moved.members["a"], moved.members["b"]) == (first["c"], first["b"])
    assert told(moved) == [("moved", first["c"], "a", first["b"], "rewritten: name and phone differ")]


# Evidence of another kind


@QUICK
@given(PARTITION, st.sampled_from(RECORDS), st.integers(0, 4))
def test_a_retrained_model_moves_only_the_records_it_places_otherwise(
    clusters: list[frozenset[str]], record: str, target: int
) -> None:
    company = Company()
    before = company.run(clusters).members
    rest = [group - {record} for group in clusters if group != {record}]
    if target < len(rest):
        rest[target] |= {record}
    else:
        rest.append(frozenset({record}))
    after = company.run(rest).members
    moved = {other for other in RECORDS if after[other] != before[other]}
    assert len({before[other] for other in moved}) <= 1
    if frozenset({record}) not in clusters:
        assert len(moved) <= 1, "one went over, or the other of two; the rest stayed"


def test_records_that_hang_on_others_follow_them_with_events() -> None:
    company = Company()
    first = company.run(parts("a", "b"), hangers={"x": "a"})
    assert first.members["x"] == first.members["a"]
    moved = company.run(parts("a", "b"), hangers={"x": "b"})
    assert told(moved) == [("moved", first.members["b"], "x", first.members["a"], "other evidence")]
    assert "x" not in company.homes
    assert told(company.run(parts("a", "b"))) == [("left", first.members["b"], "x", None, "record gone")]


def test_a_record_that_comes_to_hang_on_another_leads_its_id_there_and_gets_it_back() -> None:
    company = Company()
    first = company.run(parts("a", "b")).members
    hung = company.run(parts("a"), hangers={"b": "a"})
    assert told(hung) == [
        ("moved", first["a"], "b", first["b"], "other evidence"),
        ("merged", first["b"], None, first["a"], "other evidence"),
    ]
    assert company.run(parts("a"), hangers={"b": "a"}).events == []
    assert company.run(parts("a", "b")).members == first


def test_ids_differ_by_entity_and_look_alike() -> None:
    ids = {birth_id(entity, "square:orders:1") for entity in ("customer", "sku", "location", "order")}
    assert len({golden_id.split("-")[1] for golden_id in ids}) == 4
    with pytest.raises(KeyError):
        birth_id("truck", "x")
