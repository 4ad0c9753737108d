"""Read a stream whole by the bulk operation of its source: asked for once, prepared there, fetched as one file of lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from connectors.client import Client
from connectors.declare import Bounds, Source, Stream, decode_json, dig
from connectors.errors import BrokenAnswerError, ConnectorError, FatalError, ProtocolError, kind_of
from connectors.extract import Progress, PullResult, attempt, land_rows
from connectors.landing import Landing
from connectors.lookup import pull_keys

_LONGEST_SECONDS = 24 * 3600.0


def pull_bulk(
    source: Source,
    landing: Landing,
    values: Mapping[str, str],
    *,
    streams: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    progress: Progress | None = None,
    open_client: Callable[[Source, Mapping[str, str]], Client] = Client,
) -> list[PullResult]:
    """Read the streams of a source that have a bulk operation by it, one after another; whole, unless bounds are given.

    Args:
        source: the declaration.
        landing: where rows and files go.
        values: environment with secrets and URL.
        streams: names; all that have one by default.
        since, until: aware UTC bounds of change, for what is too much for one file.
        progress: called after each file.
        open_client: opens the client of the source.
    """
    chosen = [
        stream
        for stream in source.streams
        if stream.bulk is not None and (streams is None or set(stream.tables) & set(streams))
    ]
    try:
        client = open_client(source, values)
    except ConnectorError as error:
        kind = kind_of(error)
        return [PullResult(source.name, stream.name, error=str(error), error_kind=kind) for stream in chosen]
    with client:
        bounds = Bounds(since=since, until=until)
        return [
            result for stream in chosen for result in _pull(source, stream, landing, client, bounds, progress)
        ]


def _pull(
    source: Source,
    stream: Stream,
    landing: Landing,
    client: Client,
    bounds: Bounds,
    progress: Progress | None,
) -> list[PullResult]:
    started = time.perf_counter()
    before = landing.cursor(source.name, stream.name)
    batch = landing.open_batch(source.name, stream)
    one_by_one: list[str] = []

    def read() -> int:
        content = _file(source, stream, client, bounds)
        rows: list[Any] = []
        if content is not None and stream.bulk is not None:
            digest = batch.archive(content, f"bulk {stream.path}")
            rows, keys = stream.bulk.assemble([decode_json(line) for line in content.splitlines() if line])
            one_by_one.extend(keys)
            batch.count(stream.name, len(rows))
            latest = land_rows(batch, stream, rows, digest, has_nul=b"\\u0000" in content)
        else:
            latest = None
        if progress is not None:
            progress(source.name, stream.name, len(rows))
        # Changed while the file was prepared: the next increment begins where this one was asked for.
        is_whole = bounds.since is None and bounds.until is None
        after = (
            min(latest, batch.started_at + client.clock_offset) if latest is not None and is_whole else None
        )
        return batch.commit(before, after, (bounds.since, bounds.until))

    results = [attempt(batch, read, started)]
    if results[0].error is None and one_by_one:
        results.append(pull_keys(source, stream, landing, client, one_by_one).result)
    return results


def _file(source: Source, stream: Stream, client: Client, bounds: Bounds) -> bytes | None:
    """Ask for the operation, wait for it, fetch what it made; None where there was nothing to make.

    Raises:
        ConnectorError: it failed, or what it made is not whole.
    """
    bulk, where = stream.bulk, f"{source.name}.{stream.name}"
    if bulk is None:
        raise FatalError(f"{where} has no bulk operation")
    begun = client.send(stream, bulk.start(bounds)).body
    if complaint := dig(begun, bulk.complaints):
        raise ProtocolError(f"{where}: the bulk operation was refused: {str(complaint)[:300]}")
    name = dig(begun, bulk.begun)
    if not isinstance(name, str):
        raise ProtocolError(f"{where}: no bulk operation at {bulk.begun!r} of the answer")
    wait, waited = 0.5, 0.0
    while True:
        told = dig(client.send(stream, bulk.ask(name)).body, bulk.told)
        state = told.get(bulk.state) if isinstance(told, dict) else None
        if state in bulk.done:
            break
        if state not in bulk.running:
            raise BrokenAnswerError(f"{where}: the bulk operation ended as {state}: {str(told)[:300]}.")
        if waited > _LONGEST_SECONDS:
            raise BrokenAnswerError(
                f"{where}: the bulk operation has not ended after {waited / 3600:.0f} hours."
            )
        client.wait(wait)
        waited, wait = waited + wait, min(wait * 2, 30.0)
    address = told.get(bulk.address)
    if address is None:
        return None
    content = client.download(stream, str(address))
    lines = sum(1 for line in content.splitlines() if line)
    if str(lines) != str(told.get(bulk.count)):
        raise BrokenAnswerError(f"{where}: the file has {lines:,} lines, {told.get(bulk.count)} were made.")
    return content
