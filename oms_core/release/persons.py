"""Personal values in a seal: what is hashed is a commitment under a key of the person's own, never the value itself.

A row's hash stays what it was when the value is erased, because the commitment is kept in its place; and once the key is
destroyed too, nobody can tell by trying which value it was of.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable

import pyarrow as pa
from sqlalchemy import bindparam, text
from sqlalchemy.dialects.postgresql import ARRAY, BYTEA, TEXT

from oms_core.release.tables import ReleasedTable
from oms_core.store.postgres import Database
from oms_core.store.tables import STATE_SCHEMA

# How a column is named in a seal whose hashes hold commitments; what it holds is text.
COMMITTED = "committed text"
# What stands in a released row in place of an erased value, before its commitment.
ERASED = "erased:"
_KEY_BYTES = 32


def commitment(key: bytes, column: str, value: str) -> str:
    """What is hashed for a personal value: 64 hex digits.

    Args:
        key: 32 bytes, the person's.
        column: where the value stands, so that equal values of two columns do not show as equal.
    """
    return hashlib.sha256(key + f"{column}:{value}".encode()).hexdigest()


def masked(value: str | None) -> str | None:
    """The first sign of a personal value, and that there is more, as the schema `masked` shows it; null stays null."""
    return None if value is None else f"{value[:1]}•••"


def commitment_sql(name: str, column: str, key: str) -> str:
    """SQL for the commitment of a column's value, or for the one kept when the value was erased; null stays null.

    Args:
        name: of the column; plain letters, digits and underscores.
        column: the column as SQL.
        key: SQL for the person's key, null where it was destroyed.
    """
    kept = len(ERASED) + 1
    return (
        f"CASE WHEN {column} ~ '^{ERASED}[0-9a-f]{{64}}$' THEN substr({column}, {kept}) "
        f"ELSE encode(sha256({key} || convert_to('{name}:' || {column}, 'UTF8')), 'hex') END"
    )


def person_sql(table: ReleasedTable, alias: str = "") -> str:
    """SQL for whose row it is: the first of the table's person columns that has a value."""
    return f"coalesce({', '.join(alias + column for column in table.person)})"


class Persons:
    """The keys of persons, made when their values are first released."""

    def __init__(self, database: Database) -> None:
        """Keep keys in a database; they are read and made in transactions of their own."""
        self._database = database
        self._keys: dict[str, bytes] = {}

    def committed(self, table: ReleasedTable, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The rows as they are hashed: each personal value replaced by its commitment.

        Args:
            table: its declaration; without personal columns the batch is given back.
            batch: rows of the mart, with at least the table's person columns where a personal value is not null.
        """
        columns = [
            name
            for name in table.personal
            if name in batch.schema.names and batch.column(name).null_count < batch.num_rows
        ]
        if not columns:
            return batch
        persons: list[str | None] = [None] * batch.num_rows
        for name in reversed([name for name in table.person if name in batch.schema.names]):
            persons = [
                one or other for one, other in zip(batch.column(name).to_pylist(), persons, strict=True)
            ]
        values = {name: batch.column(name).cast(pa.string()).to_pylist() for name in columns}
        wanted = {
            person
            for name in columns
            for person, value in zip(persons, values[name], strict=True)
            if person is not None and value is not None
        }
        self._know(wanted)
        for name in columns:
            hidden = [
                None if value is None else commitment(self._keys[person or ""], name, value)
                for person, value in zip(persons, values[name], strict=True)
            ]
            batch = batch.set_column(batch.schema.get_field_index(name), name, pa.array(hidden, pa.string()))
        return batch

    def _know(self, persons: Iterable[str]) -> None:
        missing = sorted(set(persons) - self._keys.keys())
        if not missing:
            return
        make = text(
            f"INSERT INTO {STATE_SCHEMA}.person_keys (person_id, key) SELECT * FROM unnest(:persons, :keys) "
            "ON CONFLICT DO NOTHING"
        ).bindparams(bindparam("persons", type_=ARRAY(TEXT)), bindparam("keys", type_=ARRAY(BYTEA)))
        ask = text(
            f"SELECT person_id, key FROM {STATE_SCHEMA}.person_keys WHERE person_id = ANY(:persons)"
        ).bindparams(bindparam("persons", type_=ARRAY(TEXT)))
        with self._database.begin() as connection:
            connection.execute(
                make, {"persons": missing, "keys": [secrets.token_bytes(_KEY_BYTES) for _ in missing]}
            )
            self._keys |= {
                row.person_id: bytes(row.key) for row in connection.execute(ask, {"persons": missing})
            }
