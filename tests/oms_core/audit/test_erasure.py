"""What was written live about an erased person's orders."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from oms_core.audit import erasure
from oms_core.store.postgres import Database

_LIVE = """
INSERT INTO orderhub.flow_versions VALUES ('f', '1', '{}', 'x');
INSERT INTO orderhub.flow_orders (order_id, flow, first_version, version, facts, state, is_done, revision)
    VALUES ('order_a', 'f', '1', '1', '{"note": "leave with WANG@example.com"}', 'paid', false, 1),
        ('order_b', 'f', '1', '1', '{"note": "wang@example.com"}', 'paid', false, 1);
INSERT INTO orderhub.flow_events (order_id, event_id, kind, occurred_at, source_system, told_by, reason, data, body_sha256,
    is_released) VALUES ('order_a', 'e1', 'hold', now(), 'desk', 'ann', '王小明 called twice', '{"to": ["王小明", 2, null]}', 'x', false);
INSERT INTO orderhub.flow_changes (order_id, revision, version, to_state, changed_by, reason)
    VALUES ('order_a', 1, '1', 'paid', 'ann', 'for 王小明');
INSERT INTO orderhub.outbox_events (event_id, type, subject, occurred_at, data)
    VALUES ('e1', 't', 'order_a', now(), '{"reason": "王小明 called twice"}');
INSERT INTO orderhub.exceptions (exception_id, kind, order_id, about, fingerprint, evidence, suggestion, state, revision, opened_at,
    seen_at, reason) VALUES ('x', 'late', 'order_a', '', 'f', '{"who": "王小明"}', '{"do": "wait"}', 'open', 1, now(), now(), null);
INSERT INTO orderhub.exception_history (exception_id, revision, happened, by, suggested, reason, evidence)
    VALUES ('x', 1, 'opened', 'ann', 'ask 王小明', null, '{"who": "王小明"}');
"""


def test_what_was_written_about_orders_names_an_erased_person_no_longer(database: Database) -> None:
    person = erasure.About(
        "customer_w",
        ("customer_w", "order_a"),
        (),
        (),
        frozenset({"王小明", "wang@example.com", "Li"}),
        frozenset(),
    )
    with database.begin() as connection:
        for statement in _LIVE.split(";\n")[:-1]:
            connection.exec_driver_sql(statement)
    with database.begin() as connection:
        assert erasure.erase_written(connection, person) == dict.fromkeys(erasure.WRITTEN_TABLES, 1)
        assert erasure.erase_written(connection, person) == {}
    with database.begin() as connection:
        rows: dict[str, list[Any]] = {
            table: [
                dict(row) for row in connection.execute(text(f"SELECT * FROM orderhub.{table}")).mappings()
            ]
            for table in erasure.WRITTEN_TABLES
        }
    told = repr([row for table in rows.values() for row in table if row.get("order_id") != "order_b"])
    assert "王小明" not in told and "example.com" not in told
    (event,) = rows["flow_events"]
    assert (event["reason"], event["data"]) == ("erased called twice", {"to": ["erased", 2, None]})
    assert {row["order_id"]: row["facts"]["note"] for row in rows["flow_orders"]} == {
        "order_a": "leave with erased", "order_b": "wang@example.com",
    }  # fmt: skip
    with pytest.raises(DBAPIError, match="append-only"), database.begin() as connection:
        connection.execute(text("UPDATE orderhub.flow_changes SET reason = 'x'"))
