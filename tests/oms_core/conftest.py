"""One embedded PostgreSQL for the whole session, a database of it for each test that asks, and a small release to read."""

from __future__ import annotations

import contextlib
import itertools
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pyarrow as pa
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import URL

from oms_core.demo import run_demo
from oms_core.identity.scoring.model import Comparison, Level, Model
from oms_core.release.publish import Batch, Publication, publish
from oms_core.settings import Settings
from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.postgres import Database

_TEMPLATE = "orderhub"  # the database that Database.open makes; upgraded once, then only copied
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Demo:
    """One finished demonstration: `orders` and `seed` make the world it was run on once more."""

    settings: Settings
    report: dict[str, Any]
    orders: int
    seed: int


@pytest.fixture(scope="session")
def demo(make_home: Callable[[str], Path]) -> Demo:
    """The main job on a small sandbox company. Tests read its home and change copies."""
    settings = Settings.from_environment(make_home("demo"), {})
    return Demo(settings, run_demo(settings, orders=150, seed=11), orders=150, seed=11)


@pytest.fixture(scope="session")
def database_server() -> Iterator[EmbeddedServer]:
    """An embedded PostgreSQL that runs for the whole session."""
    # Not pytest's own folder: each starting session closes that one to other accounts, and PostgreSQL never runs as root.
    with tempfile.TemporaryDirectory(prefix="orderhub-test-") as folder:
        home = Path(folder)
        server = EmbeddedServer(home / "postgres")
        with Database.open(home) as database:
            database.upgrade()
        with _connect(server) as connection:  # what a test writes need not outlive a power cut
            connection.execute("ALTER SYSTEM SET fsync = off")
            connection.execute("SELECT pg_reload_conf()")
        yield server
        server.close()


@pytest.fixture
def database_url(database_server: EmbeddedServer) -> Iterator[URL]:
    """Address of an empty, upgraded database, dropped after the test."""
    name = f"test_{next(_numbers)}"
    with _connect(database_server) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        yield URL.create(
            "postgresql+psycopg", SUPERUSER, database=name, query={"host": str(database_server.socket_folder)}
        )
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: URL) -> Iterator[Database]:
    """An empty, upgraded operational store."""
    with Database(database_url) as opened:
        yield opened


def _connect(server: EmbeddedServer) -> psycopg.Connection:
    return psycopg.connect(host=str(server.socket_folder), user=SUPERUSER, dbname="postgres", autocommit=True)


_TYPES = {
    "_amount": pa.decimal128(18, 4),
    "qty": pa.decimal128(18, 6),
    "_kg": pa.decimal128(18, 6),
    "_hours": pa.decimal128(18, 4),
    "itude": pa.float64(),
    "fx_rate": pa.decimal128(18, 8),
    "shipment_count": pa.int64(),
    "order_count": pa.int64(),
    "sold_count": pa.int64(),
    "returned_count": pa.int64(),
    "settled_on": pa.date32(),
    "_at": pa.timestamp("us"),
    "valid_from": pa.timestamp("us"),
    "valid_to": pa.timestamp("us"),
    "line_number": pa.int64(),
    "row_index": pa.int64(),
    "is_test": pa.bool_(),
    "is_return": pa.bool_(),
    "is_cold_chain_intact": pa.bool_(),
    "needs_cold_chain": pa.bool_(),
    "is_counted": pa.bool_(),
    "is_contested": pa.bool_(),
    "is_converted": pa.bool_(),
    "amount": pa.decimal128(18, 4),
}
_T0 = datetime(2026, 10, 31, 17, 2, 11)
_PAGE = "5a" * 32
_SMALL: dict[str, list[dict[str, Any]]] = {
    "fct_orders": [
        {
            "order_id": "order_a", "order_number": "1042", "order_type": "b2c", "customer_id": "customer_w",
            "source_systems": '["shopify","tryton"]', "ordered_at": _T0, "currency": "EUR",
            "net_amount": Decimal("49.9"), "refunded_amount": None, "is_test": False,
            "quality_flags": '["unknown:carbon"]', "row_hash": "of the mart", "release_id": None,
        },
        {
            "order_id": "order_b", "order_number": "77", "order_type": "pos", "customer_id": None,
            "source_systems": '["square"]', "ordered_at": _T0, "currency": "CNY",
            "net_amount": Decimal("8"), "refunded_amount": None, "is_test": False,
            "quality_flags": None, "row_hash": "of the mart", "release_id": None,
        },
    ],
    "fct_order_lines": [
        {
            "order_line_id": "shopify:order_lines:1", "order_id": "order_a", "line_number": 1, "sku_id": "sku_l",
            "unit_qty": Decimal(2), "net_amount": Decimal("49.9"), "currency": "EUR",
        },
    ],
    "fct_order_events": [
        {"event_id": "e2", "order_id": "order_a", "event_type": "picked", "occurred_at": _T0.replace(day=30)},
        {"event_id": "e1", "order_id": "order_a", "event_type": "created", "occurred_at": _T0},
    ],
    "fct_shipments": [
        {"shipment_id": "karrio:shipments:9", "order_id": "order_a", "carrier_code": "dhl", "shipped_at": None}
    ],
    "fct_payments": [],
    "fct_refunds": [],
    "fct_returns": [],
    "fct_inventory_positions": [
        {
            "position_id": "odoo:quants:5", "sku_id": "sku_l", "location_id": "location_x", "lot_number": None,
            "on_hand_qty": Decimal("120"),
        }
    ],
    "dim_customers": [{"customer_id": "customer_w", "full_name": "王小明", "preference_tags": '["fragrance-free"]'}],
    "dim_skus": [{"sku_id": "sku_l", "sku_code": "LIP-07", "gtin14": "04006381333931", "unit_cost_amount": Decimal("4.1")}],
    "order_numbers": [
        {"order_number": "#1042", "order_id": "order_a", "record_id": "shopify:orders:5123"},
        {"order_number": "WH/OUT/00012", "order_id": "order_a", "record_id": "odoo:pickings:12"},
        {"order_number": "RECYCLED", "order_id": "order_a", "record_id": "shopify:orders:5123"},
        {"order_number": "RECYCLED", "order_id": "order_b", "record_id": "square:orders:s77"},
    ],
    "order_xref": [
        {"record_id": "shopify:orders:5123", "order_id": "order_a", "valid_from": _T0, "valid_to": None},
        {"record_id": "tryton:sales:SO:88", "order_id": "order_a", "valid_from": _T0, "valid_to": None},
        {"record_id": "square:orders:s77", "order_id": "order_b", "valid_from": _T0, "valid_to": None},
        {"record_id": "square:orders:old", "order_id": "order_b", "valid_from": _T0, "valid_to": _T0.replace(hour=18)},
    ],
    "customer_xref": [
        {"record_id": "hubspot:contacts:301", "customer_id": "customer_w", "valid_from": _T0, "valid_to": None}
    ],
    "sku_xref": [{"record_id": "square:items:W62X", "sku_id": "sku_l", "valid_from": _T0, "valid_to": None}],
    "order_attribute_provenance": [
        {
            "order_id": "order_a", "attribute": "net_amount", "source_system": "shopify", "stream": "orders",
            "record_key": "5123", "batch_id": "b1", "page_sha256": _PAGE, "row_index": 0, "rule": "source_priority",
        },
        {
            "order_id": "order_a", "attribute": "order_number", "source_system": "tryton", "stream": "sales",
            "record_key": "SO:88", "batch_id": "b2", "page_sha256": "00" * 32, "row_index": 3, "rule": "most_recent",
        },
    ],
}  # fmt: skip


@pytest.fixture(scope="session")
def publish_small() -> Callable[..., Publication]:
    """Publishes a small company's marts: `publish_small(database, table=rows, …)` replaces tables or adds to them."""

    def run(
        database: Database, batches: Sequence[Batch] = (), **replaced: list[dict[str, Any]]
    ) -> Publication:
        marts = {name: _typed(name, rows) for name, rows in {**_SMALL, **replaced}.items()}
        return publish(database, marts, batches=batches, code_version="test")

    return run


def _typed(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a mart: types by column name, text where no other is told; an empty mart has its usual columns."""
    columns = list(
        rows[0]
        if rows
        else (
            _SMALL[name]
            or [
                {
                    f"{name[4:-1]}_id": "",
                    "order_id": "",
                    "paid_at": None,
                    "refunded_at": None,
                    "returned_at": None,
                }
            ]
        )[0]
    )
    schema = pa.schema(
        [(c, next((kind for end, kind in _TYPES.items() if c.endswith(end)), pa.string())) for c in columns]
    )
    return pa.Table.from_pylist(rows, schema=schema)


@pytest.fixture
def small_model() -> Model:
    """A model of customers that looks at the e-mail address alone."""
    return Model(
        entity="customer",
        version="by hand",
        trained_on="nothing",
        records=0,
        prior=0.01,
        comparisons=(
            Comparison(
                field="email",
                columns=("email",),
                unknown="email_l is null or email_r is null",
                levels=(
                    Level(label="equal", test="email_l = email_r", m=0.9, u=0.001),
                    Level(label="different", test="", m=0.1, u=0.999),
                ),
            ),
        ),
        blocks=(("email",),),
        most_in_block=100,
        frequencies={},
    )


@contextlib.contextmanager
def _served(app: FastAPI) -> Iterator[str]:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", ws="none", lifespan="on"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            time.sleep(0.01)
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="session")
def serve_app() -> Callable[[FastAPI], contextlib.AbstractContextManager[str]]:
    """Serves an app on loopback, by a real server, and gives its address."""
    return _served


@pytest.fixture
def serving() -> Iterator[Callable[[FastAPI], httpx.Client]]:
    """Serves an app on loopback, by a real server, and gives a client of it."""
    with contextlib.ExitStack() as stack:

        def run(app: FastAPI) -> httpx.Client:
            base = stack.enter_context(_served(app))
            return stack.enter_context(httpx.Client(base_url=base, timeout=60))

        yield run
