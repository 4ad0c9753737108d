"""The database: migrations that match the tables, passwords of one's own server, errors that say what to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from psycopg import sql
from sqlalchemy import URL, Table, insert, text
from sqlalchemy.exc import IntegrityError

import oms_core.store.migrations
from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.errors import DatabaseRefusedError, DatabaseUnavailableError
from oms_core.store.postgres import HEAD, Database
from oms_core.store.tables import golden_ids, identity_decisions, identity_members, metadata

MIGRATIONS = Path(oms_core.store.migrations.__path__[0])


@pytest.fixture
def admin(database_server: EmbeddedServer) -> Iterator[psycopg.Connection]:
    """The server's superuser."""
    host = str(database_server.socket_folder)
    with psycopg.connect(host=host, user=SUPERUSER, dbname="postgres", autocommit=True) as connection:
        yield connection


def test_migrations_make_exactly_the_declared_tables(database: Database) -> None:
    with database.begin() as connection:
        context = MigrationContext.configure(
            connection,
            opts={
                "include_schemas": True,
                "version_table_schema": "orderhub",
                "compare_server_default": True,
                "include_name": lambda name, kind, parents: kind != "schema" or name == "orderhub",
            },
        )
        assert compare_metadata(context, metadata) == []


def test_head_is_the_newest_migration() -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_migrations_can_be_undone_and_done_again(database: Database) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "base")
    with database.begin() as connection:
        left = connection.execute(
            text("SELECT count(*) FROM pg_tables WHERE schemaname = 'orderhub'")
        ).scalar()
        assert left == 1  # Alembic's own
    database.upgrade()
    with database.read() as connection:
        assert connection.execute(text("SELECT count(*) FROM releases")).scalar() == 0


def test_several_processes_may_upgrade_at_once(
    admin: psycopg.Connection, database_server: EmbeddedServer
) -> None:
    admin.execute("CREATE DATABASE raw")
    url = URL.create(
        "postgresql+psycopg", SUPERUSER, database="raw", query={"host": str(database_server.socket_folder)}
    )
    faults: list[Exception] = []

    def upgrade() -> None:
        try:
            with Database(url) as database:
                database.upgrade()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=upgrade) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    admin.execute("DROP DATABASE raw WITH (FORCE)")


@pytest.fixture
def guarded(admin: psycopg.Connection, database_server: EmbeddedServer) -> Iterator[URL]:
    """A database of a server with passwords, whose owner is no superuser and may manage the reading role."""
    rules = database_server.data / "pg_hba.conf"
    before = rules.read_text()
    rules.write_text(f"local guarded all scram-sha-256\n{before}")
    url = URL.create(
        "postgresql",
        "boss",
        "p@ss/w:rd",
        database="guarded",
        query={"host": str(database_server.socket_folder)},
    )
    admin.execute(sql.SQL("CREATE ROLE boss LOGIN CREATEROLE PASSWORD {}").format(sql.Literal(url.password)))
    admin.execute("GRANT orderhub_reader TO boss WITH ADMIN OPTION")
    admin.execute("CREATE DATABASE guarded OWNER boss")
    admin.execute("SELECT pg_reload_conf()")
    yield url
    rules.write_text(before)
    admin.execute("DROP DATABASE guarded WITH (FORCE)")
    admin.execute("DROP ROLE boss")
    admin.execute("ALTER ROLE orderhub_reader PASSWORD NULL")
    admin.execute("SELECT pg_reload_conf()")


def test_a_server_with_passwords_lets_the_reader_in(guarded: URL, tmp_path: Path) -> None:
    address = guarded.render_as_string(hide_password=False)
    for _run in range(2):  # the second finds everything made
        with Database.from_environment(tmp_path, {"ORDERHUB_DATABASE_URL": address}) as database:
            database.upgrade()
            with database.read() as connection:
                assert connection.execute(text("SELECT current_user")).scalar() == "orderhub_reader"
    assert not (tmp_path / "postgres").exists()


def test_a_reader_address_of_its_own_is_used(guarded: URL, admin: psycopg.Connection, tmp_path: Path) -> None:
    admin.execute("ALTER ROLE orderhub_reader PASSWORD 'theirs'")
    owner = guarded.render_as_string(hide_password=False)
    reader = guarded.set(username="orderhub_reader", password="theirs").render_as_string(hide_password=False)
    with Database.open(tmp_path, owner, reader) as database:
        database.upgrade()
        with database.read() as connection:
            assert connection.execute(text("SELECT current_user")).scalar() == "orderhub_reader"
    with Database.open(tmp_path, owner, reader.replace("theirs", "wrong")) as database:
        with pytest.raises(DatabaseUnavailableError, match="password authentication failed") as caught:
            database.upgrade()
    assert "wrong" not in str(caught.value)


def test_an_owner_without_rights_is_told_what_is_missing(
    guarded: URL, admin: psycopg.Connection, tmp_path: Path
) -> None:
    admin.execute("REVOKE orderhub_reader FROM boss")
    with Database.open(tmp_path, guarded.render_as_string(hide_password=False)) as database:
        with pytest.raises(DatabaseRefusedError, match="ORDERHUB_DATABASE_READER_URL"):
            database.upgrade()
    admin.execute("ALTER DATABASE guarded OWNER TO postgres")
    admin.execute("DROP OWNED BY boss")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("not an address", "ORDERHUB_DATABASE_URL is not a database address"),
        ("mysql://u@h/d", "must begin with postgresql://, not mysql://"),
        (
            "postgresql://u:s3cret@127.0.0.1:1/d",
            "no answer from the database .*127.0.0.1:1/d.*Connection refused",
        ),
    ],
)
def test_addresses_that_lead_nowhere(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(DatabaseUnavailableError, match=message) as caught:
        Database.open(tmp_path, address)
    assert "s3cret" not in str(caught.value)


def test_a_transaction_that_fails_leaves_nothing(database: Database) -> None:
    row = {"entity": "sku", "golden_id": "sku_1", "born_from_record_id": "a:b:c", "born_at": "2026-01-01"}

    def fail_midway() -> None:
        with database.begin() as connection:
            connection.execute(insert(golden_ids).values(row))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_midway()
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM orderhub.golden_ids")).scalar() == 0


@pytest.mark.parametrize(
    ("table", "row", "rule"),
    [
        (golden_ids, {"entity": "mood"}, "entity_is_known"),
        (golden_ids, {"redirect_to": "sku_2"}, "only_retired_ids_redirect"),
        (golden_ids, {"redirect_to": "sku_1", "retired_at": "2026-02-01"}, "no_redirect_to_itself"),
        (identity_members, {"valid_to": "2026-01-01"}, "interval_is_forward"),
        (identity_decisions, {"left_record_id": "z"}, "pair_is_ordered"),
        (identity_decisions, {"judgement": "perhaps"}, "judgement_is_known"),
        (identity_decisions, {"withdrawn_by": "ann"}, "withdrawal_is_whole"),
    ],
)
def test_identity_rows_that_make_no_sense_are_refused(
    database: Database, table: Table, row: dict[str, str], rule: str
) -> None:
    sound = {
        "entity": "sku", "golden_id": "sku_1", "record_id": "a:b:c", "match_rule": "gtin", "valid_from": "2026-01-01",
        "born_at": "2026-01-01", "born_from_record_id": "a:b:c", "left_record_id": "a:b:c", "right_record_id": "a:b:d",
        "judgement": "same", "decided_by": "ann", "reason": "same barcode",
    }  # fmt: skip
    sound = {name: value for name, value in sound.items() if name in table.c}
    with pytest.raises(IntegrityError, match=rule), database.begin() as connection:
        connection.execute(insert(table).values({**sound, **row}))
    with database.begin() as connection:
        connection.execute(insert(table).values(sound))
