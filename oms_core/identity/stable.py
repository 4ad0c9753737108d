"""Golden ids that do not move: given today's clusters and what is remembered, who has which id, and what happened.

Rules, in the order they decide:

1. A record is at home in the id it was born with, or in the one it parted into. A merge changes nobody's home, so that
   it can be undone. Who joins a merged cluster, or goes over to another id while its own lives on, is at home in none.
2. An id is claimed by every cluster with records at home in it, or linked to it in the last run. It goes to the cluster
   with most records at home, then most linked records, then to what is left of it alone, then to its birth record.
3. A cluster keeps the oldest id it wins; the others it wins retire with a redirect to it. An id that was retired is in
   force again when it is kept: that undoes a merge, and brings a deleted record its id back.
4. Everything else is born from the cluster's first record by landing.
5. A record that was rewritten into somebody else claims nothing.

Ids are as old as the first landing of the record they are born from, so that merges keep the id a rebuild from landing
would bear; a part is never older than the id it parted from.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import chain

PREFIXES = {"customer": "CUS", "sku": "SKU", "location": "LOC", "order": "ORD"}

NEW = "new record"
BACK = "record back"
GONE = "record gone"
EVIDENCE_GONE = "evidence gone"
OTHER_EVIDENCE = "other evidence"
STEWARD = "steward"
REWRITTEN = "rewritten"
EMPTY = "no record left"


@dataclass(frozen=True, slots=True)
class GoldenId:
    """What is remembered of an id: its birth and, retired, the id that took over.

    `seen_at` is when the birth record first landed; an id that parted from another counts no earlier than that one.
    """

    born_from: str
    seen_at: datetime
    born_at: datetime
    is_retired: bool = False
    redirect_to: str | None = None


@dataclass(frozen=True)
class Memory:
    """What earlier runs left of one entity.

    `members`: record -> id, links in force. `homes`: record -> id it is at home in or None, of every record ever seen.
    `ids`: every id ever born, retired ones too.
    """

    members: Mapping[str, str] = field(default_factory=dict)
    homes: Mapping[str, str | None] = field(default_factory=dict)
    ids: Mapping[str, GoldenId] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IdentityEvent:
    """Something that happened, with its reason.

    kind        golden_id          record_id   other_id
    born        the new id         its first   -
    revived     the id again       -           -
    split       the part's id      -           the id it parted from
    joined      its id             the record  -
    moved       its id now         the record  the id it left
    left        the id it left     the record  -
    merged      the retired id     -           the id that took over
    retired     the retired id     -           -

    The events of a run come in this order of kinds, but for `joined`, `moved` and `left`, which come by record. `born`,
    `joined`, `moved` and `left` together tell every link; a record of `born` has no `joined` of its own.
    """

    kind: str
    golden_id: str
    record_id: str | None = None
    other_id: str | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Birth:
    """The record an id is born from, and the instant it is as old as."""

    record_id: str
    seen_at: datetime


@dataclass(frozen=True)
class Assignment:
    """Ids for all clusters, and what changed.

    `members`: record -> id, of every record. `homes`: records whose home changed. `born`, `retired` (id -> redirect or
    None; an id retired before is in it when its redirect changed) and `revived` ids; events in a fixed order.
    """

    members: dict[str, str]
    born: dict[str, Birth] = field(default_factory=dict)
    retired: dict[str, str | None] = field(default_factory=dict)
    revived: list[str] = field(default_factory=list)
    homes: dict[str, str | None] = field(default_factory=dict)
    events: list[IdentityEvent] = field(default_factory=list)


def birth_id(entity: str, record_id: str, attempt: int = 0) -> str:
    """Id born from a record's source key: the same on every engine and every rebuild; 80 bits of SHA-256."""
    text = f"{entity}|{record_id}" if attempt == 0 else f"{entity}|{record_id}|{attempt}"
    digest = hashlib.sha256(text.encode()).digest()[:10]
    return f"{PREFIXES[entity]}-{base64.b32encode(digest).decode()}"


def assign(
    entity: str,
    clusters: Iterable[frozenset[str]],
    first_seen: Mapping[str, datetime],
    memory: Memory,
    *,
    rewritten: Mapping[str, str] | None = None,
    same: Collection[tuple[str, str]] = (),
    apart: Collection[tuple[str, str]] = (),
    hangers: Mapping[str, str] | None = None,
) -> Assignment:
    """Give every cluster an id. Linear in the number of records; neither their order nor the clusters' matters.

    Args:
        entity: customer, sku, location or order.
        clusters: today's partition; order does not matter.
        first_seen: record id -> when it first landed, aware UTC.
        memory: what earlier runs left.
        rewritten: records that became somebody else since the last run -> what tells so.
        same, apart: pairs stewards judged; they only name the reason of a change.
        hangers: records outside the partition -> the record whose id they share; they claim nothing.
    """
    rewritten, hangers = rewritten or {}, hangers or {}
    ordered = list(clusters)
    winners = _winners(ordered, memory, rewritten, first_seen)
    kept = _keep(winners, memory.ids)

    used = set(memory.ids)
    members: dict[str, str] = {}
    homes: dict[str, str | None] = {}
    born: dict[str, Birth] = {}
    for number, group in enumerate(ordered):
        golden_id = kept.get(number)
        if golden_id is None:
            golden_id, birth = _bear(entity, group, first_seen, memory, used)
            used.add(golden_id)
            born[golden_id] = birth
            kept[number] = golden_id
        for record in group:
            members[record] = golden_id
    for number, group in enumerate(ordered):
        golden_id = kept[number]
        if golden_id in born:
            homes.update(dict.fromkeys(group, golden_id))
        else:
            homes.update(_settle(number, group, golden_id, memory.homes, rewritten, winners))
    in_force = set(kept.values())
    retired = _retire(winners, kept, in_force, memory.ids)
    for record, target in sorted(hangers.items()):
        members[record] = members[target]
        home = memory.homes.get(record)
        if home in retired and retired[home] is None and record not in rewritten:
            retired[home] = members[record]  # once a cluster of its own, now a part of another record's

    revived = sorted(
        golden_id for golden_id in in_force if golden_id in memory.ids and memory.ids[golden_id].is_retired
    )
    events = _events(members, born, revived, retired, memory, rewritten, [*same, *apart])
    return Assignment(members, born, retired, revived, homes, events)


def remembered(memory: Memory, found: Assignment, at: datetime) -> Memory:
    """What is remembered after a run, at whose instant ids are born; the store keeps the same."""
    ids = dict(memory.ids)
    for golden_id, birth in found.born.items():
        ids[golden_id] = GoldenId(birth.record_id, birth.seen_at, at)
    for golden_id, redirect in found.retired.items():
        ids[golden_id] = replace(ids[golden_id], is_retired=True, redirect_to=redirect)
    for golden_id in found.revived:
        ids[golden_id] = replace(ids[golden_id], is_retired=False, redirect_to=None)
    return Memory(found.members, {**memory.homes, **found.homes}, ids)


def _age(golden_id: str, known: GoldenId) -> tuple[datetime, datetime, str, str]:
    return known.seen_at, known.born_at, known.born_from, golden_id


def _winners(
    ordered: list[frozenset[str]],
    memory: Memory,
    rewritten: Mapping[str, str],
    first_seen: Mapping[str, datetime],
) -> dict[str, int]:
    """Id -> number of the cluster with the largest claim on it, of every id that anybody claims."""
    members, homes = memory.members, memory.homes
    winners: dict[str, int] = {}
    contested: set[str] = set()
    for number, group in enumerate(ordered):
        for record in group:
            if record in rewritten:
                continue
            home, linked = homes.get(record), members.get(record)
            if home is not None and winners.setdefault(home, number) != number:
                contested.add(home)
            if linked is not None and linked != home and winners.setdefault(linked, number) != number:
                contested.add(linked)
    if not contested:
        return winners

    claims: dict[str, dict[int, list[int]]] = {golden_id: {} for golden_id in contested}
    for number, group in enumerate(ordered):
        for record in group:
            if record in rewritten:
                continue
            home, linked = homes.get(record), members.get(record)
            if home in contested:
                assert home is not None
                claim = claims[home].setdefault(number, [0, 0, 0])
                claim[0] += 1
                claim[2] += memory.ids[home].born_from == record
            if linked in contested:
                assert linked is not None
                claims[linked].setdefault(number, [0, 0, 0])[1] += 1
    for golden_id, found in claims.items():
        best = max(claim[:2] for claim in found.values())
        tied = [number for number, claim in found.items() if claim[:2] == best]
        winners[golden_id] = min(
            tied,
            key=lambda number: (
                any(members.get(record, golden_id) != golden_id for record in ordered[number]),
                -found[number][2],
                min((first_seen[record], record) for record in ordered[number]),
            ),
        )
    return winners


def _keep(winners: Mapping[str, int], ids: Mapping[str, GoldenId]) -> dict[int, str]:
    """Cluster number -> the oldest id it wins."""
    kept: dict[int, str] = {}
    for golden_id, number in winners.items():
        rival = kept.setdefault(number, golden_id)
        if rival != golden_id and _age(golden_id, ids[golden_id]) < _age(rival, ids[rival]):
            kept[number] = golden_id
    return kept


def _bear(
    entity: str,
    group: frozenset[str],
    first_seen: Mapping[str, datetime],
    memory: Memory,
    used: Collection[str],
) -> tuple[str, Birth]:
    first = min(group, key=lambda record: (first_seen[record], record))
    attempt = 0
    golden_id = birth_id(entity, first)
    while golden_id in used:
        attempt += 1
        golden_id = birth_id(entity, first, attempt)
    left = {memory.members[record] for record in group if record in memory.members}
    return golden_id, Birth(first, max([first_seen[first], *(memory.ids[former].seen_at for former in left)]))


def _settle(
    number: int,
    group: frozenset[str],
    golden_id: str,
    homes: Mapping[str, str | None],
    rewritten: Mapping[str, str],
    winners: Mapping[str, int],
) -> dict[str, str | None]:
    """Records of one cluster whose home changes, and where they are at home from now on."""
    changed: dict[str, str | None] = {}
    fresh = []
    is_merged = False
    for record in group:
        if record in rewritten or record not in homes:
            fresh.append(record)
            continue
        home = homes[record]
        if home is None or home == golden_id:
            continue
        if winners[home] == number:
            is_merged = True
        else:
            changed[record] = None  # it went over by itself
    return changed | dict.fromkeys(fresh, None if is_merged else golden_id)


def _retire(
    winners: Mapping[str, int],
    kept: Mapping[int, str],
    in_force: Collection[str],
    ids: Mapping[str, GoldenId],
) -> dict[str, str | None]:
    """Ids that retire, with the id that their records have now, and retired ones that no longer lead to theirs."""
    retired: dict[str, str | None] = {
        golden_id: kept[winners[golden_id]] if golden_id in winners else None
        for golden_id, known in ids.items()
        if not known.is_retired and golden_id not in in_force
    }
    for golden_id, number in winners.items():
        if not ids[golden_id].is_retired or golden_id in in_force:
            continue
        end: str | None = golden_id
        while end is not None and end not in in_force:
            end = retired[end] if end in retired else ids[end].redirect_to
        if end != kept[number]:
            retired[golden_id] = kept[number]
    return dict(sorted(retired.items()))


def _events(
    members: Mapping[str, str],
    born: Mapping[str, Birth],
    revived: list[str],
    retired: Mapping[str, str | None],
    memory: Memory,
    rewritten: Mapping[str, str],
    judged: Iterable[tuple[str, str]],
) -> list[IdentityEvent]:
    before = memory.members
    moved = sorted(
        record for record, golden_id in members.items() if before.get(record, golden_id) != golden_id
    )
    joined = sorted(record for record in members if record not in before)
    gone = sorted(record for record in before if record not in members)
    # Two records that changed from one id to two, or from two to one, as a steward judged.
    decided: set[tuple[str, str]] = set()
    for left, right in judged:
        if left in before and right in before and left in members and right in members:
            was_one, is_one = before[left] == before[right], members[left] == members[right]
            if was_one != is_one:
                decided |= {(before[left], members[left]), (before[right], members[right])}

    def begins(golden_id: str) -> bool:
        return golden_id in born or memory.ids[golden_id].is_retired

    def why(former: str, golden_id: str) -> str:
        if (former, golden_id) in decided:
            return STEWARD
        return EVIDENCE_GONE if begins(golden_id) and retired.get(former) != golden_id else OTHER_EVIDENCE

    parts: dict[str, set[str]] = {}  # id that began to hold again -> ids its records come from
    reasons: dict[str, str] = {}
    for record in moved:
        former, golden_id = before[record], members[record]
        if record in rewritten:
            reasons.setdefault(golden_id, f"{REWRITTEN}: {rewritten[record]}")
        elif begins(golden_id) and retired.get(former) != golden_id:
            parts.setdefault(golden_id, set()).add(former)
    for golden_id, formers in parts.items():
        reasons[golden_id] = min(why(former, golden_id) for former in formers)

    events = [
        IdentityEvent("born", golden_id, birth.record_id, reason=reasons.get(golden_id, NEW))
        for golden_id, birth in sorted(born.items())
    ]
    events += [
        IdentityEvent("revived", golden_id, reason=reasons.get(golden_id, BACK)) for golden_id in revived
    ]
    events += [
        IdentityEvent("split", golden_id, other_id=former, reason=why(former, golden_id))
        for golden_id in sorted(parts)
        for former in sorted(parts[golden_id])
        if former not in retired
    ]
    first = {birth.record_id for birth in born.values()}
    for record in sorted(chain(moved, joined, gone)):
        if record not in members:
            events.append(IdentityEvent("left", before[record], record, reason=GONE))
        elif record not in before:
            if record not in first:
                reason = BACK if record in memory.homes else NEW
                events.append(IdentityEvent("joined", members[record], record, reason=reason))
        else:
            former, golden_id = before[record], members[record]
            reason = f"{REWRITTEN}: {rewritten[record]}" if record in rewritten else why(former, golden_id)
            events.append(IdentityEvent("moved", golden_id, record, former, reason))
    for golden_id, redirect in retired.items():
        if redirect is not None:
            reason = STEWARD if (golden_id, redirect) in decided else OTHER_EVIDENCE
            events.append(IdentityEvent("merged", golden_id, other_id=redirect, reason=reason))
        else:
            events.append(IdentityEvent("retired", golden_id, reason=EMPTY))
    return events
