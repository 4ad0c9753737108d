"""What comes beside the streams of a source: the records that notifications name, and those that are gone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from connectors.client import Client
from connectors.declare import Source
from connectors.errors import ConnectorError, kind_of
from connectors.extract import Progress, PullResult
from connectors.landing import Landing
from connectors.notification import drain, waiting
from connectors.tombstone import LARGEST_LOSS, note_removed, sweep


def follow(
    source: Source,
    landing: Landing,
    values: Mapping[str, str],
    *,
    sweeps: bool = False,
    streams: Sequence[str] | None = None,
    largest_loss: float = LARGEST_LOSS,
    progress: Progress | None = None,
) -> list[PullResult]:
    """Note what pulls were told to be deleted, drain the notifications that wait for a source, and look for deletions.

    Args:
        source: the declaration.
        landing: where rows and pages go.
        values: environment with secrets and URL.
        sweeps: list the keys of every stream that declares how, and compare them with what has landed.
        streams: those to sweep; all by default.
        largest_loss: share of a stream's records that may be gone at once.
        progress: called after each page.
    """
    found = note_removed(source, landing)
    swept = [
        stream
        for stream in source.streams
        if sweeps and stream.sweep is not None and (streams is None or stream.name in streams)
    ]
    if not swept and not (source.webhook is not None and waiting(landing, source.name)):
        return found
    try:
        client = Client(source, values)
    except ConnectorError as error:
        names = [stream.name for stream in swept] or ["notifications"]
        return found + [
            PullResult(source.name, name, error=str(error), error_kind=kind_of(error)) for name in names
        ]
    with client:
        results = found + drain(source, landing, client, progress)
        for stream in swept:
            results += sweep(source, stream, landing, client, largest_loss)
    return results
