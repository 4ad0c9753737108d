"""The queue: found again the same, decided for good unless the evidence changes, one decider at a time, kept by kind."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from oms_core.api import keys
from oms_core.api.app import create_app
from oms_core.exceptions import queue
from oms_core.exceptions.errors import DecidedError, ResolutionError, UnknownExceptionError
from oms_core.store import outbox
from oms_core.store.postgres import Database

Publish = Callable[..., Any]


@pytest.fixture
def release(database: Database, publish_small: Publish) -> Callable[..., queue.Detected]:
    """Publishes one chilled order under way with an address and a difference of the books, then looks."""

    def run(
        amount: str = "2.5", postcode: str = "20457", is_intact: bool | None = True, is_billed: bool = True
    ) -> queue.Detected:
        blank = dict.fromkeys(
            ("stock_reserved_at", "picked_at", "packed_at", "dispatched_at", "first_carrier_scan_at", "delivered_at"), None
        )  # fmt: skip
        order = {
            **blank, "order_id": "order_a", "order_number": "1042", "order_type": "b2c", "channel": "web",
            "order_status": "processing", "is_test": False, "customer_id": "customer_w", "source_systems": "[]",
            "ship_to_country": "DE", "ship_to_region": None, "ship_to_city": "Hamburg", "ship_to_postcode": postcode,
            "needs_cold_chain": True, "is_cold_chain_intact": is_intact, "min_temperature_c": "2", "max_temperature_c": "14",
            "excursion_minutes": "90", "excursion_count": "1", "sensor_coverage_ratio": None, "row_hash": "x",
            "release_id": None,
        }  # fmt: skip
        line = {
            "order_line_id": "l",
            "order_id": "order_a",
            "sku_id": "sku_l",
            "uom": "C62",
            "qty": Decimal(2),
            "is_return": False,
        }
        books = {
            "difference_id": "d1", "order_id": "order_a", "leg": "billing", "document": "invoice", "status": "different",
            "cause": "amount_mismatch", "missing_in": None, "period": "2026-11", "currency": "EUR",
            "left_amount": Decimal(10), "right_amount": Decimal(10) - Decimal(amount), "difference_amount": Decimal(amount),
            "left_records": "[]", "right_records": "[]",
        }  # fmt: skip
        other = {**books, "difference_id": "d2", "cause": "timing"}
        publish_small(
            database, fct_orders=[order], fct_order_lines=[line],
            fin_reconciliation=[books, other] if is_billed else [other],
        )  # fmt: skip
        return queue.detect(database, by="root")

    return run


def test_goods_are_short_where_stock_or_sourcing_says_so(
    database: Database, release: Callable[..., queue.Detected]
) -> None:
    with database.begin() as connection:
        for statement in (
            "INSERT INTO orderhub.stock_nodes (location_id) VALUES ('N1'), ('N2')",
            "UPDATE orderhub.stock_nodes SET closed_at = now(), closed_reason = 'flood' WHERE location_id = 'N2'",
            "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) "
            "VALUES ('sku_l', 'N1', 'C62', false), ('sku_l', 'N2', 'C62', false)",
            "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty, reserved_qty) "
            "VALUES ('sku_l', 'N1', '', 5, 4), ('sku_l', 'N2', '', 50, 0)",
        ):
            connection.execute(text(statement))
    assert release().found["no_stock"] == 1
    with database.begin() as connection:
        item = queue.look(connection, kind="no_stock")[0]
        assert (item.about, item.evidence["available_qty"], item.suggestion["resolution"]) == (
            "sku_l",
            "1",
            "ship_partly",
        )
        connection.execute(
            text(
                "INSERT INTO orderhub.stock_inbound (source_system, reference, sku_id, location_id, lot_number, kind, qty, "
                "expected_on, recorded_at) VALUES ('erp', 'PO1', 'sku_l', 'N1', '', 'purchase', 9, current_date + 3, now())"
            )
        )
    assert release().opened == 1  # it rests on something else now
    with database.begin() as connection:
        assert queue.look(connection, kind="no_stock")[0].suggestion["resolution"] == "wait_for_inbound"
        # Sourcing knows better: what it decided last counts.
        connection.execute(
            text(
                "INSERT INTO orderhub.sourcing_decisions (decision_id, order_id, decided_at, decided_by, release_id, "
                "policy_version, policy_sha256, inputs, decision, unknown) VALUES ('d', 'order_a', now(), 'x', 1, 'v', 's', '', "
                """'{"is_filled": false, "unfillable": [{"sku_id": "sku_l", "qty": "2", "sendable_qty": "0"}]}', '{}')"""
            )
        )
    release()
    with database.begin() as connection:
        assert queue.look(connection, kind="no_stock")[0].evidence["decision_id"] == "d"
        connection.execute(text("UPDATE orderhub.sourcing_decisions SET decision = '{\"is_filled\": true}'"))
    assert release().closed == 1


def test_promised_goods_that_come_late_or_not_at_all_need_a_person(
    database: Database, release: Callable[..., queue.Detected]
) -> None:
    with database.begin() as connection:
        for statement in (
            "INSERT INTO orderhub.stock_nodes (location_id) VALUES ('N1')",
            "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) VALUES ('sku_l', 'N1', 'C62', false)",
            "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty, reserved_qty, inbound, arrives_on) "
            "VALUES ('sku_l', 'N1', '', 3, 0, '', NULL), ('sku_l', 'N1', '', 2, 2, 'erp/PO1', current_date + 3)",
            "INSERT INTO orderhub.reservations (reservation_id, tenant, key, body_sha256, channel, order_reference, state, made_at, "
            "made_by) VALUES ('r', 't', 'k', '', 'web', 'order_a', 'allocated', now(), 'x')",
            "INSERT INTO orderhub.reservation_lines (reservation_id, line_number, sku_id, uom, asked_qty, granted_qty, promised_on) "
            "VALUES ('r', 1, 'sku_l', 'C62', 3, 3, current_date + 3)",
            "INSERT INTO orderhub.reservation_holds (reservation_id, line_number, position_id, sku_id, location_id, channel, qty) "
            "SELECT 'r', 1, id, 'sku_l', 'N1', 'web', 2 FROM orderhub.stock_positions WHERE inbound <> ''",
        ):
            connection.execute(text(statement))
    assert "no_stock" not in release().found  # in time
    for change, available in (
        ("UPDATE orderhub.stock_positions SET arrives_on = current_date + 5 WHERE inbound <> ''", "1"),
        ("UPDATE orderhub.reservation_lines SET lost_qty = 1", "0"),
        ("UPDATE orderhub.stock_positions SET arrives_on = current_date - 1 WHERE inbound <> ''", "0"),
    ):
        with database.begin() as connection:
            connection.execute(text(change))
        assert release().found["no_stock"] == 1
        with database.begin() as connection:
            (item,) = queue.look(connection, kind="no_stock")
        assert (item.evidence["asked_qty"], item.evidence["available_qty"]) == ("3", available)


def open_ids(database: Database) -> dict[str, str]:
    with database.begin() as connection:
        return {item.kind: item.exception_id for item in queue.look(connection)}


def decide(database: Database, exception_id: str, decision: Any = "accept", **given: Any) -> queue.Item:
    with database.begin() as connection:
        return queue.decide(
            connection, exception_id, decision, by=given.pop("by", "anna"), reason="r", **given
        )


def test_a_question_about_who_is_who_holds_the_orders_that_rest_on_it(
    database: Database, release: Callable[..., queue.Detected]
) -> None:
    with database.begin() as connection:
        for statement in (
            "INSERT INTO orderhub.identity_members (entity, record_id, golden_id, match_rule, valid_from) "
            "VALUES ('customer', 'shop:customers:1', 'customer_w', 'x', now())",
            "INSERT INTO orderhub.identity_tasks (entity, kind, left_record_id, right_record_id, golden_id, probability, evidence, "
            "fingerprint, orders, open_orders, revenue, opened_at) VALUES "
            "('customer', 'pair', 'crm:contacts:2', 'shop:customers:1', NULL, 0.8, '{}', 'f', 1, 1, '{}', now()), "
            "('sku', 'contradiction', NULL, NULL, 'sku_l', NULL, '{}', 'g', 1, 1, '{}', now()), "
            "('sku', 'contradiction', NULL, NULL, 'sku_other', NULL, '{}', 'h', 0, 0, '{}', now())",
        ):
            connection.execute(text(statement))
    assert release().found["identity_in_doubt"] == 2
    with database.begin() as connection:
        found = queue.look(connection, kind="identity_in_doubt")
        assert {(item.order_id, item.evidence["entity"], item.suggestion["resolution"]) for item in found} == {
            ("order_a", "customer", "decide_same"), ("order_a", "sku", "hold_order"),
        }  # fmt: skip
        connection.execute(text("UPDATE orderhub.identity_tasks SET closed_at = now(), outcome = 'same'"))
    assert release().closed == 2


def test_found_again_it_is_the_same_and_gone_it_is_closed(
    database: Database, release: Callable[..., queue.Detected]
) -> None:
    done = release(is_intact=False, postcode="2045")
    assert done.found == {"address_doubtful": 1, "cold_chain_broken": 1, "reconciliation_difference": 1}
    assert (done.opened, done.not_looked) == (3, ())
    before = open_ids(database)
    again = release(is_intact=False, postcode="2045")
    assert (again.opened, again.closed, open_ids(database)) == (0, 0, before)
    assert release(is_intact=None).closed == 2
    assert set(open_ids(database)) == {"reconciliation_difference"}
    assert release(is_intact=False).opened == 1
    with database.begin() as connection:
        past = queue.history(connection, before["cold_chain_broken"])
        assert [each["happened"] for each in past] == ["opened", "gone", "reopened"]
        shown = connection.execute(
            text("SELECT string_agg(CAST(evidence AS text), '') FROM orderhub.exceptions")
        ).scalar()
        assert "2045" not in shown  # where somebody lives is not kept in the queue


def test_decided_it_stays_decided_until_the_evidence_changes(
    database: Database, release: Callable[..., queue.Detected]
) -> None:
    release()
    exception_id = open_ids(database)["reconciliation_difference"]
    with pytest.raises(ResolutionError, match="cannot be changed"):
        decide(database, exception_id, "change", resolution="correct_books")  # is what was suggested
    with pytest.raises(ResolutionError, match="cannot be changed"):
        decide(database, exception_id, "change", resolution="nonsense")
    with pytest.raises(DecidedError, match="was seen at 7"):
        decide(database, exception_id, revision=7)
    with pytest.raises(UnknownExceptionError):
        decide(database, "EXC-NONE")
    assert decide(database, exception_id, revision=1).resolution == "correct_books"
    with pytest.raises(DecidedError, match="anna accepted it"):
        decide(database, exception_id, "reject", by="ben")
    assert release().opened == 0
    with database.begin() as connection:
        assert queue.one(connection, exception_id).outcome == "persists"
    assert release(amount="4").opened == 1  # it rests on another amount now
    assert decide(database, exception_id, "change", resolution="accept_difference").state == "changed"
    release(is_billed=False)
    with database.begin() as connection:
        assert queue.one(connection, exception_id).outcome == "solved"
        found = {item.kind: item for item in queue.statistics(connection)}["reconciliation_difference"]
        assert (found.accepted, found.changed, found.rejected, found.adoption, found.solved, found.open) == (
            1,
            1,
            0,
            0.5,
            1,
            0,
        )
        assert found.median_hours is not None
        told = [item.telling for item in outbox.read(connection)]
        assert [item.data["resolution"] for item in told] == ["correct_books", "accept_difference"]
        logged = connection.execute(text("SELECT count(*) FROM orderhub.audit_entries WHERE entry LIKE '%exception.decided%'")).scalar()  # fmt: skip
        assert logged == 2
    assert release(amount="4").opened == 1  # it came back


def test_of_many_deciders_one_decides(database: Database, release: Callable[..., queue.Detected]) -> None:
    release()
    exception_id = open_ids(database)["reconciliation_difference"]
    outcomes: list[str] = []

    def run(number: int) -> None:
        try:
            outcomes.append(
                decide(database, exception_id, "accept" if number % 2 else "reject", by=str(number)).state
            )
        except DecidedError:
            outcomes.append("refused")

    threads = [threading.Thread(target=run, args=[number]) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert outcomes.count("refused") == 7


def test_over_http(
    database: Database, release: Callable[..., queue.Detected], serving: Callable[[FastAPI], httpx.Client]
) -> None:
    release(is_intact=False)
    with database.begin() as connection:
        made = {
            role: keys.make(connection, role, role=role, by="root") for role in (keys.STEWARD, keys.AUDITOR)
        }
    client = serving(create_app(database))
    steward, auditor = ({"X-API-Key": made[role]} for role in (keys.STEWARD, keys.AUDITOR))
    first = client.get("/exceptions", params={"limit": 1}, headers=auditor).json()
    second = client.get("/exceptions", params={"after": first["next_after"]}, headers=auditor).json()
    ids = [item["exception_id"] for page in (first, second) for item in page["exceptions"]]
    assert (len(set(ids)), second["next_after"]) == (2, None)
    assert client.get("/exceptions", params={"order": "1042", "kind": "stuck"}).json()["exceptions"] == []
    place = f"/exceptions/{ids[0]}"
    shown = client.get(place).json()
    assert shown["suggestion"]["resolution"] in shown["resolutions"]
    body = {"decision": "accept", "reason": "seen", "revision": 1}
    for headers, sent, status, code in (
        (auditor, body, 403, "forbidden"),
        (steward, {**body, "revision": 9}, 409, "revision-past"),
        (steward, {**body, "decision": "change", "resolution": "x"}, 422, "unknown-resolution"),
        (steward, {**body, "reason": ""}, 422, "invalid-request"),
    ):
        answer = client.post(f"{place}/decision", json=sent, headers=headers)
        assert (answer.status_code, answer.json()["type"]) == (status, f"urn:orderhub:problem:{code}"), (
            answer.text
        )
    assert client.get(place).json()["revision"] == 1
    assert client.post(f"{place}/decision", json=body, headers=steward).json()["state"] == "accepted"
    again = client.post(f"{place}/decision", json={**body, "revision": 2}, headers=steward)
    assert (again.status_code, again.json()["type"]) == (409, "urn:orderhub:problem:already-decided")
    assert client.get("/exceptions/EXC-NONE").status_code == 404
    assert client.get("/exceptions", params={"after": "EXC-NONE"}).status_code == 404
    found = client.get("/exceptions/statistics").json()["kinds"]
    assert sum(item["accepted"] for item in found) == 1
