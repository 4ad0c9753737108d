"""Proof that a row stands in a sealed release: from the row's line to the release's root, and to the log entry that tells it.

Whoever checks it needs SHA-256 and the signed checkpoint, and no trust in this database. Personal values stand in the line
as commitments (`release/persons.py`), so that a proof can be shown around and outlives an erasure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sqlalchemy import Connection, select, text

from oms_core.audit import log, merkle
from oms_core.audit.verify import sealed_line
from oms_core.release.history import history_table, quoted
from oms_core.release.seal import TableSeal, sort_hashes
from oms_core.store.copy_text import read_hashes
from oms_core.store.errors import NotReleasedError
from oms_core.store.tables import audit_entries, release_tables


@dataclass(frozen=True)
class Step:
    """Where a leaf stands in a tree, and the hashes from it to the root, from the bottom up."""

    index: int
    size: int
    path: tuple[bytes, ...]


@dataclass(frozen=True)
class RowProof:
    """That a row stands in a release.

    Attributes:
        line: the row as it was hashed: columns in order of their names, COPY text, personal values as commitments.
        in_table: the row's place among the sorted row hashes of its table.
        table_entry: canonical JSON that stands for the table in the release's tree; holds the table's root.
        in_release: the table's place among the release's tables.
        release_root: Merkle root of the release.
        log_entry: canonical JSON of the log entry that published it, None for a release older than the log.
        log_seq: its place; `orderhub audit proof` leads from there to a signed checkpoint.
    """

    table: str
    release_id: int
    line: str
    in_table: Step
    table_entry: str
    in_release: Step
    release_root: bytes
    log_entry: str | None
    log_seq: int | None

    def holds(self) -> bool:
        """Whether each hash leads to the next, and the log tells the same root."""
        table_root = bytes.fromhex(json.loads(self.table_entry)["merkle_root"])
        told = None if self.log_entry is None else json.loads(self.log_entry)["data"]["merkle_root"]
        return (
            _proves(merkle.leaf_hash(self.line.encode()), self.in_table, table_root)
            and _proves(merkle.leaf_hash(self.table_entry.encode()), self.in_release, self.release_root)
            and told in (None, self.release_root.hex())
        )

    def told(self) -> dict[str, Any]:
        """The proof as JSON values; hashes in hexadecimal."""
        steps = {"in_table": self.in_table, "in_release": self.in_release}
        return {
            "table": self.table,
            "release_id": self.release_id,
            "line": self.line,
            "table_entry": self.table_entry,
            **{
                name: {
                    "leaf_index": step.index,
                    "tree_size": step.size,
                    "path": [each.hex() for each in step.path],
                }
                for name, step in steps.items()
            },
            "release_root": self.release_root.hex(),
            "log_entry": self.log_entry,
            "log_seq": self.log_seq,
            "holds": self.holds(),
        }


def _proves(leaf: bytes, step: Step, root: bytes) -> bool:
    return merkle.proves_inclusion(leaf, step.index, step.size, step.path, root)


def prove_row(connection: Connection, table: str, key: Mapping[str, Any], release_id: int) -> RowProof:
    """Prove that a row stands in a release. Reads 32 bytes per row of the table.

    Args:
        connection: of the owner.
        table: a released table.
        key: key columns and their values.
        release_id: the release.

    Raises:
        NotReleasedError: the release does not show such a row.
    """
    name = history_table(table)
    shown = f"release_from <= {int(release_id)} AND (release_to IS NULL OR release_to > {int(release_id)})"
    at = " AND ".join(f"t.{quoted(column)} = :{column}" for column in key)
    found = connection.execute(
        text(f"SELECT release_from, row_hash FROM {name} AS t WHERE {shown} AND {at}"), dict(key)
    ).first()
    if found is None:
        asked = ", ".join(f"{column} {value}" for column, value in key.items())
        raise NotReleasedError(f"release {release_id} shows no row of {table} with {asked}")
    seals = {
        row.table_name: TableSeal(
            row.table_name,
            tuple((column, kind) for column, kind in row.columns),
            row.row_count,
            row.control_totals,
            bytes(row.merkle_root),
        )
        for row in connection.execute(select(release_tables).where(release_tables.c.release_id == release_id))
    }
    # The row is hashed as the release spelled it that brought it.
    columns: list[list[str]] = connection.execute(
        select(release_tables.c.columns).where(
            release_tables.c.release_id == found.release_from, release_tables.c.table_name == table
        )
    ).scalar_one()
    line_sql, join = sealed_line(table, columns)
    line: str = connection.execute(
        text(f"SELECT {line_sql} FROM {name} AS t {join} WHERE t.release_from = :release AND {at}"),
        {**key, "release": found.release_from},
    ).scalar_one()
    hashes = sort_hashes(read_hashes(connection, name, shown))
    leaf = np.frombuffer(bytes(found.row_hash), dtype=np.uint8)
    place = int(np.flatnonzero((hashes == leaf).all(axis=1))[0])
    ordered = sorted(seals)
    entries = {each: seals[each].entry() for each in ordered}
    leaves = b"".join(merkle.leaf_hash(entries[each]) for each in ordered)
    position = ordered.index(table)
    seq, entry = _publication(connection, release_id)
    return RowProof(
        table=table,
        release_id=release_id,
        line=line,
        in_table=Step(place, len(hashes), tuple(merkle.inclusion_proof(hashes.tobytes(), place))),
        table_entry=entries[table].decode(),
        in_release=Step(position, len(ordered), tuple(merkle.inclusion_proof(leaves, position))),
        release_root=merkle.tree_root(leaves),
        log_entry=entry,
        log_seq=seq,
    )


def _publication(connection: Connection, release_id: int) -> tuple[int | None, str | None]:
    """The log entry that tells of a release."""
    told = f'%"kind":"{log.RELEASE_PUBLISHED}"%"subject":"release/{int(release_id)}"%'
    row = connection.execute(
        select(audit_entries.c.seq, audit_entries.c.entry)
        .where(audit_entries.c.entry.like(told))
        .order_by(audit_entries.c.seq)
        .limit(1)
    ).first()
    return (None, None) if row is None else (row.seq, row.entry)
