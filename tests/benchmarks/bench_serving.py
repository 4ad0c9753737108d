"""Order look-up beside the thinnest FastAPI + psycopg endpoint, on a million orders: `make bench`.

Both are served by one uvicorn process with the same settings and asked over as many connections by a client in a process of its
own. The peer reads three columns of one row by its primary key. Ours opens with a key of its own, takes any id, and answers the
whole order with its lines, events, shipments, payments, refunds and returns, where it is now, its ETag and its release. Rounds alternate, since the
machine is not always equally busy; CPU per request is of the serving process and of PostgreSQL, whoever else is at work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
from million import release_orders
from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

from oms_core.api import keys
from oms_core.store import embedded
from oms_core.store.postgres import Database

ORDERS = 1_000_000
CONNECTIONS = 64
ROUNDS = 5
SECONDS = 4.0
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Round:
    """Answers a second, p50 and p99 in ms, and CPU in µs per request: of the server, of PostgreSQL, of the client."""

    rate: float
    p50: float
    p99: float
    server: float
    database: float
    client: float


@contextmanager
def _served(name: str, home: Path) -> Iterator[tuple[int, psutil.Process]]:
    """An app of `serving_app.py` in a process of its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    started = subprocess.Popen(
        [
            sys.executable, "-m", "uvicorn", "--factory", f"serving_app:{name}", "--port", str(port), "--log-level", "warning",
            "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--no-server-header",
        ],
        env={**os.environ, "BENCH_HOME": str(home), "PYTHONPATH": f"{HERE}:{HERE.parents[1]}"},
    )  # fmt: skip
    try:
        while started.poll() is None:
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port, psutil.Process(started.pid)
    finally:
        started.terminate()
        started.wait()


def _ask(
    port: int,
    server: psutil.Process,
    database: psutil.Process,
    paths: Sequence[str],
    headers: Mapping[str, str],
    seconds: float,
) -> Round:
    before = _cpu(server), _cpu_of_children(database)
    done = subprocess.run(
        [sys.executable, str(HERE / "asking.py"), str(port), str(CONNECTIONS), str(seconds)],
        input=json.dumps({"paths": paths, "headers": headers}), capture_output=True, text=True, check=True, timeout=seconds + 30,
    )  # fmt: skip
    after = _cpu(server), _cpu_of_children(database)
    answer: dict[str, Any] = json.loads(done.stdout)
    took = sorted(answer["took"])
    many = len(took)
    return Round(
        many / seconds,
        took[many // 2] * 1e3,
        took[int(many * 0.99)] * 1e3,
        (after[0] - before[0]) / many * 1e6,
        (after[1] - before[1]) / many * 1e6,
        answer["cpu"] / many * 1e6,
    )


def _cpu(process: psutil.Process) -> float:
    used = process.cpu_times()
    return used.user + used.system


def _cpu_of_children(server: psutil.Process) -> float:
    """Of the backends that run now, and those that ended before."""
    total = server.cpu_times().children_user + server.cpu_times().children_system
    for backend in server.children():
        with contextlib.suppress(psutil.NoSuchProcess):
            total += _cpu(backend)
    return total


def _paths(count: int, *, any_id: bool) -> list[str]:
    """Look-ups spread over all orders: by golden id, or by every kind of id in turn."""
    dice = random.Random(count)
    paths = []
    for place in range(20_000):
        n = dice.randint(1, count)
        ids = (
            f"ORD-{hashlib.md5(str(n).encode()).hexdigest()[:16].upper()}",
            f"%23{1000 + n}",
            f"shopify:orders:{n}",
            f"SO{n}",
        )
        paths.append(f"/orders/{ids[place % 4] if any_id else ids[0]}")
    return paths


def warm(connection: Connection) -> None:
    """Read every released table and index into PostgreSQL's memory, as they are where orders are looked up all day."""
    connection.execute(text("CREATE EXTENSION IF NOT EXISTS pg_prewarm"))
    connection.execute(
        text(
            "SELECT sum(pg_prewarm(c.oid)) FROM pg_class AS c WHERE c.relkind IN ('r', 'i') "
            "AND c.relnamespace IN ('release_history'::regnamespace, 'orderhub'::regnamespace)"
        )
    )


def measure(home: Path, database: psutil.Process, orders: int, key: str) -> None:
    """Measure both and print; `database` is the PostgreSQL server behind them."""
    by_id = _paths(orders, any_id=False)
    peers = {
        "thinnest endpoint, three columns of one row": ("thin", by_id, {}),
        "orderhub, whole order by golden id": ("ours", by_id, {"X-API-Key": key}),
        "orderhub, whole order by any id": ("ours", _paths(orders, any_id=True), {"X-API-Key": key}),
    }
    rounds: dict[str, list[Round]] = {name: [] for name in peers}
    with _served("thin", home) as thin, _served("ours", home) as ours:
        for number in range(-1, ROUNDS):
            for name, (app, paths, headers) in peers.items():
                port, process = thin if app == "thin" else ours
                taken = _ask(port, process, database, paths, headers, SECONDS if number >= 0 else 1)
                if number >= 0:  # the one before warms caches and plans
                    rounds[name].append(taken)
    middle = {
        name: [
            statistics.median(getattr(item, what) for item in items) for what in Round.__dataclass_fields__
        ]
        for name, items in rounds.items()
    }
    peer = next(iter(middle.values()))
    table = Table(
        "what", "a second", "of the thinnest", "p50 ms", "p99 ms", "of its p99", "CPU µs: server, PostgreSQL, client",
        title=f"{orders:,} orders, {CONNECTIONS} connections, one server process, median of {ROUNDS} rounds",
        title_justify="left",
    )  # fmt: skip
    for name, (rate, p50, p99, server, database, client) in middle.items():
        table.add_row(
            name, f"{rate:,.0f}", f"{rate / peer[0]:.2f} (aim 0.6)", f"{p50:.1f}", f"{p99:.1f}", f"{p99 / peer[2]:.2f} (aim ≤ 2)",
            f"{server:.0f}, {database:.0f}, {client:.0f}",
        )  # fmt: skip
    console = Console(width=140)
    console.print()
    console.print(table)


def test_order_look_up_beside_the_thinnest_endpoint(
    make_home: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The memory a server of such a table has; both are served from it.
    monkeypatch.setitem(embedded._SETTINGS, "shared_buffers", "4GB")
    home = make_home("bench-serving")
    with Database.open(home) as database:
        database.upgrade()
        release_orders(database, ORDERS)
        with database.begin() as connection:
            key = keys.make(connection, "bench", role=keys.OMS_SERVICE, by="bench", tenant="bench")
            server = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
            warm(connection)
        measure(home, psutil.Process(server).parent() or psutil.Process(server), ORDERS, key)
