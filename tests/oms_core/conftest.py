"""One embedded PostgreSQL for the whole session, and an empty, upgraded database of it for each test that asks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import URL

from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.postgres import Database

_TEMPLATE = "orderhub"  # the database that Database.open makes; upgraded once, then only copied
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedServer]:
    """An embedded PostgreSQL that runs for the whole session."""
    home = tmp_path_factory.mktemp("orderhub")
    server = EmbeddedServer(home / "postgres")
    with Database.open(home) as database:
        database.upgrade()
    yield server
    server.close()


@pytest.fixture
def database_url(database_server: EmbeddedServer) -> Iterator[URL]:
    """Address of an empty, upgraded database, dropped after the test."""
    folder = str(database_server.socket_folder)
    name = f"test_{next(_numbers)}"
    with psycopg.connect(host=folder, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name} TEMPLATE {_TEMPLATE}")
        yield URL.create("postgresql+psycopg", SUPERUSER, database=name, query={"host": folder})
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def database(database_url: URL) -> Iterator[Database]:
    """An empty, upgraded operational store."""
    with Database(database_url) as opened:
        yield opened
