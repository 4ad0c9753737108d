"""Clients that each ask for a reservation as soon as they were answered. Not a benchmark: `bench_reservations.py` starts it."""

from __future__ import annotations

import hashlib
import json
import random
import sys
import threading
import time
from datetime import timedelta
from decimal import Decimal

from sqlalchemy import make_url

from oms_core.fulfilment.desk import Desk
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.reservation import Ask, Line
from oms_core.store.postgres import Database


def main() -> None:
    """`reserving.py <database URL> <process> <clients> <seconds> <SKUs>`: JSON of latencies in seconds, and refusals."""
    url, process, clients, seconds, hot = sys.argv[1:]
    took: list[float] = []
    refusals: list[str] = []
    with Database(make_url(url)) as database:
        desk = Desk(database)
        print("ready", flush=True)
        sys.stdin.readline()
        run_id = time.time_ns()
        until = time.monotonic() + float(seconds)

        def run(client: int) -> None:
            dice = random.Random(client)
            number = 0
            while time.monotonic() < until:
                number += 1
                key = f"{run_id}/{process}/{client}/{number}"
                line = Line(f"S{dice.randint(1, int(hot))}", Decimal(1), None, ("N1",))
                ask = Ask(
                    "t",
                    key,
                    hashlib.sha256(key.encode()).digest(),
                    "bench",
                    "web",
                    (line,),
                    timedelta(minutes=15),
                )
                started = time.perf_counter()
                try:
                    desk.ask(ask)
                except FulfilmentError as error:
                    refusals.append(error.code)
                    continue
                took.append(time.perf_counter() - started)

        threads = [threading.Thread(target=run, args=(client,)) for client in range(int(clients))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    json.dump({"took": took, "refused": len(refusals)}, sys.stdout)


if __name__ == "__main__":
    main()
