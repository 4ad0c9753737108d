"""Records that are gone at their source: a word about each, landed with what said so.

A tombstone is a record of the stream `tombstones`. It names the record, what said that it is gone, and the page that shows it;
a record that comes back gets a word, too. What had landed of a record stays.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import orjson
import sqlalchemy as sa

from connectors.client import Client
from connectors.declare import TOMBSTONES, Source, Stream, dig
from connectors.errors import FatalError, ProtocolError
from connectors.extract import PullResult, attempt, land_rows
from connectors.landing import REMOVED, Batch, Landing
from connectors.lookup import pull_keys
from connectors.pagination import OffsetPages

# A source that suddenly holds much less has more likely lost its mind, or we a permission.
LARGEST_LOSS = 0.2
_FEW = 20


@dataclass(frozen=True)
class Gone:
    """One record that its source no longer holds; `merged_into` is the key that took its place."""

    stream: str
    key: str
    evidence: str
    merged_into: str | None = None


@dataclass(frozen=True)
class Standing:
    """The newest word about a record that is gone: when it was noticed, and the key that took its place, if one did."""

    noticed_at: datetime
    merged_into: str | None


def land_tombstones(
    source: Source,
    landing: Landing,
    gone: Iterable[Gone],
    *,
    returned: Mapping[str, Collection[str]] | None = None,
    evidence: Mapping[str, Any] | None = None,
    pages: Sequence[tuple[str, int, str]] = (),
) -> PullResult | None:
    """Land a word about records that are gone, or that came back; none about what is known already.

    Args:
        source: the declaration.
        landing: where the words go.
        gone: records the source no longer holds.
        returned: stream -> keys of records it holds again.
        evidence: what shows it, in words of the caller; becomes part of the archived page.
        pages: page, size and origin of bytes received that show it.

    Returns:
        The pull's result, or None where nothing was new.
    """
    started = time.perf_counter()
    standing = tombstones(landing, source)
    now = datetime.now(UTC).isoformat()
    rows = [
        {"stream": item.stream, "record_key": item.key, "is_deleted": True, "merged_into_key": item.merged_into,
         "evidence": item.evidence, "noticed_at": now}
        for item in dict.fromkeys(gone)
        if (item.stream, item.key) not in standing
        or (item.merged_into and standing[item.stream, item.key].merged_into is None)
    ]  # fmt: skip
    rows += [
        {"stream": stream, "record_key": key, "is_deleted": False, "merged_into_key": None, "evidence": "record",
         "noticed_at": now}
        for stream, keys in (returned or {}).items()
        for key in sorted(keys)
        if (stream, key) in standing
    ]  # fmt: skip
    if not rows:
        return None
    batch = landing.open_batch(source.name, TOMBSTONES)
    batch.pages += pages

    def read() -> int:
        content = orjson.dumps({"evidence": dict(evidence or {}), "tombstones": rows})
        digest = batch.archive(content, "tombstones")
        batch.count(TOMBSTONES.name, len(rows))
        land_rows(batch, TOMBSTONES, rows, digest)
        return batch.commit()

    return attempt(batch, read, started)


def tombstones(landing: Landing, source: Source) -> dict[tuple[str, str], Standing]:
    """Records that are gone as far as is known, by stream and key."""
    files = [str(batch.files["tombstones"]) for batch in landing.batches(source=source.name)
             if batch.stream == TOMBSTONES.name and "tombstones" in batch.files]  # fmt: skip
    if not files:
        return {}
    with duckdb.connect() as connection:
        connection.execute("set enable_progress_bar = false")
        rows = connection.execute(
            "select stream, record_key, noticed_at, merged_into_key from (select *, row_number() over (partition by stream, record_key "
            "order by noticed_at desc, _batch_id desc) as place from read_parquet(?, union_by_name = true)) "
            "where place = 1 and is_deleted",
            [files],
        ).fetchall()
    return {(stream, key): Standing(at.astimezone(UTC), into) for stream, key, at, into in rows}


def note_removed(source: Source, landing: Landing) -> list[PullResult]:
    """Say of records that pulls were told to be deleted that they are gone."""
    if not source.notices_deletions:
        return []
    waiting = sa.select(REMOVED).where(REMOVED.c.source == source.name, REMOVED.c.is_noted.is_(False))
    with landing.transaction() as connection:
        told = connection.execute(waiting).all()
    if not told:
        return []
    gone = [Gone(row.stream, row.record_key, "delta") for row in told]
    evidence = {"kind": "delta", "pages": sorted({row.page_sha256 for row in told})}
    found = land_tombstones(source, landing, gone, evidence=evidence)
    if found is None or found.error is None:
        with landing.transaction() as connection:
            for batch_id in {row.batch_id for row in told}:
                connection.execute(
                    sa.update(REMOVED).where(REMOVED.c.batch_id == batch_id).values(is_noted=True)
                )
    return [] if found is None else [found]


def note_returned(source: Source, landing: Landing, results: Iterable[PullResult]) -> list[PullResult]:
    """Say of records that were known to be gone, and came with these pulls, that they are back."""
    if not source.notices_deletions:
        return []
    standing = tombstones(landing, source)
    streams = {stream for stream, _ in standing}
    fresh = {item.batch_id for item in results if item.stream in streams and item.batch_id is not None}
    returned: dict[str, set[str]] = {}
    for batch in landing.batches(source=source.name) if fresh else ():
        if batch.batch_id in fresh and batch.stream in batch.files:
            keys = _keys(batch.files[batch.stream], source.stream(batch.stream))
            returned.setdefault(batch.stream, set()).update(keys)
    found = land_tombstones(source, landing, (), returned=returned) if returned else None
    return [] if found is None else [found]


def _keys(path: Path, stream: Stream) -> list[str]:
    with duckdb.connect() as connection:
        rows = connection.execute(
            f'select distinct cast("{stream.key[0]}" as varchar) from read_parquet(?)', [str(path)]
        ).fetchall()
    return [row[0] for row in rows]


def sweep(
    source: Source, stream: Stream, landing: Landing, client: Client, largest_loss: float = LARGEST_LOSS
) -> list[PullResult]:
    """Compare what a stream's source holds with what has landed of it; say of the rest that it is gone.

    What had landed is read before the source is asked, so that nothing new is missed there. What does not show is asked for
    by key where that is possible, else the list is read a second time: a page that shifted is no deletion.

    Args:
        source, stream: the declaration; the stream has a sweep.
        landing, client: as for a pull.
        largest_loss: share of the records that may be gone at once.

    Returns:
        The results of what was landed: tombstones, and records that the list had passed over.
    """
    if stream.app and not landing.has_batches(source.name, stream.name):
        return []  # what a company has no app for cannot be gone
    started = time.perf_counter()
    landed = set(landing.values(source.name, stream.name, stream.key[0]))
    standing = {key for name, key in tombstones(landing, source) if name == stream.name}
    listing = landing.open_batch(source.name, TOMBSTONES)
    absent: set[str] = set()

    def read() -> int:
        shown = _listed(source, stream, client, listing)
        absent.update(landed - standing - shown)
        if absent and stream.by_key is None:
            absent.difference_update(_listed(source, stream, client, listing))
        return 0

    attempted = attempt(listing, read, started)
    listing.abandon()
    if attempted.error is not None:
        return [attempted]
    results = []
    if absent and stream.by_key is not None:
        looked = pull_keys(source, stream, landing, client, absent)
        results.append(looked.result)
        if looked.result.error is not None:
            return results
        absent = set(looked.gone)
    if len(absent) > max(_FEW, largest_loss * len(landed - standing)):
        error = (
            f"{source.name}.{stream.name}: {len(absent):,} of {len(landed - standing):,} records are not there any more. "
            "If that is so, sweep again with a larger --largest-loss; else look what our credential may see"
        )
        return [*results, PullResult(source.name, TOMBSTONES.name, error=error, error_kind="fatal")]
    evidence = {
        "kind": "sweep",
        "stream": stream.name,
        "pages": [digest for digest, _, _ in listing.pages],
        "landed": len(landed),
    }
    gone = [Gone(stream.name, key, "sweep") for key in sorted(absent)]
    found = land_tombstones(source, landing, gone, evidence=evidence, pages=listing.pages)
    return results if found is None else [*results, found]


def _listed(source: Source, stream: Stream, client: Client, batch: Batch) -> set[str]:
    """Keys of everything the source lists of a stream, pages archived."""
    declared = stream.sweep
    if declared is None:
        raise FatalError(f"{source.name}.{stream.name} has no sweep")
    asked = stream.model_copy(
        update={"path": declared.path or stream.path, "method": declared.method or stream.method}
    )
    keys: set[str] = set()
    ask = declared.pages.first(declared.ask)
    while True:
        answer = client.send(asked, ask)
        batch.archive(answer.content, f"{asked.method} {ask.path or asked.path}")
        rows = dig(answer.body, declared.rows) if declared.rows else answer.body
        if not isinstance(rows, list):
            raise ProtocolError(
                f"{source.name}.{stream.name}: no list of keys at {declared.rows!r} of the answer"
            )
        before = len(keys)
        keys.update(str(dig(row, declared.key)) for row in rows)
        following = declared.pages.after(ask, answer.body, len(rows), answer.headers)
        if following is None:
            return keys
        if len(keys) == before and not isinstance(declared.pages, OffsetPages):
            raise ProtocolError(f"{source.name}.{stream.name}: paging of keys does not advance")
        ask = following
