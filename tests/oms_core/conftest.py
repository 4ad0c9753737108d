"""One embedded PostgreSQL for the whole session, and an empty, upgraded database of it for each test that asks."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import URL

from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.postgres import Database

_TEMPLATE = "orderhub"  # the database that Database.open makes; upgraded once, then only copied
_numbers = itertools.count(1)


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
