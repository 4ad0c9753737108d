"""Stewards decide, see what they decide about, and lose nothing: on a real PostgreSQL, two at once included."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.api import keys
from oms_core.audit import log
from oms_core.identity import state
from oms_core.identity.resolve import Resolved, ScoredPair, Scores, resolve
from oms_core.identity.scoring.threshold import Thresholds
from oms_core.identity.stewardship import evidence, show, steward
from oms_core.identity.stewardship.blast import blast
from oms_core.identity.stewardship.errors import (
    AmbiguousNameError,
    ConflictError,
    ContradictionError,
    DecisionRefusedError,
    UnknownNameError,
)
from oms_core.identity.stewardship.queue import links, pair_tasks
from oms_core.identity.stewardship.worth import Worth
from oms_core.store.postgres import Database

T0 = datetime(2026, 10, 1, tzinfo=UTC)
_COLUMNS = (
    "customer_type", "full_name", "company_name", "email", "phone", "phone_e164", "tax_number", "street", "postcode",
    "country", "marketplace_buyer_id",
)  # fmt: skip


def person(record_id: str, seen: int = 0, **values: Any) -> dict[str, Any]:
    """A row of `int_customer_records`, first landed `seen` seconds after the beginning."""
    first = T0.replace(second=seen)
    system = record_id.split(":")[0]
    return {
        **dict.fromkeys(_COLUMNS),
        "record_id": record_id,
        "source_system": system,
        "_first_seen_at": first,
        **values,
    }


ANN = person("shop:customers:1", 1, full_name="Ann Lee", email="ann@example.org", phone="+49 151 23456780")
ANNA = person(
    "crm:contacts:2", 2, full_name="Anna Lee", email="ann.lee@example.net", tax_number="DE136695976"
)
BOB = person("erp:parties:3", 3, full_name="Bob Roe", email="bob@example.org")
TWIN = person("crm:contacts:4", 4, full_name="Bob Roe", email="bob@example.org")
PEOPLE = [ANN, ANNA, BOB, TWIN]
WORTH = {
    "shop:customers:1": Worth(3, 1, {"EUR": (3, Decimal("149.70"))}),
    "crm:contacts:2": Worth(1, 0, {"CNY": (1, Decimal("88.00"))}),
}


def run(
    database: Database,
    rows: Iterable[Mapping[str, Any]] = PEOPLE,
    *,
    scored: Mapping[tuple[str, str], float] | None = None,
    merge: float = 0.9,
    at: datetime = T0,
) -> Resolved:
    """One identity run over customers, as the pipeline does it; scored pairs below `merge` go to the queue."""
    rows = list(rows)
    pairs = [ScoredPair(*pair, p) for pair, p in (scored or {}).items()]
    with database.begin() as connection:
        known = state.recall(connection)
        scores = {"customer": Scores(pairs, Thresholds(merge, 0.5))}
        outcome = resolve(rows, [], [], [], [], known, scores=scores)["customer"]
        state.remember(connection, {"customer": outcome}, known, at)
        evidence.keep_records(connection, "customer", rows, WORTH)
        found = links(outcome.evidence, outcome.refusals, outcome.probabilities)
        evidence.keep_links(connection, "customer", found)
        grey = [(pair.left, pair.right, pair.probability) for pair in outcome.doubtful]
        tasks = pair_tasks("customer", outcome.assignment.members, outcome.refusals, grey)
        evidence.open_tasks(connection, "customer", tasks, at)
    return outcome


def decide(database: Database, left: str, right: str, judgement: str, **more: Any) -> steward.Judged:
    """A decision in a transaction of its own."""
    with database.begin() as connection:
        given = {"by": "mia", "reason": "called them", **more}
        return steward.decide(connection, "customer", left, right, judgement, **given)


def members(database: Database) -> dict[str, str]:
    """Record -> golden id, now."""
    with database.begin() as connection:
        return evidence.golden_ids_of(connection, "customer", {row["record_id"] for row in PEOPLE})


# decisions


def test_a_decision_joins_and_parts_whatever_evidence_says(database: Database) -> None:
    run(database)
    now = members(database)
    assert now[BOB["record_id"]] == now[TWIN["record_id"]] != now[ANN["record_id"]]
    same = decide(database, ANN["record_id"], ANNA["record_id"], "same")
    apart = decide(database, BOB["record_id"], TWIN["record_id"], "different")
    for _ in range(2):  # and it survives a rerun
        run(database)
        now = members(database)
        assert now[ANN["record_id"]] == now[ANNA["record_id"]]
        assert now[BOB["record_id"]] != now[TWIN["record_id"]]
    with database.begin() as connection:
        steward.withdraw(connection, same.id, by="mia", reason="a mix-up")
        steward.withdraw(connection, apart.id, by="mia", reason="a mix-up")
    run(database)
    now = members(database)
    assert now[ANN["record_id"]] != now[ANNA["record_id"]]
    assert now[BOB["record_id"]] == now[TWIN["record_id"]]


def test_decisions_outrank_every_score_and_survive_another_model(database: Database) -> None:
    pair = ANNA["record_id"], ANN["record_id"]
    run(database)
    decide(database, *pair, "different")
    for certainty in (0.95, 0.9999999, 0.2):
        run(database, scored={pair: certainty})
        now = members(database)
        assert now[pair[0]] != now[pair[1]]


def test_unsure_is_no_wall_but_keeps_a_score_from_joining_the_pair(database: Database) -> None:
    pair = ANNA["record_id"], ANN["record_id"]
    run(database, scored={pair: 0.7})
    decide(database, *pair, "unsure")
    run(database, scored={pair: 0.99})
    now = members(database)
    assert now[pair[0]] != now[pair[1]]
    exact = replace_row(ANNA, email=ANN["email"], full_name="Ann Lee")
    run(database, [ANN, exact, BOB, TWIN], scored={pair: 0.99})
    now = members(database)
    assert now[pair[0]] == now[pair[1]]


def test_what_was_unsure_is_asked_again_when_a_likely_pair_changes(database: Database) -> None:
    pair = ANNA["record_id"], ANN["record_id"]
    run(database, scored={pair: 0.7})
    decide(database, *pair, "unsure")
    for certainty in (0.99, 0.7, 0.99):
        run(database, scored={pair: certainty})
        assert waiting(database) == []
    run(database, [ANN, replace_row(ANNA, phone="+49 151 23456780"), BOB, TWIN], scored={pair: 0.99})
    assert waiting(database) == [pair]


def test_identifiers_that_differ_leave_nothing_to_ask(database: Database) -> None:
    pair = ANNA["record_id"], ANN["record_id"]
    run(database, [replace_row(ANN, tax_number="DE811569869"), ANNA, BOB, TWIN], scored={pair: 0.7})
    assert waiting(database) == []
    # Nor through another record of one side.
    twins = BOB["record_id"], ANNA["record_id"]
    told = replace_row(TWIN, tax_number="DE811569869")
    run(database, [ANN, ANNA, BOB, told], scored={(twins[1], twins[0]): 0.7})
    assert waiting(database) == []


def waiting(database: Database) -> list[tuple[str | None, str | None]]:
    """Pairs in the queue."""
    with database.begin() as connection:
        return [(item.task.left, item.task.right) for item in evidence.tasks(connection)]


def replace_row(row: Mapping[str, Any], **values: Any) -> dict[str, Any]:
    """The record, edited."""
    return {**row, **values}


def test_two_stewards_at_once_get_one_decision_and_one_conflict(database: Database) -> None:
    run(database)
    ready = threading.Barrier(2)
    won: list[steward.Judged] = []
    lost: list[ConflictError] = []

    def judge(name: str, judgement: str) -> None:
        ready.wait()
        try:
            won.append(decide(database, ANN["record_id"], ANNA["record_id"], judgement, by=name, seen=0))
        except ConflictError as error:
            lost.append(error)

    threads = [
        threading.Thread(target=judge, args=given) for given in (("mia", "same"), ("tom", "different"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == len(lost) == 1
    assert lost[0].standing == won[0]
    assert lost[0].version == 1
    assert won[0].by in str(lost[0]) and won[0].reason in str(lost[0])


def test_a_decision_names_what_it_has_seen(database: Database) -> None:
    run(database)
    pair = ANN["record_id"], ANNA["record_id"]
    first = decide(database, *pair, "unsure")
    with pytest.raises(ConflictError, match=r"decision 1: .* are unsure, says mia"):
        decide(database, *pair, "same", by="tom")
    with pytest.raises(ConflictError):
        decide(database, *pair, "same", by="tom", seen=0)
    second = decide(database, *pair, "same", by="tom", seen=1)
    with database.begin() as connection:
        past = steward.history(connection, "customer", *pair)
        assert [item.id for item in past] == [first.id, second.id]
        assert past[0].withdrawn_by == "tom" and past[0].withdrawn_reason == "replaced: called them"
        assert steward.version(past) == 3
    with (
        pytest.raises(ConflictError, match="decision 1 was withdrawn by tom"),
        database.begin() as connection,
    ):
        steward.withdraw(connection, first.id, by="mia", reason="mine")
    with database.begin() as connection:
        steward.withdraw(connection, second.id, by="mia", reason="no", seen=3)
    with pytest.raises(
        ConflictError, match="version 3 was seen, now it is 4: no longer in force is decision 2"
    ):
        decide(database, *pair, "same", seen=3)
    decide(database, *pair, "same")


def test_contradictions_are_refused_with_their_chain(database: Database) -> None:
    run(database)
    a, b, c, d = (row["record_id"] for row in PEOPLE)
    decide(database, a, b, "same")
    decide(database, b, c, "same")
    with pytest.raises(ContradictionError, match=r"decision 2: .*; decision 1: ") as caught:
        decide(database, a, c, "different")
    assert [item.id for item in caught.value.chain] == [2, 1]
    decide(database, c, d, "unsure")
    decide(database, a, d, "different")
    with pytest.raises(ContradictionError) as caught:
        decide(database, c, d, "same", seen=1)
    assert {item.id for item in caught.value.chain} == {1, 2, 4}
    with database.begin() as connection:
        assert len(steward.standing_decisions(connection, "customer")) == 4


@pytest.mark.parametrize(
    ("left", "right", "more", "error", "message"),
    [
        ("shop:customers:1", "shop:customers:1", {}, DecisionRefusedError, "is one record"),
        ("shop:customers:1", "nobody", {}, UnknownNameError, "no customer record nobody"),
        ("shop:customers:1", "crm:contacts:2", {"reason": " "}, DecisionRefusedError, "neither may be empty"),
        ("shop:customers:1", "crm:contacts:2", {"by": ""}, DecisionRefusedError, "neither may be empty"),
    ],
)
def test_what_is_no_decision_is_refused(
    database: Database, left: str, right: str, more: dict[str, str], error: type[Exception], message: str
) -> None:
    run(database)
    with pytest.raises(error, match=message):
        decide(database, left, right, "same", **more)


def test_shipments_follow_their_reference_and_are_not_judged(database: Database) -> None:
    order = {
        "record_id": "shop:orders:1", "source_system": "shop", "source_key": "1", "document_role": "order",
        "order_number": "S-10001", "channel": "shop", "customer_key": None, "_first_seen_at": T0,
    }  # fmt: skip
    picking = {
        **order,
        "record_id": "wms:pickings:1",
        "source_system": "wms",
        "document_role": "fulfilment",
        "order_number": "P1",
    }
    reference = {
        "order_record_id": "wms:pickings:1", "reference_type": "order_number", "reference_value": "S-10001",
        "target_system": None,
    }  # fmt: skip
    with database.begin() as connection:
        known = state.recall(connection)
        outcome = resolve([], [], [], [order, picking], [reference], known)
        state.remember(connection, outcome, known, T0)
        evidence.keep_records(connection, "order", [order, picking])
    with pytest.raises(
        DecisionRefusedError, match=r"judge an order document of ORD-.*, such as shop:orders:1"
    ):
        with database.begin() as connection:
            steward.decide(
                connection, "order", "shop:orders:1", "wms:pickings:1", "different", by="mia", reason="no"
            )
    with database.begin() as connection:
        assert steward.one(connection, "S-10001", "order").record_id == "shop:orders:1"


# names


def test_any_name_leads_to_its_record(database: Database) -> None:
    run(database)
    with database.begin() as connection:
        golden = members(database)[ANN["record_id"]]
        for name, way in (
            ("shop:customers:1", "record_id"),
            (golden, "golden_id"),
            ("1", "source_key"),
            ("ann@example.org", "email"),
        ):
            found = steward.one(connection, name)
            assert (found.record_id, found.golden_id, found.found_by) == ("shop:customers:1", golden, way)
        with pytest.raises(AmbiguousNameError, match=r"2 records.*crm:contacts:4, erp:parties:3"):
            steward.one(connection, "bob@example.org")
        for name in ("", "nobody", "a\0b"):
            with pytest.raises(UnknownNameError, match="no customer, SKU, location or order is known by"):
                steward.one(connection, name)
        with pytest.raises(UnknownNameError, match="no entity 'cat'"):
            steward.one(connection, "1", "cat")


def test_a_golden_id_stands_for_its_birth_record_beside_its_own_for_another(database: Database) -> None:
    run(database)
    twins = members(database)[BOB["record_id"]]
    with database.begin() as connection:
        left, right = steward.pair(connection, twins, ANN["record_id"])
        assert (left.record_id, right.record_id) == (BOB["record_id"], ANN["record_id"])
        left, right = steward.pair(connection, twins, BOB["record_id"])
        assert (left.record_id, right.record_id) == (TWIN["record_id"], BOB["record_id"])
        with pytest.raises(DecisionRefusedError, match="are one already"):
            steward.pair(connection, twins, twins)
    retired = members(database)[ANNA["record_id"]]
    decide(database, ANN["record_id"], ANNA["record_id"], "same")
    run(database)
    with database.begin() as connection:
        found = steward.one(connection, retired)
        assert (found.golden_id, found.found_by) == (members(database)[ANN["record_id"]], "redirect")


# what a steward is shown


def test_a_pair_is_shown_with_everything_that_speaks_for_and_against_it(database: Database) -> None:
    edited = replace_row(ANNA, email="ANN@example.org ", tax_number="DE136695976")
    rows = [replace_row(ANN, tax_number="DE811569869"), edited, BOB, TWIN]
    run(database, rows)
    with database.begin() as connection:
        view = show.pair_view(connection, *steward.pair(connection, ANN["record_id"], ANNA["record_id"]))
    assert not view.is_one
    verdicts = {field.name: field.verdict for field in view.fields}
    assert verdicts["email"] == "alike"
    assert verdicts["tax_number"] == verdicts["full_name"] == "different"
    assert verdicts["phone"] == "unknown"
    assert view.links and {link.refused for link in view.links} == {"their tax numbers differ"}
    assert "their tax numbers differ" in view.contradictions
    assert [item.task.kind for item in view.tasks] == ["refused_evidence"]
    merge = view.blasts[0]
    assert merge.judgement == "same" and len(merge.before) == 2 and len(merge.after) == 1
    survivor = members(database)[ANN["record_id"]]
    assert dict(merge.redirects) == {members(database)[ANNA["record_id"]]: survivor}
    assert merge.change.worth == WORTH["crm:contacts:2"]
    assert "retires, redirected to" in str(merge) and "orders with them: 1 (0 open), 88.00 CNY" in str(merge)


def test_the_blast_radius_says_what_the_run_then_does(database: Database) -> None:
    run(database)
    bob, twin = BOB["record_id"], TWIN["record_id"]
    for left, right, judgement in (
        (bob, twin, "different"),
        (bob, ANN["record_id"], "same"),
        (bob, twin, None),
    ):
        with database.begin() as connection:
            before = members(database)
            expected = blast(connection, "customer", left, right, judgement)
        if judgement is None:
            with database.begin() as connection:
                steward.withdraw(connection, 1, by="mia", reason="again")
        else:
            decide(database, left, right, judgement)
        run(database)
        now = members(database)
        for side in expected.after:
            assert {now[record] for record in side.records} == {side.golden_id}
        assert {record for record in now if now[record] != before[record]} == set(expected.change.moved)


def test_a_decision_on_a_record_that_becomes_somebody_else_is_asked_about_again(database: Database) -> None:
    run(database)
    decide(database, ANN["record_id"], ANNA["record_id"], "same")
    other = replace_row(ANNA, full_name="Wolf Kern", email="wolf@example.com", tax_number="DE811569869")
    rewritten = {"customer": {ANNA["record_id"]: "name, e-mail and tax number changed"}}
    later = datetime.now(UTC)

    def again(at: datetime, **more: Any) -> list[tuple[str, str | None]]:
        rows = [ANN, other, BOB, TWIN]
        with database.begin() as connection:
            known = replace(state.recall(connection), **more)
            told = more.get("rewritten", {"customer": {}})["customer"]
            changes = {"customer": replace(state.compare(connection, "customer", rows), rewritten=told)}
            outcome = resolve(rows, [], [], [], [], known)["customer"]
            state.remember(connection, {"customer": outcome}, known, at, changes)
            evidence.keep_records(connection, "customer", rows, WORTH)
            tasks = steward.in_doubt(connection, "customer")
            evidence.open_tasks(connection, "customer", tasks, at)
            found = evidence.tasks(connection, "customer", kind="decision_in_doubt", is_open=None)
        return [(str(item.task.evidence["reason"]), item.outcome) for item in found]

    [(reason, outcome)] = again(later, rewritten=rewritten)
    assert outcome is None and ANNA["record_id"] in reason and "mia judged the two same" in reason
    assert again(later) == [(reason, None)]  # open until somebody says
    decide(database, ANN["record_id"], ANNA["record_id"], "different", seen=1)
    assert again(datetime.now(UTC)) == [(reason, "different")]


def test_the_blast_radius_shows_third_ids_that_come_along(database: Database) -> None:
    one = person(
        "shop:customers:30", 5, full_name="Eve Orr", email="eve@example.org", phone="+49 151 23456781",
        tax_number="DE129273398",
    )  # fmt: skip
    torn = person("erp:parties:31", 6, full_name="Eve Orr", email="eve@example.org", phone="+49 151 23456781")
    third = person(
        "crm:contacts:32", 7, full_name="Eve Orr", phone="+49 151 23456781", tax_number="DE811569869"
    )
    before = run(database, [*PEOPLE, one, torn, third]).assignment.members
    assert before["shop:customers:30"] == before["erp:parties:31"] != before["crm:contacts:32"]
    with database.begin() as connection:
        parted = blast(connection, "customer", "shop:customers:30", "erp:parties:31", "different")
    assert parted.is_whole
    assert before["crm:contacts:32"] in {side.golden_id for side in parted.before}
    assert {frozenset(side.records) for side in parted.after} == {
        frozenset({"shop:customers:30"}),
        frozenset({"erp:parties:31", "crm:contacts:32"}),
    }
    decide(database, "shop:customers:30", "erp:parties:31", "different")
    now = run(database, [*PEOPLE, one, torn, third]).assignment.members
    assert now["erp:parties:31"] == now["crm:contacts:32"] != now["shop:customers:30"]


def test_one_without_a_link_of_their_own_is_shown_its_path(database: Database) -> None:
    bridge = person(
        "erp:parties:9", 9, full_name="Ann Lee", email="ann@example.org", tax_number="DE136695976"
    )
    run(database, [*PEOPLE, bridge])
    with database.begin() as connection:
        view = show.pair_view(connection, *steward.pair(connection, ANN["record_id"], ANNA["record_id"]))
        golden = show.golden_view(connection, "customer", view.left.golden_id or "")
    assert view.is_one and not view.links
    assert [{link.left, link.right} for link in view.path] == [
        {ANN["record_id"], "erp:parties:9"},
        {ANNA["record_id"], "erp:parties:9"},
    ]
    assert view.blasts[0].judgement == "different" and len(view.blasts[0].after) == 2
    assert golden.worth == WORTH["shop:customers:1"] + WORTH["crm:contacts:2"]
    rules = {member.record.record_id: {link.rule for link in member.links} for member in golden.members}
    assert rules["crm:contacts:2"] == {"tax_number"}
    assert rules["erp:parties:9"] == rules["crm:contacts:2"] | rules["shop:customers:1"]


def test_histories_are_kept_whole(database: Database) -> None:
    run(database)
    decision = decide(database, ANN["record_id"], ANNA["record_id"], "same")
    run(database, at=T0.replace(minute=1))
    with database.begin() as connection:
        steward.withdraw(connection, decision.id, by="tom", reason="two people")
    run(database, at=T0.replace(minute=2))
    with database.begin() as connection:
        golden = members(database)[ANNA["record_id"]]
        past = steward.happenings(connection, "customer", ids={golden})
        view = show.golden_view(connection, "customer", golden)
    kinds = [item.kind for item in past]
    assert kinds[0] == "born" and {"same", "withdrawn", "merged", "revived"} <= set(kinds)
    told = next(item for item in past if item.kind == "withdrawn")
    assert (told.by, told.what) == ("tom", "decision 1 (same) withdrawn: two people")
    assert view.history == tuple(past)
    assert [item.withdrawn_by for item in view.decisions] == ["tom"]


def test_values_of_records_that_are_no_more_are_not_kept(database: Database) -> None:
    run(database)
    run(database, PEOPLE[1:])
    with database.begin() as connection:
        assert evidence.records(connection, "customer", {ANN["record_id"]}) == {}
        left = connection.execute(text("SELECT count(*) FROM orderhub.identity_values")).scalar()
    assert left == 3


def test_a_rerun_with_nothing_new_writes_nothing(database: Database) -> None:
    def stamps() -> list[Any]:
        with database.begin() as connection:
            return [
                connection.execute(text(f"SELECT xmin::text, * FROM orderhub.{table} ORDER BY 3, 4")).all()
                for table in ("identity_values", "identity_evidence", "identity_tasks")
            ]

    pair = ANNA["record_id"], ANN["record_id"]
    run(database, scored={pair: 0.7})
    before = stamps()
    run(database, reversed(PEOPLE), scored={pair: 0.7}, at=T0.replace(minute=1))
    assert stamps() == before


def test_the_steward_has_a_name() -> None:
    assert steward.steward_name("mia", {}) == "mia"
    assert steward.steward_name(None, {"ORDERHUB_STEWARD": "tom"}) == "tom"
    assert steward.steward_name(None, {})


def test_a_decision_reads_as_a_sentence() -> None:
    at = datetime(2026, 10, 2, 8, 30, tzinfo=UTC)
    one = steward.Judged(7, "sku", "a:b:1", "a:b:2", "same", "mia", at, "same barcode")
    assert str(one) == "decision 7: a:b:1 and a:b:2 are same, says mia at 2026-10-02 08:30Z: same barcode"
    gone = replace(one, withdrawn_at=at, withdrawn_by="tom")
    assert str(gone).endswith(", withdrawn by tom at 2026-10-02 08:30Z")


def test_what_a_steward_does_is_in_the_audit_log(database: Database) -> None:
    run(database)
    made = decide(database, ANN["record_id"], ANNA["record_id"], "same")
    with database.begin() as connection:
        steward.withdraw(connection, made.id, by="bo", reason="a cousin")
        key = keys.make(connection, "mia", role=keys.STEWARD, by="root")
        entries = [entry.said for entry in log.read(connection)]
    assert [(entry["kind"], entry["actor"], entry["subject"]) for entry in entries] == [
        ("decision.made", "mia", "customer"),
        ("decision.withdrawn", "bo", "customer"),
        ("key.made", "root", "steward/mia"),
    ]
    assert entries[0]["data"] == {
        "decision": made.id, "left": ANNA["record_id"], "right": ANN["record_id"], "judgement": "same",
        "reason": "called them",
    }  # fmt: skip
    assert key not in str(entries)
