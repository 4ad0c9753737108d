"""A pull killed at any instant loses nothing and doubles nothing."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from connectors.landing import FILES, PAGES, Landing

PULLER = Path(__file__).with_name("puller.py")
INSTANTS = (
    "page written, not renamed", "page archived", "rows flushed", "rows renamed", "lines renamed, manifest untouched",
    "batch row inserted", "file rows inserted", "quarantine rows inserted", "cursor written, not committed", "committed",
)  # fmt: skip
PAGE = 60
BAD_EVERY = 25


class Shop:
    """A shop with more orders every day, on loopback; each answer takes a few milliseconds."""

    def __init__(self) -> None:
        self.orders: list[dict[str, Any]] = []
        shop = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[-1] for name, values in parse_qs(urlsplit(self.path).query).items()}
                after = (
                    datetime.fromisoformat(query["since"])
                    if "since" in query
                    else datetime.min.replace(tzinfo=UTC)
                )
                found = [item for item in shop.orders if datetime.fromisoformat(item["updated_at"]) > after]
                start = int(query.get("page", 0))
                body: dict[str, Any] = {"orders": found[start : start + PAGE]}
                if start + PAGE < len(found):
                    body["next"] = str(start + PAGE)
                time.sleep(0.003)
                content = json.dumps(body).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A killed client is what the test wants."""

        self.server = Server(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def grow(self, count: int) -> None:
        """New orders, each later than the last; one in so many is invalid, and one has an invalid line."""
        for number in range(len(self.orders), len(self.orders) + count):
            at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=number)
            bad = number % BAD_EVERY == 7
            odd = number % BAD_EVERY == 9
            lines = [
                {"sku": f"s{place}", "qty": -1 if odd and place == 0 else place}
                for place in range(number % 4)
            ]
            self.orders.append(
                {
                    "id": f"o{number}",
                    "updated_at": at.isoformat(),
                    "total": f"{number}.25",
                    "currency": "XXL" if bad else "EUR",
                    "lines": lines,
                }
            )

    @property
    def truth(self) -> tuple[Counter[str], Counter[tuple[str, int]], int]:
        """Orders and lines that must have landed, each once, and how many rows must wait in quarantine."""
        good = [item for item in self.orders if item["currency"] == "EUR"]
        lines = [(item["id"], place, line) for item in good for place, line in enumerate(item["lines"])]
        landed = Counter((order, place) for order, place, line in lines if line["qty"] >= 0)
        rejected = len(self.orders) - len(good) + len(lines) - landed.total()
        return Counter(item["id"] for item in good), landed, rejected


@pytest.fixture
def shop() -> Iterator[Shop]:
    opened = Shop()
    yield opened
    opened.server.shutdown()
    opened.server.server_close()
    opened.thread.join()


@pytest.fixture
def nursery() -> Iterator[subprocess.Popen[str]]:
    """The process that forks pulls."""
    root = PULLER.resolve().parents[2]
    process = subprocess.Popen(
        [sys.executable, str(PULLER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(root), "ARROW_IO_THREADS": "1"},
    )
    yield process
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(timeout=30)
    process.stdout.close()


def pull(
    nursery: subprocess.Popen[str], folder: Path, url: str, instant: str = "-", after: float | None = None
) -> int:
    """Run one pull in a process of its own; kill it after so many seconds. Return its wait status."""
    assert nursery.stdin is not None
    assert nursery.stdout is not None
    nursery.stdin.write(f"{folder}\t{url}\t{instant}\n")
    nursery.stdin.flush()
    pid = int(nursery.stdout.readline().split()[1])
    if after is not None:
        time.sleep(after)
        # The process may be gone, but its parent has not been told to start another one under its number.
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    return int(nursery.stdout.readline().split()[1])


def check_whole(folder: Path) -> tuple[Counter[str], Counter[tuple[str, int]], int]:
    """Hold the manifest against the files; return the visible orders and lines, and how many rows wait."""
    landing = Landing(folder)
    orders: Counter[str] = Counter()
    lines: Counter[tuple[str, int]] = Counter()
    try:
        visible = {batch.batch_id for batch in landing.batches()}
        with landing.transaction() as connection:
            files = connection.execute(sa.select(FILES)).mappings().all()
            pages = connection.execute(sa.select(PAGES)).mappings().all()
        assert {row["batch_id"] for row in files} == visible
        assert {row["batch_id"] for row in pages} <= visible
        for row in pages:
            assert len(landing.read_page(row["page_sha256"])) == row["byte_count"]
        for row in files:
            if row["path"] is None:
                assert row["landed"] == 0
                continue
            assert row["path"].endswith(".parquet")
            table = pq.read_table(folder / row["path"])
            assert table.num_rows == row["landed"]
            assert set(table["_batch_id"].to_pylist()) == {row["batch_id"]}
            if row["stream"] == "orders":
                orders.update(table["order_id"].to_pylist())
            else:
                lines.update(
                    zip(table["order_id"].to_pylist(), table["_child_index"].to_pylist(), strict=True)
                )
        counts = landing.counts()
        assert all(count.pulled == count.landed + count.quarantined for count in counts)
        cursor = landing.cursor("shop", "orders")
        assert (cursor is None) == (not visible)
        return orders, lines, sum(count.quarantined for count in counts)
    finally:
        landing.close()


@pytest.mark.slow
def test_a_pull_killed_at_each_step_leaves_the_old_state_or_the_new_one(
    shop: Shop, nursery: subprocess.Popen[str], tmp_path: Path
) -> None:
    shop.grow(3 * PAGE)
    assert pull(nursery, tmp_path, shop.url) == 0
    assert check_whole(tmp_path) == shop.truth
    for instant in INSTANTS:
        before = check_whole(tmp_path)
        shop.grow(2 * PAGE + 10)
        assert pull(nursery, tmp_path, shop.url, instant) == signal.SIGKILL, instant
        assert check_whole(tmp_path) == (shop.truth if instant == "committed" else before), instant
        assert pull(nursery, tmp_path, shop.url) == 0
        assert check_whole(tmp_path) == shop.truth, f"after a kill at: {instant}"


@pytest.mark.slow
def test_pulls_killed_at_random_instants_lose_and_double_nothing(
    shop: Shop, nursery: subprocess.Popen[str], tmp_path: Path
) -> None:
    dice = random.Random(20260301)
    shop.grow(5 * PAGE)
    for _ in range(2):  # the first one also waits for the imports
        started = time.monotonic()
        assert pull(nursery, tmp_path / f"calm {started}", shop.url) == 0
        usual = time.monotonic() - started
    folder = tmp_path / "killed"
    killed = 0
    # Waits grow while pulls are killed and shrink when one ends: most kills meet a pull at work, however slow the machine.
    longest = usual
    for _ in range(100):
        shop.grow(dice.choice([0, 5, PAGE, 2 * PAGE]))
        is_killed = pull(nursery, folder, shop.url, after=dice.uniform(0, longest)) == signal.SIGKILL
        longest *= 1.1 if is_killed else 0.7
        killed += is_killed
        orders, lines, _ = check_whole(folder)
        truth_orders, truth_lines, _ = shop.truth
        assert orders <= truth_orders, "no order twice, none made up"
        assert lines <= truth_lines
        if killed == 18:
            break
    assert killed == 18
    assert pull(nursery, folder, shop.url) == 0
    assert check_whole(folder) == shop.truth

    landing = Landing(folder)
    left = [*folder.glob("shop/*/*.tmp"), *folder.glob("pages/*/*.tmp")]
    assert {path for path in landing.sweep(timedelta(seconds=-1)) if path.suffix == ".tmp"} == set(left)
    named = {path for batch in landing.batches() for path in batch.files.values()}
    landing.close()
    assert check_whole(folder) == shop.truth, "the sweep takes nothing that is visible"
    assert set(folder.glob("shop/*/*")) == named
