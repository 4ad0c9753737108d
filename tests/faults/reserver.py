"""A service that reserves hot SKUs as fast as it can. Not a test: `test_reservations.py` starts, kills and counts many.

Writes a line to its file for each answer it got: `made <id> <sku> <quantity>`, `ending <id>` before it gives one up. Asks
again with the same key where no answer came. Ends when there is nothing left to promise.
"""

from __future__ import annotations

import hashlib
import os
import random
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from sqlalchemy import make_url

from oms_core.fulfilment.desk import Desk
from oms_core.fulfilment.errors import FulfilmentError
from oms_core.fulfilment.ledger import Answer, Change, Command
from oms_core.fulfilment.reservation import Ask, Line
from oms_core.store.errors import DatabaseUnavailableError
from oms_core.store.postgres import Database

THREADS = 3


def _persist(desk: Desk, command: Command) -> Answer:
    """Ask until there is an answer: the key makes sure that it is carried out once."""
    while True:
        try:
            return desk.ask(command)
        except DatabaseUnavailableError:
            time.sleep(0.05)


def _serve(desk: Desk, name: str, seed: int, skus: list[str], told: int) -> None:
    dice = random.Random(seed)
    wanted = list(skus)
    number = 0
    while wanted:
        number += 1
        sku, qty = dice.choice(wanted), dice.randint(1, 3)
        key = f"{name}/{seed}/{number}"
        ask = Ask(
            "acme", key, hashlib.sha256(key.encode()).digest(), name, "web",
            (Line(sku, Decimal(qty), promised_on=datetime.now(UTC).date() + timedelta(days=5)),), timedelta(hours=1),
            is_partial=True, from_inbound=True,
        )  # fmt: skip
        try:
            made = _persist(desk, ask).reservation
        except FulfilmentError as error:
            if error.code != "insufficient-stock":
                raise
            wanted.remove(sku)
            continue
        os.write(told, f"made {made.reservation_id} {sku} {made.lines[0].granted:f}\n".encode())
        verb = dice.choice(("release", "extend", "allocate", None, None, None))
        if verb == "release":
            os.write(told, f"ending {made.reservation_id}\n".encode())
        if verb is not None:
            _persist(desk, Change(verb, "acme", made.reservation_id, name, timedelta(hours=2)))  # type: ignore[arg-type]


def main() -> None:
    """`reserver.py <database URL> <name> <seed> <file> <sku> …`"""
    url, name, seed, path, *skus = sys.argv[1:]
    told = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    with Database(make_url(url), pool_size=THREADS) as database:
        desk = Desk(database)
        threads = [
            threading.Thread(target=_serve, args=(desk, name, int(seed) * 100 + place, skus, told))
            for place in range(THREADS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


if __name__ == "__main__":
    main()
