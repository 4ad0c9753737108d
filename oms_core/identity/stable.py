"""Golden ids that do not move: given today's clusters and yesterday's ids, who keeps which id, and what happened."""

from __future__ import annotations

import base64
import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

PREFIXES = {"customer": "CUS", "sku": "SKU", "location": "LOC", "order": "ORD"}


@dataclass(frozen=True)
class IdentityEvent:
    """Something that happened to an id: born, merged, split, moved, retired. `other_id` as the kind explains."""

    kind: str
    golden_id: str
    record_id: str | None = None
    other_id: str | None = None


@dataclass(frozen=True)
class Assignment:
    """Ids for all clusters: record -> golden id, ids born (id -> first record), ids retired (id -> redirect or None)."""

    members: dict[str, str]
    born: dict[str, str]
    retired: dict[str, str | None]
    events: list[IdentityEvent]


def birth_id(entity: str, record_id: str, attempt: int = 0) -> str:
    """Id born from a record's source key: the same on every engine and every rebuild; 80 bits of SHA-256."""
    text = f"{entity}|{record_id}" if attempt == 0 else f"{entity}|{record_id}|{attempt}"
    digest = hashlib.sha256(text.encode()).digest()[:10]
    return f"{PREFIXES[entity]}-{base64.b32encode(digest).decode()}"


def assign(
    entity: str,
    clusters: Iterable[frozenset[str]],
    first_seen: Mapping[str, datetime],
    previous: Mapping[str, str],
    born_at: Mapping[str, datetime],
    taken: Iterable[str] = (),
) -> Assignment:
    """Give every cluster an id.

    A cluster keeps the id that most of its members had (ties: the older id, then the smaller text). An id wanted by two
    clusters stays with the one that holds more of its former members. Everything else is born from the cluster's first
    record.

    Args:
        entity: customer, sku, location or order.
        clusters: today's partition; order does not matter.
        first_seen: record id -> when it first landed, aware UTC.
        previous: record id -> golden id it had.
        born_at: golden id -> birth, for every id in `previous`.
        taken: ids that were ever used, so that a new one does not meet a retired one.

    Returns:
        Members of all clusters, births, retirements with redirects, and the events in a fixed order.
    """
    ordered = sorted(clusters, key=min)
    # Claims from the largest share down, so that a split keeps the id on the larger part.
    claims = []
    for number, group in enumerate(ordered):
        shares = Counter(previous[record] for record in group if record in previous)
        for golden_id, share in shares.items():
            claims.append((-share, born_at[golden_id], golden_id, number))
    kept: dict[int, str] = {}
    given: set[str] = set()
    for _, _, golden_id, number in sorted(claims):
        if number not in kept and golden_id not in given:
            kept[number] = golden_id
            given.add(golden_id)

    used = {*taken, *born_at, *given}
    members: dict[str, str] = {}
    born: dict[str, str] = {}
    events: list[IdentityEvent] = []
    for number, group in enumerate(ordered):
        golden_id = kept.get(number, "")
        if not golden_id:
            first = min(group, key=lambda record: (first_seen[record], record))
            attempt = 0
            golden_id = birth_id(entity, first)
            while golden_id in used:
                attempt += 1
                golden_id = birth_id(entity, first, attempt)
            used.add(golden_id)
            born[golden_id] = first
            events.append(IdentityEvent("born", golden_id, first))
        for record in group:
            members[record] = golden_id

    survivors = set(members.values())
    heirs: dict[str, Counter[str]] = {}
    for record, golden_id in previous.items():
        if record in members:
            heirs.setdefault(golden_id, Counter())[members[record]] += 1
    retired: dict[str, str | None] = {}
    for golden_id in sorted(set(previous.values())):
        new_ids = heirs.get(golden_id, Counter())
        if golden_id in survivors:
            for other in sorted(set(new_ids) - {golden_id}):
                if other in born:
                    events.append(IdentityEvent("split", other, other_id=golden_id))
            continue
        if new_ids:
            redirect = min(new_ids, key=lambda other: (-new_ids[other], other))
            retired[golden_id] = redirect
            events.append(IdentityEvent("merged", golden_id, other_id=redirect))
        else:
            retired[golden_id] = None
            events.append(IdentityEvent("retired", golden_id))
    for record in sorted(set(members) & set(previous)):
        if members[record] != previous[record]:
            events.append(IdentityEvent("moved", members[record], record, previous[record]))
    return Assignment(members, born, retired, events)
