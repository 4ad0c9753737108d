"""The operational PostgreSQL: our own by URL, or the embedded one; a writing side and a reading side."""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg
from sqlalchemy import URL, Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ArgumentError, OperationalError, ProgrammingError

from oms_core.store.embedded import SUPERUSER, EmbeddedServer
from oms_core.store.errors import DatabaseRefusedError, DatabaseUnavailableError
from oms_core.store.tables import AUDITOR_ROLE, MASKED_SCHEMA, READER_ROLE, RELEASED_SCHEMA, STATE_SCHEMA

HEAD = "0020"  # newest step in migrations/versions
OLDEST_SERVER = 150000
_DATABASE = "orderhub"
_UPGRADE_LOCK = 7_301_001  # advisory lock key, ours alone
READ_SECONDS = 30
_CONNECT_SECONDS = 10
_READING = {
    "timezone": "UTC",
    "datestyle": "ISO",
    "default_transaction_read_only": "on",
    "default_transaction_isolation": "repeatable read",
}
# SQLSTATE classes: connection, log-in, no such database, too many connections, shutdown.
_CONNECTION_STATES = ("08", "28", "3D", "53300", "57P")


class Database:
    """The operational store, opened.

    `begin()` writes as the owner. `read()` reads as `orderhub_reader`, which may select from the views of the
    schema `released` and nothing else, in a read-only transaction that sees one release from beginning to
    end. `read_masked()` does the same as `orderhub_auditor`, for which personal data is masked.
    """

    def __init__(
        self,
        url: URL,
        reader_url: URL | None = None,
        server: EmbeddedServer | None = None,
        *,
        pool_size: int = 10,
    ) -> None:
        """Use `open` or `from_environment`, unless the address is known already."""
        self.url = url
        self._server = server
        self._derived = None if reader_url or server else _derived(url, READER_ROLE)
        self._derived_auditor = None if server else _derived(url, AUDITOR_ROLE)
        reader = reader_url or self._derived or url.set(username=READER_ROLE)
        # application_name shows in pg_stat_activity whose connection it is.
        self._engine = _engine(url, pool_size, application_name="orderhub", timezone="UTC")
        self._reader = _reading_engine(reader, pool_size, "orderhub reader", RELEASED_SCHEMA)
        self._is_auditor_let_in = False
        auditor = self._derived_auditor or url.set(username=AUDITOR_ROLE)
        self._auditor = _reading_engine(
            auditor, pool_size, "orderhub auditor", f"{MASKED_SCHEMA},{RELEASED_SCHEMA}"
        )

    @classmethod
    def open(
        cls, home: Path, url: str | None = None, reader_url: str | None = None, *, pool_size: int = 10
    ) -> Database:
        """Open the database at `url`, or the embedded server under `home/postgres` (started if need be).

        Args:
            home: the folder ORDERHUB_HOME names.
            url: `postgresql://user:password@host/database`, PostgreSQL 15 or newer; the user owns the
                database.
            reader_url: the same database as `orderhub_reader`. Without it the role's password is derived from
                the owner's, so that every process knows it and none has to store it.
            pool_size: connections at most, of each side.

        Raises:
            DatabaseUnavailableError: it cannot be reached or started.
        """
        if url is None:
            return cls._open_embedded(EmbeddedServer(home / "postgres"), pool_size)
        owner = _parse(url, "ORDERHUB_DATABASE_URL")
        reader = _parse(reader_url, "ORDERHUB_DATABASE_READER_URL") if reader_url else None
        database = cls(owner, reader, pool_size=pool_size)
        database._check_server()
        return database

    @classmethod
    def from_environment(cls, home: Path, environment: Mapping[str, str] = os.environ) -> Database:
        """`open`, with the addresses from ORDERHUB_DATABASE_URL and ORDERHUB_DATABASE_READER_URL."""
        return cls.open(
            home,
            environment.get("ORDERHUB_DATABASE_URL") or None,
            environment.get("ORDERHUB_DATABASE_READER_URL") or None,
        )

    @classmethod
    def _open_embedded(cls, server: EmbeddedServer, pool_size: int) -> Database:
        folder = str(server.socket_folder)
        try:
            with psycopg.connect(
                host=folder, user=SUPERUSER, dbname="postgres", autocommit=True
            ) as connection:
                known = connection.execute(
                    "SELECT 1 FROM pg_database WHERE datname = %s", [_DATABASE]
                ).fetchone()
                if known is None:
                    # Another process may be quicker.
                    with suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation):
                        connection.execute(f"CREATE DATABASE {_DATABASE}")
        except psycopg.Error as error:
            server.close()
            raise DatabaseUnavailableError(
                f"embedded PostgreSQL in {server.folder} refuses us: {error}"
            ) from error
        owner = URL.create("postgresql+psycopg", SUPERUSER, database=_DATABASE, query={"host": folder})
        return cls(owner, server=server, pool_size=pool_size)

    def close(self) -> None:
        """Close all connections, and stop the embedded server if nobody else uses it."""
        self._engine.dispose()
        self._reader.dispose()
        self._auditor.dispose()
        if self._server is not None:
            self._server.close()

    def __enter__(self) -> Self:
        """Use the database for the length of a block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One writing transaction: committed at the end of the block, undone if the block raises."""
        with _reached(self.url), self._engine.begin() as connection:
            yield connection

    def rewrite(self, tables: Sequence[str]) -> None:
        """Write tables anew, so that deleted row versions are in none of their files; readers wait meanwhile.

        Args:
            tables: qualified names; those that do not exist are passed over.
        """
        with _reached(self.url), self._engine.connect() as connection:
            outside = connection.execution_options(isolation_level="AUTOCOMMIT")
            for table in tables:
                if outside.execute(text("SELECT to_regclass(:name)"), {"name": table}).scalar() is not None:
                    outside.execute(text(f"VACUUM (FULL, ANALYZE) {table}"))
            outside.execute(text("CHECKPOINT"))

    @contextmanager
    def read(self, as_of: int | None = None, *, seconds: float = READ_SECONDS) -> Iterator[Connection]:
        """One reading transaction on one release; released tables are named without a schema.

        Args:
            as_of: release id; None is the current release at the time of the first statement.
            seconds: time limit of each statement.
        """
        with self._reading(self._reader, as_of, seconds) as connection:
            yield connection

    @contextmanager
    def read_masked(self, as_of: int | None = None, *, seconds: float = READ_SECONDS) -> Iterator[Connection]:
        """`read` for auditors: everything, with the audit log and the decisions, and personal data masked."""
        if not self._is_auditor_let_in:
            self._let_in(AUDITOR_ROLE, self._auditor, self._derived_auditor)
            self._is_auditor_let_in = True
        with self._reading(self._auditor, as_of, seconds) as connection:
            yield connection

    async def reading_connection(self) -> psycopg.AsyncConnection[tuple[Any, ...]]:
        """A connection of the reading role for coroutines, outside any pool; the caller closes it.

        Each statement is a transaction of its own, on the release that is current then, and planned once: for few large
        statements that are asked over and over.

        Raises:
            DatabaseUnavailableError: it cannot be reached.
        """
        _, address = self._reader.dialect.create_connect_args(self._reader.url)
        options = _options(
            **_READING,
            application_name="orderhub reader",
            search_path=RELEASED_SCHEMA,
            statement_timeout=str(READ_SECONDS * 1000),
            plan_cache_mode="force_generic_plan",
            jit="off",  # it would compile for longer than such a statement runs
        )
        try:
            return await psycopg.AsyncConnection.connect(
                **address, options=options, connect_timeout=_CONNECT_SECONDS, autocommit=True, prepare_threshold=0
            )  # fmt: skip
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(f"no answer from the database {self._name()}: {error}") from error

    @contextmanager
    def _reading(self, engine: Engine, as_of: int | None, seconds: float) -> Iterator[Connection]:
        with _reached(self.url), engine.connect() as connection:
            connection.execute(
                text(
                    "SELECT set_config('statement_timeout', :timeout, true), set_config('orderhub.as_of', :as_of, true)"
                ),
                {"timeout": str(int(seconds * 1000)), "as_of": "" if as_of is None else str(as_of)},
            )
            yield connection  # left without a commit: the pool rolls back, and with it every setting

    def upgrade(self) -> None:
        """Bring the tables to the newest step; quick when they are. Several processes may call it at once.

        Raises:
            DatabaseRefusedError: the user may not make schemas or roles.
        """
        try:
            with self.begin() as connection:
                if _revision(connection) != HEAD:
                    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
                    connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {STATE_SCHEMA}"))
                    _migrate(connection)
        except ProgrammingError as error:
            raise DatabaseRefusedError(
                f"the tables of orderhub cannot be made in {self._name()}: {_first_line(error)}. Its user "
                "must own the "
                f"database and may need CREATEROLE (or have an administrator run: CREATE ROLE {READER_ROLE} "
                f"LOGIN; CREATE ROLE {AUDITOR_ROLE} LOGIN)."
            ) from error
        self._let_in(READER_ROLE, self._reader, self._derived)

    def _let_in(self, role: str, engine: Engine, derived: URL | None) -> None:
        """Give a reading role its derived password when it cannot log in yet."""
        try:
            with self._reading(engine, None, READ_SECONDS):
                return
        except DatabaseUnavailableError as refused:
            if derived is None or not derived.password:
                raise
            try:
                with self.begin() as connection:
                    # A utility statement takes no parameters; the derived password is plain hexadecimal.
                    connection.execute(text(f"ALTER ROLE {role} PASSWORD '{derived.password}'"))
            except ProgrammingError as error:
                raise DatabaseRefusedError(
                    f"{role} cannot log in to {self._name()} and its password cannot be set: "
                    f"{_first_line(error)}. Set ORDERHUB_DATABASE_READER_URL to an address that works."
                ) from refused

    def _check_server(self) -> None:
        with self.begin() as connection:
            version = int(connection.execute(text("SHOW server_version_num")).scalar_one())
        if version < OLDEST_SERVER:
            raise DatabaseRefusedError(
                f"{self._name()} is PostgreSQL {version // 10000}: orderhub needs {OLDEST_SERVER // 10000} or newer"
            )

    def _name(self) -> str:
        return self.url.render_as_string(hide_password=True)


def _options(**settings: str) -> str:
    return " ".join("-c {}={}".format(name, value.replace(" ", "\\ ")) for name, value in settings.items())


def _engine(url: URL, pool_size: int, **settings: str) -> Engine:
    return create_engine(
        url,
        pool_size=pool_size,
        max_overflow=0,
        pool_pre_ping=True,  # the server may have been restarted since
        connect_args={"connect_timeout": _CONNECT_SECONDS, "options": _options(**settings)},
    )


def _parse(url: str, variable: str) -> URL:
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise DatabaseUnavailableError(f"{variable} is not a database address: {error}") from error
    if parsed.get_backend_name() not in ("postgresql", "postgres"):
        raise DatabaseUnavailableError(
            f"{variable} must begin with postgresql://, not {parsed.drivername}://"
        )
    return parsed.set(drivername="postgresql+psycopg")


def _reading_engine(url: URL, pool_size: int, name: str, search_path: str) -> Engine:
    return _engine(
        url,
        pool_size,
        application_name=name,
        search_path=search_path,
        **_READING,
    )


def _derived(owner: URL, role: str) -> URL:
    """The address of a reading role: the same, with a password only the owner can compute."""
    if not owner.password:
        return owner.set(username=role)
    derived = hmac.new(owner.password.encode(), f"{role}@{owner.database}".encode(), hashlib.sha256)
    return owner.set(username=role, password=derived.hexdigest())


def _revision(connection: Connection) -> str | None:
    table = f"{STATE_SCHEMA}.alembic_version"
    if connection.execute(text("SELECT to_regclass(:table)"), {"table": table}).scalar() is None:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {table}")).scalar()
    return None if found is None else str(found)


def _migrate(connection: Connection) -> None:
    from alembic import command  # only a new or an old database pays for the import
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")


@contextmanager
def _reached(url: URL) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        state = getattr(error.orig, "sqlstate", None)
        if state is not None and state.startswith("53") and not state.startswith(_CONNECTION_STATES):
            raise DatabaseUnavailableError(
                f"the database {url.render_as_string(hide_password=True)} ran out of room: {_first_line(error)}. "
                "Nothing of the transaction was kept; free disk or memory, then repeat."
            ) from error
        if state is not None and not state.startswith(_CONNECTION_STATES):
            raise  # a lock or time limit, a full disk: not a matter of reaching the server
        raise DatabaseUnavailableError(
            f"no answer from the database {url.render_as_string(hide_password=True)}: {_first_line(error)}. "
            "Check that it runs, and ORDERHUB_DATABASE_URL."
        ) from error


def _first_line(error: Exception) -> str:
    return str(getattr(error, "orig", error)).strip().split("\n")[0]
