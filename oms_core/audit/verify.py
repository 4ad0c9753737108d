"""Does everything still hold: log, checkpoints, releases and landing, each recomputed from its own bytes.

The log vouches for releases and landed batches, checkpoints vouch for the log. What somebody with full rights on the
database changes shows in one of four places: an entry no longer fits its hash, the tree no longer has the root a
checkpoint signed, a released row no longer fits the root its release was logged with, or a page no longer fits its name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import rfc8785
from sqlalchemy import Connection, select, text

from oms_core.audit import checkpoint, log, merkle
from oms_core.audit.checkpoint import Checkpoint, Signer, Verifier
from oms_core.audit.log import AuditError
from oms_core.release.history import history_table, quoted
from oms_core.release.persons import COMMITTED, commitment_sql, person_sql
from oms_core.release.seal import TableSeal, release_root, sort_hashes
from oms_core.release.tables import declared
from oms_core.store.copy_text import read_hashes
from oms_core.store.postgres import Database
from oms_core.store.tables import STATE_SCHEMA, audit_nodes, release_tables, releases

_MOST_SHOWN = 20
Say = Callable[[str], None]


@dataclass
class Verdict:
    """What was looked at, and every fault found, each a sentence that names the place."""

    entries: int = 0
    checkpoints: int = 0
    releases: int = 0
    rows: int = 0
    batches: int = 0
    pages: int = 0
    faults: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing was found."""
        return not self.faults


@dataclass(frozen=True)
class LandingCheck:
    """How the landing is asked; handed in, since this room does not know the connectors.

    digests: batch ids -> their digests today, None where a batch or a file of it is gone.
    faulty_pages: pages persons were erased from, and what should lie there since -> (pages looked at, sentences about those
        that do not fit).
    """

    digests: Callable[[Iterable[str]], Mapping[str, str | None]]
    faulty_pages: Callable[[Mapping[str, str | None]], tuple[int, list[str]]]


@dataclass
class _Erased:
    """What the log says was erased from the landing: what lies there since, and what was begun and not finished."""

    digests: dict[str, str | None] = field(default_factory=dict)
    pages: dict[str, str | None] = field(default_factory=dict)
    begun: dict[str, set[str]] = field(default_factory=dict)

    def read(self, entry: Mapping[str, Any]) -> bool:
        """Take one entry in; whether it says what it must."""
        data, subject = entry["data"], str(entry["subject"])
        if not isinstance(data, dict):
            return False
        pages, batches = data.get("pages", []), data.get("batches", [])
        if not isinstance(pages, list) or not isinstance(batches, list):
            return False
        if entry["kind"] in (log.PERSON_ERASING, log.RETENTION_BEGUN):
            self.begun[subject] = set(map(str, batches))
            return True
        if not all(isinstance(pair, list) and len(pair) == 2 for pair in (*pages, *batches)):
            return False
        self.pages |= {str(page): str(now) or None for page, now in pages}
        self.digests |= {str(batch): None if digest is None else str(digest) for batch, digest in batches}
        self.begun.pop(subject, None)
        return True


def verify(
    database: Database,
    checkpoints: Mapping[Path, bytes],
    verifier: Verifier,
    landing: LandingCheck | None = None,
    say: Say = lambda _: None,
) -> Verdict:
    """Recompute everything and compare.

    Args:
        database: the operational store; read only, in one snapshot.
        checkpoints: signed notes by the files they were read from.
        verifier: the key they must bear.
        landing: how to ask the landing; None leaves it out, which the verdict remarks.
        say: told each step.
    """
    verdict = Verdict()
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        signed = _signed(connection, checkpoints, verifier, verdict)
        published, erased = _check_log(connection, signed, verdict)
        say(f"log: {verdict.entries:,} entries, {verdict.checkpoints} checkpoints")
        _check_releases(connection, published, verdict, say)
    if landing is None:
        verdict.remarks.append("the landing was not looked at")
    else:
        _check_landing(published, erased, landing, verdict)
        say(f"landing: {verdict.batches:,} batches, {verdict.pages:,} pages")
    return verdict


def take_checkpoint(connection: Connection, signer: Signer, folder: Path) -> Path | None:
    """Sign how the log is now into a folder; None for an empty log.

    Raises:
        AuditError: the log no longer begins with what an earlier checkpoint of the folder signed.
    """
    size, root = log.root(connection)
    if not size:
        return None
    name = log.origin(connection)
    for path, note in checkpoint.stored(folder).items():
        before = checkpoint.opened(note, signer.verifier, path.name)
        if before.origin != name or before.size > size or log.root(connection, before.size)[1] != before.root:
            raise AuditError(
                f"the log is not the one that {path} signed, so it is not signed again: run orderhub audit verify"
            )
    return checkpoint.write(folder, signer.sign(Checkpoint(name, size, root)), size)


def _signed(
    connection: Connection, notes: Mapping[Path, bytes], verifier: Verifier, verdict: Verdict
) -> list[tuple[Path, Checkpoint]]:
    origin = log.origin(connection)
    found = []
    for path, note in notes.items():
        try:
            opened = checkpoint.opened(note, verifier, str(path))
        except AuditError as error:
            verdict.faults.append(str(error))
            continue
        if opened.origin != origin:
            verdict.faults.append(
                f"{path} is a checkpoint of another log, {opened.origin}; this one is {origin}"
            )
        elif path.name.removesuffix(".checkpoint").lstrip("0") != str(opened.size):
            verdict.faults.append(
                f"{path} holds the checkpoint of {opened.size:,} entries: it was put under another name"
            )
        else:
            found.append((path, opened))
    if not notes:
        verdict.remarks.append(
            "there is no checkpoint: a log that was rewritten as a whole, or cut off, would not be noticed"
        )
    verdict.checkpoints = len(found)
    return found


def _check_log(
    connection: Connection, signed: list[tuple[Path, Checkpoint]], verdict: Verdict
) -> tuple[dict[int, dict[str, Any]], _Erased]:
    """Every entry against its hash, its place and its spelling; the tree against nodes and checkpoints."""
    published: dict[int, dict[str, Any]] = {}
    erased = _Erased()
    leaves = bytearray()
    expected = 0
    for seq, canonical, leaf in log.stream(connection):
        if seq != expected:
            gone = (
                f"entry {expected:,} is"
                if seq == expected + 1
                else f"entries {expected:,} to {seq - 1:,} are"
            )
            verdict.faults.append(f"{gone} missing from the log")
        computed = merkle.leaf_hash(canonical)
        if computed != leaf:
            verdict.faults.append(f"entry {seq:,} was edited: its text does not fit its hash")
        entry = _read_entry(seq, canonical, verdict)
        if entry is not None and entry["kind"] == log.RELEASE_PUBLISHED:
            release_id = str(entry["subject"]).removeprefix("release/")
            if release_id.isdecimal() and _names_batches(entry["data"]):
                published[int(release_id)] = entry["data"]
            else:
                verdict.faults.append(f"entry {seq:,} is of no release, or does not say what went into it")
        if entry is not None and entry["kind"] in log.OF_ERASURE and not erased.read(entry):
            verdict.faults.append(f"entry {seq:,} does not say what was erased")
        leaves += computed
        expected = seq + 1
    verdict.entries = len(leaves) // merkle.HASH_BYTES
    for path, found in sorted(signed, key=lambda item: item[1].size):
        if found.size > verdict.entries:
            verdict.faults.append(
                f"the log has {verdict.entries:,} entries, but {path} signed {found.size:,}: its end was cut off"
            )
        elif merkle.tree_root(bytes(leaves[: found.size * merkle.HASH_BYTES])) != found.root:
            verdict.faults.append(
                f"the first {found.size:,} entries are not those that {path} signed: the log was rewritten"
            )
    _check_nodes(connection, bytes(leaves), verdict)
    verdict.faults += [
        f"the erasure of {subject} was begun and not finished: run it again"
        for subject in sorted(erased.begun)
    ]
    return published, erased


def _read_entry(seq: int, canonical: bytes, verdict: Verdict) -> dict[str, Any] | None:
    try:
        entry: Any = json.loads(canonical)
    except ValueError:
        entry = None
    if not isinstance(entry, dict) or entry.keys() != {"seq", "at", "kind", "actor", "subject", "data"}:
        verdict.faults.append(f"entry {seq:,} is not an entry: {canonical[:80]!r}")
        return None
    if entry["seq"] != seq:
        verdict.faults.append(f"entry {seq:,} says it is entry {entry['seq']:,}: entries were reordered")
    try:
        is_canonical = rfc8785.dumps(entry) == canonical
    except rfc8785.CanonicalizationError:
        is_canonical = False
    if not is_canonical:
        verdict.faults.append(f"entry {seq:,} is not canonical JSON")
    return entry


def _names_batches(data: Any) -> bool:
    """Whether a release's entry lists its batches as (source, stream, batch id, digest)."""
    batches = data.get("batches") if isinstance(data, dict) else None
    return isinstance(batches, list) and all(isinstance(batch, list) and len(batch) == 4 for batch in batches)


def _check_nodes(connection: Connection, leaves: bytes, verdict: Verdict) -> None:
    level_now, hashes = 0, leaves
    size = len(leaves) // merkle.HASH_BYTES
    kept: dict[int, dict[int, bytes]] = {}
    for row in connection.execute(select(audit_nodes)):
        kept.setdefault(row.level, {})[row.position] = bytes(row.hash)
    for level in range(log.KEPT_LEVEL, max(size.bit_length(), 1)):
        while level_now < level:
            whole = len(hashes) // (2 * merkle.HASH_BYTES) * 2 * merkle.HASH_BYTES
            hashes = b"".join(
                merkle.node_hash(hashes[at : at + 32], hashes[at + 32 : at + 64])
                for at in range(0, whole, 64)
            )
            level_now += 1
        found = kept.pop(level, {})
        for position in range(size >> level):
            if found.pop(position, None) != hashes[position * 32 : position * 32 + 32]:
                verdict.faults.append(
                    f"node {position} of level {level} of the log's tree is missing or edited"
                )
        if found:
            verdict.faults.append(f"level {level} of the log's tree has nodes that span no entries")
    if kept:
        verdict.faults.append(f"the log's tree has levels that span no entries: {sorted(kept)}")


def _check_releases(
    connection: Connection, published: Mapping[int, Mapping[str, Any]], verdict: Verdict, say: Say
) -> None:
    known = {row.id: row for row in connection.execute(select(releases).order_by(releases.c.id))}
    first_logged = min(published, default=None)
    for release_id in sorted(published.keys() - known.keys()):
        verdict.faults.append(f"release {release_id} was logged and is gone")
    seals: dict[int, list[TableSeal]] = {}
    columns: dict[str, dict[int, list[list[str]]]] = {}
    for row in connection.execute(select(release_tables).order_by(release_tables.c.release_id)):
        seals.setdefault(row.release_id, []).append(
            TableSeal(
                row.table_name,
                tuple((name, kind) for name, kind in row.columns),
                row.row_count,
                row.control_totals,  # text, which is how totals are sealed
                bytes(row.merkle_root),
            )
        )
        columns.setdefault(row.table_name, {})[row.release_id] = row.columns
    for release_id, row in known.items():
        root = release_root(seals.get(release_id, []))
        if root != bytes(row.merkle_root):
            verdict.faults.append(f"release {release_id}: its tables do not have the root it was sealed with")
        logged = published.get(release_id)
        if logged is not None and logged.get("merkle_root") != root.hex():
            verdict.faults.append(f"release {release_id} does not have the root it was logged with")
        if logged is None:
            if first_logged is not None and release_id > first_logged:
                verdict.faults.append(f"release {release_id} was never logged")
            else:
                verdict.remarks.append(
                    f"release {release_id} is older than the log and vouched for by its seal only"
                )
    for table in sorted(columns):
        sealed = {
            release_id: seal for release_id, found in seals.items() for seal in found if seal.table == table
        }
        _check_table(connection, table, columns[table], sealed, verdict)
        say(f"{table}: {len(sealed)} releases")
    verdict.releases = len(known)


def _check_table(
    connection: Connection,
    table: str,
    columns: Mapping[int, list[list[str]]],
    sealed: Mapping[int, TableSeal],
    verdict: Verdict,
) -> None:
    """Row versions against their hashes, and the hashes of each release against its root."""
    name = history_table(table)
    intervals: list[Any] = list(
        connection.execute(text(f"SELECT release_from, release_to, count(*) FROM {name} GROUP BY 1, 2"))
    )
    hashes = []
    since = []
    until = []
    for release_from, release_to, count in intervals:
        open_end = "release_to IS NULL" if release_to is None else f"release_to = {int(release_to)}"
        found = read_hashes(connection, name, f"release_from = {int(release_from)} AND {open_end}")
        hashes.append(found)
        since.append(np.full(len(found), release_from))
        until.append(np.full(len(found), np.iinfo(np.int64).max if release_to is None else release_to))
        verdict.rows += count
    for release_from in sorted({row[0] for row in intervals}):
        if release_from not in columns:
            verdict.faults.append(f"{table} has rows of release {release_from}, which never released it")
            continue
        _check_rows(connection, table, int(release_from), columns[release_from], verdict)
    all_hashes = np.concatenate(hashes) if hashes else np.empty((0, 32), np.uint8)
    starts = np.concatenate(since) if since else np.empty(0, np.int64)
    ends = np.concatenate(until) if until else np.empty(0, np.int64)
    for release_id, seal in sorted(sealed.items()):
        shown = sort_hashes(all_hashes[(starts <= release_id) & (ends > release_id)])
        if len(shown) != seal.row_count:
            verdict.faults.append(
                f"{table} shows {len(shown):,} rows in release {release_id}, which was sealed with {seal.row_count:,}"
            )
        elif merkle.tree_root(shown.tobytes()) != seal.merkle_root:
            verdict.faults.append(f"{table} does not have the rows that release {release_id} was sealed with")


def _check_rows(
    connection: Connection, table: str, release_from: int, columns: list[list[str]], verdict: Verdict
) -> None:
    unreadable = [name for name, kind in columns if kind in ("real", "double precision")]
    if unreadable:
        verdict.remarks.append(
            f"{table}: values of rows of release {release_from} are not recomputed, since {', '.join(unreadable)} is "
            "binary floating point"
        )
        return
    line, keys = sealed_line(table, columns)
    rows: Any = connection.execute(
        text(
            f"SELECT to_jsonb(t) - 'row_hash' FROM {history_table(table)} AS t {keys} WHERE release_from = :release "
            f"AND row_hash <> sha256('\\x00'::bytea || convert_to({line}, 'UTF8')) LIMIT {_MOST_SHOWN}"
        ),
        {"release": release_from},
    ).scalars()
    for row in rows:
        shown = ", ".join(f"{column} {row.get(column)}" for column in declared(table).key)
        verdict.faults.append(
            f"{table}: the row {shown} (release {release_from}) was edited since it was sealed"
        )


def sealed_line(table: str, columns: Sequence[Sequence[str]]) -> tuple[str, str]:
    """SQL for the line a row's hash is over, from the table's history as `t`, and the join it needs.

    Args:
        table: a released table.
        columns: (name, type) in hashing order, as the release that brought the row was sealed with.
    """
    line = " || E'\\t' || ".join(_spelled(name, kind) for name, kind in columns)
    if all(kind != COMMITTED for _, kind in columns):
        return line, ""
    return line, (
        f"LEFT JOIN (SELECT person_id AS _person, key AS _key FROM {STATE_SCHEMA}.person_keys) AS persons "
        f"ON persons._person = {person_sql(declared(table), 't.')}"
    )


def _spelled(name: str, kind: str) -> str:
    """SQL for a value as the seal spells it (`store/copy_text.py`), at the type it had in that release."""
    column = quoted(name)
    if kind == "text":
        spelled = f"replace({column}, E'\\\\', E'\\\\\\\\')"
        for sign, escaped in (("\\t", "\\\\t"), ("\\n", "\\\\n"), ("\\r", "\\\\r")):
            spelled = f"replace({spelled}, E'{sign}', E'{escaped}')"
    elif kind == COMMITTED:
        spelled = commitment_sql(name, column, "persons._key")
    elif kind == "timestamptz":
        spelled = f"to_char({column} AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    elif kind == "date":
        spelled = f"to_char({column}, 'YYYY-MM-DD')"
    elif kind == "boolean":
        spelled = f"CASE WHEN {column} THEN 'true' WHEN NOT {column} THEN 'false' END"
    else:
        spelled = f"{column}::{kind}::text"
    return f"coalesce({spelled}, E'\\\\N')"


def _check_landing(
    published: Mapping[int, Mapping[str, Any]], erased: _Erased, landing: LandingCheck, verdict: Verdict
) -> None:
    logged = {
        batch_id: (release_id, source, stream, erased.digests.get(batch_id, digest))
        for release_id, data in published.items()
        for source, stream, batch_id, digest in data["batches"]
        if digest is not None
    }
    now = landing.digests(logged)
    for batch_id, (release_id, source, stream, digest) in sorted(logged.items()):
        if now.get(batch_id) is None:
            verdict.faults.append(
                f"batch {batch_id} of {source} {stream}, part of release {release_id}, is gone"
            )
        elif now[batch_id] != digest:
            verdict.faults.append(
                f"batch {batch_id} of {source} {stream} is not what release {release_id} was made from"
            )
    verdict.batches = len(logged)
    verdict.pages, faults = landing.faulty_pages(erased.pages)
    verdict.faults += faults
