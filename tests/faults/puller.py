"""Pulls in processes that are there to be killed. Not a test: `test_kill.py` starts it.

Imports once, then forks one process per line of standard input: `<landing folder> <base URL> <instant>`. `instant` names
the moment at which the process kills itself, or `-` to let the parent do it. Says `pid N`, then `status N`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas  # noqa: F401 - pyarrow loads it at the first array, in every fork anew
import sqlalchemy as sa

from connectors import landing as landing_room
from connectors.column import known_currency
from connectors.declare import (
    Amount,
    Ask,
    Bounds,
    Child,
    Currency,
    Field,
    Instant,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
    TokenPages,
)
from connectors.extract import pull_source
from connectors.landing import Batch, Landing


class Line(Record):
    """One line."""

    sku: str
    qty: Quantity = Field(ge=0)


class Order(Record):
    """One order."""

    order_id: str = Field(validation_alias="id")
    updated_at: Instant
    total: Amount
    currency: Currency


def _ask(bounds: Bounds) -> Ask:
    return Ask(params={} if bounds.since is None else {"since": bounds.since.isoformat()})


SHOP = Source(
    name="shop",
    title="A shop",
    kind=Kind.MARKETPLACE,
    owner="tests",
    streams=(
        Stream(
            name="orders",
            record=Order,
            key=("order_id",),
            path="/orders",
            ask=_ask,
            rows="orders",
            pages=TokenPages(read="next", write="params.page"),
            cursor="updated_at",
            lag=timedelta(0),
            children=(Child(name="lines", path="lines", record=Line, parent={"order_id": "order_id"}),),
        ),
    ),
)


def _die(*_: Any, **__: Any) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _after(owner: Any, name: str, times: int = 1) -> None:
    """Die once a function has returned for the n-th time."""
    inner: Callable[..., Any] = getattr(owner, name)
    left = [times]

    def dying(*args: Any, **kwargs: Any) -> Any:
        found = inner(*args, **kwargs)
        left[0] -= 1
        if not left[0]:
            _die()
        return found

    setattr(owner, name, dying)


def _arm(instant: str, landing: Landing) -> None:
    def on_statement(start: str) -> None:
        def check(connection: Any, cursor: Any, statement: str, *_: Any) -> None:
            if statement.startswith(start):
                _die()

        sa.event.listen(landing._engine, "after_cursor_execute", check)

    match instant:
        case "page written, not renamed":
            _after(landing_room.os, "fsync")
        case "page archived":
            _after(Batch, "_archive", 2)
        case "rows flushed":
            _after(Batch, "_flush", 3)
        case "rows renamed":
            plain = Path.rename

            def rename(self: Path, target: Path) -> Path:
                found = plain(self, target)
                if str(target).endswith(".parquet"):
                    _die()
                return found

            Path.rename = rename  # type: ignore[method-assign]
        case "lines renamed, manifest untouched":
            Batch._count_changed = _die  # type: ignore[method-assign,assignment]
        case "batch row inserted":
            on_statement("INSERT INTO batches")
        case "file rows inserted":
            on_statement("INSERT INTO batch_files")
        case "quarantine rows inserted":
            on_statement("INSERT INTO quarantine")
        case "cursor written, not committed":
            on_statement("INSERT INTO cursors")
        case "committed":
            _after(Batch, "commit")
        case "-":
            return
        case _:
            raise ValueError(f"no instant {instant!r}")


def _pull(folder: str, url: str, instant: str) -> None:
    landing_room._FLUSH_ROWS = 40
    landing = Landing(Path(folder))
    _arm(instant, landing)
    (result,) = pull_source(SHOP, landing, {"ORDERHUB_SHOP_URL": url})
    landing.close()
    if result.error:
        sys.stderr.write(result.error + "\n")


def main() -> None:
    """Serve standard input."""
    known_currency("EUR")  # reads its tables once, before the forks
    for line in sys.stdin:
        folder, url, instant = line.rstrip("\n").split("\t")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                _pull(folder, url, instant)
                code = 0
            finally:
                os._exit(code)
        print(f"pid {pid}", flush=True)
        _, status = os.waitpid(pid, 0)
        print(f"status {status}", flush=True)


if __name__ == "__main__":
    main()
