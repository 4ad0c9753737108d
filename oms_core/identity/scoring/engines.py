"""The databases that Splink can score in: DuckDB, PostgreSQL and Spark behind one small interface."""

from __future__ import annotations

import logging
import os
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import sqlalchemy

# Splink tells at length of every step, on the root logger's level.
logging.getLogger("splink").setLevel(logging.ERROR)


class Engine(Protocol):
    """Where tables live and SQL runs. Tables made through it go when it is closed."""

    dialect: str
    text: str  # its type for text of any length

    def load(self, name: str, table: pa.Table) -> None:
        """Make a table of these rows."""
        ...

    def run(self, sql: str) -> None:
        """Run a statement."""
        ...

    def fetch(self, sql: str) -> pa.Table:
        """Rows of a query."""
        ...

    def key(self, columns: Sequence[str]) -> str:
        """SQL: a 64-bit number that is equal where all columns are, null where one is."""
        ...

    def close(self) -> None:
        """Drop what was made."""
        ...


def _all_known(columns: Sequence[str]) -> str:
    return " and ".join(f"{column} is not null" for column in columns)


def in_memory(memory_limit: str = "2GB") -> duckdb.DuckDBPyConnection:
    """A DuckDB of its own that spills to the system's folder for such things and draws nothing on the terminal."""
    spill = Path(tempfile.gettempdir()) / f"orderhub-duckdb-{os.getpid()}"
    connection = duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": str(spill)})
    connection.execute("set enable_progress_bar = false")
    return connection


class DuckDB:
    """In memory, or in a schema of its own of a connection that is handed in."""

    dialect = "duckdb"
    text = "text"

    def __init__(self, memory_limit: str, connection: duckdb.DuckDBPyConnection | None = None) -> None:
        if connection is None:
            self._schema = None
            self.con = in_memory(memory_limit)
            self.con.execute("set preserve_insertion_order = false")
        else:
            self._schema = f"scoring_{uuid.uuid4().hex}"
            self.con = connection.cursor()
            self.con.execute(f"create schema {self._schema}")
            self.con.execute(f"set search_path = '{self._schema}'")
        self.con.execute(
            "create or replace temp macro words_alike(a, b) as 2.0::double * len(list_intersect(string_split(a, ' '), "
            "string_split(b, ' '))) / (len(list_distinct(string_split(a, ' '))) + len(list_distinct(string_split(b, ' '))))"
        )

    def load(self, name: str, table: pa.Table) -> None:
        self.con.register("arriving", table)
        self.con.execute(f"create or replace table {name} as select * from arriving")
        self.con.unregister("arriving")

    def run(self, sql: str) -> None:
        self.con.execute(sql)

    def fetch(self, sql: str) -> pa.Table:
        table: pa.Table = self.con.sql(sql).to_arrow_table()
        return table

    def key(self, columns: Sequence[str]) -> str:
        return f"case when {_all_known(columns)} then hash({', '.join(columns)}) end"

    def close(self) -> None:
        if self._schema is not None:
            self.con.execute(f"drop schema {self._schema} cascade")
        self.con.close()


class PostgreSQL:
    """A schema of its own in a database that has, or lets us make, the extension fuzzystrmatch."""

    dialect = "postgres"
    text = "text"

    def __init__(self, engine: sqlalchemy.Engine) -> None:
        self._schema = f"scoring_{uuid.uuid4().hex}"
        with engine.begin() as con:
            con.exec_driver_sql("create extension if not exists fuzzystrmatch")
            con.exec_driver_sql(f"create schema {self._schema}")
        self.con = engine.connect()
        self.con.exec_driver_sql(f"set search_path = {self._schema}, public")
        # As Splink's own PostgresAPI defines it; its term-frequency weights use it.
        self.con.exec_driver_sql(
            "create function log2(n float8) returns float8 as $$ select ln(n) / ln(2::float8) $$ language sql immutable"
        )
        self.con.exec_driver_sql(
            "create function words_alike(a text, b text) returns float8 as $$ select 2.0::float8 * (select count(*) from ("
            "select unnest(string_to_array(a, ' ')) intersect select unnest(string_to_array(b, ' '))) s) / ("
            "(select count(distinct x) from unnest(string_to_array(a, ' ')) x) + "
            "(select count(distinct x) from unnest(string_to_array(b, ' ')) x)) $$ language sql immutable strict"
        )
        self.con.commit()

    def load(self, name: str, table: pa.Table) -> None:
        columns = ", ".join(f"{field.name} {_postgres_type(field.type)}" for field in table.schema)
        self.run(f"drop table if exists {name}")
        self.run(f"create table {name} ({columns})")
        cursor: Any = self.con.connection.cursor()
        with cursor.copy(f"copy {name} ({', '.join(table.column_names)}) from stdin") as copy:
            for batch in table.to_batches(max_chunksize=10_000):
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                    copy.write_row(row)
        self.con.commit()
        self.run(f"analyze {name}")

    def run(self, sql: str) -> None:
        self.con.exec_driver_sql(sql.replace("%", "%%"))
        self.con.commit()

    def fetch(self, sql: str) -> pa.Table:
        result = self.con.exec_driver_sql(sql.replace("%", "%%"))
        names = list(result.keys())
        rows = result.fetchall()
        return pa.table({name: pa.array([row[at] for row in rows]) for at, name in enumerate(names)})

    def key(self, columns: Sequence[str]) -> str:
        joined = " || '|' || ".join(f"{column}::text" for column in columns)
        return f"case when {_all_known(columns)} then hashtextextended({joined}, 0) end"

    def close(self) -> None:
        self.con.rollback()
        self.run(f"drop schema {self._schema} cascade")
        self.con.close()


def _postgres_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "bigint"
    return "double precision" if pa.types.is_floating(kind) else "text"


class Spark:
    """A Spark session; tables are cached temporary views."""

    dialect = "spark"
    text = "string"

    def __init__(self, session: Any) -> None:
        self.session = session
        session.sql(
            "create or replace temporary function words_alike(a string, b string) returns double return "
            "case when a is not null and b is not null then 2.0d * "
            "size(array_intersect(split(a, ' '), split(b, ' '))) / "
            "(size(array_distinct(split(a, ' '))) + size(array_distinct(split(b, ' ')))) end"
        )
        self._made: list[str] = []

    def load(self, name: str, table: pa.Table) -> None:
        self.session.createDataFrame(table).createOrReplaceTempView(name)
        self._made.append(name)

    def run(self, sql: str) -> None:
        words = sql.split(None, 4)
        kind = [word.lower() for word in words[:2]]
        if kind == ["drop", "table"]:
            self.session.catalog.dropTempView(words[-1])
            return
        if kind != ["create", "table"]:
            raise ValueError(f"only 'create table … as' and 'drop table' run on Spark, not: {sql[:80]}")
        frame = self.session.sql(sql.split(" as ", 1)[1])
        frame.cache().createOrReplaceTempView(words[2])
        self._made.append(words[2])

    def fetch(self, sql: str) -> pa.Table:
        found: pa.Table = self.session.sql(sql).toArrow()
        return found

    def key(self, columns: Sequence[str]) -> str:
        return f"case when {_all_known(columns)} then xxhash64({', '.join(columns)}) end"

    def close(self) -> None:
        for name in self._made:
            self.session.catalog.dropTempView(name)


def open_engine(warehouse: Any, memory_limit: str) -> Engine:
    """The engine for what the caller has: nothing (DuckDB in memory), a DuckDB connection, a SQLAlchemy engine of
    PostgreSQL, or a Spark session.

    Raises:
        TypeError: it is none of these.
    """
    if warehouse is None:
        return DuckDB(memory_limit)
    if isinstance(warehouse, duckdb.DuckDBPyConnection):
        return DuckDB(memory_limit, warehouse)
    if isinstance(warehouse, sqlalchemy.Engine) and warehouse.dialect.name == "postgresql":
        return PostgreSQL(warehouse)
    if type(warehouse).__module__.startswith("pyspark."):
        return Spark(warehouse)
    raise TypeError(
        f"cannot score in a {type(warehouse).__name__}; hand in a DuckDB connection, a SQLAlchemy engine of PostgreSQL or a "
        "Spark session"
    )
