"""Identity's memory in the operational store: members, ids, decisions, and what happened to them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select, text

from oms_core.identity.resolve import Decision, Known, Resolved
from oms_core.store.copy_text import copy_rows
from oms_core.store.tables import STATE_SCHEMA, golden_ids, identity_decisions, identity_members

_INSTANT = pa.timestamp("us", tz="UTC")


def recall(connection: Connection) -> Known:
    """Read what earlier runs left."""
    members: dict[str, dict[str, str]] = defaultdict(dict)
    query = select(identity_members.c.entity, identity_members.c.record_id, identity_members.c.golden_id)
    for row in connection.execute(query.where(identity_members.c.valid_to.is_(None))):
        members[row.entity][row.record_id] = row.golden_id
    born_at: dict[str, dict[str, datetime]] = defaultdict(dict)
    for row in connection.execute(select(golden_ids.c.entity, golden_ids.c.golden_id, golden_ids.c.born_at)):
        born_at[row.entity][row.golden_id] = row.born_at
    return Known(members, born_at, recall_decisions(connection))


def recall_decisions(connection: Connection) -> dict[str, list[Decision]]:
    """Stewards' standing judgements by entity, in the order they were made."""
    decisions: dict[str, list[Decision]] = defaultdict(list)
    standing = select(identity_decisions).where(identity_decisions.c.withdrawn_at.is_(None))
    for row in connection.execute(standing.order_by(identity_decisions.c.id)):
        decisions[row.entity].append(Decision(row.left_record_id, row.right_record_id, row.judgement))
    return dict(decisions)


def remember(connection: Connection, outcome: Mapping[str, Resolved], known: Known, at: datetime) -> int:
    """Write a run's changes: links that ended and began, ids born and retired, events. Nothing changed, nothing written.

    Returns:
        The number of links that began or ended.
    """
    changes = 0
    for entity in sorted(outcome):
        resolved = outcome[entity]
        before = known.members.get(entity, {})
        now = resolved.assignment.members
        ended = sorted(record for record, golden_id in before.items() if now.get(record) != golden_id)
        began = sorted(record for record, golden_id in now.items() if before.get(record) != golden_id)
        changes += len(ended) + len(began)
        if ended:
            connection.execute(
                text(
                    f"update {STATE_SCHEMA}.identity_members set valid_to = :at "
                    "where entity = :entity and valid_to is null and record_id = any(:records)"
                ),
                {"at": at, "entity": entity, "records": ended},
            )
        if resolved.assignment.born:
            born = resolved.assignment.born
            copy_rows(
                connection,
                (STATE_SCHEMA, "golden_ids"),
                pa.table(
                    {
                        "entity": pa.repeat(entity, len(born)),
                        "golden_id": list(born),
                        "born_at": pa.array([at] * len(born), _INSTANT),
                        "born_from_record_id": list(born.values()),
                    }
                ),
            )
        for golden_id, redirect in resolved.assignment.retired.items():
            connection.execute(
                text(
                    f"update {STATE_SCHEMA}.golden_ids set retired_at = :at, redirect_to = :redirect "
                    "where entity = :entity and golden_id = :golden_id"
                ),
                {"at": at, "redirect": redirect, "entity": entity, "golden_id": golden_id},
            )
        if began:
            copy_rows(
                connection,
                (STATE_SCHEMA, "identity_members"),
                pa.table(
                    {
                        "entity": pa.repeat(entity, len(began)),
                        "record_id": began,
                        "golden_id": [now[record] for record in began],
                        "match_rule": [resolved.rules.get(record, "alone") for record in began],
                        "valid_from": pa.array([at] * len(began), _INSTANT),
                    }
                ),
            )
        events = resolved.assignment.events
        if events:
            copy_rows(
                connection,
                (STATE_SCHEMA, "identity_events"),
                pa.table(
                    {
                        "entity": pa.repeat(entity, len(events)),
                        "kind": [event.kind for event in events],
                        "golden_id": [event.golden_id for event in events],
                        "record_id": pa.array([event.record_id for event in events], pa.string()),
                        "other_id": pa.array([event.other_id for event in events], pa.string()),
                        "at": pa.array([at] * len(events), _INSTANT),
                    }
                ),
            )
    return changes


def crosswalk(connection: Connection, entity: str) -> pa.Table:
    """All dated links of one entity: record_id, <entity>_id, match_rule, valid_from, valid_to (UTC; null = current)."""
    query = (
        select(
            identity_members.c.record_id,
            identity_members.c.golden_id,
            identity_members.c.match_rule,
            identity_members.c.valid_from,
            identity_members.c.valid_to,
        )
        .where(identity_members.c.entity == entity)
        .order_by(identity_members.c.record_id, identity_members.c.valid_from)
    )
    columns: list[list[object]] = [[], [], [], [], []]
    for row in connection.execute(query):
        for values, value in zip(columns, row, strict=True):
            values.append(value)
    text_fields: list[pa.Field[Any]] = [
        pa.field(name, pa.string()) for name in ("record_id", f"{entity}_id", "match_rule")
    ]
    schema: pa.Schema = pa.schema(
        [*text_fields, pa.field("valid_from", _INSTANT), pa.field("valid_to", _INSTANT)]
    )
    return pa.Table.from_arrays(
        [pa.array(values, field.type) for values, field in zip(columns, schema, strict=True)], schema=schema
    )


def orphan_table(orphans: Mapping[str, str]) -> pa.Table:
    """Order records that hang on no order: record_id, reason."""
    records = sorted(orphans)
    return pa.table(
        {
            "record_id": pa.array(records, pa.string()),
            "reason": pa.array([orphans[r] for r in records], pa.string()),
        }
    )


def now() -> datetime:
    """This instant, aware UTC, in the store's microseconds."""
    return datetime.now(UTC)
