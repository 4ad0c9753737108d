"""Read releases: which there are, what a table held as of one, what changed between two, and any question in SQL."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import re
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Literal, cast

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from oms_core.audit import log
from oms_core.release.errors import QueryRefusedError
from oms_core.release.history import existing_columns, history_table, quoted
from oms_core.release.persons import COMMITTED
from oms_core.release.tables import RELEASED_TABLES, declared
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import READ_SECONDS, Database
from oms_core.store.tables import STATE_SCHEMA

_ROWS_AT_ONCE = 1000
_INTERVAL = ("release_from", "release_to")
# Words that say that a query is about persons; of contested values the table says so, since any column may be called `value`.
_PERSONAL = {column for table in RELEASED_TABLES.values() for column in table.personal} - {
    "value",
    "normal_value",
} | {"survivorship_conflicts"}


@dataclass(frozen=True)
class Release:
    """One release, as the list shows it.

    Attributes:
        row_counts: rows each table shows.
        control_totals: {table: {currency: {column: sum}}}, for tables with money.
        batch_count: landed batches that came in with it.
    """

    release_id: int
    published_at: datetime
    code_version: str
    merkle_root: bytes
    row_counts: Mapping[str, int]
    control_totals: Mapping[str, Mapping[str, Mapping[str, Decimal]]]
    batch_count: int


def list_releases(database: Database, *, limit: int = 1000, before: int | None = None) -> list[Release]:
    """Releases, newest first; with `before` only those older than that release."""
    with database.read() as connection:
        if before is None:
            return _releases(connection, "true", {}, limit)
        return _releases(connection, "id < :before", {"before": before}, limit)


def current_release(database: Database) -> Release | None:
    """The newest release, or None before the first."""
    with database.read() as connection:
        return next(iter(_releases(connection, "true", {}, 1)), None)


def resolve(database: Database, as_of: int | str | datetime) -> Release:
    """Find the release that was current at a time, or the one with an id.

    Args:
        as_of: a release id (7 or "7"), or an instant (aware datetime, or ISO 8601 text; without an offset it is UTC).

    Raises:
        NotReleasedError: there is no such release, or none yet at that time.
    """
    if isinstance(as_of, str):
        try:
            as_of = int(as_of) if as_of.isdecimal() else datetime.fromisoformat(as_of)
        except ValueError as error:
            raise NotReleasedError(
                f"{as_of!r} is neither a release number nor a time such as 2026-10-31T18:00Z"
            ) from error
    with database.read() as connection:
        if isinstance(as_of, datetime):
            at = as_of if as_of.tzinfo else as_of.replace(tzinfo=UTC)
            found = _releases(connection, "published_at <= :at", {"at": at}, 1)
            missing = f"nothing was released yet at {at.isoformat()}"
        else:
            found = _releases(connection, "id = :id", {"id": as_of}, 1) if 0 < as_of < 2**63 else []
            missing = f"there is no release {as_of}"
        if found:
            return found[0]
        newest = connection.execute(text("SELECT max(id) FROM releases")).scalar()
    raise NotReleasedError(
        f"{missing}: " + (f"the newest is release {newest}" if newest else "publish one first")
    )


def _releases(connection: Connection, condition: str, values: Mapping[str, Any], limit: int) -> list[Release]:
    heads = connection.execute(
        text(
            "SELECT id, published_at, code_version, merkle_root, (SELECT count(*) FROM release_batches AS b "
            f"WHERE b.release_id = r.id) AS batch_count FROM releases AS r WHERE {condition} ORDER BY id DESC LIMIT :limit"
        ),
        {**values, "limit": limit},
    ).all()
    details = connection.execute(
        text(
            "SELECT release_id, table_name, row_count, control_totals FROM release_tables "
            "WHERE release_id = ANY(:ids) ORDER BY table_name"
        ),
        {"ids": [head.id for head in heads]},
    ).all()
    return [
        Release(
            release_id=head.id,
            published_at=head.published_at,
            code_version=head.code_version,
            merkle_root=bytes.fromhex(head.merkle_root),
            row_counts={row.table_name: row.row_count for row in details if row.release_id == head.id},
            control_totals={
                row.table_name: {
                    currency: {column: Decimal(value) for column, value in sums.items()}
                    for currency, sums in row.control_totals.items()
                }
                for row in details
                if row.release_id == head.id and row.control_totals
            },
            batch_count=head.batch_count,
        )
        for head in heads
    ]


@dataclass(frozen=True)
class Answer:
    """What a query answered: column names, rows in order, and whether rows beyond the limit were left out."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    is_cut: bool


def query(
    database: Database,
    sql: str,
    *,
    as_of: int | str | datetime | None = None,
    limit: int = 10_000,
    seconds: float = READ_SECONDS,
) -> Answer:
    """Answer one SELECT over the released tables, named as in `RELEASED_TABLES`, beside `releases`.

    It runs as the reading role, which may see nothing but the released views, in a read-only transaction.

    Args:
        sql: one statement; a trailing semicolon is allowed.
        as_of: release id or time; None is the current release.
        limit: rows at most.
        seconds: time limit.

    Raises:
        QueryRefusedError: the statement writes, is not one statement, takes too long, or PostgreSQL does not accept it.
        NotReleasedError: there is no such release.
    """
    release_id = None if as_of is None else resolve(database, as_of).release_id
    with database.read(release_id, seconds=seconds) as connection:
        return _answer(connection, sql, limit, seconds)


def query_as_auditor(
    database: Database,
    sql: str,
    *,
    actor: str,
    purpose: str | None = None,
    as_of: int | str | datetime | None = None,
    limit: int = 10_000,
    seconds: float = READ_SECONDS,
) -> Answer:
    """`query` for an auditor: the released tables, the audit log and the decisions, with personal data masked.

    A purpose lifts the mask; what is asked, by whom and what for is logged before the answer is given.

    Args:
        actor: who asks.
        purpose: what personal data is needed for; None leaves it masked.
        sql, as_of, limit, seconds: as for `query`.

    Raises:
        QueryRefusedError: as for `query`, and for an empty purpose.
        NotReleasedError: there is no such release.
    """
    release_id = None if as_of is None else resolve(database, as_of).release_id
    if purpose is None:
        with database.read_masked(release_id, seconds=seconds) as connection:
            return _answer(connection, sql, limit, seconds)
    note_purpose(database, actor=actor, purpose=purpose, query=sql)
    with database.read(release_id, seconds=seconds) as connection:
        return _answer(connection, sql, limit, seconds)


def note_purpose(database: Database, *, actor: str, purpose: str, query: str) -> None:
    """Log that somebody is about to see personal data, and what for.

    Raises:
        QueryRefusedError: the purpose is empty.
    """
    if not purpose.strip():
        raise QueryRefusedError("say what personal data is needed for: an empty purpose lifts no mask")
    data = {"purpose": purpose.strip(), "query": query}
    with database.begin() as connection:
        log.append(connection, [log.Happening("personal_data.read", actor, "released", data)])


def note_export(database: Database, *, actor: str, query: str, answer: Answer) -> bool:
    """Log that a reader took personal data out, if the query or its answer names a personal column; whether it did."""
    named = set(re.findall(r"\w+", query.lower())) | set(answer.columns)
    if not named & _PERSONAL:
        return False
    data = {"query": query, "rows": len(answer.rows)}
    with database.begin() as connection:
        log.append(connection, [log.Happening("personal_data.exported", actor, "released", data)])
    return True


def note_file(
    database: Database, path: Path, *, actor: str, form: str, release_id: int, counts: Mapping[str, int]
) -> None:
    """Log that a file which tells of persons, if by golden id alone, was made of a release.

    Args:
        path: the file, whole.
        form: format, such as "OCEL 2.0".
        counts: what it tells of, by kind.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    data = {"format": form, "sha256": digest, "counts": dict(counts)}
    with database.begin() as connection:
        log.append(
            connection, [log.Happening("personal_data.exported", actor, f"release/{release_id}", data)]
        )


def _answer(connection: Connection, sql: str, limit: int, seconds: float) -> Answer:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor:
            # Streaming reads no more than is asked for, and its protocol takes one statement only.
            size = _ROWS_AT_ONCE if psycopg.capabilities.has_stream_chunked() else 1
            stream = cast("Generator[tuple[Any, ...]]", cursor.stream(sql.encode(), size=size))
            with contextlib.closing(stream):
                rows = list(itertools.islice(stream, limit + 1))
            columns = tuple(column.name for column in cursor.description or _described(driver, sql))
    except psycopg.errors.QueryCanceled as error:
        raise QueryRefusedError(
            f"the query takes more than {seconds:g} s: narrow it, or aggregate"
        ) from error
    except (psycopg.errors.ReadOnlySqlTransaction, psycopg.errors.InsufficientPrivilege) as error:
        raise QueryRefusedError(
            f"released tables are read-only, and nothing else can be read here: {_said(error)}. Ask with SELECT."
        ) from error
    except (
        psycopg.ProgrammingError,
        psycopg.DataError,
        psycopg.NotSupportedError,
        psycopg.InternalError,
    ) as error:
        raise QueryRefusedError(f"PostgreSQL does not accept the query: {_said(error)}") from error
    return Answer(columns, tuple(rows[:limit]), len(rows) > limit)


def _described(driver: psycopg.Connection[Any], sql: str) -> list[psycopg.Column]:
    """The columns of a statement that streamed no rows, and so told none."""
    with driver.cursor("described") as cursor:
        cursor.execute(sql.encode())
        return cursor.description or []


def _said(error: psycopg.Error) -> str:
    words = error.diag.message_primary or str(error)
    hint = f" ({error.diag.message_hint})" if error.diag.message_hint else ""
    return words + hint


def fetch_rows(
    database: Database,
    table: str,
    where: Mapping[str, Any] | None = None,
    *,
    as_of: int | str | datetime | None = None,
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of a released table as of a release, ordered by its key.

    Args:
        table: a name of `RELEASED_TABLES`.
        where: column -> value it must equal.
        as_of: release id or time; None is the current release.
        limit: rows at most; None is all.

    Raises:
        NotReleasedError: the table was never released, or there is no such release.
        RejectedError: the table is not declared.
    """
    release_id = None if as_of is None else resolve(database, as_of).release_id
    conditions = [f"{quoted(column)} = :v{at}" for at, column in enumerate(where or {})]
    statement = (
        f"SELECT * FROM {quoted(table)}"
        + (f" WHERE {' AND '.join(conditions)}" if conditions else "")
        + f" ORDER BY {', '.join(map(quoted, declared(table).key))}"
        + (f" LIMIT {int(limit)}" if limit is not None else "")
    )
    with database.read(release_id) as connection:
        try:
            rows = connection.execute(
                text(statement), {f"v{at}": v for at, v in enumerate((where or {}).values())}
            )
        except DBAPIError as error:
            if isinstance(error.orig, psycopg.errors.UndefinedTable | psycopg.errors.UndefinedColumn):
                raise NotReleasedError(
                    f"{_said(error.orig)}: it is not part of the released tables"
                ) from error
            raise
        return [dict(row) for row in rows.mappings()]


@dataclass(frozen=True)
class RowChange:
    """One row that differs between two releases.

    Attributes:
        kind: "added", "removed" or "changed".
        key: key columns and their values.
        columns: column -> (old, new), the changed ones; for added and removed rows all that are not null.
    """

    kind: Literal["added", "removed", "changed"]
    key: Mapping[str, Any]
    columns: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """How a table differs between two releases. `changes` holds the first rows by key; the counts are whole."""

    table: str
    added: int
    removed: int
    changed: int
    changes: tuple[RowChange, ...]


def diff(
    database: Database,
    left: int | str | datetime,
    right: int | str | datetime,
    table: str,
    *,
    where: Mapping[str, str] | None = None,
    limit: int = 1000,
    offset: int = 0,
) -> Difference:
    """Compare a table as of release `left` with the same as of `right`; a row that changed and changed back is equal.

    Args:
        left, right: release ids or times.
        table: a name of `RELEASED_TABLES`.
        where: column -> value that a row must have had before or have after; columns the table lacks match nothing.
        limit: rows shown at most, by key, after the first `offset`; the counts are whole.

    Raises:
        NotReleasedError: there is no such release, or the table was never released.
        RejectedError: the table is not declared.
    """
    first, second = (resolve(database, release).release_id for release in (left, right))
    keys = declared(table).key
    # Only versions that begin or end between the two can differ.
    since, until = sorted((first, second))
    shown = "release_from <= {0} AND (release_to IS NULL OR release_to > {0})"
    touched = f"(release_from > {since} AND release_from <= {until} OR release_to > {since} AND release_to <= {until})"
    name = history_table(table)
    same_key = " AND ".join(f"old.{quoted(key)} = new.{quoted(key)}" for key in keys)
    joined = (
        f"(SELECT * FROM {name} WHERE {touched} AND {shown.format(first)}) AS old FULL JOIN "
        f"(SELECT * FROM {name} WHERE {touched} AND {shown.format(second)}) AS new ON {same_key} "
        "WHERE old.row_hash IS DISTINCT FROM new.row_hash"
    )
    values = {f"v{at}": value for at, value in enumerate((where or {}).values())}
    for at, column in enumerate(where or {}):
        joined += f" AND (old.{quoted(column)}::text = :v{at} OR new.{quoted(column)}::text = :v{at})"
    order = ", ".join(f"coalesce(old.{quoted(key)}, new.{quoted(key)})" for key in keys)
    with database.begin() as connection:
        if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is None:
            raise NotReleasedError(f"{table} was never released")
        if set(where or {}) - existing_columns(connection, table).keys():
            return Difference(table, 0, 0, 0, ())
        counts = connection.execute(
            text(
                "SELECT count(*) FILTER (WHERE old.row_hash IS NULL), count(*) FILTER (WHERE new.row_hash IS NULL), "
                f"count(*) FILTER (WHERE old.row_hash IS NOT NULL AND new.row_hash IS NOT NULL) FROM {joined}"
            ),
            values,
        ).one()
        listed = (
            ()
            if limit == 0
            else connection.execute(
                text(
                    f"SELECT to_jsonb(old)::text, to_jsonb(new)::text FROM {joined} ORDER BY {order} LIMIT :limit OFFSET :offset"
                ),
                {"limit": limit, "offset": offset, **values},
            ).all()
        )
    changes = tuple(_change(keys, *(_row(side) for side in pair)) for pair in listed)
    added, removed, changed = tuple[int, int, int](counts)
    return Difference(table, added, removed, changed, changes)


def released_tables(database: Database, release_id: int) -> list[str]:
    """Tables that a release shows, by name."""
    with database.begin() as connection:
        return list(
            connection.execute(
                text(
                    f"SELECT table_name FROM {STATE_SCHEMA}.release_tables WHERE release_id = :id ORDER BY table_name"
                ),
                {"id": release_id},
            ).scalars()
        )


def released_columns(database: Database, release_id: int) -> dict[str, list[tuple[str, str]]]:
    """Columns of each table of a release, (name, PostgreSQL type) in order, without the release's own."""
    with database.begin() as connection:
        rows = connection.execute(
            text(
                f"SELECT table_name, columns FROM {STATE_SCHEMA}.release_tables WHERE release_id = :id ORDER BY table_name"
            ),
            {"id": release_id},
        ).all()
    return {
        row.table_name: [(name, "text" if kind == COMMITTED else kind) for name, kind in row.columns]
        for row in rows
    }


def _row(json_text: Any) -> dict[str, Any] | None:
    """A row from JSON text, with exact decimals; None stays None."""
    return None if json_text is None else json.loads(json_text, parse_float=Decimal)


def _change(keys: Sequence[str], old: Mapping[str, Any] | None, new: Mapping[str, Any] | None) -> RowChange:
    kind: Literal["added", "removed", "changed"] = (
        "added" if old is None else "removed" if new is None else "changed"
    )
    before, after = old or {}, new or {}
    columns = {
        name: (before.get(name), after.get(name))
        for name in {**before, **after}
        if name not in (*_INTERVAL, "row_hash", *keys) and before.get(name) != after.get(name)
    }
    return RowChange(kind, {key: (new or before)[key] for key in keys}, columns)
