"""Ask a source for single records by key, and land them like any other."""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from connectors.client import Client
from connectors.declare import Bounds, Source, Stream, dig
from connectors.errors import FatalError, GoneError, ProtocolError
from connectors.extract import PullResult, attempt, land_rows
from connectors.landing import Batch, Landing


@dataclass(frozen=True)
class Looked:
    """What asking for some records brought; `gone` are the keys the source has no record of, where it can be known."""

    result: PullResult
    gone: frozenset[str] = frozenset()


def pull_keys(
    source: Source,
    stream: Stream,
    landing: Landing,
    client: Client,
    keys: Collection[str],
    notifications: Sequence[tuple[str, int, str]] = (),
) -> Looked:
    """Pull the records of some keys as one batch; the stream's cursor stays where it is.

    Args:
        source, stream: the declaration; the stream can be asked by key.
        landing, client: as for `pull_stream`.
        keys: of the records, as the stream writes them.
        notifications: page, size and origin of what told of them, kept as pages of the batch.
    """
    started = time.perf_counter()
    batch = landing.open_batch(source.name, stream)
    batch.pages += notifications
    gone: set[str] = set()

    def read() -> int:
        gone.update(_read(source, stream, client, batch, sorted(keys)))
        return batch.commit(is_keyed=True)

    result = attempt(batch, read, started)
    return Looked(result, frozenset() if result.error else frozenset(gone))


def _read(source: Source, stream: Stream, client: Client, batch: Batch, keys: Sequence[str]) -> set[str]:
    lookup = stream.by_key
    if lookup is None:
        raise FatalError(f"{source.name}.{stream.name} cannot be asked by key")
    asked = stream.model_copy(
        update={"path": lookup.path or stream.path, "method": lookup.method or stream.method}
    )
    missing: set[str] = set()
    for start in range(0, len(keys), lookup.size):
        wanted = tuple(keys[start : start + lookup.size])
        ask = lookup.ask(Bounds(keys=wanted))
        try:
            answer = client.send(asked, ask)
        except GoneError:
            # Of several, nobody says which: that would be a fault of the request.
            if lookup.key is None or len(wanted) > 1:
                raise
            missing.update(wanted)
            continue
        digest = batch.archive(answer.content, f"{asked.method} {ask.path or asked.path}")
        found = dig(answer.body, lookup.rows)
        rows = [row for row in (found if isinstance(found, list) else [found]) if row is not None]
        if not all(isinstance(row, dict) for row in rows):
            raise ProtocolError(f"{source.name}.{stream.name}: no record at {lookup.rows!r} of the answer")
        if lookup.gone is not None:
            rows = [row for row in rows if not dig(row, lookup.gone)]
        batch.count(stream.name, len(rows))
        land_rows(batch, stream, rows, digest, has_nul=b"\\u0000" in answer.content)
        if lookup.key is not None:
            missing |= set(wanted) - {str(dig(row, lookup.key)) for row in rows}
    return missing
