"""The tables that keep every version of every released row, and the views that show one release of them.

`release_history.<mart>` has the mart's columns, `row_hash`, and the half-open interval `[release_from,
release_to)` of releases that show the version; `release_to` is null while it lasts. `released.<mart>` shows
the versions of one release: the one that the setting `orderhub.as_of` names, or the newest.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection, text

from oms_core.release.errors import RejectedError
from oms_core.release.tables import ReleasedTable
from oms_core.store.tables import HISTORY_SCHEMA, READER_ROLE, RELEASED_SCHEMA, STATE_SCHEMA

# In this order: whichever release the reader's transaction asks for, looked up once per query.
_SHOWN_RELEASE = (
    "(SELECT coalesce(nullif(current_setting('orderhub.as_of', true), '')::bigint, "
    f"(SELECT max(id) FROM {STATE_SCHEMA}.releases)))"
)
_INTEGERS = ("smallint", "integer", "bigint")
_SHOWN_AS = {"row_hash": "encode(row_hash, 'hex') AS row_hash", "release_from": "release_from AS release_id"}


def quoted(name: str) -> str:
    """A name as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def history_table(name: str) -> str:
    """Qualified name of a mart's history."""
    return f"{HISTORY_SCHEMA}.{quoted(name)}"


def existing_columns(connection: Connection, name: str) -> dict[str, str]:
    """Columns of a mart's history and their types, in order, hash and interval included; empty if it has none."""
    return _columns_of(connection, HISTORY_SCHEMA, name)


def _columns_of(connection: Connection, schema: str, name: str) -> dict[str, str]:
    rows = connection.execute(
        text(
            "SELECT a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute AS a "
            "WHERE a.attrelid = to_regclass(:table) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum"
        ),
        {"table": f"{schema}.{quoted(name)}"},
    )
    return {str(column): _short(str(kind)) for column, kind in rows}


def _short(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz")


def create_history(connection: Connection, table: ReleasedTable, columns: Mapping[str, str]) -> None:
    """Make a mart's history, still without indexes: filling comes first, since it is far quicker that way."""
    listed = ", ".join(f"{quoted(name)} {kind}" for name, kind in columns.items())
    connection.execute(
        text(
            f"CREATE TABLE {history_table(table.name)} ({listed}, "
            "row_hash bytea NOT NULL, release_from bigint NOT NULL, release_to bigint)"
        )
    )


def index_history(connection: Connection, table: ReleasedTable) -> None:
    """Give a filled history its key and look-up indexes."""
    key = ", ".join(map(quoted, table.key))
    connection.execute(text(f"ALTER TABLE {history_table(table.name)} ADD PRIMARY KEY ({key}, release_from)"))
    present = existing_columns(connection, table.name)
    for lookup in table.lookups:
        if lookup in present or not lookup.isidentifier():  # a column, or an expression over the key
            connection.execute(text(f"CREATE INDEX ON {history_table(table.name)} ({lookup})"))


def evolve_history(connection: Connection, table: ReleasedTable, columns: Mapping[str, str]) -> None:
    """Fit an existing history to the columns a mart has now: add new ones, widen types. Nothing is ever
    dropped.

    Raises:
        RejectedError: a column changed to a type that cannot hold its old values.
    """
    existing = existing_columns(connection, table.name)
    for name, kind in columns.items():
        if name not in existing:
            connection.execute(
                text(f"ALTER TABLE {history_table(table.name)} ADD COLUMN {quoted(name)} {kind}")
            )
            if name in table.lookups:
                connection.execute(text(f"CREATE INDEX ON {history_table(table.name)} ({quoted(name)})"))
        elif existing[name] != kind and not _holds(existing[name], kind):
            if not _holds(kind, existing[name]) and _has_values(connection, table.name, name):
                raise RejectedError(
                    f"{table.name}.{name} was {existing[name]} in earlier releases and is {kind} now, which "
                    "cannot hold the old values: keep the type, or release the new values under another name"
                )
            shown = _columns_of(connection, RELEASED_SCHEMA, table.name)
            connection.execute(text(f"DROP VIEW IF EXISTS {RELEASED_SCHEMA}.{quoted(table.name)}"))
            connection.execute(
                text(
                    f"ALTER TABLE {history_table(table.name)} ALTER COLUMN {quoted(name)} "
                    f"TYPE {kind} USING {quoted(name)}::text::{kind}"
                )
            )
            if shown:
                show(connection, table.name)


def _holds(wide: str, narrow: str) -> bool:
    """Whether every value of `narrow` fits into `wide` unchanged."""
    if wide == narrow:
        return True
    if wide in _INTEGERS and narrow in _INTEGERS:
        return _INTEGERS.index(wide) > _INTEGERS.index(narrow)
    outer, inner = (re.fullmatch(r"numeric\((\d+),(\d+)\)", kind) for kind in (wide, narrow))
    if outer and inner:
        digits, scale = int(outer[1]), int(outer[2])
        return scale >= int(inner[2]) and digits - scale >= int(inner[1]) - int(inner[2])
    return bool(outer) and narrow in _INTEGERS and int(outer[1]) - int(outer[2]) >= 19 if outer else False


def _has_values(connection: Connection, table: str, column: str) -> bool:
    statement = f"SELECT EXISTS (SELECT FROM {history_table(table)} WHERE {quoted(column)} IS NOT NULL)"
    return bool(connection.execute(text(statement)).scalar_one())


def is_shown_whole(connection: Connection, name: str) -> bool:
    """Whether the mart's view exists and has all columns."""
    history = set(existing_columns(connection, name)) - {"release_from", "release_to"}
    return history <= set(_columns_of(connection, RELEASED_SCHEMA, name))


def show(connection: Connection, name: str) -> None:
    """Make or extend the view of a mart. Columns that came later stand last, so that readers never lose theirs."""
    listed = ", ".join(
        _SHOWN_AS.get(column, quoted(column))
        for column in existing_columns(connection, name)
        if column != "release_to"
    )
    view = f"{RELEASED_SCHEMA}.{quoted(name)}"
    connection.execute(
        text(
            f"CREATE OR REPLACE VIEW {view} AS SELECT {listed} FROM {history_table(name)} "
            f"WHERE release_from <= {_SHOWN_RELEASE} AND (release_to IS NULL OR release_to > {_SHOWN_RELEASE})"
        )
    )
    connection.execute(text(f"GRANT SELECT ON {view} TO {READER_ROLE}"))
