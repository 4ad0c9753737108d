"""Several statements in one round trip to the server, which matters while locks are held.

Source: psycopg 3, pipeline mode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any

import psycopg
from psycopg.rows import namedtuple_row
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError


@dataclass(frozen=True)
class Result:
    """What one statement gave: its rows, none where it gives none, and how many rows it gave or changed."""

    rows: Sequence[Any]
    count: int


def together(connection: Connection, statements: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Result]:
    """Carry statements out in their order, in the transaction of the connection, sent at once.

    Args:
        statements: SQL with `%(name)s` placeholders, and their values. A list is an array, to be cast: `%(name)s::text[]`.

    Returns:
        A result for each. Rows are named tuples.

    Raises:
        DBAPIError: as SQLAlchemy raises it; the transaction is to be rolled back.
    """
    raw: psycopg.Connection[Any] = connection.connection.driver_connection  # type: ignore[assignment]
    try:
        with raw.pipeline():
            cursors = [
                raw.cursor(row_factory=namedtuple_row).execute(statement.encode(), _sendable(values))
                for statement, values in statements
            ]
        return [
            Result(cursor.fetchall() if cursor.description else (), cursor.rowcount) for cursor in cursors
        ]
    except psycopg.Error as error:
        if raw.closed:
            connection.invalidate(error)
        # Callers of a connection know one kind of error, however the statement got to the server.
        raise DBAPIError.instance(
            "; ".join(statement for statement, _ in statements),
            None,
            error,
            psycopg.Error,
            connection_invalidated=bool(raw.closed),
            dialect=connection.dialect,
        ) from error


def _sendable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Lists as array literals: psycopg asks of each element how it is written, which costs more than to carry it out."""
    return {name: _array(value) if isinstance(value, list) else value for name, value in values.items()}


def _array(values: Sequence[Any]) -> str:
    return "{" + ",".join([_element(value) for value in values]) + "}"


def _element(value: Any) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if value is None:
        return "NULL"
    if isinstance(value, bytes):
        return '"\\\\x' + value.hex() + '"'
    if isinstance(value, date):  # an instant is one, too
        return '"' + value.isoformat() + '"'
    if isinstance(value, bool | int | Decimal):
        return str(value)
    raise TypeError(f"an array of {type(value).__name__} is not written here: add how it is")
