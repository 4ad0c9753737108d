"""Orders a second from one local server with our kit, with dlt and with a bare loop: `make bench`.

The servers (`order_server.py`) and each way (`extracting.py`) run in processes of their own, so that peak memory is that way's. All
ways ask the same server for the same pages, in turn, and the median counts. Beside a server that makes its pages as services do
stands one that costs nothing, which shows what the ways themselves cost. Seconds of the processor are printed beside those
of the clock: on a machine that is busy they say more.
"""

from __future__ import annotations

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

FEW, MORE, MANY, ROUNDS = 40_000, 200_000, 1_000_000, 5
SERVERS = {"fastapi": "a server that makes its pages", "template": "a server that costs nothing"}
_HERE = Path(__file__).parent


@contextlib.contextmanager
def shop(orders: int, server: str) -> Iterator[str]:
    """A server of so many orders: its address."""
    command = [sys.executable, str(_HERE / "order_server.py"), str(orders), server]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.stdin.close()
            process.wait(timeout=20)


def pull(way: str, url: str, orders: int) -> dict[str, Any]:
    """Seconds, processor seconds and peak MB of one way."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(_HERE / "extracting.py"), way, url, folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    assert found["orders"] == orders
    return found


@pytest.mark.parametrize(("server", "orders"), [("fastapi", FEW), ("fastapi", MORE), ("template", FEW)])
def test_orders_a_second_beside_dlt_and_a_bare_loop(server: str, orders: int) -> None:
    with shop(orders, server) as url:
        rounds = [{way: pull(way, url, orders) for way in ("bare", "kit", "dlt")} for _ in range(ROUNDS)]
    table = Table(
        "way",
        "orders",
        "orders/s",
        "orders/s of processor",
        "peak MB",
        title=f"paged JSON orders from {SERVERS[server]}",
    )
    rates = {}
    for way in rounds[0]:
        for name in ("seconds", "processor_seconds"):
            rates[way, name] = statistics.median(orders / found[way][name] for found in rounds)
        peak = max(found[way]["peak_mb"] for found in rounds)
        row = [f"{rates[way, name]:,.0f}" for name in ("seconds", "processor_seconds")]
        table.add_row(way, f"{orders:,}", *row, f"{peak:,.0f}")
    _print(table)
    for name, label in (("seconds", "by the clock"), ("processor_seconds", "by processor time")):
        _print(
            f"{label}: {rates['kit', name] / rates['dlt', name]:.1f} times dlt (aim 3), "
            f"{rates['kit', name] / rates['bare', name]:.2f} of the bare loop (aim 0.6)"
        )


def test_memory_from_few_orders_to_many() -> None:
    table = Table("orders", "orders/s", "peak MB", title="our kit, from few orders to many")
    for orders in (FEW, MANY):
        with shop(orders, "template") as url:
            found = pull("kit", url, orders)
        table.add_row(f"{orders:,}", f"{orders / found['seconds']:,.0f}", f"{found['peak_mb']:,.0f}")
    _print(table)
    _print("aim: below 300 MB")


def _print(what: Table | str) -> None:
    console = Console(width=110)
    console.print()
    console.print(what)
