"""The warehouse on Spark, reached over Spark Connect (`sc://host:15002`): plain Parquet tables of the server's catalog.

Spark has no transaction over several tables. So a landing table is partitioned by batch, and a load that was cut short writes
its partitions anew; the other tables are written whole.
"""

from __future__ import annotations

import atexit
import contextlib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from oms_core.warehouse import LOADED, Load, WarehouseError, naive_utc, shaped, sql_type

if TYPE_CHECKING:
    from pyspark.sql.connect.session import SparkSession

# What the other engines do: text in single quotes alone, timestamps without a zone, an error where a value does not fit.
SETTINGS = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.ansi.doubleQuotedIdentifiers": "true",
    "spark.sql.timestampType": "TIMESTAMP_NTZ",
    "spark.sql.session.timeZone": "UTC",
}
_BATCH = "_batch_id"
_ROWS = 50_000  # in one part of what is sent


class SparkWarehouse:
    """The warehouse in the catalog of a Spark Connect server.

    Args:
        url: `sc://host:port`, with the parameters of Spark Connect (`;token=…;use_ssl=true`).
    """

    def __init__(self, url: str) -> None:
        self._url = url

    @cached_property
    def _session(self) -> SparkSession:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", FutureWarning)  # of pyspark about pandas, which is not used
                from pyspark.sql.connect.session import SparkSession
        except ImportError as error:
            raise WarehouseError(
                f"ORDERHUB_WAREHOUSE_URL {self._url.split(';')[0]} needs the extra `spark`: "
                'pip install "orderhub[spark]"'
            ) from error
        try:
            session = SparkSession.builder.remote(self._url).getOrCreate()
            for name, value in SETTINGS.items():
                session.conf.set(name, value)
        except Exception as error:  # gRPC's and pyspark's errors have no common ancestor of their own
            raise WarehouseError(
                f"cannot reach Spark at {self._url.split(';')[0]}: {error}. Check ORDERHUB_WAREHOUSE_URL, and that a "
                "Spark Connect server listens there"
            ) from error
        # Closed before pyspark's own farewell, which waits ten minutes for a server that is gone.
        atexit.register(session.client.close)
        return session

    def load(self, schemas: Mapping[str, pa.Schema], loads: Sequence[Load]) -> int:
        session = self._session
        for place in ("landing", "identity"):
            session.sql(f"create database if not exists {place}")
        existing = set(self.tables("landing"))
        if LOADED not in existing:
            session.sql(f"create table landing.{LOADED} (batch_id string, table_name string) using parquet")
        done = {(row.batch_id, row.table_name) for row in session.table(f"landing.{LOADED}").collect()}
        for table, schema in schemas.items():
            wanted = {field.name: _spark_type(field.type) for field in schema}
            found = {}
            if table in existing:
                found = dict(session.table(f"landing.`{table}`").dtypes)
            if found == wanted:
                continue
            # The declaration changed: the table is made anew from landing, which keeps everything.
            session.sql(f"drop table if exists landing.`{table}`")
            columns = ", ".join(f"`{name}` {wanted[name]}" for name in _batch_last(schema))
            session.sql(f"create table landing.`{table}` ({columns}) using parquet partitioned by ({_BATCH})")
            done = {pair for pair in done if pair[1] != table}
        copied = 0
        waiting: dict[str, list[Load]] = {}
        for item in loads:
            if (item.batch_id, item.table) not in done:
                waiting.setdefault(item.table, []).append(item)
        for table, items in waiting.items():
            schema = schemas[table]
            parts = [shaped(pq.read_table(item.path), schema, set(item.excluded)) for item in items]
            rows = pa.concat_tables(parts).select(_batch_last(schema))
            for item in items:
                self._drop_batch(table, item.batch_id)  # of a load that was cut short
            for start in range(0, rows.num_rows, _ROWS):
                self._frame(rows.slice(start, _ROWS)).write.insertInto(f"landing.`{table}`")
            copied += rows.num_rows
            done |= {(item.batch_id, item.table) for item in items}
        self._write("landing", LOADED, _pairs(done))
        return copied

    def replace(self, schema: str, tables: Mapping[str, pa.Table]) -> None:
        self._session.sql(f"create database if not exists `{schema}`")
        for name, table in tables.items():
            self._write(schema, name, naive_utc(table))

    def read(self, query: str) -> pa.Table:
        found = self._session.sql(query).toArrow()
        assert isinstance(found, pa.Table)
        return found

    @contextlib.contextmanager
    def stream(self, query: str) -> Iterator[pa.RecordBatchReader]:
        # Spark Connect hands an answer out whole.
        yield self.read(query).to_reader(20_000)

    def forget(self, batch_ids: Sequence[str]) -> None:
        gone = set(batch_ids)
        session = self._session
        pairs = {(row.batch_id, row.table_name) for row in session.table(f"landing.{LOADED}").collect()}
        for batch_id, table in sorted(pairs):
            if batch_id in gone:
                self._drop_batch(table, batch_id)
        self._write("landing", LOADED, _pairs({pair for pair in pairs if pair[0] not in gone}))

    def tables(self, schema: str) -> list[str]:
        session = self._session
        if not session.catalog.databaseExists(schema):
            return []
        return sorted(row.tableName for row in session.sql(f"show tables in `{schema}`").collect())

    def compact(self) -> None:
        """Nothing to do: a partition that is dropped and a table that is written anew leave no file behind."""

    def dbt_environment(self) -> dict[str, str]:
        return {
            "ORDERHUB_DBT_TARGET": "spark",
            "SPARK_REMOTE": self._url,
            # dbt's adapter asks each session for a catalog, which the server has chosen already.
            "PYTHONWARNINGS": "ignore:Failed to set spark.sql.catalogImplementation:UserWarning",
        }

    def _drop_batch(self, table: str, batch_id: str) -> None:
        self._session.sql(f"alter table landing.`{table}` drop if exists partition ({_BATCH} = '{batch_id}')")

    def _write(self, schema: str, name: str, table: pa.Table) -> None:
        self._frame(table).write.mode("overwrite").format("parquet").saveAsTable(f"`{schema}`.`{name}`")

    def _frame(self, table: pa.Table) -> Any:
        kinds = {field.name: _spark_type(field.type) for field in table.schema}
        if not table.num_rows:  # what has no rows, Spark wants described
            return self._session.createDataFrame(
                [], ", ".join(f"`{name}` {kind}" for name, kind in kinds.items())
            )
        columns = [f"cast(`{name}` as {kind}) as `{name}`" for name, kind in kinds.items()]
        return self._session.createDataFrame(table).selectExpr(*columns)


def _spark_type(kind: pa.DataType) -> str:
    """Spark's own name of a column's type, as its catalog shows it."""
    name = sql_type(kind)
    if name.startswith("numeric"):
        return name.replace("numeric", "decimal")
    return {
        "text": "string",
        "integer": "int",
        "double precision": "double",
        "timestamp": "timestamp_ntz",
    }.get(name, name)


def _batch_last(schema: pa.Schema) -> list[str]:
    """Columns in the order of a table that is partitioned by batch."""
    return [name for name in schema.names if name != _BATCH] + [_BATCH]


def _pairs(pairs: set[tuple[str, str]]) -> pa.Table:
    batches, tables = zip(*sorted(pairs), strict=True) if pairs else ((), ())
    text = pa.string()
    return pa.table({"batch_id": pa.array(batches, text), "table_name": pa.array(tables, text)})
