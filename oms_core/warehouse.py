"""The warehouse dbt builds in: a DuckDB file, a PostgreSQL database or (`spark_warehouse`) Spark; one writer at a time.

`load` copies landed batches into `landing.<source>__<stream>` tables; `read` and `replace` move Arrow tables out and in; dbt
(`oms_core.builder`) makes the rest. Timestamps are naive UTC inside.
"""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from psycopg import sql

LOADED = "_loaded_batches"
# DuckDB would take most of the machine; beyond this it spills to a folder beside its file.
DUCKDB_MEMORY = os.environ.get("ORDERHUB_DUCKDB_MEMORY", "1GB")


class WarehouseError(Exception):
    """The warehouse could not be reached or built; the message says where and what to do."""


@dataclass(frozen=True)
class Load:
    """One landed file on its way into a landing table. `excluded`: (page SHA-256, row, child) rows the gate rejected."""

    batch_id: str
    table: str
    path: Path
    excluded: Sequence[tuple[str, int, int | None]] = ()


class Warehouse(Protocol):
    """What the pipeline asks of a warehouse, whatever the engine."""

    def load(self, schemas: Mapping[str, pa.Schema], loads: Sequence[Load]) -> int:
        """Make every landing table and copy new files in, in one transaction; return the rows copied."""

    def replace(self, schema: str, tables: Mapping[str, pa.Table]) -> None:
        """Replace whole tables in one transaction."""

    def read(self, query: str) -> pa.Table:
        """Run a query."""

    def stream(self, query: str) -> contextlib.AbstractContextManager[pa.RecordBatchReader]:
        """Run a query and read its answer batch by batch."""

    def forget(self, batch_ids: Sequence[str]) -> None:
        """Remove what was loaded from some batches, so that the next load takes it in as it lies in landing then."""

    def compact(self) -> None:
        """Write the warehouse anew, so that what was deleted is in none of its files."""

    def tables(self, schema: str) -> list[str]:
        """Names of the tables of one schema."""

    def dbt_environment(self) -> dict[str, str]:
        """Environment that points dbt's profile at this warehouse; `target` is among it as ORDERHUB_DBT_TARGET."""


def open_warehouse(home: Path, url: str | None) -> Warehouse:
    """The warehouse at `url`, or the DuckDB file in `home`.

    Raises:
        WarehouseError: the URL's engine is not supported.
    """
    if url is None:
        return DuckDBWarehouse(home / "warehouse.duckdb")
    if url.startswith("duckdb:///"):
        return DuckDBWarehouse(Path(url.removeprefix("duckdb:///")))
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresWarehouse(url)
    if url.startswith("sc://"):
        # Half a gigabyte of Spark is imported by those who have it.
        from oms_core.spark_warehouse import SparkWarehouse

        return SparkWarehouse(url)
    raise WarehouseError(
        f"ORDERHUB_WAREHOUSE_URL: {url.split(':')[0]!r} is not supported; use duckdb:///, postgresql:// or sc://"
    )


@contextlib.contextmanager
def sole_writer(
    home: Path, wait_seconds: float = 900.0, say: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the warehouse's file lock: one process builds at a time, the others wait.

    Raises:
        WarehouseError: it is still held after `wait_seconds`.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "warehouse.lock").open("w") as file:
        deadline = time.monotonic() + wait_seconds
        told = False
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if not told and say is not None:
                    say("another orderhub process is building the warehouse; waiting for it")
                    told = True
                if time.monotonic() > deadline:
                    raise WarehouseError(
                        f"another process has held {home / 'warehouse.lock'} for {wait_seconds:.0f} s; "
                        "end it or try again later"
                    ) from None
                time.sleep(0.2)
        yield


def sql_type(kind: pa.DataType) -> str:
    """The type of a column on DuckDB and PostgreSQL."""
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    for test, name in (
        (pa.types.is_string, "text"),
        (pa.types.is_large_string, "text"),
        (pa.types.is_boolean, "boolean"),
        (pa.types.is_int16, "smallint"),
        (pa.types.is_int32, "integer"),
        (pa.types.is_int64, "bigint"),
        (pa.types.is_floating, "double precision"),
        (pa.types.is_date, "date"),
        (pa.types.is_timestamp, "timestamp"),
    ):
        if test(kind):
            return name
    raise TypeError(f"no warehouse type for {kind}")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _columns(schema: pa.Schema) -> str:
    return ", ".join(f"{_quoted(field.name)} {sql_type(field.type)}" for field in schema)


def naive_utc(table: pa.Table) -> pa.Table:
    """Drop the zone of timestamps that are UTC already."""
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.tz is not None:
            naive = pc.cast(table.column(position), pa.timestamp("us"))
            table = table.set_column(position, pa.field(field.name, naive.type), naive)
    return table


def _in_quotes(path: Path) -> str:
    return str(path).replace("'", "''")


class DuckDBWarehouse:
    """The warehouse in one DuckDB file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def _connect(self) -> Iterator[duckdb.DuckDBPyConnection]:
        try:
            connection = duckdb.connect(str(self.path))
        except duckdb.IOException as error:
            raise WarehouseError(
                f"cannot open {self.path}: {error}. Another process may be writing to it"
            ) from error
        try:
            connection.execute("set TimeZone='UTC'")
            # DuckDB draws its progress on standard output, where a machine may be reading.
            connection.execute("set enable_progress_bar = false")
            connection.execute(f"set memory_limit = '{DUCKDB_MEMORY}'")
            yield connection
        finally:
            connection.close()

    def load(self, schemas: Mapping[str, pa.Schema], loads: Sequence[Load]) -> int:
        copied = 0
        with self._connect() as connection:
            connection.begin()
            connection.execute("create schema if not exists landing")
            connection.execute("create schema if not exists identity")
            connection.execute(
                f"create table if not exists landing.{LOADED} (batch_id text, table_name text)"
            )
            existing: dict[str, list[tuple[str, str]]] = {}
            for table, name, kind in connection.execute(
                "select table_name, column_name, data_type from information_schema.columns "
                "where table_schema = 'landing' order by ordinal_position"
            ).fetchall():
                existing.setdefault(table, []).append((name, kind))
            for table, schema in schemas.items():
                wanted = [
                    (field.name, _DUCKDB_NAMES.get(sql_type(field.type), sql_type(field.type).upper()))
                    for field in schema
                ]
                if existing.get(table) == wanted:
                    continue
                # The declaration changed: the table is made anew from landing, which keeps everything.
                connection.execute(f"drop table if exists landing.{_quoted(table)}")
                connection.execute(f"create table landing.{_quoted(table)} ({_columns(schema)})")
                connection.execute(f"delete from landing.{LOADED} where table_name = ?", [table])
            done = set(connection.execute(f"select batch_id, table_name from landing.{LOADED}").fetchall())
            for item in loads:
                if (item.batch_id, item.table) in done:
                    continue
                schema = schemas[item.table]
                present = set(pq.read_schema(item.path).names)
                chosen = ", ".join(
                    f"cast({_quoted(field.name) if field.name in present else 'null'} as {sql_type(field.type)})"
                    for field in schema
                )
                query = f"insert into landing.{_quoted(item.table)} select {chosen} from read_parquet(?) as incoming"
                parameters: list[Any] = [str(item.path)]
                if item.excluded:
                    child = "_child_index" if "_child_index" in present else "null"
                    query += (
                        " where not exists (select 1 from (select unnest(?::text[]) as page, unnest(?::bigint[]) as row,"
                        " unnest(?::bigint[]) as child) as gated where gated.page = incoming._page_sha256"
                        f" and gated.row = incoming._row_index and gated.child is not distinct from {child})"
                    )
                    parameters += [list(values) for values in zip(*item.excluded, strict=True)]
                count = connection.execute(query, parameters).fetchone()
                copied += int(count[0]) if count else 0
                connection.execute(f"insert into landing.{LOADED} values (?, ?)", [item.batch_id, item.table])
            connection.commit()
        return copied

    def replace(self, schema: str, tables: Mapping[str, pa.Table]) -> None:
        with self._connect() as connection:
            connection.begin()
            connection.execute(f"create schema if not exists {_quoted(schema)}")
            for name, table in tables.items():
                place = f"{_quoted(schema)}.{_quoted(name)}"
                incoming = naive_utc(table)
                connection.register("incoming", incoming)
                connection.execute(f"drop table if exists {place}")
                connection.execute(f"create table {place} ({_columns(incoming.schema)})")
                connection.execute(f"insert into {place} select * from incoming")
                connection.unregister("incoming")
            connection.commit()

    def read(self, query: str) -> pa.Table:
        with self.stream(query) as reader:
            return reader.read_all()

    @contextlib.contextmanager
    def stream(self, query: str) -> Iterator[pa.RecordBatchReader]:
        with self._connect() as connection:
            reader = connection.sql(query).to_arrow_reader(20_000)
            assert reader is not None
            yield reader

    def forget(self, batch_ids: Sequence[str]) -> None:
        tables = [name for name in self.tables("landing") if name != LOADED]
        with self._connect() as connection:
            connection.begin()
            for name in tables:
                connection.execute(
                    f"delete from landing.{_quoted(name)} where list_contains(?, _batch_id)",
                    [list(batch_ids)],
                )
            connection.execute(
                f"delete from landing.{LOADED} where list_contains(?, batch_id)", [list(batch_ids)]
            )
            connection.commit()
            connection.execute("checkpoint")

    def tables(self, schema: str) -> list[str]:
        with self._connect() as connection:
            rows = connection.execute(
                "select table_name from information_schema.tables where table_schema = ? order by 1", [schema]
            ).fetchall()
        return [row[0] for row in rows]

    def compact(self) -> None:
        fresh = self.path.with_suffix(".compact")
        fresh.unlink(missing_ok=True)
        # The catalog is named after the file, and dbt's views name the catalog.
        name = self.path.stem
        with duckdb.connect(":memory:") as connection:
            connection.execute("set enable_progress_bar = false")
            connection.execute(f"attach '{_in_quotes(self.path)}' as {_quoted(name)} (read_only)")
            connection.execute(f"attach '{_in_quotes(fresh)}' as fresh")
            connection.execute(f"copy from database {_quoted(name)} to fresh")
        fresh.replace(self.path)

    def dbt_environment(self) -> dict[str, str]:
        return {
            "ORDERHUB_DBT_TARGET": "duckdb",
            "ORDERHUB_WAREHOUSE_PATH": str(self.path),
            "ORDERHUB_DUCKDB_MEMORY": DUCKDB_MEMORY,
        }


_DUCKDB_NAMES = {"text": "VARCHAR", "double precision": "DOUBLE"}


class PostgresWarehouse:
    """The warehouse in a PostgreSQL database of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    @contextlib.contextmanager
    def _connect(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        try:
            connection = psycopg.connect(self._url, options="-c timezone=UTC")
        except psycopg.OperationalError as error:
            raise WarehouseError(
                f"cannot reach the warehouse database: {error}. Check ORDERHUB_WAREHOUSE_URL"
            ) from error
        with connection:
            yield connection

    def load(self, schemas: Mapping[str, pa.Schema], loads: Sequence[Load]) -> int:
        copied = 0
        with self._connect() as connection:
            connection.execute("create schema if not exists landing")
            connection.execute("create schema if not exists identity")
            connection.execute(
                f"create table if not exists landing.{LOADED} (batch_id text, table_name text)"
            )
            existing: dict[str, list[str]] = {}
            for table, column, kind in connection.execute(
                "select c.relname, a.attname, format_type(a.atttypid, a.atttypmod) from pg_attribute a "
                "join pg_class c on c.oid = a.attrelid join pg_namespace n on n.oid = c.relnamespace "
                "where n.nspname = 'landing' and a.attnum > 0 and not a.attisdropped and c.relkind = 'r' "
                "order by c.relname, a.attnum"
            ):
                existing.setdefault(table, []).append(f"{column} {kind}")
            for table, schema in schemas.items():
                wanted = [
                    f"{field.name} {sql_type(field.type)}".replace(
                        " timestamp", " timestamp without time zone"
                    )
                    for field in schema
                ]
                if existing.get(table) == wanted:
                    continue
                place = sql.SQL("landing.{}").format(sql.Identifier(table))
                connection.execute(sql.SQL("drop table if exists {} cascade").format(place))
                connection.execute(sql.SQL("create table {} ({})").format(place, sql.SQL(_columns(schema))))
                connection.execute(f"delete from landing.{LOADED} where table_name = %s", [table])
            done = set(connection.execute(f"select batch_id, table_name from landing.{LOADED}").fetchall())
            for item in loads:
                if (item.batch_id, item.table) in done:
                    continue
                schema = schemas[item.table]
                excluded = set(item.excluded)
                for batch in pq.ParquetFile(item.path).iter_batches(50_000):
                    table_part = shaped(pa.Table.from_batches([batch]), schema, excluded)
                    _copy(connection, "landing", item.table, table_part)
                    copied += table_part.num_rows
                connection.execute(
                    f"insert into landing.{LOADED} values (%s, %s)", [item.batch_id, item.table]
                )
        return copied

    def replace(self, schema: str, tables: Mapping[str, pa.Table]) -> None:
        with self._connect() as connection:
            connection.execute(sql.SQL("create schema if not exists {}").format(sql.Identifier(schema)))
            for name, table in tables.items():
                incoming = naive_utc(table)
                place = sql.SQL("{}.{}").format(sql.Identifier(schema), sql.Identifier(name))
                connection.execute(
                    sql.SQL("create table if not exists {} ({})").format(
                        place, sql.SQL(_columns(incoming.schema))
                    )
                )
                connection.execute(sql.SQL("truncate {}").format(place))
                _copy(connection, schema, name, incoming)

    def read(self, query: str) -> pa.Table:
        with self.stream(query) as reader:
            return reader.read_all()

    @contextlib.contextmanager
    def stream(self, query: str) -> Iterator[pa.RecordBatchReader]:
        with self._connect() as connection, connection.cursor(name="orderhub_stream") as cursor:
            cursor.itersize = 20_000
            cursor.execute(query)
            rows = cursor.fetchmany(20_000)
            assert cursor.description is not None
            schema = pa.schema([pa.field(column.name, _arrow_type(column)) for column in cursor.description])

            def batches() -> Iterator[pa.RecordBatch]:
                chunk = rows
                while chunk:
                    arrays = [
                        pa.array(list(values), field.type)
                        for values, field in zip(zip(*chunk, strict=True), schema, strict=True)
                    ]
                    yield pa.RecordBatch.from_arrays(arrays, schema=schema)
                    chunk = cursor.fetchmany(20_000)

            yield pa.RecordBatchReader.from_batches(schema, batches())

    def forget(self, batch_ids: Sequence[str]) -> None:
        tables = [name for name in self.tables("landing") if name != LOADED]
        with self._connect() as connection:
            for name in tables:
                connection.execute(
                    sql.SQL("delete from landing.{} where _batch_id = any(%s)").format(sql.Identifier(name)),
                    [list(batch_ids)],
                )
            connection.execute(
                sql.SQL("delete from landing.{} where batch_id = any(%s)").format(sql.Identifier(LOADED)),
                [list(batch_ids)],
            )

    def tables(self, schema: str) -> list[str]:
        with self._connect() as connection:
            rows = connection.execute(
                "select table_name from information_schema.tables where table_schema = %s order by 1",
                [schema],
            ).fetchall()
        return [row[0] for row in rows]

    def compact(self) -> None:
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("vacuum (full)")

    def dbt_environment(self) -> dict[str, str]:
        parts = psycopg.conninfo.conninfo_to_dict(self._url)
        return {
            "ORDERHUB_DBT_TARGET": "postgres",
            "ORDERHUB_PG_HOST": str(parts.get("host", "localhost")),
            "ORDERHUB_PG_PORT": str(parts.get("port", "5432")),
            "ORDERHUB_PG_USER": str(parts.get("user", "postgres")),
            "ORDERHUB_PG_PASSWORD": str(parts.get("password", "")),
            "ORDERHUB_PG_DBNAME": str(parts.get("dbname", "postgres")),
        }


def _arrow_type(column: psycopg.Column) -> pa.DataType:
    name = column.type_display.split("(")[0]
    if name == "numeric":
        return (
            pa.decimal128(column.precision or 38, column.scale or 0)
            if column.precision
            else pa.decimal128(38, 9)
        )
    known: dict[str, pa.DataType] = {
        "text": pa.string(),
        "varchar": pa.string(),
        "bool": pa.bool_(),
        "int2": pa.int16(),
        "int4": pa.int32(),
        "int8": pa.int64(),
        "float4": pa.float64(),
        "float8": pa.float64(),
        "date": pa.date32(),
        "timestamp": pa.timestamp("us"),
        "timestamptz": pa.timestamp("us", tz="UTC"),
    }
    return known[name]


def shaped(table: pa.Table, schema: pa.Schema, excluded: set[tuple[str, int, int | None]]) -> pa.Table:
    """A landed file in the columns that are declared now, without (page, row, child) that the gate rejected."""
    if excluded:
        children = table.column("_child_index").to_pylist() if "_child_index" in table.schema.names else None
        places = zip(
            table.column("_page_sha256").to_pylist(),
            table.column("_row_index").to_pylist(),
            children or [None] * table.num_rows,
            strict=True,
        )
        table = table.filter(pa.array([place not in excluded for place in places]))
    arrays = [
        table.column(field.name) if field.name in table.schema.names else pa.nulls(table.num_rows, field.type)
        for field in schema
    ]
    return naive_utc(pa.Table.from_arrays(arrays, schema=schema))


def _copy(connection: psycopg.Connection[Any], schema: str, table: str, rows: pa.Table) -> None:
    if rows.num_rows == 0:
        return
    buffer = io.BytesIO()
    # Arrow quotes every text and leaves nulls bare, which is how COPY tells '' from NULL.
    pa_csv.write_csv(rows, buffer, pa_csv.WriteOptions(include_header=False, quoting_style="needed"))
    statement = sql.SQL("copy {}.{} ({}) from stdin (format csv)").format(
        sql.Identifier(schema),
        sql.Identifier(table),
        sql.SQL(", ").join(sql.Identifier(name) for name in rows.schema.names),
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(buffer.getbuffer())
