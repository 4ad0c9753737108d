"""The queue: idempotent over reruns, one task per question, closed when decided, ranked by what hangs on it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oms_core.identity import state
from oms_core.identity.cluster import Edge, Refusal
from oms_core.identity.resolve import Resolved
from oms_core.identity.stable import Assignment, Birth, IdentityEvent
from oms_core.identity.stewardship import evidence, steward
from oms_core.identity.stewardship.compare import compare
from oms_core.identity.stewardship.evidence import QueueChange
from oms_core.identity.stewardship.queue import CONTRADICTION, GREY, REFUSED, Task, links, pair_tasks
from oms_core.identity.stewardship.worth import Worth, points, rank, usual_orders, worth_by_record
from oms_core.store.postgres import Database

T0 = datetime(2026, 10, 1, tzinfo=UTC)
A, B, C, D = (f"shop:customers:{letter}" for letter in "abcd")


def put(database: Database, members: Mapping[str, str], **values: Mapping[str, Any]) -> None:
    """Make records be these golden ids, with values to be shown; worth: one order of 10 EUR each."""
    with database.begin() as connection:
        known = state.recall(connection)
        before = known.memory["customer"]
        ids = set(members.values()) - before.ids.keys()
        firsts = {golden_id: min(r for r in members if members[r] == golden_id) for golden_id in ids}
        assignment = Assignment(
            dict(members),
            born={golden_id: Birth(record, T0) for golden_id, record in firsts.items()},
            homes={record: golden_id for record, golden_id in members.items() if record not in before.homes},
            events=[IdentityEvent("born", golden_id, record) for golden_id, record in firsts.items()],
        )
        outcome = Resolved(assignment, {}, [])
        state.remember(connection, {"customer": outcome}, known, T0)
        rows = [
            {"record_id": record, "full_name": record[-1], "_first_seen_at": T0, **values.get(record[-1], {})}
            for record in members
        ]
        worth = {record: Worth(1, 0, {"EUR": (1, Decimal(10))}) for record in members}
        evidence.keep_records(connection, "customer", rows, worth)


def open_tasks(database: Database, tasks: Iterable[Task], minute: int = 0, **more: Any) -> QueueChange:
    """One run's tasks."""
    with database.begin() as connection:
        return evidence.open_tasks(connection, "customer", tasks, T0 + timedelta(minutes=minute), **more)


def queue(database: Database, **more: Any) -> list[evidence.Standing]:
    """Tasks as they stand."""
    with database.begin() as connection:
        return evidence.tasks(connection, "customer", **more)


def decide(database: Database, left: str, right: str, judgement: str, **more: Any) -> steward.Judged:
    with database.begin() as connection:
        return steward.decide(
            connection, "customer", left, right, judgement, by="mia", reason="seen both", **more
        )


def grey(left: str, right: str, probability: float = 0.7) -> Task:
    return Task("customer", GREY, left, right, probability=probability, evidence={"rule": "score"})


APART = {A: "CUS-A", B: "CUS-B", C: "CUS-C", D: "CUS-D"}


def test_a_task_keeps_its_id_over_reruns(database: Database) -> None:
    put(database, APART)
    assert open_tasks(database, [grey(A, B), grey(C, D)]) == QueueChange(2, 0, 0, 0)
    first = {item.id: item.task for item in queue(database)}
    assert open_tasks(database, [grey(D, C, 0.72), grey(B, A)], 1) == QueueChange(0, 0, 0, 2)
    again = {item.id: item.task for item in queue(database)}
    assert first.keys() == again.keys()
    assert {task.probability for task in again.values()} == {0.7, 0.72}
    assert open_tasks(database, [grey(A, B)], 2) == QueueChange(0, 0, 1, 1)
    gone = queue(database, is_open=False)
    assert [(item.outcome, item.closed_at) for item in gone] == [("gone", T0 + timedelta(minutes=2))]
    assert open_tasks(database, [grey(A, B), grey(C, D)], 3) == QueueChange(0, 1, 0, 1)
    assert {item.id for item in queue(database)} == first.keys()


def test_all_evidence_between_two_golden_ids_is_one_task(database: Database) -> None:
    put(database, {A: "CUS-A", B: "CUS-A", C: "CUS-C", D: "CUS-C"})
    refused = Task(
        "customer", REFUSED, B, C, evidence={"rule": "email", "strength": 4, "reason": "tax numbers differ"}
    )
    open_tasks(database, [grey(A, C), grey(A, D, 0.8), refused])
    (task,) = queue(database)
    assert (task.task.kind, task.task.left, task.task.right) == (REFUSED, B, C)
    assert task.worth == Worth(4, 0, {"EUR": (4, Decimal(40))})
    assert open_tasks(database, [grey(A, D, 0.99), refused], 1) == QueueChange(0, 0, 0, 1)
    put(database, dict.fromkeys((A, B, C, D), "CUS-A"))
    assert open_tasks(database, [grey(A, C), refused], 2) == QueueChange(0, 0, 1, 0)


@pytest.mark.parametrize("judgement", ["same", "different"])
def test_a_decision_closes_its_task_for_good(database: Database, judgement: str) -> None:
    put(database, {A: "CUS-A", B: "CUS-A", C: "CUS-C"})
    open_tasks(database, [grey(A, C)])
    made = decide(database, B, C, judgement)  # another record of the same golden id
    (task,) = queue(database, is_open=False)
    assert (task.outcome, task.decision_id) == (judgement, made.id)
    assert open_tasks(database, [grey(A, C), grey(B, C)], 1) == QueueChange(0, 0, 0, 0)
    with database.begin() as connection:
        steward.withdraw(connection, made.id, by="tom", reason="no")
    assert [item.id for item in queue(database)] == [task.id]


def test_unsure_is_asked_again_only_when_its_evidence_changes(database: Database) -> None:
    put(database, APART)
    open_tasks(database, [grey(A, B)])
    decide(database, A, B, "unsure")
    for minute, probability in ((1, 0.7), (2, 0.55), (3, 0.8)):  # a retrained model is no new evidence
        assert open_tasks(database, [grey(A, B, probability)], minute) == QueueChange(0, 0, 0, 0)
    assert queue(database) == []
    put(database, APART, b={"email": "b@example.org"})
    assert open_tasks(database, [grey(A, B)], 4) == QueueChange(0, 1, 0, 0)
    (task,) = queue(database)
    decide(database, A, B, "unsure", seen=1)
    refused = Task(
        "customer", REFUSED, A, B, evidence={"rule": "phone", "strength": 3, "reason": "kinds differ"}
    )
    assert open_tasks(database, [grey(A, B), refused], 5) == QueueChange(0, 1, 0, 0)
    assert [item.id for item in queue(database)] == [task.id]


def test_what_was_answered_unsure_before_it_was_asked_is_not_asked(database: Database) -> None:
    put(database, APART)
    decide(database, A, B, "unsure")
    assert open_tasks(database, [grey(A, B)]) == QueueChange(0, 0, 1, 0)
    assert queue(database) == []
    put(database, APART, a={"phone": "1"})
    assert open_tasks(database, [grey(A, B)], 1) == QueueChange(0, 1, 0, 0)


def test_kinds_are_spoken_for_by_their_own_callers(database: Database) -> None:
    put(database, APART)
    told = Task(
        "customer", CONTRADICTION, golden_id="CUS-A", attribute="email", evidence={"told": ["x", "y"]}
    )
    open_tasks(database, [grey(A, B)])
    assert open_tasks(database, [told], kinds=(CONTRADICTION,)) == QueueChange(1, 0, 0, 0)
    assert open_tasks(database, [told], 1, kinds=(CONTRADICTION,)) == QueueChange(0, 0, 0, 1)
    assert {item.task.kind for item in queue(database)} == {GREY, CONTRADICTION}
    assert next(item for item in queue(database, kind=CONTRADICTION)).worth.orders == 1
    open_tasks(database, [], 2, kinds=(CONTRADICTION,))
    assert {item.task.kind for item in queue(database)} == {GREY}


def test_a_task_is_about_a_pair_or_an_id() -> None:
    assert (grey(B, A).left, grey(B, A).right) == (A, B)
    for about in ({}, {"left": A}, {"left": A, "right": B, "golden_id": "CUS-A"}):
        with pytest.raises(ValueError, match="about two records or about one golden id"):
            Task("customer", GREY, **about)


def test_a_run_leaves_refused_exact_evidence_and_the_grey_zone() -> None:
    members = {A: "CUS-A", B: "CUS-B", C: "CUS-C", D: "CUS-C"}
    refusals = [
        Refusal(Edge(2, A, B, "email+name"), "their tax numbers differ"),
        Refusal(Edge(2, A, C, "email+name"), "a steward judged them different"),
        Refusal(Edge(0, A, C, "steward"), "a steward judged them different"),
        Refusal(Edge(9, B, C, "score"), "their tax numbers differ"),
        Refusal(Edge(2, C, D, "email+name"), "they are one by now"),
        Refusal(Edge(2, A, "gone", "email"), "unknown"),
    ]
    found = pair_tasks("customer", members, refusals, [(A, D, 0.6), (C, D, 0.6)])
    assert [(task.kind, task.left, task.right) for task in found] == [(REFUSED, A, B), (GREY, A, D)]


def test_links_tell_what_became_of_the_evidence() -> None:
    refused = Edge(2, A, B, "email")
    found = links([refused, Edge(1, A, B, "tax_number"), Edge(5, B, C, "score"), Edge(0, A, C, "steward")],
                  [Refusal(refused, "no")], {(B, C): 0.97})  # fmt: skip
    assert sorted((item.rule, item.strength, item.probability, item.refused) for item in found) == [
        ("email", 2, None, "no"),
        ("score", 5, 0.97, None),
        ("tax_number", 1, None, None),
    ]


# worth


def test_worth_counts_orders_open_orders_and_revenue_in_usual_orders() -> None:
    big = Worth(2, 0, {"CNY": (2, Decimal(20_000))})
    small = Worth(2, 0, {"EUR": (2, Decimal(100))})
    usual = usual_orders([big, small])
    assert usual == {"CNY": Decimal(10_000), "EUR": Decimal(50)}
    assert points(big, usual) == points(small, usual) == 4
    assert points(Worth(2, 1, {"EUR": (2, Decimal(-100))}), usual) == 5
    assert points(Worth(1, 0, {"JPY": (1, Decimal(9))}), usual) == 1
    assert rank({1: Worth(), 2: small, 3: big, 4: Worth(3, 3, {})}) == [4, 2, 3, 1]


_worths = st.builds(
    Worth,
    st.integers(0, 50),
    st.integers(0, 50),
    st.dictionaries(
        st.sampled_from(["EUR", "CNY", "JPY"]),
        st.tuples(st.integers(0, 9), st.decimals(-10_000, 10_000, places=2)),
    ),
)


@given(st.dictionaries(st.integers(1, 99), _worths), st.randoms(use_true_random=False))
def test_the_ranking_depends_on_worth_alone(tasks: dict[int, Worth], random: Any) -> None:
    ranked = rank(tasks)
    shuffled = list(tasks.items())
    random.shuffle(shuffled)
    assert rank(dict(shuffled)) == ranked
    usual = usual_orders(tasks.values())
    worth = [points(tasks[number], usual) for number in ranked]
    assert worth == sorted(worth, reverse=True)


@given(_worths, _worths, _worths)
def test_worth_adds_up_in_any_order(a: Worth, b: Worth, c: Worth) -> None:
    assert (a + b) + c == a + (b + c)
    assert a + b == b + a
    assert a + Worth() == a


def test_worth_is_read_per_record_and_currency() -> None:
    row = {"entity": "sku", "record_id": "s:p:1", "orders": 2, "open_orders": 1}
    found = worth_by_record(
        [
            {**row, "currency": "EUR", "amount": Decimal("9.90")},
            {**row, "currency": "CNY", "amount": Decimal(80)},
            {**row, "currency": None, "amount": None},
        ]
    )
    assert found["sku"]["s:p:1"] == Worth(6, 3, {"EUR": (2, Decimal("9.90")), "CNY": (2, Decimal(80))})


# comparison


def test_a_comparison_tells_merges_from_splits() -> None:
    before = {A: "CUS-A", B: "CUS-B", C: "CUS-C", D: "CUS-C"}
    after = {A: "CUS-A", B: "CUS-A", C: "CUS-C", D: "CUS-D", "new": "CUS-N"}
    worth = {B: Worth(1, 1, {"EUR": (1, Decimal(5))}), D: Worth(2)}
    found = compare(before, after, worth)
    assert found.moved == {B: ("CUS-B", "CUS-A"), D: ("CUS-C", "CUS-D")}
    assert found.merged == {"CUS-B": ("CUS-A",)} and found.split == {"CUS-C": ("CUS-D",)}
    assert found.born == ("CUS-D", "CUS-N") and found.retired == ("CUS-B",)
    assert (found.records, found.added, found.removed) == (4, 1, 0)
    assert found.worth == Worth(3, 1, {"EUR": (1, Decimal(5))})
    assert found.as_json()["touched"] == {"orders": 3, "open_orders": 1, "revenue": {"EUR": "5"}}


_states = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["1", "2", "3"]))


@given(_states)
def test_nothing_differs_from_itself(members: dict[str, str]) -> None:
    assert compare(members, members).is_same


@given(_states, _states)
def test_a_comparison_read_backwards_moves_the_same_records(
    before: dict[str, str], after: dict[str, str]
) -> None:
    there, back = compare(before, after), compare(after, before)
    assert there.moved.keys() == back.moved.keys()
    assert (there.born, there.added) == (back.retired, back.removed)
    assert there.merged.keys() <= set(there.retired)
