"""Back-fill by interval, several intervals at a time, through one client: they share the source's budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

from connectors.client import Client
from connectors.declare import Bounds, Source, Stream
from connectors.errors import ConnectorError, kind_of
from connectors.extract import Progress, PullResult, pull_stream
from connectors.landing import Landing


def backfill(
    source: Source,
    landing: Landing,
    values: Mapping[str, str],
    since: datetime,
    until: datetime,
    every: timedelta,
    *,
    streams: Sequence[str] | None = None,
    parallel: int = 4,
    progress: Progress | None = None,
) -> list[PullResult]:
    """Pull the streams of a source interval by interval.

    Each interval is a batch of its own: one that fails is pulled again alone, and the others stay. Intervals are half-open, so
    that no record falls into two by its own time; what changes meanwhile may come twice, and counts once. Streams follow each
    other, since some ask by what others brought; one that cannot be bounded is pulled once. No cursor goes back.

    Args:
        source: the declaration.
        landing: where rows and pages go.
        values: environment with secrets and URL.
        since, until: aware UTC.
        every: length of an interval.
        streams: names; all by default.
        parallel: intervals at a time.
        progress: called after each page, from several threads.
    """
    chosen = [stream for stream in source.streams if streams is None or set(stream.tables) & set(streams)]
    try:
        client = Client(source, values)
    except ConnectorError as error:
        kind = kind_of(error)
        return [PullResult(source.name, stream.name, error=str(error), error_kind=kind) for stream in chosen]
    results: list[PullResult] = []
    with client, ThreadPoolExecutor(parallel, thread_name_prefix="backfill") as pool:
        for stream in chosen:
            pieces = (
                list(intervals(since, until, every)) if is_bounded(stream, since, until) else [(since, until)]
            )
            asked = [
                pool.submit(pull_stream, source, stream, landing, client, start, end, False, progress)
                for start, end in pieces
            ]
            results += [future.result() for future in asked]
    return results


def intervals(since: datetime, until: datetime, every: timedelta) -> Iterator[tuple[datetime, datetime]]:
    """Half-open intervals that cover a span without gap or overlap; the last one may be shorter.

    Raises:
        ValueError: the span or the interval is empty.
    """
    if since >= until or every <= timedelta(0):
        raise ValueError(f"nothing lies between {since} and {until} in steps of {every}")
    start = since
    while start < until:
        end = min(start + every, until)
        yield start, end
        start = end


def is_bounded(stream: Stream, since: datetime, until: datetime) -> bool:
    """Whether a stream's request tells where an interval ends; else each interval would read on to the end."""
    if stream.cursor is None and not stream.window_is_cursor:
        return False
    keys = ("0",) * stream.fan_out_size if stream.fan_out is not None or stream.first_by is not None else ()
    half = since + (until - since) / 2
    asked = [stream.ask(Bounds(since=since, until=end, keys=keys)) for end in (half, until)]
    return asked[0] != asked[1]
