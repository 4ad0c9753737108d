"""The audit log: everything that changed anything, one canonical JSON entry each, append-only, under a Merkle tree.

An entry's leaf is its RFC 8785 bytes. Whole subtrees of 16 leaves and more are kept as nodes, so that a root, an
inclusion proof and a consistency proof each read some tens of hashes, however long the log is. Nothing here keeps a
writer with full rights on the database from rewriting it all; signed checkpoints kept elsewhere do (`checkpoint.py`).

Source: RFC 6962, section 2.1, for trees and proofs; RFC 8785 for canonical JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import pyarrow as pa
import rfc8785
from sqlalchemy import Connection, func, select, text, tuple_

from oms_core.audit import merkle
from oms_core.store.copy_text import copy_rows
from oms_core.store.tables import STATE_SCHEMA, audit_entries, audit_log, audit_nodes

KEPT_LEVEL = 4  # nodes over 2**4 leaves and more are stored; smaller ones are hashed from the leaves again
_TILE = 1 << KEPT_LEVEL
RELEASE_PUBLISHED = "release.published"
_LOG_LOCK = 0x6F68_6C6F67  # "ohlog"


class AuditError(Exception):
    """The log, or what it vouches for, is not as it was, or a call asked for what is not there."""


@dataclass(frozen=True)
class Happening:
    """Something that changed something.

    kind: `<subject>.<verb>`, such as release.published; actor: who; subject: what, such as release/7; data: JSON values
    without floats (amounts and hashes as text).
    """

    kind: str
    actor: str
    subject: str
    data: Mapping[str, Any] = field(default_factory=dict)


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


def append(connection: Connection, happenings: Sequence[Happening]) -> range:
    """Log what happens in this transaction; it is in the log exactly when the transaction commits.

    Returns:
        The places of the new entries.

    Raises:
        AuditError: data holds what canonical JSON cannot, such as a float that is not finite or a huge integer.
    """
    if not happenings:
        return range(0)
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOG_LOCK})
    start = size(connection)
    at: datetime = connection.execute(text("SELECT clock_timestamp() AT TIME ZONE 'UTC'")).scalar_one()
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
        try:
            entries.append(rfc8785.dumps(entry))
        except rfc8785.CanonicalizationError as error:
            raise AuditError(f"{happening.kind} of {happening.subject} cannot be logged: {error}") from error
    leaves = [merkle.leaf_hash(entry) for entry in entries]
    copy_rows(
        connection,
        (STATE_SCHEMA, "audit_entries"),
        pa.table(
            {
                "seq": pa.array(range(start, start + len(entries)), pa.int64()),
                "entry": pa.array([entry.decode() for entry in entries], pa.string()),
                "leaf_hash": pa.array([_as_bytea(leaf) for leaf in leaves], pa.string()),
            }
        ),
    )
    nodes = _completed(connection, start, leaves)
    if nodes:
        copy_rows(
            connection,
            (STATE_SCHEMA, "audit_nodes"),
            pa.table(
                {
                    "level": pa.array([level for level, _ in nodes], pa.int16()),
                    "position": pa.array([position for _, position in nodes], pa.int64()),
                    "hash": pa.array([_as_bytea(node) for node in nodes.values()], pa.string()),
                }
            ),
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


def _as_bytea(value: bytes) -> str:
    return "\\x" + value.hex()


def _completed(connection: Connection, start: int, leaves: Sequence[bytes]) -> dict[tuple[int, int], bytes]:
    """Kept nodes that the new leaves complete: (level, position) -> hash."""
    end = start + len(leaves)
    begun = start - start % _TILE
    known: Sequence[bytes] = (
        connection.execute(
            select(audit_entries.c.leaf_hash)
            .where(audit_entries.c.seq >= begun, audit_entries.c.seq < start)
            .order_by(audit_entries.c.seq)
        )
        .scalars()
        .all()
    )
    row = [*map(bytes, known), *leaves]
    made: dict[tuple[int, int], bytes] = {}
    for position in range(begun >> KEPT_LEVEL, end >> KEPT_LEVEL):
        at = (position << KEPT_LEVEL) - begun
        made[KEPT_LEVEL, position] = merkle.tree_root(b"".join(row[at : at + _TILE]))
    level = KEPT_LEVEL
    lone = {
        (upper, (start >> upper) - 1) for upper in range(KEPT_LEVEL, end.bit_length()) if (start >> upper) & 1
    }
    beside = _stored(connection, lone)
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
