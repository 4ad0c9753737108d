"""Many processes, few units: whoever is killed, whenever the server falls over, never is more promised than there is."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path

import psutil
import pytest
from sqlalchemy import Connection, text

from oms_core.store.embedded import EmbeddedServer
from oms_core.store.postgres import Database

RESERVER = Path(__file__).with_name("reserver.py")
SKUS = ("HOT-1", "HOT-2", "HOT-3")
STOCK = 400
PROCESSES = 8
KILLS = 6
CRASHES = 2


@pytest.fixture
def home(make_home: Callable[[str], Path]) -> Iterator[Path]:
    """A home with a server of its own, which the test may crash, and a little stock."""
    folder = make_home("race")
    with Database.open(folder) as database:
        database.upgrade()
        with database.begin() as connection:
            connection.execute(text("INSERT INTO orderhub.stock_nodes (location_id) VALUES ('N1'), ('N2')"))
            for sku in SKUS:
                for node, qty in (("N1", STOCK // 4), ("N2", STOCK - STOCK // 4)):
                    _place(connection, sku, node, qty, is_coming=(sku, node) == (SKUS[-1], "N2"))
        yield folder


def _place(connection: Connection, sku: str, node: str, qty: int, *, is_coming: bool) -> None:
    values = {"sku": sku, "node": node, "qty": qty, "inbound": "wms/PO-1" if is_coming else ""}
    for statement in (
        "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) VALUES (:sku, :node, 'C62', false)",
        "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty, inbound, arrives_on) "
        "VALUES (:sku, :node, '', :qty, :inbound, CASE WHEN :inbound <> '' THEN current_date + 3 END)",
        "INSERT INTO orderhub.stock_inbound (source_system, reference, sku_id, location_id, lot_number, kind, qty, expected_on, "
        "recorded_at) SELECT 'wms', 'PO-1', :sku, :node, '', 'purchase', :qty, current_date + 3, now() WHERE :inbound <> ''",
    ):
        connection.execute(text(statement), values)


def crash(folder: Path) -> EmbeddedServer:
    """Let the server fall over without a word, and start it again."""
    pid = int((folder / "postgres/data/postmaster.pid").read_text().split("\n", 1)[0])
    process = psutil.Process(pid)
    os.kill(pid, signal.SIGQUIT)
    process.wait(30)
    return EmbeddedServer(folder / "postgres")


@pytest.mark.slow
def test_processes_that_race_are_killed_and_lose_their_server_never_oversell(
    home: Path, tmp_path: Path
) -> None:
    dice = random.Random(20261123)
    with Database.open(home) as database:
        url = database.url.render_as_string(hide_password=False)
    running: list[subprocess.Popen[bytes]] = []
    root = RESERVER.resolve().parents[2]
    started = 0

    def start() -> None:
        nonlocal started
        started += 1
        running.append(
            subprocess.Popen(
                [
                    sys.executable,
                    str(RESERVER),
                    url,
                    f"p{started}",
                    str(started),
                    str(tmp_path / f"{started}.told"),
                    *SKUS,
                ],
                env={**os.environ, "PYTHONPATH": str(root)},
            )
        )

    servers: list[EmbeddedServer] = []
    for _ in range(PROCESSES):
        start()
    answers = _wait_for_answers(tmp_path, 1)
    events = ["kill"] * KILLS + ["crash"] * CRASHES
    dice.shuffle(events)
    killed = 0
    for event in events:
        answers = _wait_for_answers(tmp_path, answers + 60)
        if event == "crash":
            servers.append(crash(home))
        else:
            victim = running.pop(dice.randrange(len(running)))
            victim.kill()
            killed += victim.wait() == -signal.SIGKILL
            start()
    codes = [process.wait(timeout=240) for process in running]
    assert codes == [0] * len(codes)
    assert killed >= 1

    made: dict[str, tuple[str, Decimal]] = {}
    ending: set[str] = set()
    for path in tmp_path.glob("*.told"):
        for line in path.read_text().splitlines():
            word, key, *rest = line.split()
            if word == "ending":
                ending.add(key)
            else:
                made[key] = (rest[0], Decimal(rest[1]))
    with Database.open(home) as database, database.begin() as connection:
        held = {
            row[0]: (row[1], row[2])
            for row in connection.execute(
                text(
                    "SELECT reservation_id, min(sku_id), sum(qty) FROM orderhub.reservation_holds GROUP BY 1"
                )
            )
        }
        positions = connection.execute(
            text(
                "SELECT sku_id, sum(on_hand_qty), sum(reserved_qty) FROM orderhub.stock_positions GROUP BY 1"
            )
        ).all()
    promised: Counter[str] = Counter()
    for sku, qty in held.values():
        promised[sku] += int(qty)
    for sku, on_hand, reserved in positions:
        assert promised[sku] == reserved <= on_hand == STOCK
    kept = {key: what for key, what in made.items() if key not in ending}
    assert {key: held.get(key) for key in kept} == kept, (
        "what was promised is held, and nothing else by that name"
    )
    assert sum(promised.values()) >= len(SKUS) * STOCK * 0.95, "hardly anything was left unsold"
    for server in servers:
        server.close()


def _wait_for_answers(folder: Path, wanted: int) -> int:
    """Wait until the processes were answered so often, or all is sold; gives the number."""
    deadline = time.monotonic() + 120
    while True:
        found = sum(path.read_bytes().count(b"made") for path in folder.glob("*.told"))
        if found >= wanted or found >= len(SKUS) * STOCK / 2.2 or time.monotonic() > deadline:
            return found
        time.sleep(0.02)
