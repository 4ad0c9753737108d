r"""Arrow rows as PostgreSQL COPY text, and the way of such rows in and out.

One line stands for one row: columns in the order given, separated by tabs, null as `\N`, and backslash, tab,
line feed and carriage return escaped. Numbers, dates and instants have one spelling each (decimals at their
declared scale, instants in UTC with six decimals), so the bytes depend on the values alone, not on the engine
the rows came from. They are what is sent, and they are what is hashed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute
import pyarrow.csv
from numpy.typing import NDArray
from psycopg import sql
from sqlalchemy import Connection

from oms_core.store.errors import DatabaseUnavailableError, StoreError, UnsupportedColumnError

csv: Any = pyarrow.csv
pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

ROWS_AT_ONCE = 65_536
_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
_HASH_BYTES = 32


def postgres_type(name: str, kind: pa.DataType) -> str:
    """PostgreSQL type that holds an Arrow column: naive timestamps are UTC and become timestamptz.

    Raises:
        UnsupportedColumnError: lists, structs, binary and times of day have no place in a released table.
    """
    if pa.types.is_dictionary(kind):
        return postgres_type(name, kind.value_type)
    if pa.types.is_decimal(kind):
        return f"numeric({kind.precision},{kind.scale})"
    for fits, postgres in _TYPES:
        if fits(kind):
            return postgres
    raise UnsupportedColumnError(
        f"column {name} has type {kind}, which a released table cannot hold: make it text (lists as JSON array text)"
    )


_TYPES = (
    (pa.types.is_string, "text"),
    (pa.types.is_large_string, "text"),
    (pa.types.is_string_view, "text"),
    (pa.types.is_null, "text"),
    (pa.types.is_boolean, "boolean"),
    (pa.types.is_int8, "smallint"),
    (pa.types.is_int16, "smallint"),
    (pa.types.is_uint8, "smallint"),
    (pa.types.is_int32, "integer"),
    (pa.types.is_uint16, "integer"),
    (pa.types.is_int64, "bigint"),
    (pa.types.is_uint32, "bigint"),
    (pa.types.is_uint64, "numeric(20,0)"),
    (pa.types.is_floating, "double precision"),
    (pa.types.is_date, "date"),
    (pa.types.is_timestamp, "timestamptz"),
)


def encode_lines(batch: pa.RecordBatch, columns: Sequence[str]) -> pa.StringArray:
    """Encode rows as COPY text lines, without the line end.

    Args:
        batch: (n) rows; at most `ROWS_AT_ONCE`, so that a line array stays below 2 GiB.
        columns: names of the columns to write, in this order.

    Returns:
        (n,) string array, never null.
    """
    texts = [_as_text(name, batch.column(name)) for name in columns]
    lines: pa.StringArray = pc.binary_join_element_wise(
        *texts, "\t", null_handling="replace", null_replacement="\\N"
    )
    return lines


def _as_text(name: str, column: Any) -> Any:
    if isinstance(column, pa.DictionaryArray):
        column = column.cast(column.type.value_type)
    kind = column.type
    postgres_type(name, kind)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _escape(column.cast(pa.string()))
    if pa.types.is_timestamp(kind):
        instant = column.cast(pa.timestamp("us", tz=kind.tz))
        return instant.cast(pa.timestamp("us")).cast(pa.string())  # Arrow keeps instants in UTC
    if pa.types.is_date64(kind):
        return column.cast(pa.date32()).cast(pa.string())
    return column.cast(pa.string())


def _escape(column: Any) -> Any:
    characters = column.buffers()[2]
    data = characters.to_pybytes() if characters is not None else b""
    for plain, escaped in _ESCAPES:
        if (
            plain.encode() in data
        ):  # rare: looking at all the characters at once is far cheaper than replacing
            column = pc.replace_substring(column, plain, escaped)
    return column


def line_bytes(lines: pa.StringArray) -> memoryview:
    """All characters of a string array one after the other, without copying."""
    offsets, characters = _layout(lines)
    return characters[int(offsets[0]) : int(offsets[-1])]


def split_lines(lines: pa.StringArray) -> Iterator[memoryview]:
    """The bytes of each line, without copying."""
    offsets, characters = _layout(lines)
    ends = offsets.tolist()
    return (characters[start:end] for start, end in pairwise(ends))


def _layout(lines: pa.StringArray) -> tuple[NDArray[np.int32], memoryview]:
    buffers: list[Any] = lines.buffers()
    offsets = np.frombuffer(buffers[1], dtype=np.int32, count=lines.offset + len(lines) + 1)[lines.offset :]
    return offsets, memoryview(buffers[2]) if buffers[2] is not None else memoryview(b"")


def copy_in(
    connection: Connection,
    table: tuple[str, str],
    columns: Sequence[str],
    chunks: Iterable[memoryview],
    *,
    is_fresh: bool = False,
) -> int:
    """COPY text lines (each with its line end) into a table; part of the connection's transaction.

    Args:
        connection: in whose transaction the rows are written.
        table: schema and name.
        columns: names of the columns, in the order of the lines.
        chunks: one or more lines each.
        is_fresh: this transaction made the table. Its rows are then written as they will stay (FREEZE), where PostgreSQL
            would else mark each page again when it is first read after the commit.

    Returns:
        The number of rows written.

    Raises:
        StoreError: PostgreSQL refuses a row; the message carries its word and the line.
    """
    statement = sql.SQL("COPY {} ({}) FROM STDIN{}").format(
        sql.Identifier(*table),
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.SQL(" WITH (FREEZE)" if is_fresh else ""),
    )
    with _driver(connection).cursor() as cursor:
        try:
            with cursor.copy(statement) as copy:
                for chunk in chunks:
                    copy.write(chunk)
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise StoreError(
                f"rows for {'.'.join(table)} are refused by PostgreSQL: {error.diag.message_primary} "
                f"({error.diag.context}); the transaction is undone, mend the row at its source and repeat"
            ) from error
        except psycopg.OperationalError as error:
            raise DatabaseUnavailableError(
                f"rows for {'.'.join(table)} could not be sent: {error}; the transaction is undone"
            ) from error
        return cursor.rowcount


def copy_rows(connection: Connection, table: tuple[str, str], rows: pa.Table) -> int:
    """COPY an Arrow table into a PostgreSQL table whose columns have the same names; returns the row count."""
    names = rows.column_names
    chunks = (
        line_bytes(pc.binary_join_element_wise(encode_lines(batch, names), "\n", ""))
        for batch in rows.to_batches(max_chunksize=ROWS_AT_ONCE)
    )
    return copy_in(connection, table, names, chunks)


def read_rows(connection: Connection, query: str, schema: pa.Schema) -> pa.Table:
    """Read the rows of a query by COPY, some times quicker than row by row.

    Args:
        connection: in whose transaction the query runs.
        query: a SELECT without parameters; instants come best as whole microseconds.
        schema: names and types of its columns, in its order.
    """
    with (
        _driver(connection).cursor() as cursor,
        cursor.copy(f"COPY ({query}) TO STDOUT (FORMAT csv)") as rows,
    ):
        data = b"".join(rows)
    if not data:
        return schema.empty_table()
    found: pa.Table = csv.read_csv(
        pa.BufferReader(data),
        read_options=csv.ReadOptions(column_names=schema.names),
        parse_options=csv.ParseOptions(newlines_in_values=True),
        convert_options=csv.ConvertOptions(
            column_types=schema,
            strings_can_be_null=True,
            quoted_strings_can_be_null=False,
            null_values=[""],
            true_values=["t"],
            false_values=["f"],
        ),
    )
    return found


def read_hashes(connection: Connection, table: str, condition: str) -> NDArray[np.uint8]:
    """Read the column `row_hash` (bytea, 32 bytes each) of the rows that meet a condition, in no order.

    Joined by the server: one value for many rows is an order of magnitude quicker to receive than a row each,
    and 256 of them keep each below PostgreSQL's limit of 1 GiB.

    Returns:
        (n, 32) uint8.
    """
    statement = sql.SQL(
        f"SELECT string_agg(row_hash, ''::bytea) FROM {table} WHERE {condition} GROUP BY get_byte(row_hash, 0)"
    )
    with _driver(connection).cursor(binary=True) as cursor:
        data = b"".join(row[0] for row in cursor.execute(statement))
    return np.frombuffer(data, dtype=np.uint8).reshape(-1, _HASH_BYTES)


def _driver(connection: Connection) -> psycopg.Connection[Any]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    return driver
