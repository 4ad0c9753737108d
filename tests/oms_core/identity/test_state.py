"""Identity's memory in a real PostgreSQL: what a run writes, what the next one reads, and what followers see."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, insert, text

from oms_core.identity import state
from oms_core.identity.feed import Event, read_events
from oms_core.identity.lookup import AmbiguousKeyError, current_id, links, lookup
from oms_core.identity.resolve import Resolved, resolve
from oms_core.identity.stable import Memory, remembered
from oms_core.store.postgres import Database
from oms_core.store.tables import identity_decisions, identity_events

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


def identify(connection: Connection, customers: Sequence[Row], day: int = 0) -> Resolved:
    """One run over customers in the caller's transaction, as the pipeline does it."""
    state.lock(connection)
    changes = {"customer": state.compare(connection, "customer", customers)}
    known = replace(state.recall(connection), rewritten={"customer": changes["customer"].rewritten})
    outcome = resolve(customers, [], [], [], [], known)
    at = EPOCH + timedelta(days=day)
    state.remember(connection, outcome, known, at, changes)
    pure = remembered(known.memory["customer"], outcome["customer"].assignment, at)
    after = state.recall(connection).memory["customer"]
    assert (after.members, after.homes) == (pure.members, pure.homes), "the store keeps what the rules say"
    assert {i: replace(k, born_at=at) for i, k in after.ids.items()} == {
        i: replace(k, born_at=at) for i, k in pure.ids.items()
    }
    return outcome["customer"]


def run(database: Database, *customers: Row, day: int = 0) -> Mapping[str, str]:
    with database.begin() as connection:
        return identify(connection, customers, day).assignment.members


def dump(connection: Connection) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of identity's tables with the transaction that wrote it."""
    tables = ("identity_members", "golden_ids", "identity_records", "identity_events")
    return {
        table: [
            tuple(row)
            for row in connection.execute(
                text(f"SELECT xmin::text, t.* FROM orderhub.{table} AS t ORDER BY t")
            )
        ]
        for table in tables
    }


def told(events: Iterable[Event]) -> list[tuple[str, str, str | None, str | None, str | None]]:
    return [(item.kind, item.golden_id, item.record_id, item.other_id, item.reason) for item in events]


ANNA = customer("shopify:customers:1", 0, full_name="Anna Schmidt", email="anna@example.com")
ALSO = customer("tryton:parties:9", 1, full_name="Anna Schmidt", phone_e164="+4930901820")
BRIDGE = customer(
    "hubspot:contacts:5", 2, full_name="Anna Schmidt", email="anna@example.com", phone_e164="+4930901820"
)
BERND = {**ANNA, "full_name": "Bernd Kaiser", "email": "bernd@example.net"}


def test_the_same_input_twice_writes_nothing_at_all(database: Database) -> None:
    run(database, ANNA, ALSO, BRIDGE)
    with database.begin() as connection:
        before = dump(connection)
    run(database, BRIDGE, ANNA, ALSO, day=1)
    with database.begin() as connection:
        assert dump(connection) == before


def test_a_merge_its_undo_and_its_return_are_dated_and_told_in_order(database: Database) -> None:
    apart = run(database, ANNA, ALSO, day=0)
    old, young = apart[ANNA["record_id"]], apart[ALSO["record_id"]]
    assert run(database, ANNA, ALSO, BRIDGE, day=1)[ALSO["record_id"]] == old
    with database.read() as connection:
        assert current_id(connection, "customer", young) == old
    assert run(database, ANNA, ALSO, day=2) == apart
    with database.read() as connection:
        assert current_id(connection, "customer", young) == young
        held = links(connection, "customer", ALSO["record_id"])
        assert [(link.golden_id, link.valid_from, link.valid_to) for link in held] == [
            (young, EPOCH, EPOCH + timedelta(days=1)),
            (old, EPOCH + timedelta(days=1), EPOCH + timedelta(days=2)),
            (young, EPOCH + timedelta(days=2), None),
        ]
        born = [("born", i, r["record_id"], None, "new record") for i, r in ((young, ALSO), (old, ANNA))]
        assert told(read_events(connection)) == [
            *sorted(born),
            ("joined", old, BRIDGE["record_id"], None, "new record"),
            ("moved", old, ALSO["record_id"], young, "other evidence"),
            ("merged", young, None, old, "other evidence"),
            ("revived", young, None, None, "evidence gone"),
            ("split", young, None, old, "evidence gone"),
            ("left", old, BRIDGE["record_id"], None, "record gone"),
            ("moved", young, ALSO["record_id"], old, "evidence gone"),
        ]
        at_noon = [EPOCH + timedelta(days=day, hours=12) for day in range(-1, 3)]
        assert [lookup(connection, "customer", "tryton", "9", at) for at in at_noon] == [
            None,
            young,
            old,
            young,
        ]


def test_redirects_of_retired_ids_are_followed_through_all_later_merges(database: Database) -> None:
    third = customer("square:customers:3", 3, full_name="Anna Schmidt", tax_number="DE136695976")
    apart = run(database, ANNA, ALSO, third, day=0)
    taxed = {**ALSO, "tax_number": "DE136695976"}
    run(database, ANNA, taxed, third, day=1)
    run(database, ANNA, taxed, third, BRIDGE, day=2)
    with database.read() as connection:
        assert {current_id(connection, "customer", golden_id) for golden_id in apart.values()} == {
            apart[ANNA["record_id"]]
        }
        assert current_id(connection, "customer", "CUS-NEVERBORN") is None


def test_a_recycled_code_leaves_and_answers_differently_at_different_times(database: Database) -> None:
    """A shop gives account 1 to somebody else; the ERP's record of the first owner stays who it was."""
    erp = customer("tryton:parties:9", 1, full_name="Anna Schmidt", email="anna@example.com")
    first = run(database, ANNA, erp, day=0)[ANNA["record_id"]]
    after = run(database, BERND, erp, day=1)
    assert after["tryton:parties:9"] == first
    second = after[ANNA["record_id"]]
    assert second != first
    assert run(database, BERND, erp, day=2) == after, "rewritten once, not again"
    with database.read() as connection:
        assert lookup(connection, "customer", "shopify", "1", EPOCH) == first
        assert lookup(connection, "customer", "shopify", "1", EPOCH + timedelta(days=1)) == second, (
            "half-open"
        )
        assert lookup(connection, "customer", "shopify", "1") == second
        events = [event for event in read_events(connection) if event.record_id == ANNA["record_id"]]
        assert told(events)[-1] == (
            "moved", second, ANNA["record_id"], first, "rewritten: e-mail and name differ",
        )  # fmt: skip


def test_former_holders_of_a_key_are_told_with_who_they_are_today(database: Database) -> None:
    erp = customer("tryton:parties:9", 1, full_name="Anna Schmidt", email="anna@example.com")
    older = customer("square:customers:3", -1, full_name="A. Schmidt", tax_number="DE136695976")
    chen = {**ANNA, "full_name": "Chen Li", "email": "chen@example.cn"}
    first = run(database, older, ANNA, erp, day=0)
    second = run(database, older, BERND, erp, day=1)
    run(database, older, chen, erp, day=2)
    taxed = {**erp, "tax_number": "DE136695976"}
    run(database, older, chen, taxed, day=3)  # Anna's id merges into an older one
    with database.begin() as connection:
        rows = state.former_links(connection).to_pylist()
        retired = second[ANNA["record_id"]]
        assert current_id(connection, "customer", retired) is None
    shared = {"entity": "customer", "record_id": ANNA["record_id"]}
    assert rows == [
        {
            **shared,
            "golden_id": first["square:customers:3"],
            "held_from": None,
            "held_to": EPOCH + timedelta(1),
        },
        {**shared, "golden_id": None, "held_from": EPOCH + timedelta(1), "held_to": EPOCH + timedelta(2)},
    ]


def test_a_rewritten_record_alone_retires_its_id_without_an_heir(database: Database) -> None:
    first = run(database, ANNA, day=0)[ANNA["record_id"]]
    second = run(database, BERND, day=1)[ANNA["record_id"]]
    assert second != first
    with database.read() as connection:
        assert current_id(connection, "customer", first) is None


def test_an_edit_writes_the_new_values_and_moves_nothing(database: Database) -> None:
    before = run(database, ANNA, ALSO)
    moved = {**ANNA, "street": "Hauptstr. 5", "postcode": "10115", "full_name": "Anna Kaiser"}
    with database.begin() as connection:
        rows = dump(connection)
    assert run(database, moved, ALSO, day=1) == before
    with database.begin() as connection:
        after = dump(connection)
    assert {table: rows[table] == after[table] for table in rows} == {
        "identity_members": True, "golden_ids": True, "identity_records": False, "identity_events": True,
    }  # fmt: skip
    assert len(set(rows["identity_records"]) & set(after["identity_records"])) == 1, (
        "of the edited record only"
    )


def test_values_that_need_escaping_are_remembered_as_they_are(database: Database) -> None:
    odd = {**ANNA, "full_name": 'Ann\\a "T\tab"\nO\'Neill', "street": "\\N"}
    run(database, odd)
    with database.begin() as connection:
        before = dump(connection)
        assert state.compare(connection, "customer", [odd]) == state.Changes()
    run(database, odd, day=1)
    with database.begin() as connection:
        assert dump(connection) == before


def test_a_deleted_record_closes_its_link_and_gets_its_id_back(database: Database) -> None:
    before = run(database, ANNA, ALSO, day=0)
    run(database, ALSO, day=1)
    with database.read() as connection:
        assert lookup(connection, "customer", "shopify", "1") is None
        assert (
            lookup(connection, "customer", "shopify", "1", EPOCH + timedelta(hours=1))
            == before[ANNA["record_id"]]
        )
        assert current_id(connection, "customer", before[ANNA["record_id"]]) is None
    assert run(database, ANNA, ALSO, day=2) == before


def test_a_rebuild_on_an_empty_store_bears_the_same_ids(database: Database) -> None:
    run(database, ANNA)
    run(database, ANNA, ALSO, day=1)
    grown = run(database, ANNA, ALSO, BRIDGE, day=2)
    with database.begin() as connection:
        connection.execute(
            text(
                "TRUNCATE orderhub.identity_members, orderhub.golden_ids, orderhub.identity_records, "
                "orderhub.identity_events"
            )
        )
    assert run(database, BRIDGE, ALSO, ANNA) == grown


def test_a_steward_s_split_survives_reruns(database: Database) -> None:
    pair = sorted((ANNA["record_id"], BRIDGE["record_id"]))
    run(database, ANNA, BRIDGE)
    with database.begin() as connection:
        connection.execute(
            insert(identity_decisions).values(
                entity="customer", left_record_id=pair[0], right_record_id=pair[1], judgement="different",
                decided_by="ann", reason="mother and daughter",
            )
        )  # fmt: skip
    split = run(database, ANNA, BRIDGE, day=1)
    assert len(set(split.values())) == 2
    assert run(database, BRIDGE, ANNA, day=2) == split
    with database.read() as connection:
        assert {event.reason for event in read_events(connection, after=2)} == {"steward"}


def test_documents_that_hang_on_an_order_have_links_but_no_home(database: Database) -> None:
    order = {
        "record_id": "shopify:orders:5123450001", "source_system": "shopify", "source_key": "5123450001",
        "document_role": "order", "order_number": "1001", "channel": None, "customer_key": None, "_first_seen_at": EPOCH,
    }  # fmt: skip
    picking = {
        **order, "record_id": "odoo:pickings:7", "source_system": "odoo", "source_key": "7",
        "document_role": "fulfilment", "order_number": "WH/OUT/7",
    }  # fmt: skip
    named = {
        "order_record_id": "odoo:pickings:7", "reference_type": "origin", "reference_value": "1001",
        "target_system": "shopify",
    }  # fmt: skip
    for day in range(2):
        with database.begin() as connection:
            state.lock(connection)
            # As if the picking had been an order document when records were compared.
            changes = {"order": state.compare(connection, "order", [order, picking])}
            known = state.recall(connection)
            outcome = resolve([], [], [], [order, picking], [named], known)
            count = state.remember(connection, outcome, known, EPOCH + timedelta(days=day), changes)
            assert count == (2 if day == 0 else 0)
            memory = state.recall(connection).memory["order"]
        assert set(memory.members) == {order["record_id"], picking["record_id"]}
        assert set(memory.homes) == {order["record_id"]}


# Look-ups


def test_a_key_is_found_by_record_id_and_by_source_key_in_any_stream(database: Database) -> None:
    run(database, ANNA, customer("odoo:partners:a:b", 1, full_name="Chen Li", email="chen@example.cn"))
    with database.read() as connection:
        found = lookup(connection, "customer", "shopify", "1")
        assert found is not None
        assert lookup(connection, "customer", "shopify", "shopify:customers:1") == found
        assert lookup(connection, "customer", "tryton", "shopify:customers:1") is None
        assert lookup(connection, "customer", "odoo", "a:b") is not None
        assert lookup(connection, "sku", "shopify", "1") is None
        with pytest.raises(ValueError, match="no time zone"):
            lookup(connection, "customer", "shopify", "1", datetime(2026, 1, 1))


def test_a_key_that_two_streams_use_for_two_customers_is_not_guessed(database: Database) -> None:
    run(database, ANNA, customer("shopify:companies:1", 1, full_name="Chen Li", email="chen@example.cn"))
    with database.read() as connection:
        with pytest.raises(AmbiguousKeyError, match=r"shopify:companies:1 is CUS-.*Ask by record id"):
            lookup(connection, "customer", "shopify", "1")
        assert lookup(connection, "customer", "shopify", "shopify:companies:1") is not None


# Dates


def test_links_of_a_record_never_overlap_even_when_clocks_run_back(database: Database) -> None:
    run(database, ANNA, ALSO, day=5)
    run(database, ANNA, ALSO, BRIDGE, day=1)
    run(database, ANNA, ALSO, day=0)
    with database.read() as connection:
        for record in (ANNA, ALSO, BRIDGE):
            held = links(connection, "customer", record["record_id"])
            for link, following in pairwise(held):
                assert link.valid_to is not None
                assert link.valid_from < link.valid_to <= following.valid_from
        seen = [event.at for event in read_events(connection)]
        assert seen == sorted(seen)


def test_the_crosswalk_holds_every_dated_link(database: Database) -> None:
    run(database, ANNA, ALSO, day=0)
    run(database, ANNA, ALSO, BRIDGE, day=1)
    with database.begin() as connection:
        table = state.crosswalk(connection, "customer")
        assert state.crosswalk(connection, "order").num_rows == 0
    assert table.column_names == ["record_id", "customer_id", "match_rule", "valid_from", "valid_to"]
    rows = table.filter([value == ALSO["record_id"] for value in table["record_id"].to_pylist()]).to_pylist()
    assert [(row["match_rule"], row["valid_from"], row["valid_to"]) for row in rows] == [
        ("alone", EPOCH, EPOCH + timedelta(days=1)),
        ("phone+name", EPOCH + timedelta(days=1), None),
    ]


# Events


def test_events_are_read_in_pages_by_entity_and_without_gaps(database: Database) -> None:
    run(database, ANNA, ALSO)
    run(database, ANNA, ALSO, BRIDGE, day=1)
    with database.read() as connection:
        everything = read_events(connection)
        paged: list[Event] = []
        while page := read_events(connection, after=paged[-1].seq if paged else 0, limit=2):
            paged += page
        assert paged == everything
        assert read_events(connection, entity="customer") == everything
        assert read_events(connection, entity="sku") == []
        for limit in (0, 10_001):
            with pytest.raises(ValueError, match="limit"):
                read_events(connection, limit=limit)


def test_a_follower_never_misses_an_event_of_a_concurrent_transaction(database: Database) -> None:
    """Writers commit out of step with a reader that polls all the while."""
    faults: list[BaseException] = []
    records = [
        [
            customer(f"shopify:customers:{number}", number, email=f"u{number}@example.com")
            for number in range(step + 1)
        ]
        for step in range(8)
    ]

    def write(step: int) -> None:
        try:
            with database.begin() as connection:
                state.lock(connection)
                known = state.recall(connection)
                held = set(known.memory["customer"].members)
                rows = [row for row in records[7] if row["record_id"] in held] + [
                    row for row in records[7] if row["record_id"] not in held
                ][:1]
                outcome = resolve(rows, [], [], [], [], known)
                state.remember(connection, outcome, known, EPOCH + timedelta(days=step))
                time.sleep(0.02)
        except BaseException as fault:
            faults.append(fault)

    writers = [threading.Thread(target=write, args=(step,)) for step in range(8)]
    for writer in writers:
        writer.start()
    followed: list[Event] = []
    while True:
        is_over = not any(writer.is_alive() for writer in writers)
        with database.read() as connection:
            page = read_events(connection, after=followed[-1].seq if followed else 0)
        followed += page
        if is_over and not page:
            break
    for writer in writers:
        writer.join()
    assert faults == []
    with database.read() as connection:
        assert followed == read_events(connection)
    assert [event.kind for event in followed] == ["born"] * 8


def test_a_writer_waits_for_the_one_before_it(database: Database) -> None:
    order: list[str] = []

    def second() -> None:
        with database.begin() as connection:
            state.lock(connection)
            order.append("second")

    with database.begin() as connection:
        state.lock(connection)
        thread = threading.Thread(target=second)
        thread.start()
        thread.join(timeout=0.2)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]


# A store of an older version


def test_an_older_store_keeps_its_ids_and_knows_where_records_are_at_home(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", "oms_core:store/migrations")
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
    with database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO orderhub.golden_ids (entity, golden_id, born_at, born_from_record_id, retired_at, redirect_to) "
                "VALUES ('customer', 'CUS-OLD', :one, :anna, NULL, NULL), "
                "('customer', 'CUS-YOUNG', :two, :also, :three, 'CUS-OLD')"
            ),
            {
                "one": EPOCH, "two": EPOCH + timedelta(1), "three": EPOCH + timedelta(2),
                "anna": ANNA["record_id"], "also": ALSO["record_id"],
            },
        )  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO orderhub.identity_members (entity, record_id, golden_id, match_rule, valid_from, valid_to) "
                "VALUES ('customer', :anna, 'CUS-OLD', 'alone', :one, NULL), "
                "('customer', :also, 'CUS-YOUNG', 'alone', :two, :three), "
                "('customer', :also, 'CUS-OLD', 'phone+name', :three, NULL)"
            ),
            {
                "one": EPOCH, "two": EPOCH + timedelta(1), "three": EPOCH + timedelta(2),
                "anna": ANNA["record_id"], "also": ALSO["record_id"],
            },
        )  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO orderhub.identity_events (entity, kind, golden_id, other_id, at) "
                "VALUES ('customer', 'merged', 'CUS-YOUNG', 'CUS-OLD', :three)"
            ),
            {"three": EPOCH + timedelta(2)},
        )
    database.upgrade()
    # The merge is undone, and the id comes back that was born before homes were known.
    assert run(database, ANNA, ALSO, day=3) == {ANNA["record_id"]: "CUS-OLD", ALSO["record_id"]: "CUS-YOUNG"}
    with database.begin() as connection:
        assert [row.reason for row in connection.execute(identity_events.select().order_by("seq"))][:2] == [
            None,
            "evidence gone",
        ]
        assert state.recall(connection).memory["sku"] == Memory()
