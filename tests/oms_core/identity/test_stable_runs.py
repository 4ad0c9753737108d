"""Identity runs one after another, from rows to ids: the same whatever order and batches records come in. Pure."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from oms_core.identity.resolve import Decision, Known, resolve
from oms_core.identity.stable import Assignment, Memory, remembered

QUICK = settings(max_examples=60, deadline=None, database=None)
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
Row = Mapping[str, Any]


def customer(record_id: str, landed: int = 0, **fields: Any) -> Row:
    names = (
        "full_name", "given_name", "family_name", "company_name", "email", "phone", "phone_e164", "tax_number", "street",
        "city", "region", "postcode", "marketplace_buyer_id",
    )  # fmt: skip
    return {
        "record_id": record_id,
        "source_system": record_id.split(":")[0],
        "_first_seen_at": EPOCH + timedelta(minutes=landed),
        **dict.fromkeys(names),
        "customer_type": "person",
        "country": "DE",
        **fields,
    }


class Hub:
    """Runs over customer records, each remembering the one before."""

    def __init__(self) -> None:
        self.memory = Memory()
        self.day = 0
        self.has_parted = False

    def run(
        self,
        rows: Iterable[Row],
        decisions: Iterable[Decision] = (),
        rewritten: Mapping[str, str] | None = None,
    ) -> Assignment:
        before = self.memory
        known = Known(
            {"customer": before}, {"customer": list(decisions)}, rewritten={"customer": rewritten or {}}
        )
        found = resolve(list(rows), [], [], [], [], known)["customer"].assignment
        self.day += 1
        self.memory = remembered(before, found, EPOCH + timedelta(days=self.day))
        groups: dict[str, set[str]] = {}
        for record, former in before.members.items():
            if record in found.members:
                groups.setdefault(former, set()).add(found.members[record])
        self.has_parted |= any(len(ids) > 1 for ids in groups.values())
        return found


def partition(found: Assignment) -> set[frozenset[str]]:
    groups: dict[str, set[str]] = {}
    for record, golden_id in found.members.items():
        groups.setdefault(golden_id, set()).add(record)
    return {frozenset(group) for group in groups.values()}


def _shown(person: int, shows: str) -> dict[str, Any]:
    """A record of one of a few namesakes, with a mailbox, a phone or both; `bridge` has one's mailbox, another's phone."""
    mailbox, phone = f"anna{person}@example.com", f"+4930123456{7 + (person + (shows == 'bridge')) % 4}1"
    return {
        "full_name": "Anna Schmidt",
        "email": mailbox if shows != "phone" else None,
        "phone_e164": phone if shows != "mailbox" else None,
    }


_PLAIN = st.builds(_shown, st.integers(0, 3), st.sampled_from(["mailbox", "phone", "both", "bridge"]))


def _bridged(seed: int) -> tuple[list[Row], set[int]]:
    """Fourteen records evenly drawn, in batches of one to four: most such histories merge what was apart."""
    dice = random.Random(seed)
    shown = [
        _shown(dice.randrange(4), dice.choice(["mailbox", "phone", "mailbox", "phone", "both", "bridge"]))
        for _ in range(14)
    ]
    return _landed(shown), set(accumulate(dice.randint(1, 4) for _ in range(5)))


_ANY = st.builds(
    lambda plain, more: plain | more,
    _PLAIN,
    st.builds(
        dict,
        tax_number=st.sampled_from(["DE136695976", "DE811128135", None, None]),
        customer_type=st.sampled_from(["person", "person", "company"]),
        street=st.sampled_from(["Hauptstr. 5", "Hauptstr. 7", "Hauptstr.", None]),
        postcode=st.sampled_from(["10115", None]),
    ),
)


def _landed(fields: list[dict[str, Any]]) -> list[Row]:
    systems = ("shopify", "tryton", "hubspot")
    return [
        customer(f"{systems[number % 3]}:customers:{number}", number // 2, **values)
        for number, values in enumerate(fields)
    ]


BRIDGED = st.integers(0, 2**32).map(_bridged)
ANY = st.lists(_ANY, min_size=2, max_size=12).map(_landed)
CUTS = st.sets(st.integers(1, 11), min_size=1, max_size=5)


def in_landing_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["_first_seen_at"], row["record_id"]))


@QUICK
@given(ANY, CUTS, st.randoms(use_true_random=False))
def test_records_in_any_row_order_give_the_same_ids(rows: list[Row], cuts: set[int], dice: Any) -> None:
    straight, shuffled = Hub(), Hub()
    for cut in [*sorted(cuts), len(rows)]:
        mixed = rows[:cut]
        dice.shuffle(mixed)
        assert straight.run(rows[:cut]) == shuffled.run(mixed)


@QUICK
@given(ANY, CUTS, st.randoms(use_true_random=False))
def test_records_arriving_in_any_order_and_batches_give_the_same_partition(
    rows: list[Row], cuts: set[int], dice: Any
) -> None:
    whole = partition(Hub().run(rows))
    arriving, hub = list(rows), Hub()
    dice.shuffle(arriving)
    for cut in sorted(cuts):
        hub.run(arriving[:cut])
    assert partition(hub.run(arriving)) == whole


@QUICK
@given(st.one_of(BRIDGED, BRIDGED, st.tuples(ANY, CUTS)))
def test_batches_in_landing_order_give_the_ids_of_one_batch(history: tuple[list[Row], set[int]]) -> None:
    rows, cuts = history
    ordered, hub = in_landing_order(rows), Hub()
    former: Mapping[str, str] = {}
    for cut in [*sorted(cuts), len(ordered)]:
        found = hub.run(ordered[:cut])
        if not hub.has_parted:
            for record, golden_id in former.items():
                now = found.members[record]
                assert now == golden_id or found.retired[golden_id] == now, "ids change by merges alone"
        former = found.members
    # Where later records parted what was together, the id stays with most of its records; a rebuild never saw them so.
    if not hub.has_parted:
        assert former == Hub().run(rows).members


@QUICK
@given(ANY, CUTS)
def test_the_same_input_twice_changes_nothing(rows: list[Row], cuts: set[int]) -> None:
    hub = Hub()
    for cut in [*sorted(cuts), len(rows)]:
        found = hub.run(rows[:cut])
        again = hub.run(rows[:cut])
        assert again == Assignment(found.members)


@QUICK
@given(ANY, st.data())
def test_records_deleted_and_landed_again_get_their_ids_back(rows: list[Row], data: st.DataObject) -> None:
    hub = Hub()
    before = hub.run(rows).members
    kept = data.draw(st.lists(st.sampled_from(rows), unique_by=lambda row: row["record_id"]))
    hub.run(kept)
    assert hub.run(rows).members == before


BOTH = {"phone_e164": "+493012345671"}


def test_a_bridge_record_merges_two_customers_and_its_vanishing_gives_both_their_ids_back() -> None:
    anna = customer("shopify:customers:1", 0, full_name="Anna Schmidt", email="anna@example.com")
    also = customer("tryton:parties:1", 1, full_name="Anna Schmidt", **BOTH)
    bridge = customer("hubspot:contacts:1", 2, full_name="Anna Schmidt", email="anna@example.com", **BOTH)
    hub = Hub()
    apart = hub.run([anna, also]).members
    assert len(set(apart.values())) == 2
    joined = hub.run([anna, also, bridge])
    assert set(joined.members.values()) == {apart["shopify:customers:1"]}
    assert joined.members == Hub().run([anna, also, bridge]).members, "as if all had come at once"
    assert hub.run([anna, also]).members == apart


def test_an_edited_record_keeps_its_id() -> None:
    hub = Hub()
    rows = [
        customer("shopify:customers:1", 0, full_name="Anna Schmidt", email="anna@example.com", **BOTH),
        customer("tryton:parties:1", 1, full_name="Anna Schmidt", email="anna@example.com"),
    ]
    before = hub.run(rows)
    edited = [{**rows[0], "street": "Hauptstr. 5", "full_name": "Anna Maria Schmidt"}, rows[1]]
    assert hub.run(edited) == Assignment(before.members)


def test_a_steward_s_split_stands_when_the_run_is_repeated_and_its_withdrawal_joins_them_again() -> None:
    hub = Hub()
    rows = [
        customer(f"{system}:x:1", number, full_name="Anna Schmidt", email="anna@example.com")
        for number, system in enumerate(("shopify", "tryton", "hubspot"))
    ]
    whole = hub.run(rows).members
    apart = [
        Decision(*sorted(pair), "different")
        for pair in (("shopify:x:1", "tryton:x:1"), ("hubspot:x:1", "tryton:x:1"))
    ]
    split = hub.run(rows, apart)
    assert partition(split) == {frozenset({"shopify:x:1", "hubspot:x:1"}), frozenset({"tryton:x:1"})}
    assert split.members["shopify:x:1"] == whole["shopify:x:1"]
    assert {event.reason for event in split.events} == {"steward"}
    assert hub.run(rows, apart).events == []
    assert hub.run(rows).members == whole
    assert hub.run(rows, apart).members == split.members, "the same split has the same ids"


def test_a_rewritten_record_leaves_with_an_event_and_what_it_bought_before_does_not_hold_it() -> None:
    """Shop account 1 was Anna's, whom the ERP knows by her order; now it is Bernd's. The order is Anna's still."""

    def identify(customers: list[Row], known: Known) -> Assignment:
        order = {
            "document_role": "order", "channel": None, "_first_seen_at": EPOCH, "order_number": "ORDER-100200",
        }  # fmt: skip
        orders = [
            {
                **order, "record_id": "shopify:orders:5123450001", "source_system": "shopify",
                "source_key": "5123450001", "customer_key": "shopify:customers:1",
            },
            {
                **order, "record_id": "tryton:sales:77", "source_system": "tryton", "source_key": "77",
                "order_number": "SO77", "customer_key": "tryton:parties:9",
            },
        ]  # fmt: skip
        reference = {
            "order_record_id": "tryton:sales:77", "reference_type": "origin",
            "reference_value": "ORDER-100200", "target_system": "shopify",
        }  # fmt: skip
        return resolve(customers, [], [], orders, [reference], known)["customer"].assignment

    party = customer("tryton:parties:9", 1, full_name="A. Schmidt")
    anna = customer("shopify:customers:1", 0, full_name="Anna Schmidt", email="anna@example.com")
    bernd = {**anna, "full_name": "Bernd Kaiser", "email": "bernd@example.net"}
    first = identify([anna, party], Known())
    assert len(set(first.members.values())) == 1
    memory = remembered(Memory(), first, EPOCH)
    left = identify(
        [bernd, party],
        Known(
            {"customer": memory}, rewritten={"customer": {"shopify:customers:1": "e-mail and name differ"}}
        ),
    )
    assert left.members["tryton:parties:9"] == first.members["tryton:parties:9"]
    assert left.members["shopify:customers:1"] != first.members["shopify:customers:1"]
    assert {event.reason for event in left.events if event.record_id == "shopify:customers:1"} == {
        "rewritten: e-mail and name differ"
    }
    memory = remembered(memory, left, EPOCH + timedelta(days=1))
    later = Known(
        {"customer": memory}, rewritten_at={"customer": {"shopify:customers:1": EPOCH + timedelta(days=1)}}
    )
    assert identify([bernd, party], later) == Assignment(left.members)


def test_rows_do_not_have_to_be_from_one_clock() -> None:
    """The warehouse's times are naive UTC, the store's are aware."""
    rows = [
        customer("shopify:customers:1", 0, email="anna@example.com"),
        customer("shopify:customers:2", 1, email="bernd@example.net"),
    ]
    naive = [{**row, "_first_seen_at": row["_first_seen_at"].replace(tzinfo=None)} for row in rows]
    assert Hub().run(naive) == Hub().run(rows)
