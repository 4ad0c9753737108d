"""The tables that keep every version of every released row, and the views that show one release of them.

`release_history.<mart>` has the mart's columns, `row_hash`, and the half-open interval `[release_from,
release_to)` of releases that show the version; `release_to` is null while it lasts.

Readers have three views of each: `released.<mart>` shows the versions of one release, the one that the setting
`orderhub.as_of` names, or the newest; `released.<mart>_versions` shows every version beside the instants between which it
was what we knew; `released.<mart>_changes` shows what each release changed, a row per changed column. Auditors see the
same, but marts with personal data through views of the same names in the schema `masked`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy import Connection, text

from oms_core.release.errors import RejectedError
from oms_core.release.tables import ReleasedTable
from oms_core.store.tables import (
    AUDITOR_ROLE,
    HISTORY_SCHEMA,
    MASKED_SCHEMA,
    READER_ROLE,
    RELEASED_SCHEMA,
    STATE_SCHEMA,
)

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
    _index_intervals(connection, table.name)


def _index_intervals(connection: Connection, name: str) -> None:
    """Let versions be found by the release they begin or end with; what a release adds lies together."""
    for edge, method, where in (
        ("release_from", "USING brin", ""),
        ("release_to", "", " WHERE release_to IS NOT NULL"),
    ):
        index = quoted(f"{name}_{edge}")
        connection.execute(
            text(f"CREATE INDEX IF NOT EXISTS {index} ON {history_table(name)} {method} ({edge}){where}")
        )


def evolve_history(connection: Connection, table: ReleasedTable, columns: Mapping[str, str]) -> None:
    """Fit an existing history to the columns a mart has now: add new ones, widen types. Nothing is ever
    dropped.

    Raises:
        RejectedError: a column changed to a type that cannot hold its old values.
    """
    existing = existing_columns(connection, table.name)
    _index_intervals(connection, table.name)
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
            for view in (*_views(MASKED_SCHEMA, table.name), *_views(RELEASED_SCHEMA, table.name)):
                connection.execute(text(f"DROP VIEW IF EXISTS {view}"))
            connection.execute(
                text(
                    f"ALTER TABLE {history_table(table.name)} ALTER COLUMN {quoted(name)} "
                    f"TYPE {kind} USING {quoted(name)}::text::{kind}"
                )
            )
            if shown:
                show(connection, table)


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
    return _history_columns(connection, name) <= set(_columns_of(connection, RELEASED_SCHEMA, name))


def has_all_views(connection: Connection, table: ReleasedTable) -> bool:
    """Whether the mart's views are whole: its rows, their versions and changes, for readers and for auditors."""
    name, schema = table.name, MASKED_SCHEMA if table.personal else RELEASED_SCHEMA
    versions = set(_columns_of(connection, schema, f"{name}_versions"))
    return (
        is_shown_whole(connection, name)
        and _history_columns(connection, name) <= versions
        and bool(
            connection.execute(
                text("SELECT has_table_privilege(:role, :view, 'SELECT')"),
                {"role": AUDITOR_ROLE, "view": _views(schema, name)[2]},
            ).scalar()
        )
    )


def _history_columns(connection: Connection, name: str) -> set[str]:
    return existing_columns(connection, name).keys() - {"release_from", "release_to"}


def show(connection: Connection, table: ReleasedTable) -> None:
    """Make or extend the views of a mart. Columns that came later stand last, so that readers never lose theirs."""
    name, history = table.name, history_table(table.name)
    columns = existing_columns(connection, name)
    shown, versions, changes = _views(RELEASED_SCHEMA, name)
    listed = ", ".join(_SHOWN_AS.get(column, quoted(column)) for column in columns if column != "release_to")
    own = ", ".join(
        _SHOWN_AS.get(c, f"h.{quoted(c)}") for c in columns if c not in ("release_from", "release_to")
    )
    releases = f"{STATE_SCHEMA}.releases"
    statements = {
        shown: f"SELECT {listed} FROM {history} "
        f"WHERE release_from <= {_SHOWN_RELEASE} AND (release_to IS NULL OR release_to > {_SHOWN_RELEASE})",
        # The interval stands first: a view may only grow at its end.
        versions: "SELECT h.release_from, h.release_to, since.published_at AS known_from, until.published_at AS known_to, "
        f"{own} FROM {history} AS h JOIN {releases} AS since ON since.id = h.release_from "
        f"LEFT JOIN {releases} AS until ON until.id = h.release_to",
        changes: _changes_query(table, history, releases),
    }
    for view, query in statements.items():
        connection.execute(text(f"CREATE OR REPLACE VIEW {view} AS {query}"))
        roles = READER_ROLE if table.personal else f"{READER_ROLE}, {AUDITOR_ROLE}"
        connection.execute(text(f"GRANT SELECT ON {view} TO {roles}"))
    if table.personal:
        _show_masked(connection, table)


def _show_masked(connection: Connection, table: ReleasedTable) -> None:
    """The same views for auditors: of a personal value they see that there is one, and how it begins."""
    personal = ", ".join(f"'{column}'" for column in table.personal)
    for view, masked in zip(
        _views(RELEASED_SCHEMA, table.name), _views(MASKED_SCHEMA, table.name), strict=True
    ):
        if view.endswith('_changes"'):
            hidden = {
                column: f"CASE WHEN column_name IN ({personal}) THEN {MASKED_SCHEMA}.masked({column}) ELSE {column} END"
                for column in ("old_value", "new_value")
            }
        else:
            hidden = {column: f"{MASKED_SCHEMA}.masked({quoted(column)}::text)" for column in table.personal}
        columns = _columns_of(connection, *(part.strip('"') for part in view.split(".", 1)))
        listed = ", ".join(f"{hidden.get(column, quoted(column))} AS {quoted(column)}" for column in columns)
        connection.execute(text(f"CREATE OR REPLACE VIEW {masked} AS SELECT {listed} FROM {view}"))
        connection.execute(text(f"GRANT SELECT ON {masked} TO {AUDITOR_ROLE}"))


def _views(schema: str, name: str) -> tuple[str, str, str]:
    return (
        f"{schema}.{quoted(name)}",
        f"{schema}.{quoted(name + '_versions')}",
        f"{schema}.{quoted(name + '_changes')}",
    )


def _changes_query(table: ReleasedTable, history: str, releases: str) -> str:
    """What each release changed: a row per changed column, and one without a column for a row that came or went."""
    same = " AND ".join(f"old.{quoted(key)} = new.{quoted(key)}" for key in table.key)
    keys = {side: ", ".join(f"{side}.{quoted(key)}" for key in table.key) for side in ("old", "new")}
    silent = ", ".join(f"'{name}'" for name in ("row_hash", "release_from", "release_to"))
    return (
        "SELECT new.release_from AS release_id, r.published_at AS known_from, "
        f"CASE WHEN old.row_hash IS NULL THEN 'added' ELSE 'changed' END AS change_kind, {keys['new']}, "
        "differs.column_name, differs.old_value, differs.new_value "
        f"FROM {history} AS new JOIN {releases} AS r ON r.id = new.release_from "
        f"LEFT JOIN {history} AS old ON {same} AND old.release_to = new.release_from "
        "CROSS JOIN LATERAL ("
        "SELECT now.key AS column_name, before.value AS old_value, now.value AS new_value "
        "FROM jsonb_each_text(to_jsonb(new)) AS now JOIN jsonb_each_text(to_jsonb(old)) AS before USING (key) "
        f"WHERE old.row_hash IS NOT NULL AND now.key NOT IN ({silent}) AND now.value IS DISTINCT FROM before.value "
        "UNION ALL SELECT NULL, NULL, NULL WHERE old.row_hash IS NULL) AS differs "
        f"UNION ALL SELECT old.release_to, r.published_at, 'removed', {keys['old']}, NULL, NULL, NULL "
        f"FROM {history} AS old JOIN {releases} AS r ON r.id = old.release_to "
        f"WHERE NOT EXISTS (SELECT FROM {history} AS new WHERE {same} AND new.release_from = old.release_to)"
    )
