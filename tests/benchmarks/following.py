"""A reader of its own: follows the feed of events and looks at each order told of. `bench_reservations.py` starts it."""

from __future__ import annotations

import json
import select
import sys
import time

from sqlalchemy import make_url

from oms_core.flows import book
from oms_core.store import outbox
from oms_core.store.postgres import Database

EVERY_SECONDS = 0.01


def main() -> None:
    """`following.py <database URL>`: JSON of (order, revision, instant of `perf_counter` it was seen) until told to stop."""
    seen: list[tuple[str, int, float]] = []
    after, is_last = 0, False
    with Database(make_url(sys.argv[1])) as database:
        print("ready", flush=True)
        while not is_last:
            is_last = bool(select.select([sys.stdin], [], [], EVERY_SECONDS)[0])
            with database.begin() as connection:
                page = outbox.read(connection, after, limit=1000)
                moved = [item.telling for item in page if item.telling.kind == "orderhub.flow.moved"]
                orders = sorted({telling.subject for telling in moved})
                found = {item.order_id: item.revision for item in book.find(connection, orders, "")}
            now = time.perf_counter()
            for telling in moved:
                assert found[telling.subject] >= telling.data["revision"], "told of before it is to be seen"
                seen.append((telling.subject, telling.data["revision"], now))
            after = page[-1].seq if page else after
            is_last = is_last and not page
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
