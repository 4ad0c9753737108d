"""The audit log: everything that changed anything, one canonical JSON entry each, append-only, under a Merkle tree.

An entry's leaf is its RFC 8785 bytes. Whole subtrees of 16 leaves and more are kept as nodes, so that a root, an
inclusion proof and a consistency proof each read some tens of hashes, however long the log is. Nothing here keeps a
writer with full rights on the database from rewriting it all; signed checkpoints kept elsewhere do (`checkpoint.py`).

Source: RFC 6962, section 2.1, for trees and proofs; RFC 8785 for canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import Connection, func, select, tuple_

from oms_core.audit import merkle
from oms_core.audit.canonical import canonical
from oms_core.store.pipelined import Result, together
from oms_core.store.tables import audit_entries, audit_log, audit_nodes

# The request that is being carried out, where there is one; what happens in it says so.
request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
KEPT_LEVEL = 4  # nodes over 2**4 leaves and more are stored; smaller ones are hashed from the leaves again
_TILE = 1 << KEPT_LEVEL
RELEASE_PUBLISHED = "release.published"
PERSON_ERASING, PERSON_ERASED, PERSON_KEPT_ERASED = "person.erasing", "person.erased", "person.kept_erased"
RETENTION_BEGUN, RETENTION_APPLIED = "retention.begun", "retention.applied"
# What the landing holds otherwise since, and why.
OF_ERASURE = (PERSON_ERASING, PERSON_ERASED, PERSON_KEPT_ERASED, RETENTION_BEGUN, RETENTION_APPLIED)
_LOG_LOCK = 0x6F68_6C6F67  # "ohlog"
_CLOCK = "SELECT clock_timestamp() AT TIME ZONE 'UTC' AS at"
# What a log ends with, by (level, position, hash): its size (level -1), the leaves of the tile that is not full yet
# (level 0), and the kept nodes that have no right neighbour yet.
_ENDS = """
WITH log AS (SELECT coalesce(max(seq) + 1, 0) AS size FROM orderhub.audit_entries)
SELECT -1 AS level, size AS position, ''::bytea AS hash FROM log
UNION ALL
(SELECT 0, seq, leaf_hash FROM orderhub.audit_entries
WHERE seq >= (SELECT size - size %% %(tile)s FROM log) ORDER BY seq)
UNION ALL
SELECT n.level, n.position, n.hash FROM log CROSS JOIN generate_series(4, 62) AS up (level)
JOIN orderhub.audit_nodes AS n ON n.level = up.level AND n.position = (log.size >> up.level) - 1
WHERE (log.size >> up.level) & 1 = 1
"""
_ADD_ENTRIES = """
INSERT INTO orderhub.audit_entries (seq, entry, leaf_hash)
SELECT %(start)s + place - 1, entry, leaf_hash
FROM unnest(%(entries)s::text[], %(leaves)s::bytea[]) WITH ORDINALITY AS new (entry, leaf_hash, place)
"""
_ADD_NODES = """
INSERT INTO orderhub.audit_nodes (level, position, hash)
SELECT * FROM unnest(%(levels)s::smallint[], %(positions)s::bigint[], %(hashes)s::bytea[])
"""


class AuditError(Exception):
    """The log, or what it vouches for, is not as it was, or a call asked for what is not there."""


@dataclass(frozen=True)
class Happening:
    """Something that changed something.

    kind: `<subject>.<verb>`, such as release.published; actor: who; subject: what, such as release/7; data: JSON values
    without floats (amounts and hashes as text); request_id: of the request it happened in.
    """

    kind: str
    actor: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)
    request_id: str | None = field(default_factory=request_id.get)


@dataclass(frozen=True)
class Entry:
    """One entry as logged: its place, its bytes and what they say."""

    seq: int
    canonical: bytes

    @property
    def said(self) -> dict[str, Any]:
        """seq, at, kind, actor, subject, data."""
        found: dict[str, Any] = json.loads(self.canonical)
        return found


@dataclass(frozen=True)
class InclusionProof:
    """That an entry stands at `seq` in the log of `size` entries with this root."""

    seq: int
    size: int
    leaf: bytes
    path: list[bytes]
    root: bytes

    def holds(self) -> bool:
        """Whether the path leads from the leaf to the root."""
        return merkle.proves_inclusion(self.leaf, self.seq, self.size, self.path, self.root)


def append(
    connection: Connection,
    happenings: Sequence[Happening],
    *,
    after: Sequence[tuple[str, Mapping[str, Any]]] = (),
    check: Callable[[list[Result]], None] = lambda _: None,
) -> range:
    """Log what happens in this transaction; it is in the log exactly when the transaction commits.

    Args:
        after: statements of what happens, sent in the same round trip that opens the log; see `together`.
        check: told their results, before anything is logged.

    Returns:
        The places of the new entries.

    Raises:
        AuditError: data holds what canonical JSON cannot, such as a float that is not finite or a huge integer.
    """
    if not happenings:
        check(together(connection, after) if after else [])
        return range(0)
    # Two round trips, whatever is logged: nobody else can log meanwhile.
    opening = [
        ("SELECT pg_advisory_xact_lock(%(key)s)", {"key": _LOG_LOCK}),
        (_CLOCK, {}),
        (_ENDS, {"tile": _TILE}),
    ]
    *done, _, clock, ends = together(connection, [*after, *opening])
    check(done)
    at: datetime = clock.rows[0].at
    known = [bytes(row.hash) for row in ends.rows if row.level == 0]
    beside = {(row.level, row.position): bytes(row.hash) for row in ends.rows if row.level >= KEPT_LEVEL}
    start = next((row.position for row in ends.rows if row.level < 0), 0)
    entries = []
    for seq, happening in enumerate(happenings, start):
        entry: Any = {
            "seq": seq,
            "at": at.isoformat(timespec="microseconds") + "Z",
            "kind": happening.kind,
            "actor": happening.actor,
            "subject": happening.subject,
            "data": happening.data,
        }
        if happening.request_id is not None:
            entry["request_id"] = happening.request_id
        try:
            entries.append(canonical(entry))
        except rfc8785.CanonicalizationError as error:
            raise AuditError(f"{happening.kind} of {happening.subject} cannot be logged: {error}") from error
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    nodes = _completed(start, known, leaves, beside)
    together(
        connection,
        [
            (
                _ADD_ENTRIES,
                {"start": start, "entries": [entry.decode() for entry in entries], "leaves": leaves},
            ),
            (
                _ADD_NODES,
                {
                    "levels": [level for level, _ in nodes],
                    "positions": [position for _, position in nodes],
                    "hashes": list(nodes.values()),
                },
            ),
        ],
    )
    return range(start, start + len(entries))


def size(connection: Connection) -> int:
    """Number of entries."""
    last = connection.execute(select(func.max(audit_entries.c.seq))).scalar()
    return 0 if last is None else last + 1


def origin(connection: Connection) -> str:
    """The log's name, as its checkpoints bear it; given once, when the log was made.

    Raises:
        AuditError: it has none any more, or several.
    """
    names: Sequence[str] = connection.execute(select(audit_log.c.origin)).scalars().all()
    if len(names) != 1:
        raise AuditError(
            f"the audit log has {len(names)} names instead of one: its table audit_log was changed"
        )
    return names[0]


def root(connection: Connection, of: int | None = None) -> tuple[int, bytes]:
    """Size and Merkle root of the log now, or when it had `of` entries.

    Raises:
        AuditError: it never had that many.
    """
    now = size(connection)
    of = now if of is None else of
    if of > now:
        raise AuditError(f"the log has {now:,} entries, not {of:,}")
    return of, _hashes(connection, [(0, of)])[0]


def prove(connection: Connection, seq: int, of: int | None = None) -> InclusionProof:
    """Proof that entry `seq` stands in the log of now, or of `of` entries.

    Raises:
        AuditError: there is no such entry, or the log never had that many.
    """
    of, whole = root(connection, of)
    if not 0 <= seq < of:
        raise AuditError(f"there is no entry {seq:,} in a log of {of:,} entries (0 is the first)")
    leaf = connection.execute(select(audit_entries.c.leaf_hash).where(audit_entries.c.seq == seq)).scalar()
    if leaf is None:
        raise AuditError(f"entry {seq:,} is missing from the log; orderhub audit verify says what else is")
    path = _hashes(connection, merkle.inclusion_ranges(seq, of))
    return InclusionProof(seq, of, bytes(leaf), path, whole)


def prove_growth(connection: Connection, before: int, of: int | None = None) -> list[bytes]:
    """Proof that the log of `of` entries begins with the log of `before` entries (RFC 9162, 2.1.4)."""
    of, _ = root(connection, of)
    if not 0 < before <= of:
        raise AuditError(f"the log of {of:,} entries did not grow from one of {before:,}")
    return _hashes(connection, merkle.consistency_ranges(before, of))


def read(connection: Connection, after: int = -1, limit: int = 100) -> list[Entry]:
    """Entries in order, those after `after` first."""
    query = select(audit_entries.c.seq, audit_entries.c.entry).where(audit_entries.c.seq > after)
    rows = connection.execute(query.order_by(audit_entries.c.seq).limit(limit))
    return [Entry(row.seq, row.entry.encode()) for row in rows]


def stream(connection: Connection) -> Iterator[tuple[int, bytes, bytes]]:
    """Every entry in order as (seq, bytes, leaf hash), some at a time."""
    query = select(audit_entries.c.seq, audit_entries.c.entry, audit_entries.c.leaf_hash)
    answer = connection.execution_options(yield_per=20_000).execute(query.order_by(audit_entries.c.seq))
    for row in answer:
        yield row.seq, row.entry.encode(), bytes(row.leaf_hash)


def _completed(
    start: int, known: Sequence[bytes], leaves: Sequence[bytes], beside: Mapping[tuple[int, int], bytes]
) -> dict[tuple[int, int], bytes]:
    """Kept nodes that new leaves complete: (level, position) -> hash.

    Args:
        start: place of the first new leaf.
        known: leaves before it in its tile.
        beside: the kept nodes that the leaves before `start` end with.
    """
    end = start + len(leaves)
    begun = start - start % _TILE
    row = [*known, *leaves]
    made: dict[tuple[int, int], bytes] = {}
    for position in range(begun >> KEPT_LEVEL, end >> KEPT_LEVEL):
        at = (position << KEPT_LEVEL) - begun
        made[KEPT_LEVEL, position] = merkle.tree_root(b"".join(row[at : at + _TILE]))
    level = KEPT_LEVEL
    while end >> (level + 1) > start >> (level + 1):
        for position in range(start >> (level + 1), end >> (level + 1)):
            left, right = (level, 2 * position), (level, 2 * position + 1)
            made[level + 1, position] = merkle.node_hash(made.get(left) or beside[left], made[right])
        level += 1
    return made


def _stored(connection: Connection, wanted: Iterable[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    wanted = list(wanted)
    if not wanted:
        return {}
    rows = connection.execute(
        select(audit_nodes).where(tuple_(audit_nodes.c.level, audit_nodes.c.position).in_(wanted))
    )
    return {(row.level, row.position): bytes(row.hash) for row in rows}


def _hashes(connection: Connection, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """Hash of the tree over each range of leaves, with two look-ups for all of them."""
    covers = [merkle.cover(start, end) for start, end in ranges]
    wanted = {node for cover in covers for node in cover}
    nodes = _stored(connection, [node for node in wanted if node[0] >= KEPT_LEVEL])
    small = [node for node in wanted if node[0] < KEPT_LEVEL]
    if small:
        tiles = sorted({(position << level) >> KEPT_LEVEL for level, position in small})
        rows = connection.execute(
            select(audit_entries.c.seq, audit_entries.c.leaf_hash).where(
                audit_entries.c.seq.in_(
                    [seq for tile in tiles for seq in range(tile * _TILE, (tile + 1) * _TILE)]
                )
            )
        )
        leaves = {row.seq: bytes(row.leaf_hash) for row in rows}
        for level, position in small:
            span = range(position << level, (position + 1) << level)
            nodes[level, position] = merkle.tree_root(b"".join(leaves.get(seq, b"") for seq in span))
    missing = sorted(wanted - nodes.keys())
    if missing:
        raise AuditError(
            f"the log lacks node {missing[0]} of its tree; orderhub audit verify says what is wrong"
        )
    return [merkle.joined([nodes[node] for node in cover]) for cover in covers]
