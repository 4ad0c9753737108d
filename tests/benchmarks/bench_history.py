"""Two releases of a million orders, the second with one order in a hundred changed: diff and explain: `make bench`.

The diff is what `orderhub diff` does: counts of every table, then rows of one with the batch behind each. What is explained is
picked at random; each answer reads the record's page from the archive and recomputes its SHA-256.
"""

from __future__ import annotations

import importlib.util
import random
import resource
import statistics
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from sqlalchemy import Connection, text

from connectors.landing import Landing
from oms_core.audit.explain import explain
from oms_core.release import history, read, why
from oms_core.release.tables import declared
from oms_core.store.postgres import Database

_SPEC = importlib.util.spec_from_file_location("million", Path(__file__).with_name("million.py"))
assert _SPEC is not None and _SPEC.loader is not None
million = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(million)

ORDERS = 1_000_000
EXPLAINED = 200
DIFF_SECONDS, EXPLAIN_SECONDS = 5, 0.3
_CHANGED = {"fct_orders": "net_amount", "fct_order_lines": "net_amount", "fct_payments": "amount"}
_ATTRIBUTES = ("order_number", "ordered_at", "currency", "net_amount", "customer_id", "order_status")


def test_two_releases_of_a_million_orders(make_home: Any, tmp_path: Path) -> None:
    with (
        Database.open(make_home("bench-history")) as database,
        closing(Landing(tmp_path / "landing")) as landing,
    ):
        database.upgrade()
        million.release_orders(database, ORDERS)
        page = landing.archive(b'{"orders": [' + b'{"id": 1, "net": 41.15}, ' * 4_000 + b"{}]}")
        with database.begin() as connection:
            _provenance(connection, page)
            _second(connection)
        with database.begin() as connection:
            connection.execute(text("ANALYZE"))
        started = time.perf_counter()
        names = read.released_tables(database, 2)
        found = {name: read.diff(database, 1, 2, name, limit=0) for name in names}
        counted = time.perf_counter() - started
        started = time.perf_counter()
        shown = read.diff(database, 1, 2, "fct_orders", limit=50)
        because = why.reasons(database, 1, 2, shown)
        listed = time.perf_counter() - started
        assert {name: found[name].changed for name in _CHANGED} == {
            "fct_orders": ORDERS // 100, "fct_order_lines": 2 * ORDERS // 100, "fct_payments": ORDERS // 100,
        }  # fmt: skip
        assert len(because) == 50 and all(sentences for sentences in because)
        picked = random.Random(7)
        taken = []
        for _ in range(EXPLAINED):
            started = time.perf_counter()
            told = explain(
                database, f"#{1000 + picked.randint(1, ORDERS)}", "net_amount", read_page=landing.read_page
            )
            taken.append(time.perf_counter() - started)
            assert told.values[0].origins[0].page.is_intact
    taken.sort()
    table = Table("what", "measured", "aim", title=f"two releases of {ORDERS:,} orders", title_justify="left")
    table.add_row(
        f"diff of {len(names)} tables, 1 % of the orders changed", f"{counted:.2f} s", f"{DIFF_SECONDS} s"
    )
    table.add_row("50 rows of it, each with its batch", f"{listed:.2f} s", f"{DIFF_SECONDS} s")
    table.add_row(
        "explain one value down to its page, median",
        f"{statistics.median(taken) * 1000:.0f} ms",
        f"{EXPLAIN_SECONDS * 1000:.0f} ms",
    )
    table.add_row(
        "99 of 100", f"{taken[int(EXPLAINED * 0.99) - 1] * 1000:.0f} ms", f"{EXPLAIN_SECONDS * 1000:.0f} ms"
    )
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    table.add_row("peak memory of our process", f"{own:,.0f} MB", "")
    console = Console(width=110)
    console.print()
    console.print(table)


def _provenance(connection: Connection, page: str) -> None:
    """Who told the attributes of each order."""
    columns = {
        "order_id": "text", "attribute": "text", "source_system": "text", "stream": "text", "record_key": "text", "rule": "text",
        "batch_id": "text", "page_sha256": "text", "row_index": "bigint",
    }  # fmt: skip
    table = declared("order_attribute_provenance")
    history.create_history(connection, table, columns)
    listed = ", ".join(f"'{name}'" for name in _ATTRIBUTES)
    connection.execute(
        text(
            f"INSERT INTO {history.history_table(table.name)} ({', '.join(columns)}, row_hash, release_from) "
            "SELECT order_id, told, 'shopify', 'orders', substr(order_number, 2), 'source_priority', 'batch-1', :page, 7, row_hash, 1 "
            f"FROM {history.history_table('fct_orders')} CROSS JOIN unnest(ARRAY[{listed}]) AS told"
        ),
        {"page": page},
    )
    history.index_history(connection, table)
    history.show(connection, table)


def _second(connection: Connection) -> None:
    """Release 2: one order in a hundred costs another amount, told by a new batch."""
    connection.execute(
        text(
            "INSERT INTO orderhub.releases (id, published_at, code_version, merkle_root) VALUES (2, now(), 'bench', '')"
        )
    )
    connection.execute(
        text(
            "INSERT INTO orderhub.release_batches (release_id, source_system, stream, batch_id) "
            "VALUES (2, 'shopify', 'orders', 'batch-2')"
        )
    )
    connection.execute(
        text(
            "CREATE TEMP TABLE touched ON COMMIT DROP AS SELECT order_id FROM release_history.fct_orders "
            "WHERE substr(order_number, 2)::bigint % 100 = 0"
        )
    )
    told = {**_CHANGED, "order_attribute_provenance": ""}
    for name, amount in told.items():
        place = history.history_table(name)
        kept = [
            c
            for c in history.existing_columns(connection, name)
            if c not in ("row_hash", "release_from", "release_to", amount)
        ]
        only = " AND attribute = 'net_amount'" if not amount else ""
        values = ", ".join("'batch-2'" if c == "batch_id" else history.quoted(c) for c in kept)
        changed = f", {amount} + 1" if amount else ""
        connection.execute(
            text(
                f"INSERT INTO {place} ({', '.join(map(history.quoted, kept))}{f', {amount}' if amount else ''}, row_hash, release_from) "
                f"SELECT {values}{changed}, sha256(row_hash), 2 FROM {place} JOIN touched USING (order_id) "
                f"WHERE release_to IS NULL{only}"
            )
        )
        connection.execute(
            text(
                f"UPDATE {place} AS h SET release_to = 2 FROM touched WHERE h.order_id = touched.order_id "
                f"AND h.release_from = 1 AND h.release_to IS NULL{only}"
            )
        )
    for name in ("fct_orders", "fct_order_lines", "fct_order_events", "fct_shipments", "fct_payments", "order_xref",
                 "order_numbers", "order_attribute_provenance"):  # fmt: skip
        connection.execute(
            text(
                "INSERT INTO orderhub.release_tables (release_id, table_name, row_count, inserted_count, closed_count, columns, "
                "merkle_root, control_totals) VALUES (2, :name, 0, 0, 0, '[]', '', '{}')"
            ),
            {"name": name},
        )
