"""Identity's memory in the operational store: links, ids, homes, decisions, and what happened to them.

One run writes at a time: `lock` before anything is read that is to be written back. Links are half-open intervals, and
every run's instant is later than the one before, whatever the clocks of two machines say.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from sqlalchemy import Connection, select, text

from oms_core.identity import rewrite
from oms_core.identity.match import Row
from oms_core.identity.references import Orphan
from oms_core.identity.resolve import Decision, Known, Resolved
from oms_core.identity.stable import REWRITTEN, GoldenId, Memory
from oms_core.store.copy_text import copy_rows, read_rows
from oms_core.store.tables import ENTITIES, STATE_SCHEMA, identity_decisions

_INSTANT = pa.timestamp("us", tz="UTC")
_LOCK = 7_301_002  # advisory lock key, ours alone
_MEMBERS = f"{STATE_SCHEMA}.identity_members"
_RECORDS = f"{STATE_SCHEMA}.identity_records"
_IDS = f"{STATE_SCHEMA}.golden_ids"
_EVENTS = f"{STATE_SCHEMA}.identity_events"


def lock(connection: Connection) -> None:
    """Wait until no other transaction writes identity, and keep others from it until this one ends.

    Whoever writes links, ids or events takes it first. So the sequence of events grows in the order of commits, and a
    follower that has read up to one of them never finds an earlier one later.
    """
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})


def recall(connection: Connection) -> Known:
    """Read what earlier runs left."""
    memory: dict[str, Memory] = {}
    rewritten_at: dict[str, dict[str, datetime]] = {}
    for entity in ENTITIES:
        own = f"entity = '{entity}'"
        ids = _recall_ids(connection, own)
        same = {golden_id: golden_id for golden_id in ids}  # one text for all the places that name it
        links = read_rows(
            connection,
            f"SELECT record_id, golden_id FROM {_MEMBERS} WHERE {own} AND valid_to IS NULL",
            _fields(record_id=pa.string(), golden_id=pa.string()),
        )
        members = {
            record: same[golden_id]
            for record, golden_id in zip(*(column.to_pylist() for column in links.columns), strict=True)
        }
        records = read_rows(
            connection,
            f"SELECT record_id, home_id FROM {_RECORDS} WHERE {own}",
            _fields(record_id=pa.string(), home_id=pa.string()),
        )
        homes = {
            record: None if home is None else same[home]
            for record, home in zip(*(column.to_pylist() for column in records.columns), strict=True)
        }
        memory[entity] = Memory(members, homes, ids)
        rewritten = connection.execute(
            text(f"SELECT record_id, rewritten_at FROM {_RECORDS} WHERE {own} AND rewritten_at IS NOT NULL")
        )
        rewritten_at[entity] = {row.record_id: row.rewritten_at for row in rewritten}
    return Known(memory, recall_decisions(connection), rewritten_at=rewritten_at)


def _recall_ids(connection: Connection, condition: str) -> dict[str, GoldenId]:
    found = read_rows(
        connection,
        "SELECT golden_id, born_from_record_id, "
        f"{_micros('coalesce(born_from_seen_at, born_at)')}, {_micros('born_at')}, retired_at IS NOT NULL, redirect_to FROM {_IDS} WHERE {condition}",
        _fields(
            golden_id=pa.string(), born_from=pa.string(), seen_at=pa.int64(), born_at=pa.int64(),
            is_retired=pa.bool_(), redirect_to=pa.string(),
        ),
    )  # fmt: skip
    instants: dict[int, datetime] = {}  # a run bears many ids at one instant

    def instant(micros: int) -> datetime:
        return instants.setdefault(micros, datetime.fromtimestamp(0, UTC) + timedelta(microseconds=micros))

    return {
        golden_id: GoldenId(born_from, instant(seen_at), instant(born_at), is_retired, redirect_to)
        for golden_id, born_from, seen_at, born_at, is_retired, redirect_to in zip(
            *(column.to_pylist() for column in found.columns), strict=True
        )
    }


def recall_decisions(connection: Connection) -> dict[str, list[Decision]]:
    """Stewards' standing judgements by entity, in the order they were made."""
    decisions: dict[str, list[Decision]] = defaultdict(list)
    standing = select(identity_decisions).where(identity_decisions.c.withdrawn_at.is_(None))
    for row in connection.execute(standing.order_by(identity_decisions.c.id)):
        decisions[row.entity].append(Decision(row.left_record_id, row.right_record_id, row.judgement))
    return dict(decisions)


@dataclass(frozen=True)
class Changes:
    """Records of one entity whose identifying values are new or other than before.

    `identifying`: record -> JSON to remember. `rewritten`: records that became somebody else -> what tells so.
    """

    identifying: dict[str, str] = field(default_factory=dict)
    rewritten: dict[str, str] = field(default_factory=dict)


def compare(connection: Connection, entity: str, rows: Sequence[Row]) -> Changes:
    """Compare today's records with what was remembered of them.

    Args:
        connection: to the operational store.
        entity: customer, sku, location or order.
        rows: of the `int_` table; of orders only order documents.
    """
    digests = read_rows(
        connection,
        "SELECT record_id, encode(substr(sha256(convert_to(identifying, 'UTF8')), 1, 8), 'hex') "
        f"FROM {_RECORDS} WHERE entity = '{entity}' AND identifying IS NOT NULL",
        _fields(record_id=pa.string(), digest=pa.string()),
    )
    before = dict(zip(*(column.to_pylist() for column in digests.columns), strict=True))
    changed: dict[str, str] = {}
    for row in rows:
        values = rewrite.identifying(entity, row)
        if before.get(row["record_id"]) != hashlib.sha256(values.encode()).hexdigest()[:16]:
            changed[row["record_id"]] = values
    edited = [record for record in changed if record in before]
    rewritten = {}
    for record, former in _identifying(connection, entity, edited):
        reason = rewrite.rewritten(entity, former, changed[record])
        if reason is not None:
            rewritten[record] = reason
    return Changes(changed, rewritten)


def _identifying(connection: Connection, entity: str, records: Sequence[str]) -> list[tuple[str, str]]:
    if not records:
        return []
    found = connection.execute(
        text(
            f"SELECT record_id, identifying FROM {_RECORDS} WHERE entity = :entity AND record_id = ANY(:records)"
        ),
        {"entity": entity, "records": records},
    )
    return [(row.record_id, row.identifying) for row in found]


def remember(
    connection: Connection,
    outcome: Mapping[str, Resolved],
    known: Known,
    at: datetime,
    changes: Mapping[str, Changes] | None = None,
) -> int:
    """Write a run's changes: links that ended and began, ids born, revived and retired, homes, identifying values,
    events. Nothing changed, nothing written.

    Args:
        connection: in the transaction that recalled `known`, behind `lock`.
        outcome: of the run, by entity.
        known: what the run went by.
        at: the instant of the run, aware UTC; moved on where the last run's was later.
        changes: of identifying values, by entity.

    Returns:
        The number of links that began or ended.
    """
    lock(connection)
    last = connection.execute(text(f"SELECT at FROM {_EVENTS} ORDER BY seq DESC LIMIT 1")).scalar()
    if last is not None:
        at = max(at, last + timedelta(microseconds=1))
    count = 0
    for entity in sorted(outcome):
        memory = known.memory.get(entity, Memory())
        count += _write_links(connection, entity, outcome[entity], memory.members, at)
        _write_ids(connection, entity, outcome[entity], at)
        _write_records(
            connection, entity, outcome[entity], memory, (changes or {}).get(entity, Changes()), at
        )
        _write_events(connection, entity, outcome[entity], at)
    return count


def _write_links(
    connection: Connection, entity: str, resolved: Resolved, before: Mapping[str, str], at: datetime
) -> int:
    now = resolved.assignment.members
    ended = sorted(record for record, golden_id in before.items() if now.get(record) != golden_id)
    began = sorted(record for record, golden_id in now.items() if before.get(record) != golden_id)
    if ended:
        connection.execute(
            text(
                f"UPDATE {_MEMBERS} SET valid_to = :at "
                "WHERE entity = :entity AND valid_to IS NULL AND record_id = ANY(:records)"
            ),
            {"at": at, "entity": entity, "records": ended},
        )
    _copy(
        connection,
        "identity_members",
        entity,
        began,
        golden_id=pa.array([now[record] for record in began], pa.string()),
        match_rule=pa.array([resolved.rules.get(record, "alone") for record in began], pa.string()),
        record_id=pa.array(began, pa.string()),
        valid_from=_instants(at, began),
    )
    return len(ended) + len(began)


def _write_ids(connection: Connection, entity: str, resolved: Resolved, at: datetime) -> None:
    born, retired, revived = (
        resolved.assignment.born, resolved.assignment.retired, resolved.assignment.revived,
    )  # fmt: skip
    _copy(
        connection,
        "golden_ids",
        entity,
        born,
        golden_id=pa.array(born, pa.string()),
        born_at=_instants(at, born),
        born_from_record_id=pa.array([birth.record_id for birth in born.values()], pa.string()),
        born_from_seen_at=pa.array([birth.seen_at for birth in born.values()], _INSTANT),
    )
    if retired:
        # Retired before, an id only gets another redirect.
        connection.execute(
            text(
                f"UPDATE {_IDS} AS ids SET retired_at = coalesce(ids.retired_at, :at), redirect_to = new.redirect "
                "FROM unnest(CAST(:ids AS text[]), CAST(:redirects AS text[])) AS new (golden_id, redirect) "
                "WHERE ids.entity = :entity AND ids.golden_id = new.golden_id"
            ),
            {"at": at, "entity": entity, "ids": list(retired), "redirects": list(retired.values())},
        )
    if revived:
        connection.execute(
            text(
                f"UPDATE {_IDS} SET retired_at = NULL, redirect_to = NULL "
                "WHERE entity = :entity AND golden_id = ANY(:ids)"
            ),
            {"entity": entity, "ids": revived},
        )


def _write_records(
    connection: Connection, entity: str, resolved: Resolved, memory: Memory, changes: Changes, at: datetime
) -> None:
    homes = resolved.assignment.homes
    # A document that hangs on another one has no home, and nothing to be compared with until it has.
    touched = sorted({*homes, *(record for record in changes.identifying if record in memory.homes)})
    for is_known in (False, True):
        records = [record for record in touched if (record in memory.homes) is is_known]
        table = "identity_records"
        if is_known and records:
            table = "changed_records"
            connection.execute(text(f"CREATE TEMPORARY TABLE {table} (LIKE {_RECORDS}) ON COMMIT DROP"))
        _copy(
            connection,
            table,
            entity,
            records,
            schema="pg_temp" if is_known else STATE_SCHEMA,
            record_id=pa.array(records, pa.string()),
            home_id=pa.array(
                [homes[record] if record in homes else memory.homes[record] for record in records],
                pa.string(),
            ),
            identifying=pa.array([changes.identifying.get(record) for record in records], pa.string()),
            rewritten_at=pa.array(
                [at if record in changes.rewritten else None for record in records], _INSTANT
            ),
        )
        if is_known and records:
            connection.execute(
                text(
                    f"UPDATE {_RECORDS} AS known SET home_id = new.home_id, "
                    "identifying = coalesce(new.identifying, known.identifying), "
                    "rewritten_at = coalesce(new.rewritten_at, known.rewritten_at) "
                    f"FROM {table} AS new WHERE known.entity = new.entity AND known.record_id = new.record_id"
                )
            )
            connection.execute(text(f"DROP TABLE {table}"))


def _write_events(connection: Connection, entity: str, resolved: Resolved, at: datetime) -> None:
    events = resolved.assignment.events
    _copy(
        connection,
        "identity_events",
        entity,
        events,
        kind=pa.array([event.kind for event in events], pa.string()),
        golden_id=pa.array([event.golden_id for event in events], pa.string()),
        record_id=pa.array([event.record_id for event in events], pa.string()),
        other_id=pa.array([event.other_id for event in events], pa.string()),
        reason=pa.array([event.reason for event in events], pa.string()),
        at=_instants(at, events),
    )


def _copy(
    connection: Connection,
    table: str,
    entity: str,
    rows: Collection[object],
    *,
    schema: str = STATE_SCHEMA,
    **columns: pa.Array[Any],
) -> None:
    if rows:
        copy_rows(connection, (schema, table), pa.table({"entity": pa.repeat(entity, len(rows)), **columns}))


def _instants(at: datetime, rows: Collection[object]) -> pa.Array[Any]:
    return pa.repeat(pa.scalar(at, _INSTANT), len(rows))


def _fields(**columns: pa.DataType) -> pa.Schema:
    return pa.schema([pa.field(name, kind) for name, kind in columns.items()])


def _micros(column: str) -> str:
    return f"CAST(extract(epoch FROM {column}) * 1000000 AS bigint)"


def crosswalk(connection: Connection, entity: str) -> pa.Table:
    """All dated links of one entity: record_id, <entity>_id, match_rule, valid_from, valid_to (UTC; null = current)."""
    found = read_rows(
        connection,
        f"SELECT record_id, golden_id, match_rule, {_micros('valid_from')}, {_micros('valid_to')} "
        f"FROM {_MEMBERS} WHERE entity = '{entity}' ORDER BY record_id, valid_from",
        _fields(
            record_id=pa.string(), golden_id=pa.string(), match_rule=pa.string(),
            valid_from=pa.int64(), valid_to=pa.int64(),
        ),
    )  # fmt: skip
    texts: list[pa.Field[Any]] = [
        pa.field(name, pa.string()) for name in ("record_id", f"{entity}_id", "match_rule")
    ]
    return found.rename_columns(["record_id", f"{entity}_id", "match_rule", "valid_from", "valid_to"]).cast(
        pa.schema([*texts, pa.field("valid_from", _INSTANT), pa.field("valid_to", _INSTANT)])
    )


def former_links(connection: Connection) -> pa.Table:
    """Who had the keys that were given to somebody else: one row per record and former holder.

    Returns:
        entity, record_id, golden_id (today's id of the former holder; null where it retired without an heir), held_from
        (null: since its first link) and held_to, half-open, UTC.
    """
    kinds = _fields(
        entity=pa.string(), record_id=pa.string(), golden_id=pa.string(), held_from=pa.int64(), held_to=pa.int64()
    )  # fmt: skip
    found = read_rows(
        connection,
        "WITH RECURSIVE given_away AS ("
        "SELECT entity, record_id, other_id, lag(at) OVER (PARTITION BY entity, record_id ORDER BY seq) AS held_from, "
        f"at AS held_to FROM {_EVENTS} WHERE kind = 'moved' AND starts_with(reason, '{REWRITTEN}')), "
        "chain AS (SELECT entity, other_id AS former_id, other_id AS id FROM given_away UNION "
        f"SELECT chain.entity, chain.former_id, ids.redirect_to FROM chain JOIN {_IDS} AS ids "
        "ON ids.entity = chain.entity AND ids.golden_id = chain.id WHERE ids.redirect_to IS NOT NULL) "
        "SELECT given_away.entity, given_away.record_id, ids.golden_id, "
        f"{_micros('given_away.held_from')}, {_micros('given_away.held_to')} FROM given_away "
        "LEFT JOIN chain ON chain.entity = given_away.entity AND chain.former_id = given_away.other_id "
        f"AND EXISTS (SELECT FROM {_IDS} AS g "
        "WHERE g.entity = chain.entity AND g.golden_id = chain.id AND g.retired_at IS NULL) "
        f"LEFT JOIN {_IDS} AS ids ON ids.entity = chain.entity AND ids.golden_id = chain.id "
        "ORDER BY given_away.entity, given_away.record_id, given_away.held_to",
        kinds,
    )
    dated: list[pa.Field[Any]] = [pa.field(name, _INSTANT) for name in ("held_from", "held_to")]
    return found.cast(pa.schema([*list(kinds)[:3], *dated]))


def orphan_table(orphans: Mapping[str, Orphan]) -> pa.Table:
    """Order records that hang on no order: record_id, reason (of the closed list), detail."""
    records = sorted(orphans)
    return pa.table(
        {
            "record_id": pa.array(records, pa.string()),
            "reason": pa.array([str(orphans[r].reason) for r in records], pa.string()),
            "detail": pa.array([orphans[r].detail for r in records], pa.string()),
        }
    )


def share_table(shares: Mapping[str, tuple[Sequence[str], str]]) -> pa.Table:
    """Orders of the records that stand for several: record_id, order_id, match_rule; a row for each pair."""
    rows = [
        (record, order_id, rule) for record, (ids, rule) in sorted(shares.items()) for order_id in sorted(ids)
    ]
    names = ("record_id", "order_id", "match_rule")
    return pa.table({name: pa.array([row[at] for row in rows], pa.string()) for at, name in enumerate(names)})


def now() -> datetime:
    """This instant, aware UTC, in the store's microseconds."""
    return datetime.now(UTC)
