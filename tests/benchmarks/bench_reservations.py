"""Reservations on ten hot SKUs beside the bare update that the server itself could do: `make bench`.

64 clients each. The peer is PostgreSQL's own pgbench, in C, with one prepared conditional update and nothing else: no key, no
line, no lot, no channel, no audit entry. Rounds alternate, since the machine is not always equally busy.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from importlib import resources
from pathlib import Path

from rich.console import Console
from rich.table import Table
from sqlalchemy import text

from oms_core.flows import book as flow_book
from oms_core.flows import definition, versions
from oms_core.flows.fold import Event
from oms_core.fulfilment import book, look
from oms_core.fulfilment.book import Place
from oms_core.fulfilment.desk import GroupCommit, repeat
from oms_core.fulfilment.movement import Movement
from oms_core.store import embedded
from oms_core.store.postgres import Database

HOT = 10
CLIENTS = 64
ROUNDS = 3
SECONDS = 5
PROCESSES = (1, 2)
EVENTS_A_SECOND = 500
EVENT_SECONDS = 6
CALLERS = 32
ORDERS = 1000
STEPS = ("created", "payment_verified", "stock_reserved", "picked", "packed", "dispatched", "delivered")
CLIENT = Path(__file__).with_name("reserving.py")
FOLLOWER = Path(__file__).with_name("following.py")
_UPDATE = (
    "\\set id random(1, 10)\n"
    "UPDATE bare_stock SET reserved = reserved + 1 WHERE id = :id AND reserved + 1 <= on_hand;\n"
)


def _fill(database: Database, stock: int) -> None:
    with database.begin() as connection:
        for table in (
            "reservation_holds",
            "reservation_lines",
            "reservations",
            "stock_positions",
            "stock_pools",
            "stock_nodes",
        ):
            connection.execute(text(f"DELETE FROM orderhub.{table}"))
        connection.execute(text("INSERT INTO orderhub.stock_nodes (location_id) VALUES ('N1')"))
        connection.execute(
            text(
                "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry) "
                "SELECT 'S' || n, 'N1', 'C62', false FROM generate_series(1, :hot) AS n"
            ),
            {"hot": HOT},
        )
        connection.execute(
            text(
                "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, on_hand_qty) "
                "SELECT 'S' || n, 'N1', '', :stock FROM generate_series(1, :hot) AS n"
            ),
            {"hot": HOT, "stock": stock},
        )


def _reserve(url: str, processes: int, seconds: float) -> tuple[list[float], int]:
    """Latencies of what was reserved by 64 clients, and how many were refused."""
    started = [
        subprocess.Popen(
            [sys.executable, str(CLIENT), url, str(place), str(CLIENTS // processes), str(seconds), str(HOT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(CLIENT.resolve().parents[2])},
        )
        for place in range(processes)
    ]
    for process in started:  # all begin together, once the last has imported what it needs
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    for process in started:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate()[0]) for process in started]
    return sorted(item for answer in answers for item in answer["took"]), sum(
        answer["refused"] for answer in answers
    )


def _pgbench(socket: str, script: Path) -> float:
    program = embedded._find_binaries() / "pgbench"
    done = subprocess.run(
        [
            str(program), "-n", "-M", "prepared", "-c", str(CLIENTS), "-j", "2", "-T", str(SECONDS), "-f", str(script),
            "-h", socket, "-U", embedded.SUPERUSER, "orderhub",
        ],
        capture_output=True, text=True, check=True, env={"PATH": os.defpath},
    )  # fmt: skip
    (line,) = [line for line in done.stdout.splitlines() if line.startswith("tps")]
    return float(line.split()[2])


def test_reservations_beside_the_bare_update(make_home: Callable[[str], Path], tmp_path: Path) -> None:
    script = tmp_path / "bare.sql"
    script.write_text(_UPDATE)
    with Database.open(make_home("bench-reservations")) as database:
        database.upgrade()
        url = database.url.render_as_string(hide_password=False)
        socket = str(database.url.query["host"])
        with database.begin() as connection:
            connection.execute(
                text(
                    "CREATE TABLE bare_stock (id int PRIMARY KEY, on_hand numeric, reserved numeric CHECK (reserved <= on_hand))"
                )
            )
            connection.execute(
                text("INSERT INTO bare_stock SELECT n, 1e9, 0 FROM generate_series(1, 10) AS n")
            )
        bare: list[float] = []
        ours: dict[int, list[float]] = {count: [] for count in PROCESSES}
        slow: dict[int, list[float]] = {count: [] for count in PROCESSES}
        _fill(database, 10**8)
        for _ in range(ROUNDS):
            bare.append(_pgbench(socket, script))
            for count in PROCESSES:
                took, _ = _reserve(url, count, SECONDS)
                ours[count].append(len(took) / SECONDS)
                slow[count].append(took[int(len(took) * 0.99)])
        stock = 200
        _fill(database, stock)
        took, refused = _reserve(url, 2, SECONDS)
        with database.begin() as connection:
            reserved = connection.execute(
                text("SELECT sum(reserved_qty), max(reserved_qty) FROM orderhub.stock_positions")
            ).one()
            held = connection.execute(text("SELECT sum(qty) FROM orderhub.reservation_holds")).scalar_one()
    assert len(took) == reserved[0] == held <= HOT * stock and reserved[1] <= stock
    assert refused, "the stock never ran out"
    peer = statistics.median(bare)
    table = Table(
        "what",
        "a second",
        "of pgbench",
        "p99",
        title=f"{CLIENTS} clients on {HOT} hot SKUs",
        title_justify="left",
    )
    table.add_row("pgbench, one bare conditional update", f"{peer:,.0f}", "1", "")
    for count in PROCESSES:
        rate = statistics.median(ours[count])
        table.add_row(
            f"reservations, whole and logged, {count} process(es)", f"{rate:,.0f}", f"{rate / peer:.2f} (aim 0.5)",
            f"{statistics.median(slow[count]) * 1000:.0f} ms",
        )  # fmt: skip
    table.add_row(
        f"oversold of {HOT * stock:,}, refused {refused:,}", str(int(held) - len(took)), "aim 0", ""
    )
    console = Console(width=110)
    console.print()
    console.print(table)


def _told(tellers: int, most: int, tell: Callable[[int, int, int], None]) -> float:
    """Tell 500 events a second, each when it is due; gives when the first was.

    Args:
        most: that a teller tells at a time.
        tell: tells `many` events of a teller, from the one of a number on.
    """
    share = EVENTS_A_SECOND / tellers
    begun = time.perf_counter() + 0.5

    def run(teller: int) -> None:
        told = 0
        while told < share * EVENT_SECONDS:
            due = int((time.perf_counter() - begun) * share) + 1
            many = min(max(due - told, 0), most)
            if not many:
                time.sleep(0.002)
                continue
            tell(teller, told, many)
            told += many

    threads = [threading.Thread(target=run, args=(teller,)) for teller in range(tellers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return begun


def _said(visible: list[float]) -> str:
    visible.sort()
    return (
        f"{len(visible):,} at {EVENTS_A_SECOND} a second: visible after {visible[len(visible) // 2] * 1000:.0f} ms (p50), "
        f"{visible[int(len(visible) * 0.99)] * 1000:.0f} ms (p99, aim 250)"
    )


def test_movements_are_visible_soon(make_home: Callable[[str], Path]) -> None:
    """Four systems tell movements, each what became due since it told last."""
    with Database.open(make_home("bench-movements")) as database:
        database.upgrade()
        _fill(database, 10**6)

        seen: list[tuple[int, float]] = []

        def tell(teller: int, first: int, many: int) -> None:
            batch = [
                Movement(
                    f"wms{teller}", str(number), "receipt", f"S{number % HOT + 1}", "N1", Decimal(1), datetime.now(UTC),
                    f"{teller}/{number}".encode(),
                )
                for number in range(first, first + many)
            ]  # fmt: skip
            places = [Place(sku, "N1", "C62", False) for sku in {item.sku_id for item in batch}]
            repeat(
                database,
                lambda connection, also: book.record(
                    connection, batch, places, by="wms", tenant="t", also=also
                ),
            )
            with look.looking(database) as connection:
                look.stock_of(connection, batch[-1].sku_id)
            now = time.perf_counter()
            seen.extend((number, now) for number in range(first, first + many))

        begun = _told(4, 100, tell)
    visible = [at - (begun + number * 4 / EVENTS_A_SECOND) for number, at in seen]
    Console(width=110).print(f"\nmovements of stock, {_said(visible)}")


def test_order_events_are_visible_soon(make_home: Callable[[str], Path]) -> None:
    """32 callers tell events of orders one by one, as the API takes them, and share transactions while they wait.

    A reader in a process of its own follows the feed, and looks at where each order is that it is told of.
    """
    source = resources.files("oms_core.flows").joinpath("shipped", "b2c.yaml").read_text("utf-8")
    with Database.open(make_home("bench-events")) as database:
        database.upgrade()
        flow = definition.load(source)
        with database.begin() as connection:
            versions.activate(connection, flow, by="bench", reason="bench")
            orders = {f"O{number}": {"order_type": "b2c", "channel": "web"} for number in range(ORDERS)}
            flow_book.begin(connection, flow, orders)
        desk = GroupCommit[flow_book.News, flow_book.Told](
            lambda news, _: repeat(database, lambda connection, _: flow_book.tell_all(connection, news))
        )
        due: dict[tuple[str, int], tuple[int, int]] = {}  # (order, revision) -> the teller and its number

        def tell(teller: int, first: int, _: int) -> None:
            number = first * CALLERS + teller
            order, kind = f"O{number % ORDERS}", STEPS[number // ORDERS % len(STEPS)]
            event = Event(f"e{number}", kind, datetime.now(UTC) - timedelta(hours=1), "wms", "bench")
            told = desk.ask(flow_book.News(order, event, "bench"))
            due[order, told.placed.revision] = (teller, first)

        reader = subprocess.Popen(
            [sys.executable, str(FOLLOWER), database.url.render_as_string(hide_password=False)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(FOLLOWER.resolve().parents[2])},
        )  # fmt: skip
        assert reader.stdout is not None and reader.stdout.readline() == "ready\n"
        begun = _told(CALLERS, 1, tell)
        seen = json.loads(reader.communicate("stop\n")[0])
    assert {(order, revision) for order, revision, _ in seen} == set(due)
    # Each teller's events are due evenly, and both processes read one clock.
    visible = [
        at - (begun + due[order, revision][1] * CALLERS / EVENTS_A_SECOND) for order, revision, at in seen
    ]
    Console(width=110).print(f"\norder events, {_said(visible)}")
