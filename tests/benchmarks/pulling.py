"""Run `orderhub pull` with a clock around each of its stages. Not a benchmark: `bench_pull.py` starts it.

The first argument is the file that the clock's readings go to, as JSON: `seconds` of the whole, and `spent`, source -> stage ->
seconds, each without those of the stages within it. The other arguments are the command's.
"""

from __future__ import annotations

import functools
import json
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from connectors import bulk, extract, files, lookup, tombstone
from connectors.client import Client
from connectors.declare import Source
from connectors.landing import Batch, Landing
from oms_core.cli.main import app

SPENT: dict[str, Counter[str]] = defaultdict(Counter)
_LOCK = threading.Lock()
_within = threading.local()


def timed(stage: str, call: Callable[..., Any], source_of: Callable[..., str]) -> Callable[..., Any]:
    """The call, with its seconds noted."""

    @functools.wraps(call)
    def run(*arguments: Any, **options: Any) -> Any:
        outer = getattr(_within, "seconds", 0.0)
        _within.seconds = 0.0
        started = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            seconds = time.perf_counter() - started
            with _LOCK:
                SPENT[source_of(*arguments)][stage] += seconds - _within.seconds
            _within.seconds = outer + seconds

    return run


def watch() -> None:
    """Put the clocks around."""
    opened = Client.__init__

    def open_client(self: Client, source: Source, *rest: Any, **options: Any) -> None:
        decode = timed("decode", source.decode, lambda *_: source.name)
        options["sleep"] = timed("rate limit", time.sleep, lambda *_: source.name)
        opened(self, source.model_copy(update={"decode": decode}), *rest, **options)

    def of_batch(batch: Batch, *_: Any) -> str:
        return batch.source

    Client.__init__ = open_client  # type: ignore[method-assign]
    Client._once = timed("server", Client._once, lambda client, *_: client._source.name)  # type: ignore[method-assign]
    land_rows = timed("validate", extract.land_rows, of_batch)
    for room in (bulk, extract, files, lookup, tombstone):
        room.land_rows = land_rows  # type: ignore[attr-defined]
    Batch.archive_aside = timed("archive", Batch.archive_aside, of_batch)  # type: ignore[method-assign]
    Batch._flush = timed("write", Batch._flush, of_batch)  # type: ignore[method-assign]
    Batch.commit = timed("commit", Batch.commit, of_batch)  # type: ignore[method-assign]
    Landing._keep_page = timed("disk", Landing._keep_page, lambda *_: "")  # type: ignore[method-assign]


if __name__ == "__main__":
    watch()
    begun = time.perf_counter()
    try:
        app(sys.argv[2:], standalone_mode=False)
    finally:
        Path(sys.argv[1]).write_text(json.dumps({"seconds": time.perf_counter() - begun, "spent": SPENT}))
