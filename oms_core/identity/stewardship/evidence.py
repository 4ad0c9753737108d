"""What a run leaves in the store for stewards: the values of each record, what hangs on it, its links, and tasks."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Text,
    any_,
    func,
    insert,
    literal,
    select,
    text,
    update,
)
from sqlalchemy import Row as Found
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine

from oms_core.identity.match import Row
from oms_core.identity.stewardship.queue import DOUBT, PAIR_KINDS, REFUSED, Link, Task
from oms_core.identity.stewardship.worth import Worth
from oms_core.store.copy_text import copy_rows
from oms_core.store.tables import (
    STATE_SCHEMA,
    identity_decisions,
    identity_evidence,
    identity_members,
    identity_tasks,
    identity_values,
    reservations,
)

_INSTANT = pa.timestamp("us", tz="UTC")
_HIDDEN = frozenset({"record_id"})


@dataclass(frozen=True)
class Record:
    """One record as the last run saw it: its values without nulls, what hangs on it, when it first landed (UTC)."""

    record_id: str
    golden_id: str | None
    rule: str | None
    fields: Mapping[str, Any]
    worth: Worth
    first_seen_at: datetime


@dataclass(frozen=True)
class Standing:
    """A task as it stands in the queue; see `queue.Task`."""

    id: int
    task: Task
    worth: Worth
    opened_at: datetime
    closed_at: datetime | None
    outcome: str | None
    decision_id: int | None


@dataclass(frozen=True)
class QueueChange:
    """What a run did to the queue, in tasks."""

    opened: int
    reopened: int
    closed: int
    standing: int


def keep_records(
    connection: Connection, entity: str, rows: Sequence[Row], worth: Mapping[str, Worth] | None = None
) -> None:
    """Keep what stewards are shown of each record; records that are no more go, unchanged rows are not written.

    Args:
        connection: inside the run's transaction.
        entity: customer, sku, location or order.
        rows: of the `int_` table, all of them. Columns beginning with `_` are not kept.
        worth: record id -> what hangs on it; see `worth.worth_by_record`.
    """
    known = worth or {}
    nothing = Worth()
    worths = [known.get(row["record_id"], nothing) for row in rows]
    table = pa.table(
        {
            "entity": pa.repeat(pa.scalar(entity), len(rows)),
            "record_id": pa.array([row["record_id"] for row in rows], pa.string()),
            "first_seen_at": pa.array([row["_first_seen_at"] for row in rows], _INSTANT),
            "fields": pa.array([_canonical(_shown(row)) for row in rows], pa.string()),
            "orders": pa.array([item.orders for item in worths], pa.int64()),
            "open_orders": pa.array([item.open_orders for item in worths], pa.int64()),
            "revenue": pa.array([_canonical(_revenue(item)) for item in worths], pa.string()),
        }
    )
    _sync(connection, "identity_values", entity, ("record_id",), table)


def allocated_orders(connection: Connection) -> list[str]:
    """Ids or numbers of orders that goods are set aside for now, as whoever reserved them named the order."""
    query = select(reservations.c.order_reference).where(
        reservations.c.order_reference.is_not(None),
        (reservations.c.state == "allocated")
        | ((reservations.c.state == "held") & (reservations.c.expires_at > func.now())),
    )
    return list(connection.execute(query.distinct()).scalars())


def keep_links(connection: Connection, entity: str, links: Sequence[Link]) -> None:
    """Keep the run's evidence between records, so that any link can be explained; what is no more goes."""
    table = pa.table(
        {
            "entity": pa.repeat(pa.scalar(entity), len(links)),
            "left_record_id": pa.array([item.left for item in links], pa.string()),
            "right_record_id": pa.array([item.right for item in links], pa.string()),
            "rule": pa.array([item.rule for item in links], pa.string()),
            "strength": pa.array([item.strength for item in links], pa.int64()),
            "probability": pa.array([item.probability for item in links], pa.float64()),
            "refused": pa.array([item.refused for item in links], pa.string()),
        }
    )
    _sync(connection, "identity_evidence", entity, ("left_record_id", "right_record_id", "rule"), table)


def _sync(connection: Connection, table: str, entity: str, keys: Sequence[str], rows: pa.Table) -> None:
    """Make the entity's rows of a table equal to these, touching only those that differ."""
    target = f"{STATE_SCHEMA}.{table}"
    incoming = f"incoming_{table}"
    connection.execute(text(f"CREATE TEMPORARY TABLE {incoming} (LIKE {target}) ON COMMIT DROP"))
    copy_rows(connection, ("pg_temp", incoming), rows)
    connection.execute(text(f"ANALYZE {incoming}"))
    same = " AND ".join(f"t.{key} = i.{key}" for key in keys)
    connection.execute(
        text(
            f"DELETE FROM {target} AS t WHERE t.entity = :entity "
            f"AND NOT EXISTS (SELECT FROM {incoming} AS i WHERE {same})"
        ),
        {"entity": entity},
    )
    names = ", ".join(rows.column_names)
    values = [name for name in rows.column_names if name not in ("entity", *keys)]
    ours = ", ".join(f"t.{name}" for name in values)
    theirs = ", ".join(f"excluded.{name}" for name in values)
    changes = ", ".join(f"{name} = excluded.{name}" for name in values)
    connection.execute(
        text(
            f"INSERT INTO {target} AS t ({names}) SELECT {names} FROM {incoming} "
            f"ON CONFLICT (entity, {', '.join(keys)}) DO UPDATE SET {changes} "
            f"WHERE ({ours}) IS DISTINCT FROM ({theirs})"
        )
    )
    connection.execute(text(f"DROP TABLE {incoming}"))


def records(connection: Connection, entity: str, record_ids: Collection[str]) -> dict[str, Record]:
    """Records by id, with where they are now; ids that no run has seen are left out."""
    members = identity_members
    known = identity_values
    now = (
        (members.c.entity == known.c.entity)
        & (members.c.record_id == known.c.record_id)
        & members.c.valid_to.is_(None)
    )
    query = (
        select(known, members.c.golden_id, members.c.match_rule)
        .select_from(known.outerjoin(members, now))
        .where(known.c.entity == entity, among(known.c.record_id, record_ids))
    )
    return {
        row.record_id: Record(
            row.record_id, row.golden_id, row.match_rule, row.fields, _worth(row), row.first_seen_at
        )
        for row in connection.execute(query)
    }


def columns_of(connection: Connection, entity: str, names: Sequence[str], *, most: int) -> pa.Table | None:
    """Values of all records of an entity: record_id and the named fields as text; None where there are more than `most`."""
    table = identity_values
    held = connection.execute(
        select(func.count()).select_from(
            select(table.c.record_id).where(table.c.entity == entity).limit(most + 1).subquery()
        )
    ).scalar_one()
    if held > most:
        return None
    query = select(table.c.record_id, *(table.c.fields[name].astext for name in names)).where(
        table.c.entity == entity
    )
    rows = connection.execute(query.order_by(table.c.record_id)).all()
    return pa.table(
        {
            name: pa.array([row[place] for row in rows], pa.string())
            for place, name in enumerate(("record_id", *names))
        }
    )


def members_of(connection: Connection, entity: str, ids: Collection[str]) -> dict[str, list[str]]:
    """Golden id -> records that are it now, sorted."""
    query = (
        select(identity_members.c.golden_id, identity_members.c.record_id)
        .where(
            identity_members.c.entity == entity,
            identity_members.c.valid_to.is_(None),
            among(identity_members.c.golden_id, ids),
        )
        .order_by(identity_members.c.record_id)
    )
    found: dict[str, list[str]] = {golden_id: [] for golden_id in ids}
    for row in connection.execute(query):
        found[row.golden_id].append(row.record_id)
    return found


def golden_ids_of(connection: Connection, entity: str, record_ids: Collection[str]) -> dict[str, str]:
    """Record id -> golden id, of records that are known now."""
    query = select(identity_members.c.record_id, identity_members.c.golden_id).where(
        identity_members.c.entity == entity,
        identity_members.c.valid_to.is_(None),
        among(identity_members.c.record_id, record_ids),
    )
    return {row.record_id: row.golden_id for row in connection.execute(query)}


def links_among(connection: Connection, entity: str, record_ids: Collection[str]) -> list[Link]:
    """Evidence of the last run between any two of these records, strongest first."""
    query = (
        select(identity_evidence)
        .where(
            identity_evidence.c.entity == entity,
            among(identity_evidence.c.left_record_id, record_ids),
            among(identity_evidence.c.right_record_id, record_ids),
        )
        .order_by(
            identity_evidence.c.strength,
            identity_evidence.c.left_record_id,
            identity_evidence.c.right_record_id,
            identity_evidence.c.rule,
        )
    )
    return [
        Link(row.left_record_id, row.right_record_id, row.rule, row.strength, row.probability, row.refused)
        for row in connection.execute(query)
    ]


def neighbours(connection: Connection, entity: str, record_ids: Collection[str]) -> set[str]:
    """Other records that evidence of the last run, followed or refused, ties to these."""
    table = identity_evidence
    found: set[str] = set()
    for one, other in (
        (table.c.left_record_id, table.c.right_record_id),
        (table.c.right_record_id, table.c.left_record_id),
    ):
        query = select(other).distinct().where(table.c.entity == entity, among(one, record_ids))
        found |= set(connection.scalars(query))
    return found - set(record_ids)


def decisions_between(connection: Connection, entity: str) -> dict[frozenset[str], list[tuple[int, str]]]:
    """Standing decisions by the pair of golden ids their records are in now: (decision id, judgement).

    Decisions about records of one golden id stand under that id alone; records that are no more belong to none.
    """
    decided = identity_decisions
    query = select(
        decided.c.id, decided.c.left_record_id, decided.c.right_record_id, decided.c.judgement
    ).where(decided.c.entity == entity, decided.c.withdrawn_at.is_(None))
    rows = connection.execute(query.order_by(decided.c.id)).all()
    home = golden_ids_of(
        connection, entity, {record for row in rows for record in (row.left_record_id, row.right_record_id)}
    )
    found: dict[frozenset[str], list[tuple[int, str]]] = defaultdict(list)
    for row in rows:
        if row.left_record_id in home and row.right_record_id in home:
            pair = frozenset((home[row.left_record_id], home[row.right_record_id]))
            found[pair].append((row.id, row.judgement))
    return dict(found)


def open_tasks(
    connection: Connection,
    entity: str,
    tasks: Iterable[Task],
    at: datetime,
    *,
    kinds: Collection[str] = PAIR_KINDS,
) -> QueueChange:
    """Bring the queue to what a run found: open what is new, close what is decided or has lost its cause.

    Runs that find the same leave the queue as it is: a task keeps its id for good. All evidence between the same two
    golden ids is one task. A task that a steward answered "unsure" comes back only when what it rests on has changed: the
    rules, the reasons, or the values of the two records.

    Args:
        connection: inside the run's transaction, after `keep_records` and after the members were written.
        entity: customer, sku, location or order.
        tasks: everything of these kinds that the run found.
        at: time of the run, aware UTC.
        kinds: the kinds the caller speaks for; tasks of other kinds are left alone.

    Returns:
        What changed.
    """
    found = list(tasks)
    named = {record for task in found for record in (task.left, task.right) if record is not None}
    home = golden_ids_of(connection, entity, named)
    table = identity_tasks
    query = select(table).where(table.c.entity == entity, among(table.c.kind, kinds))
    before = {_key(row): row for row in connection.execute(query)}
    shown = records(connection, entity, named)

    chosen: dict[tuple[str | None, ...], tuple[Task, str]] = {}
    groups: dict[frozenset[str], list[Task]] = defaultdict(list)
    for task in found:
        if task.left is not None and task.right is not None and task.kind != DOUBT:
            if task.left in home and task.right in home and home[task.left] != home[task.right]:
                groups[frozenset((home[task.left], home[task.right]))].append(task)
        else:
            chosen[_key(task)] = (task, _fingerprint(task, [task], {}))
    decided = decisions_between(connection, entity) if groups else {}
    for pair, group in groups.items():
        if any(judgement != "unsure" for _, judgement in decided.get(pair, ())):
            continue
        # The record pair that was asked before stays the one that is asked.
        task = min(group, key=lambda item: (_key(item) not in before, *_strength(item)))
        chosen[_key(task)] = (task, _fingerprint(task, group, shown))

    worth = _worth_of_tasks(connection, entity, [task for task, _ in chosen.values()], home)
    counts: Counter[str] = Counter()
    for key, (task, fingerprint) in sorted(
        chosen.items(), key=lambda item: tuple(str(part) for part in item[0])
    ):
        hangs = worth[key]
        values: dict[str, Any] = {
            "kind": task.kind,
            "probability": task.probability,
            "evidence": dict(task.evidence),
            "fingerprint": fingerprint,
            "orders": hangs.orders,
            "open_orders": hangs.open_orders,
            "revenue": _revenue(hangs),
        }
        row = before.get(key)
        if row is None:
            unsure = _unsure(decided, home, task)
            closed = {"closed_at": at, "outcome": "unsure", "decision_id": unsure} if unsure else {}
            connection.execute(
                insert(table).values(entity=entity, opened_at=at, **_subject(task), **values, **closed)
            )
            counts["closed" if unsure else "opened"] += 1
            continue
        if row.closed_at is not None:
            if row.outcome == "unsure" and row.fingerprint == fingerprint:
                continue
            values |= {"closed_at": None, "outcome": None, "decision_id": None, "reopened_at": at}
            counts["reopened"] += 1
        else:
            counts["standing"] += 1
        if any(getattr(row, name) != value for name, value in values.items()):
            connection.execute(update(table).where(table.c.id == row.id).values(values))
    gone = [row.id for key, row in before.items() if row.closed_at is None and key not in chosen]
    if gone:
        statement = update(table).where(among(table.c.id, gone, BigInteger))
        connection.execute(statement.values(closed_at=at, outcome="gone"))
    return QueueChange(counts["opened"], counts["reopened"], counts["closed"] + len(gone), counts["standing"])


def close_decided(
    connection: Connection, entity: str, left: str, right: str, judgement: str, decision_id: int
) -> list[int]:
    """Take what a decision answers out of the queue: the open tasks between the golden ids of its two records.

    Returns:
        Ids of the tasks closed.
    """
    table = identity_tasks
    home = golden_ids_of(connection, entity, {left, right})
    pair = {home.get(left, left), home.get(right, right)}
    closed = []
    query = select(table).where(
        table.c.entity == entity, table.c.closed_at.is_(None), table.c.left_record_id.is_not(None)
    )
    rows = connection.execute(query.order_by(table.c.id)).all()
    homes = golden_ids_of(
        connection, entity, {record for row in rows for record in (row.left_record_id, row.right_record_id)}
    )
    for row in rows:
        about = {homes.get(record, record) for record in (row.left_record_id, row.right_record_id)}
        if about == pair or {row.left_record_id, row.right_record_id} == {left, right}:
            closed.append(row.id)
    if closed:
        connection.execute(
            update(table)
            .where(among(table.c.id, closed, BigInteger))
            .values(closed_at=text("clock_timestamp()"), outcome=judgement, decision_id=decision_id)
        )
    return closed


def reopen_decided(connection: Connection, decision_id: int) -> list[int]:
    """Put back into the queue what a decision had taken out; the next run closes what has no cause any more."""
    table = identity_tasks
    statement = (
        update(table)
        .where(table.c.decision_id == decision_id)
        .values(closed_at=None, outcome=None, decision_id=None, reopened_at=text("clock_timestamp()"))
        .returning(table.c.id)
    )
    return sorted(connection.execute(statement).scalars())


def tasks(
    connection: Connection,
    entity: str | None = None,
    *,
    kind: str | None = None,
    task_id: int | None = None,
    is_open: bool | None = True,
) -> list[Standing]:
    """Tasks, oldest first; `worth.rank` orders them by worth.

    Args:
        entity, kind, task_id: only these.
        is_open: open ones, closed ones, or both (None).
    """
    table = identity_tasks
    query = select(table).order_by(table.c.id)
    for column, value in ((table.c.entity, entity), (table.c.kind, kind), (table.c.id, task_id)):
        if value is not None:
            query = query.where(column == value)
    if is_open is not None:
        query = query.where(table.c.closed_at.is_(None) if is_open else table.c.closed_at.is_not(None))
    return [_standing(row) for row in connection.execute(query)]


def tasks_about(
    connection: Connection, entity: str, record_ids: Collection[str], ids: Collection[str]
) -> list[Standing]:
    """Every task, open or closed, about any of these records or golden ids."""
    table = identity_tasks
    about = (
        among(table.c.left_record_id, record_ids)
        | among(table.c.right_record_id, record_ids)
        | among(table.c.golden_id, ids)
    )
    query = select(table).where(table.c.entity == entity, about).order_by(table.c.id)
    return [_standing(row) for row in connection.execute(query)]


def worth_of(connection: Connection, entity: str, ids: Collection[str]) -> dict[str, Worth]:
    """Golden id -> what hangs on all its records."""
    query = text(
        f"SELECT m.golden_id, r.orders, r.open_orders, r.revenue FROM {STATE_SCHEMA}.identity_members AS m "
        f"JOIN {STATE_SCHEMA}.identity_values AS r USING (entity, record_id) "
        "WHERE m.entity = :entity AND m.valid_to IS NULL AND m.golden_id = ANY(:ids) AND r.orders > 0"
    )
    found = dict.fromkeys(ids, Worth())
    for row in connection.execute(query, {"entity": entity, "ids": list(ids)}):
        found[row.golden_id] += _worth(row)
    return found


def _worth_of_tasks(
    connection: Connection, entity: str, found: Sequence[Task], home: Mapping[str, str]
) -> dict[tuple[str | None, ...], Worth]:
    about = {
        _key(task): [home[task.left], home[task.right]]
        if task.left is not None and task.right is not None
        else [task.golden_id or ""]
        for task in found
    }
    worth = worth_of(connection, entity, {golden_id for ids in about.values() for golden_id in ids})
    return {key: sum((worth[golden_id] for golden_id in ids), Worth()) for key, ids in about.items()}


def _unsure(
    decided: Mapping[frozenset[str], Sequence[tuple[int, str]]], home: Mapping[str, str], task: Task
) -> int | None:
    """Decision that answered a task before it was ever asked."""
    if task.left is None or task.right is None:
        return None
    answers = decided.get(frozenset((home[task.left], home[task.right])), ())
    return answers[-1][0] if answers else None


def _key(item: Task | Found[Any]) -> tuple[str | None, ...]:
    """What a task is about; a pair is one task whatever kind of evidence speaks for it."""
    if isinstance(item, Task):
        if item.left is not None:
            return (item.left, item.right)
        return (item.kind, item.golden_id, item.attribute, None)
    if item.left_record_id is not None:
        return (item.left_record_id, item.right_record_id)
    return (item.kind, item.golden_id, item.attribute, None)


def _subject(task: Task) -> dict[str, str | None]:
    return {
        "left_record_id": task.left,
        "right_record_id": task.right,
        "golden_id": task.golden_id,
        "attribute": task.attribute,
    }


def _strength(task: Task) -> tuple[Any, ...]:
    """Refused exact evidence before scores, then the more probable, then the smaller record ids."""
    strength = task.evidence.get("strength", 9)
    return (task.kind != REFUSED, strength, -(task.probability or 0.0), task.left, task.right)


def _fingerprint(task: Task, group: Sequence[Task], shown: Mapping[str, Record]) -> str:
    """Hash of what the question rests on: kinds and evidence of the whole group, values of the two records asked."""
    evidence = sorted({_canonical({"kind": item.kind, **item.evidence}) for item in group})
    values = [shown[record].fields for record in (task.left, task.right) if record and record in shown]
    return hashlib.sha256(_canonical([evidence, values]).encode()).hexdigest()


def _standing(row: Found[Any]) -> Standing:
    task = Task(
        row.entity,
        row.kind,
        row.left_record_id,
        row.right_record_id,
        row.golden_id,
        row.attribute,
        row.probability,
        row.evidence,
    )
    return Standing(row.id, task, _worth(row), row.opened_at, row.closed_at, row.outcome, row.decision_id)


def _worth(row: Found[Any]) -> Worth:
    revenue = {currency: (orders, Decimal(amount)) for currency, (orders, amount) in row.revenue.items()}
    return Worth(row.orders, row.open_orders, revenue)


def _revenue(worth: Worth) -> dict[str, list[int | str]]:
    return {currency: [orders, str(amount)] for currency, (orders, amount) in worth.revenue.items()}


def _shown(row: Row) -> dict[str, Any]:
    return {
        name: value
        for name, value in row.items()
        if value is not None and name not in _HIDDEN and not name.startswith("_")
    }


def _canonical(value: object) -> str:
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str, separators=(",", ":"))


def among(column: Any, values: Collection[Any], kind: type[TypeEngine[Any]] = Text) -> ColumnElement[bool]:
    """`column = any(array)`: one parameter, however many values."""
    found: ColumnElement[bool] = column == any_(literal(list(values), ARRAY(kind)))
    return found
