"""What stewards decide about two records: who, when, why; withdrawn or in force; never deleted, never overwritten.

A decision names the version of the pair it has seen, and loses against another that came first.
"""

from __future__ import annotations

import getpass
import os
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from oms_core.audit import log
from oms_core.identity.stewardship import evidence
from oms_core.identity.stewardship.errors import (
    AmbiguousNameError,
    ConflictError,
    ContradictionError,
    DecisionRefusedError,
    UnknownNameError,
)
from oms_core.identity.stewardship.queue import DOUBT, Task
from oms_core.store.released import SOURCE_KEY
from oms_core.store.tables import (
    ENTITIES,
    JUDGEMENTS,
    STATE_SCHEMA,
    golden_ids,
    identity_decisions,
    identity_events,
    identity_members,
    identity_records,
)

_LOCK = 7_301_005  # advisory lock class of decisions; the entity is its second half
_MOST_CANDIDATES = 20
# Numbers people know a record by, beside the key of its source.
_NUMBERS = {
    "customer": ("tax_number", "marketplace_buyer_id", "email"),
    "sku": ("sku_code", "gtin14", "mpn"),
    "location": ("location_code", "gln"),
    "order": ("order_number",),
}


@dataclass(frozen=True)
class Judged:
    """One decision: same, different or unsure about two records, in force until it is withdrawn."""

    id: int
    entity: str
    left: str
    right: str
    judgement: str
    by: str
    at: datetime
    reason: str
    withdrawn_at: datetime | None = None
    withdrawn_by: str | None = None
    withdrawn_reason: str | None = None

    def __str__(self) -> str:
        """One line for a person."""
        until = (
            f", withdrawn by {self.withdrawn_by} at {_minute(self.withdrawn_at)}" if self.withdrawn_at else ""
        )
        return (
            f"decision {self.id}: {self.left} and {self.right} are {self.judgement}, says {self.by} at "
            f"{_minute(self.at)}: {self.reason}{until}"
        )


@dataclass(frozen=True)
class Named:
    """What a name led to: the record meant, the golden id it is in now, and how it was found.

    Attributes:
        found_by: record_id, golden_id, redirect, source_key, or the field a number stands in. Of a golden id, the record
            is its representative: the one it was born from, or else the member of longest standing.
    """

    asked: str
    entity: str
    record_id: str
    golden_id: str
    found_by: str


@dataclass(frozen=True)
class Happening:
    """One entry of a history: a decision, its withdrawal, or an event of identity."""

    at: datetime
    kind: str
    by: str | None
    what: str


def steward_name(given: str | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """Who decides: the name given, else ORDERHUB_STEWARD, else the user of the operating system.

    Raises:
        DecisionRefusedError: none of them is known.
    """
    name = (given or environment.get("ORDERHUB_STEWARD") or "").strip()
    if name:
        return name
    try:
        return getpass.getuser()
    except (KeyError, OSError) as error:
        raise DecisionRefusedError(
            "who decides is not known: give --by NAME, or set ORDERHUB_STEWARD"
        ) from error


# names


def find(connection: Connection, name: str, entity: str | None = None) -> list[Named]:
    """Records that a name could mean, most exact reading first found: record id, golden id, number.

    Args:
        name: record id, golden id (retired ones lead to their successor), source key, or a number such as a SKU code.
        entity: only of this one.

    Returns:
        Every candidate of the first reading that has any, at most 20; none when the name is unknown.
    """
    if not _is_storable(name):
        return []
    for reading in (_by_record, _by_golden_id, _by_number):
        found = reading(connection, name, entity)
        if found:
            return found
    return []


def _by_record(connection: Connection, name: str, entity: str | None) -> list[Named]:
    members = identity_members
    query = select(members.c.entity, members.c.record_id, members.c.golden_id).where(
        members.c.record_id == name, members.c.valid_to.is_(None), members.c.entity.in_(_entities(entity))
    )
    rows = connection.execute(query.order_by(members.c.entity))
    return [Named(name, row.entity, row.record_id, row.golden_id, "record_id") for row in rows]


def _by_golden_id(connection: Connection, name: str, entity: str | None) -> list[Named]:
    found = []
    for kind in _entities(entity):
        current = successor(connection, kind, name)
        if current is not None:
            record = representative(connection, kind, current)
            found.append(Named(name, kind, record, current, "golden_id" if current == name else "redirect"))
    return found


def _by_number(connection: Connection, name: str, entity: str | None) -> list[Named]:
    found: dict[tuple[str, str], Named] = {}
    for kind in _entities(entity):
        ways = [("source_key", SOURCE_KEY.replace("record_id", "m.record_id"))]
        ways += [(field, f"r.fields ->> '{field}'") for field in _NUMBERS[kind]]
        for way, expression in ways:
            rows = connection.execute(
                text(
                    f"SELECT m.record_id, m.golden_id FROM {STATE_SCHEMA}.identity_members AS m "
                    f"LEFT JOIN {STATE_SCHEMA}.identity_values AS r USING (entity, record_id) "
                    f"WHERE m.entity = :entity AND m.valid_to IS NULL AND {expression} = :name "
                    "ORDER BY m.record_id LIMIT :limit"
                ),
                {"entity": kind, "name": name, "limit": _MOST_CANDIDATES},
            )
            for row in rows:
                found.setdefault((kind, row.record_id), Named(name, kind, row.record_id, row.golden_id, way))
    return list(found.values())[:_MOST_CANDIDATES]


def _entities(entity: str | None) -> tuple[str, ...]:
    if entity is not None and entity not in ENTITIES:
        raise UnknownNameError(f"no entity {entity!r}; there are {', '.join(ENTITIES)}")
    return ENTITIES if entity is None else (entity,)


def successor(connection: Connection, entity: str, golden_id: str) -> str | None:
    """The id that stands for a golden id now: itself, or where its redirects lead; None when it is unknown or gone."""
    rows = connection.execute(
        text(
            "WITH RECURSIVE chain (id, steps) AS (SELECT CAST(:id AS text), 0 UNION ALL SELECT g.redirect_to, "
            f"chain.steps + 1 FROM chain JOIN {STATE_SCHEMA}.golden_ids AS g ON g.entity = :entity "
            "AND g.golden_id = chain.id WHERE g.redirect_to IS NOT NULL AND chain.steps < 100) "
            f"SELECT chain.id FROM chain WHERE EXISTS (SELECT FROM {STATE_SCHEMA}.identity_members AS m "
            "WHERE m.entity = :entity AND m.golden_id = chain.id AND m.valid_to IS NULL) ORDER BY steps LIMIT 1"
        ),
        {"id": golden_id, "entity": entity},
    )
    return next((str(row.id) for row in rows), None)


def representative(
    connection: Connection, entity: str, golden_id: str, *, other_than: str | None = None
) -> str:
    """The record that stands for a golden id: the one it was born from, or else the member of longest standing.

    Raises:
        UnknownNameError: the id has no member, or none but the one excluded.
    """
    rows = connection.execute(
        text(
            f"SELECT m.record_id FROM {STATE_SCHEMA}.identity_members AS m JOIN {STATE_SCHEMA}.golden_ids AS g "
            "ON g.entity = m.entity AND g.golden_id = m.golden_id "
            f"LEFT JOIN {STATE_SCHEMA}.identity_values AS v ON v.entity = m.entity AND v.record_id = m.record_id "
            "WHERE m.entity = :entity AND m.golden_id = :id "
            "AND m.valid_to IS NULL AND m.record_id IS DISTINCT FROM CAST(:but AS text) "
            "ORDER BY coalesce(v.fields ->> 'document_role' <> 'order', false), "
            "m.record_id <> g.born_from_record_id, m.valid_from, m.record_id LIMIT 1"
        ),
        {"entity": entity, "id": golden_id, "but": other_than},
    )
    record = next((str(row.record_id) for row in rows), None)
    if record is None:
        raise UnknownNameError(f"{golden_id} has no record" + (f" but {other_than}" if other_than else ""))
    return record


def one(connection: Connection, name: str, entity: str | None = None) -> Named:
    """The one record a name means.

    Raises:
        UnknownNameError, AmbiguousNameError: it means none, or several.
    """
    found = find(connection, name, entity)
    if not found:
        kinds = entity or "customer, SKU, location or order"
        raise UnknownNameError(
            f"no {kinds} is known by {name!r}: give a record id (source:stream:key), a golden id or a number"
        )
    if len({item.entity for item in found}) > 1 and len({item.record_id for item in found}) == 1:
        raise AmbiguousNameError(name, [f"{item.record_id} (--entity {item.entity})" for item in found])
    if len(found) > 1:
        raise AmbiguousNameError(name, [item.record_id for item in found])
    return found[0]


def pair(connection: Connection, left: str, right: str, entity: str | None = None) -> tuple[Named, Named]:
    """The two records that two names mean; both of one entity.

    A golden id stands for its representative. Beside a record of its own it stands for another of its records.

    Raises:
        UnknownNameError, AmbiguousNameError: a name means none, or several.
        DecisionRefusedError: both mean the same record, or records of two entities.
    """
    ours, theirs = find(connection, left, entity), find(connection, right, entity)
    common = {item.entity for item in ours} & {item.entity for item in theirs}
    if entity is None and len(common) == 1:
        # "1042" may be an order and a customer; beside an order it is the order.
        entity = next(iter(common))
    first, second = one(connection, left, entity), one(connection, right, entity)
    if first.entity != second.entity:
        raise DecisionRefusedError(
            f"{left!r} is a {first.entity} and {right!r} a {second.entity}: a pair is of one entity"
        )
    if first.record_id == second.record_id:
        by_id = {"golden_id", "redirect"}
        if first.found_by in by_id and second.found_by in by_id:
            raise DecisionRefusedError(
                f"{left!r} and {right!r} are one already, {first.golden_id}: name two of its records"
            )
        if first.found_by in by_id:
            record = representative(connection, first.entity, first.golden_id, other_than=second.record_id)
            first = Named(left, first.entity, record, first.golden_id, first.found_by)
        elif second.found_by in by_id:
            record = representative(connection, second.entity, second.golden_id, other_than=first.record_id)
            second = Named(right, second.entity, record, second.golden_id, second.found_by)
        else:
            raise DecisionRefusedError(f"{left!r} and {right!r} are the same record, {first.record_id}")
    return first, second


# decisions


def history(connection: Connection, entity: str, left: str, right: str) -> list[Judged]:
    """Every decision there ever was on two records, oldest first."""
    table = identity_decisions
    low, high = sorted((left, right))
    query = select(table).where(
        table.c.entity == entity, table.c.left_record_id == low, table.c.right_record_id == high
    )
    return [_judged(row) for row in connection.execute(query.order_by(table.c.id))]


def version(decisions: Sequence[Judged]) -> int:
    """Version of a pair: how often it was decided on or a decision withdrawn; 0 where nobody ever did."""
    return len(decisions) + sum(item.withdrawn_at is not None for item in decisions)


def in_force(decisions: Iterable[Judged]) -> Judged | None:
    """The decision that stands, or None."""
    return next((item for item in decisions if item.withdrawn_at is None), None)


def decide(
    connection: Connection,
    entity: str,
    left: str,
    right: str,
    judgement: str,
    *,
    by: str,
    reason: str,
    seen: int | None = None,
) -> Judged:
    """Judge two records same, different or unsure.

    Takes effect in the next run; what it answers leaves the queue at once.

    Args:
        connection: a writing transaction; the decision is in force when it commits.
        entity: customer, sku, location or order.
        left, right: record ids, in any order; see `pair` for other names.
        judgement: same, different or unsure.
        by: name of the steward.
        reason: why; not empty.
        seen: version of the pair the steward looked at. None says that no decision stood when they looked.

    Returns:
        The decision. One that stood before (and was seen) is withdrawn by it.

    Raises:
        ConflictError: somebody decided, or withdrew, since.
        ContradictionError: standing decisions say the opposite through other records.
        DecisionRefusedError: no two records of the entity, no reason, an unknown judgement.
    """
    if judgement not in JUDGEMENTS:
        raise DecisionRefusedError(f"no judgement {judgement!r}; there are {', '.join(JUDGEMENTS)}")
    reason, by = _sound(reason), _sound(by)
    if not reason or not by:
        raise DecisionRefusedError("a decision says who made it and why: neither may be empty")
    if left == right:
        raise DecisionRefusedError(f"{left} is one record: a decision is about two")
    low, high = sorted((left, right))
    _take_turns(connection, entity)
    known = evidence.golden_ids_of(connection, entity, {low, high})
    for record in (low, high):
        if record not in known:
            raise UnknownNameError(
                f"no {entity} record {record} is known now: nothing can be decided about it"
            )
    if entity == "order":
        _require_documents(connection, (low, high))
    before = history(connection, entity, low, high)
    standing = in_force(before)
    _check_seen(before, standing, seen)
    _check_consistent(connection, entity, low, high, judgement, standing)
    if standing is not None:
        _withdraw(connection, standing.id, by, f"replaced: {reason}")
        evidence.reopen_decided(connection, standing.id)
    table = identity_decisions
    row = connection.execute(
        insert(table)
        .values(
            entity=entity,
            left_record_id=low,
            right_record_id=high,
            judgement=judgement,
            decided_by=by,
            decided_at=text("clock_timestamp()"),
            reason=reason,
        )
        .returning(table)
    ).one()
    evidence.close_decided(connection, entity, low, high, judgement, row.id)
    said = {"decision": row.id, "left": low, "right": high, "judgement": judgement, "reason": reason}
    log.append(connection, [log.Happening("decision.made", by, entity, said)])
    return _judged(row)


def withdraw(
    connection: Connection, decision_id: int, *, by: str, reason: str, seen: int | None = None
) -> Judged:
    """Take a decision back; it stays in the history, and what it had answered comes back into the queue.

    Args:
        connection: a writing transaction.
        decision_id: the decision, which must be in force.
        by, reason: who and why; not empty.
        seen: version of the pair, where the caller wants it checked too.

    Raises:
        UnknownNameError: there is no such decision.
        ConflictError: it is withdrawn already, or the pair has another version.
    """
    reason, by = _sound(reason), _sound(by)
    if not reason or not by:
        raise DecisionRefusedError("a withdrawal says who made it and why: neither may be empty")
    decision = get(connection, decision_id)
    _take_turns(connection, decision.entity)
    before = history(connection, decision.entity, decision.left, decision.right)
    standing = in_force(before)
    if standing is None or standing.id != decision_id:
        decision = get(connection, decision_id)
        raise ConflictError(
            f"decision {decision_id} was withdrawn by {decision.withdrawn_by} at {_minute(decision.withdrawn_at)}: "
            f"{decision.withdrawn_reason or 'no reason given'}",
            standing,
            version(before),
        )
    if seen is not None:
        _check_seen(before, standing, seen)
    _withdraw(connection, decision_id, by, reason)
    evidence.reopen_decided(connection, decision_id)
    said = {"decision": decision_id, "reason": reason}
    log.append(connection, [log.Happening("decision.withdrawn", by, decision.entity, said)])
    return get(connection, decision_id)


def get(connection: Connection, decision_id: int) -> Judged:
    """One decision by its number.

    Raises:
        UnknownNameError: there is none.
    """
    table = identity_decisions
    known = 0 < decision_id < 2**63
    row = connection.execute(select(table).where(table.c.id == decision_id)).one_or_none() if known else None
    if row is None:
        raise UnknownNameError(f"there is no decision {decision_id}")
    return _judged(row)


def standing_decisions(connection: Connection, entity: str) -> list[Judged]:
    """All decisions in force of one entity, oldest first."""
    table = identity_decisions
    query = select(table).where(table.c.entity == entity, table.c.withdrawn_at.is_(None))
    return [_judged(row) for row in connection.execute(query.order_by(table.c.id))]


def decisions_about(connection: Connection, entity: str, record_ids: Collection[str]) -> list[Judged]:
    """Every decision there ever was on any of these records, oldest first."""
    table = identity_decisions
    about = evidence.among(table.c.left_record_id, record_ids) | evidence.among(
        table.c.right_record_id, record_ids
    )
    query = select(table).where(table.c.entity == entity, about).order_by(table.c.id)
    return [_judged(row) for row in connection.execute(query)]


def in_doubt(connection: Connection, entity: str) -> list[Task]:
    """Standing decisions about records that became somebody else since: they stay in force, and are asked about again.

    Deciding the pair again, or withdrawing what stands, answers the question.
    """
    decided, known = identity_decisions, identity_records
    query = (
        select(decided, known.c.record_id, known.c.rewritten_at)
        .join(
            known,
            (known.c.entity == decided.c.entity)
            & known.c.record_id.in_([decided.c.left_record_id, decided.c.right_record_id]),
        )
        .where(
            decided.c.entity == entity,
            decided.c.withdrawn_at.is_(None),
            decided.c.judgement != "unsure",
            known.c.rewritten_at > decided.c.decided_at,
        )
        .order_by(decided.c.id, known.c.record_id)
    )
    found: dict[tuple[str, str], Task] = {}
    for row in connection.execute(query):
        reason = (
            f"{row.record_id} became somebody else since {row.decided_by} judged the two {row.judgement} "
            f"on {row.decided_at:%Y-%m-%d}"
        )
        pair = row.left_record_id, row.right_record_id
        found.setdefault(pair, Task(entity, DOUBT, *pair, evidence={"rule": "steward", "reason": reason}))
    return list(found.values())


def happenings(
    connection: Connection,
    entity: str,
    *,
    record_ids: Collection[str] = (),
    ids: Collection[str] = (),
    others: bool = True,
) -> list[Happening]:
    """What ever happened to records and golden ids, oldest first: decisions, withdrawals, events.

    Args:
        record_ids: records; decisions about any of them count, and events that name one.
        ids: golden ids; their events count, and decisions about whatever record ever was theirs.
        others: of golden ids, also events and decisions about single records that are not among `record_ids`.
    """
    members = identity_members
    once: Iterable[str] = connection.execute(
        select(members.c.record_id).where(
            members.c.entity == entity, evidence.among(members.c.golden_id, ids)
        )
    ).scalars()
    concerned = {*record_ids, *once} if others else set(record_ids)
    found = [(item.at, 0, item) for item in told(decisions_about(connection, entity, concerned))]
    events = identity_events
    about = (
        evidence.among(events.c.golden_id, ids)
        | evidence.among(events.c.other_id, ids)
        | evidence.among(events.c.record_id, record_ids)
    )
    for row in connection.execute(
        select(events).where(events.c.entity == entity, about).order_by(events.c.seq)
    ):
        if (
            not others
            and row.kind != "born"
            and row.record_id is not None
            and row.record_id not in record_ids
        ):
            continue
        words = [row.golden_id]
        if row.record_id is not None:
            words.append(f"record {row.record_id}")
        if row.other_id is not None:
            words.append({"merged": "into"}.get(row.kind, "from") + f" {row.other_id}")
        if row.reason is not None:
            words.append(f"({row.reason})")
        found.append((row.at, row.seq, Happening(row.at, row.kind, None, " ".join(words))))
    return [item for _, _, item in sorted(found, key=lambda entry: entry[:2])]


def told(decisions: Iterable[Judged]) -> list[Happening]:
    """Decisions and their withdrawals as entries of a history, oldest first."""
    found = []
    for item in decisions:
        what = f"{item.left} and {item.right} are {item.judgement} (decision {item.id}): {item.reason}"
        found.append(Happening(item.at, item.judgement, item.by, what))
        if item.withdrawn_at is not None:
            why = f"decision {item.id} ({item.judgement}) withdrawn: {item.withdrawn_reason or 'no reason given'}"
            found.append(Happening(item.withdrawn_at, "withdrawn", item.withdrawn_by, why))
    return sorted(found, key=lambda item: item.at)


def history_of(
    connection: Connection, name: str, other: str | None = None, entity: str | None = None
) -> tuple[list[Happening], int | None]:
    """History of whatever a name means, or of what was decided about two records.

    Args:
        name: golden id (a retired one has a history of its own), record id or number.
        other: a second name; records that are no more are known by decisions about them.

    Returns:
        Entries, oldest first, and the version of the pair where there are two names.

    Raises:
        UnknownNameError, AmbiguousNameError: a name means nothing, or several records.
    """
    kinds = _entities(entity)
    if not _is_storable(name):
        one(connection, name, entity)
    if other is not None:
        kind, left, right = pair_ever(connection, name, other, entity)
        decisions = history(connection, kind, left, right)
        return told(decisions), version(decisions)
    for kind in kinds:
        if born(connection, kind, name) is not None:
            return happenings(connection, kind, ids={name}), None
    for kind in kinds:
        if decisions_about(connection, kind, {name}) and not _by_record(connection, name, kind):
            return happenings(connection, kind, record_ids={name}), None
    found = one(connection, name, entity)
    return happenings(connection, found.entity, record_ids={found.record_id}), None


def pair_ever(
    connection: Connection, left: str, right: str, entity: str | None = None
) -> tuple[str, str, str]:
    """Entity and record ids of two names; records that are no more are known by decisions about the two.

    Raises:
        UnknownNameError, AmbiguousNameError, DecisionRefusedError: see `pair`.
    """
    for kind in _entities(entity):
        if _is_storable(left + right) and history(connection, kind, left, right):
            return kind, left, right
    ours, theirs = pair(connection, left, right, entity)
    return ours.entity, ours.record_id, theirs.record_id


def past_members(
    connection: Connection, entity: str, golden_id: str
) -> list[tuple[str, datetime, datetime | None]]:
    """Records a golden id ever had: (record id, from, to; None while it holds), oldest link first."""
    members = identity_members
    query = select(members.c.record_id, members.c.valid_from, members.c.valid_to).where(
        members.c.entity == entity, members.c.golden_id == golden_id
    )
    rows = connection.execute(query.order_by(members.c.valid_from, members.c.record_id))
    return [(row.record_id, row.valid_from, row.valid_to) for row in rows]


def born(
    connection: Connection, entity: str, golden_id: str
) -> tuple[datetime, str, datetime | None, str | None] | None:
    """Birth, birth record, retirement and redirect of a golden id; None when there never was one."""
    if not _is_storable(golden_id):
        return None
    table = golden_ids
    row = connection.execute(
        select(table).where(table.c.entity == entity, table.c.golden_id == golden_id)
    ).one_or_none()
    return None if row is None else (row.born_at, row.born_from_record_id, row.retired_at, row.redirect_to)


def _is_storable(words: str) -> bool:
    """PostgreSQL's text holds neither NUL nor half of a surrogate pair, which is what bytes that are no UTF-8 become."""
    return "\0" not in words and not any("\ud800" <= sign <= "\udfff" for sign in words)


def _sound(words: str) -> str:
    """Text that PostgreSQL can hold, without blanks around it."""
    if not _is_storable(words):
        raise DecisionRefusedError(f"{words!r} holds a NUL, or bytes that are no UTF-8: write it again")
    return words.strip()


def _take_turns(connection: Connection, entity: str) -> None:
    """Decisions of one entity come one after another: each sees those before it, those of other pairs included."""
    connection.execute(
        text("SELECT pg_advisory_xact_lock(:class, :key)"), {"class": _LOCK, "key": ENTITIES.index(entity)}
    )


def _require_documents(connection: Connection, pair: Collection[str]) -> None:
    """Pickings and shipments follow their references; only order documents can be judged."""
    for record in evidence.records(connection, "order", pair).values():
        role = record.fields.get("document_role", "order")
        if role != "order":
            raise DecisionRefusedError(
                f"{record.record_id} is a {role}, which belongs where its reference leads: judge an order document of "
                f"{record.golden_id}, such as {representative(connection, 'order', record.golden_id or '')}"
            )


def _check_seen(before: Sequence[Judged], standing: Judged | None, seen: int | None) -> None:
    now = version(before)
    if seen is None and standing is None:
        return
    if seen == now:
        return
    if standing is not None:
        told = f"version {seen} was seen, now it is {now}" if seen is not None else f"its version is {now}"
        raise ConflictError(
            f"somebody decided on this pair already ({told}). {standing}. Look at it, then decide with the version "
            f"you saw (--seen {now}), or withdraw decision {standing.id}",
            standing,
            now,
        )
    last = before[-1] if before else None
    raise ConflictError(
        f"version {seen} was seen, now it is {now}: "
        + (f"no longer in force is {last}" if last else "nobody ever decided on this pair"),
        None,
        now,
    )


def _check_consistent(
    connection: Connection, entity: str, left: str, right: str, judgement: str, replaced: Judged | None
) -> None:
    """Refuse what standing decisions on other pairs rule out."""
    others = [
        item for item in standing_decisions(connection, entity) if replaced is None or item.id != replaced.id
    ]
    same = [item for item in others if item.judgement == "same"]
    if judgement == "different":
        path = _path(same, left, right)
        if path is not None:
            raise ContradictionError(_chained(left, right, "different", path), path)
    if judgement == "same":
        for wall in (item for item in others if item.judgement == "different"):
            for near, far in ((wall.left, wall.right), (wall.right, wall.left)):
                here, there = _path(same, left, near), _path(same, far, right)
                if here is not None and there is not None:
                    chain = [*here, wall, *there]
                    raise ContradictionError(_chained(left, right, "same", chain), chain)


def _path(same: Iterable[Judged], start: str, end: str) -> list[Judged] | None:
    """Fewest "same" decisions that lead from one record to another; empty when they are one, None when none do."""
    if start == end:
        return []
    next_to: dict[str, list[tuple[str, Judged]]] = defaultdict(list)
    for item in same:
        next_to[item.left].append((item.right, item))
        next_to[item.right].append((item.left, item))
    reached: dict[str, list[Judged]] = {start: []}
    waiting = deque([start])
    while waiting:
        record = waiting.popleft()
        for other, item in next_to[record]:
            if other not in reached:
                reached[other] = [*reached[record], item]
                if other == end:
                    return reached[other]
                waiting.append(other)
    return None


def _chained(left: str, right: str, judgement: str, path: Sequence[Judged]) -> str:
    steps = "; ".join(str(item) for item in path)
    return f"{left} and {right} cannot be {judgement}: standing decisions say otherwise. {steps}. Withdraw one of them first"


def _withdraw(connection: Connection, decision_id: int, by: str, reason: str) -> None:
    table = identity_decisions
    connection.execute(
        update(table)
        .where(table.c.id == decision_id, table.c.withdrawn_at.is_(None))
        .values(withdrawn_at=text("clock_timestamp()"), withdrawn_by=by, withdrawn_reason=reason)
    )


def _judged(row: Any) -> Judged:
    return Judged(
        row.id,
        row.entity,
        row.left_record_id,
        row.right_record_id,
        row.judgement,
        row.decided_by,
        row.decided_at,
        row.reason,
        row.withdrawn_at,
        row.withdrawn_by,
        row.withdrawn_reason,
    )


def _minute(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}Z"
