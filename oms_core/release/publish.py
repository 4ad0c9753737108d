"""Publish the marts as a new release: all of it in one transaction, changed rows only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

import numpy as np
import psycopg
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from sqlalchemy import Connection, func, insert, select, text
from sqlalchemy.dialects.postgresql import insert as insert_or_ignore
from sqlalchemy.exc import DBAPIError

from oms_core.audit import log
from oms_core.audit.merkle import tree_root
from oms_core.release import history
from oms_core.release.errors import BusyError, RejectedError, ReleaseError
from oms_core.release.persons import COMMITTED, Persons
from oms_core.release.seal import (
    NO_CURRENCY,
    ControlTotals,
    HashSet,
    TableSeal,
    Totals,
    hash_lines,
    hex_digits,
    money_columns,
    release_root,
    repeated_hashes,
    sort_hashes,
    totals_as_text,
)
from oms_core.release.tables import OWNED_COLUMNS, ReleasedTable, declared
from oms_core.store.copy_text import (
    ROWS_AT_ONCE,
    copy_in,
    encode_lines,
    line_bytes,
    postgres_type,
    read_hashes,
)
from oms_core.store.errors import StoreError
from oms_core.store.postgres import Database
from oms_core.store.tables import HISTORY_SCHEMA, release_batches, release_tables, releases

pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

_PUBLISH_LOCK = 7_301_002  # advisory lock key, ours alone


@dataclass(frozen=True)
class Batch:
    """One landed batch whose rows the marts were built from."""

    source_system: str
    stream: str
    batch_id: str
    digest: str | None = None  # of its files and pages, for the audit log


@dataclass(frozen=True)
class PublishedTable:
    """What a publication did to one table."""

    seal: TableSeal
    inserted_count: int
    closed_count: int
    missing_columns: tuple[str, ...] = ()  # once released, not offered any more: null from now on


@dataclass(frozen=True)
class Publication:
    """What `publish` did. Without changes there is no new release, and `release_id` is the current one."""

    release_id: int
    is_new: bool
    published_at: datetime
    merkle_root: bytes
    tables: tuple[PublishedTable, ...] = field(default=())


def publish(
    database: Database,
    marts: Mapping[str, pa.Table | pa.RecordBatchReader],
    *,
    batches: Iterable[Batch],
    code_version: str,
    actor: str = "orderhub",
    wait_seconds: float = 60,
    progress: Callable[[str], None] = lambda message: None,
) -> Publication:
    """Publish the marts as the next release, in one transaction.

    Row versions that changed or vanished end with the new release, new ones begin with it; rows that stay are
    not touched. A killed process, at whatever instant, leaves the release before whole and current.

    Args:
        database: the operational store, upgraded.
        marts: every released mart, by name (`RELEASED_TABLES`); naive timestamps are UTC. Readers are used
            up.
        batches: the landed batches behind the marts; those of earlier releases may be among them.
        code_version: of the code that built the marts.
        actor: who publishes, for the audit log.
        wait_seconds: how long to wait for another publication to end.
        progress: told each step in a short sentence.

    Returns:
        The new release, or the current one with `is_new` false when no row and no column changed.

    Raises:
        BusyError: another publication did not end in time.
        RejectedError: a mart is not declared, lacks its key, holds a key twice or null, changed a type, or is
            missing.
        ReleaseError: what arrived in PostgreSQL is not what was sent.
    """
    if not marts:
        raise RejectedError("no mart was given: build the marts first")
    offers = [_Offer.of(declared(name), marts[name]) for name in sorted(marts)]
    persons = Persons(database)
    # On its own, so that readers never wait for the loading behind it.
    with _alone(database, wait_seconds) as connection:
        for offer in offers:
            if history.existing_columns(connection, offer.table.name):
                history.evolve_history(connection, offer.table, offer.types)
    with _alone(database, wait_seconds) as connection:
        previous = connection.execute(select(func.max(releases.c.id))).scalar()
        release_id = (previous or 0) + 1
        _check_complete(connection, previous, set(marts))
        has_new_columns = False
        tables = []
        for offer in offers:
            table = _publish_table(connection, offer, release_id, persons)
            has_new_columns |= not history.is_shown_whole(connection, offer.table.name)
            tables.append(table)
            progress(
                f"{offer.table.name}: {table.seal.row_count:,} rows, {table.inserted_count:,} new or "
                "changed, "
                f"{table.closed_count:,} changed or gone"
            )
        if previous and not has_new_columns and not any(t.inserted_count or t.closed_count for t in tables):
            return _unchanged(connection, previous)
        publication = _seal(connection, release_id, code_version, actor, batches, tables)
        progress(f"release {release_id} sealed, {publication.merkle_root.hex()}")
        for offer in offers:  # last, since readers wait for a view that is being replaced
            if not history.has_all_views(connection, offer.table):
                history.show(connection, offer.table)
    _analyze(database, tables)
    return publication


@dataclass(frozen=True)
class _Offer:
    """A mart as offered: its rows, and the columns that will be released."""

    table: ReleasedTable
    rows: pa.Table | pa.RecordBatchReader
    types: Mapping[str, str]

    @classmethod
    def of(cls, table: ReleasedTable, rows: pa.Table | pa.RecordBatchReader) -> _Offer:
        names = rows.schema.names
        if len(set(names)) < len(names):
            raise RejectedError(f"{table.name} has a column name twice: {', '.join(names)}")
        missing = [name for name in table.key if name not in names]
        if missing:
            raise RejectedError(
                f"{table.name} lacks {', '.join(missing)} of its key ({', '.join(table.key)})"
            )
        types = {f.name: postgres_type(f.name, f.type) for f in rows.schema if f.name not in OWNED_COLUMNS}
        untold = [name for name in table.personal if types.get(name, "text") != "text"]
        if untold:
            raise RejectedError(
                f"{table.name}.{untold[0]} is personal and must be text, not {types[untold[0]]}"
            )
        return cls(table, rows, types)

    def batches(self) -> Iterator[pa.RecordBatch]:
        for batch in self.rows.to_batches() if isinstance(self.rows, pa.Table) else self.rows:
            for start in range(0, batch.num_rows, ROWS_AT_ONCE):
                yield batch.slice(start, ROWS_AT_ONCE)


@contextmanager
def _alone(database: Database, wait_seconds: float) -> Iterator[Connection]:
    """A transaction of the only publisher. No lock in it is waited for longer than this."""
    try:
        with database.begin() as connection:
            wait = {"wait": f"{int(wait_seconds * 1000)}ms"}
            connection.execute(text("SELECT set_config('lock_timeout', :wait, true)"), wait)
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PUBLISH_LOCK})
            yield connection
    except DBAPIError as error:
        if not isinstance(error.orig, psycopg.errors.LockNotAvailable):
            raise
        raise BusyError(
            f"another publication, or somebody who changes or reads the released tables, has kept them for "
            f"{wait_seconds:g} s: wait for it to end, then repeat; nothing was published"
        ) from error


def _check_complete(connection: Connection, previous: int | None, offered: set[str]) -> None:
    """A release is whole: a mart left out by mistake must not silently stay as it was."""
    known = select(release_tables.c.table_name).where(release_tables.c.release_id == previous)
    missing = set[str](connection.execute(known).scalars().all()) - offered
    if missing:
        raise RejectedError(
            f"release {previous} has tables that are not offered now: {', '.join(sorted(missing))}. "
            "Offer them, with no rows if need be."
        )


def _publish_table(
    connection: Connection, offer: _Offer, release_id: int, persons: Persons
) -> PublishedTable:
    name = offer.table.name
    existing = history.existing_columns(connection, name)
    if existing:
        before = HashSet(read_hashes(connection, history.history_table(name), "release_to IS NULL"))
    else:
        history.create_history(connection, offer.table, offer.types)
        before = HashSet(np.empty((0, 32), dtype=np.uint8))
    types = {**offer.types, **{c: existing[c] for c in existing if c in offer.types}}
    load = _Load(offer, sorted(offer.types), release_id, before, persons)
    try:
        inserted = copy_in(
            connection,
            (HISTORY_SCHEMA, name),
            [*load.columns, "row_hash", "release_from"],
            _ahead(load.changed_lines()),
            is_fresh=not existing,
        )
        hashes = load.sorted_hashes()
        closed = _close(connection, name, release_id, before.unseen())
        # While PostgreSQL builds indexes we would only wait.
        with ThreadPoolExecutor(1) as aside:
            root = aside.submit(tree_root, hashes.tobytes())
            if not existing:
                history.index_history(connection, offer.table)
            elif inserted:
                _check_keys(connection, offer.table, release_id)
    except (StoreError, DBAPIError) as error:
        raise _explained(offer.table, error) from error
    totals = load.totals.totals()
    if inserted or closed:
        _check_arrival(connection, offer, len(hashes), totals)
    return PublishedTable(
        seal=TableSeal(
            table=name,
            columns=tuple(
                (column, COMMITTED if column in offer.table.personal else types[column])
                for column in load.columns
            ),
            row_count=len(hashes),
            control_totals=totals,
            merkle_root=root.result(),
        ),
        inserted_count=inserted,
        closed_count=closed,
        missing_columns=tuple(
            c
            for c in existing
            if c not in offer.types and c not in ("row_hash", "release_from", "release_to")
        ),
    )


def _ahead(chunks: Iterator[memoryview]) -> Iterator[memoryview]:
    """The same chunks; the next one is made while PostgreSQL takes in the one before."""
    with ThreadPoolExecutor(1) as aside:
        coming = aside.submit(next, chunks, None)
        while (chunk := coming.result()) is not None:
            coming = aside.submit(next, chunks, None)
            yield chunk


class _Load:
    """One pass over a mart's rows: hash each, send on those not released before, add up the money."""

    def __init__(
        self, offer: _Offer, columns: list[str], release_id: int, before: HashSet, persons: Persons
    ) -> None:
        self.columns = columns
        self.totals = ControlTotals(offer.rows.schema)
        self._offer = offer
        self._end = f"{release_id}\n"
        self._before = before
        self._persons = persons
        self._hashes: list[NDArray[np.uint8]] = []

    def changed_lines(self) -> Iterator[memoryview]:
        for batch in self._offer.batches():
            lines = encode_lines(batch, self.columns)
            hidden = self._persons.committed(self._offer.table, batch)
            hashes = hash_lines(lines if hidden is batch else encode_lines(hidden, self.columns))
            self._hashes.append(hashes)
            self.totals.add(batch)
            is_new = ~self._before.contains(hashes)
            if is_new.any():
                lines = lines.filter(pa.array(is_new))
                spelled = pc.binary_join_element_wise("\\\\x", hex_digits(hashes[is_new]), "")
                yield line_bytes(pc.binary_join_element_wise(lines, spelled, self._end, "\t"))

    def sorted_hashes(self) -> NDArray[np.uint8]:
        """All row hashes in ascending order: (n, 32).

        Raises:
            RejectedError: two rows are equal in every column.
        """
        ordered = sort_hashes(np.concatenate(self._hashes or [np.empty((0, 32), dtype=np.uint8)]))
        repeated = len(repeated_hashes(ordered))
        if repeated:
            name, key = self._offer.table.name, ", ".join(self._offer.table.key)
            raise RejectedError(
                f"{name} holds {repeated:,} rows twice, so its key ({key}) is not unique: mend the mart"
            )
        return ordered


def _close(connection: Connection, name: str, release_id: int, hashes: NDArray[np.uint8]) -> int:
    """End the current versions with these hashes; returns how many."""
    if not len(hashes):
        return 0
    connection.execute(text("CREATE TEMP TABLE closing (row_hash bytea NOT NULL) ON COMMIT DROP"))
    rows = ("\n".join("\\\\x" + row.tobytes().hex() for row in hashes) + "\n").encode()
    copy_in(connection, ("pg_temp", "closing"), ["row_hash"], [memoryview(rows)])
    connection.execute(text("ANALYZE closing"))
    closed = connection.execute(
        text(
            f"UPDATE {history.history_table(name)} AS versions SET release_to = :release FROM closing "
            "WHERE versions.release_to IS NULL AND versions.release_from < :release "
            "AND versions.row_hash = closing.row_hash"
        ),
        {"release": release_id},
    ).rowcount
    connection.execute(text("DROP TABLE closing"))
    if closed != len(hashes):
        raise ReleaseError(
            f"{name}: {len(hashes):,} row versions should end and {closed:,} did; nothing was published"
        )
    return closed


def _check_keys(connection: Connection, table: ReleasedTable, release_id: int) -> None:
    """A key may not begin anew while an older version of it goes on."""
    same_key = " AND ".join(
        f"fresh.{history.quoted(column)} = old.{history.quoted(column)}" for column in table.key
    )
    name = history.history_table(table.name)
    shown = ", ".join(f"fresh.{history.quoted(column)}" for column in table.key)
    twice = connection.execute(
        text(
            f"SELECT {shown} FROM {name} AS fresh JOIN {name} AS old ON {same_key} "
            "WHERE fresh.release_from = :release AND old.release_from < :release AND old.release_to IS NULL "
            "LIMIT 1"
        ),
        {"release": release_id},
    ).first()
    if twice:
        raise RejectedError(f"{table.name} holds the key {_spelled(table, twice)} twice: mend the mart")


def _spelled(table: ReleasedTable, values: Iterable[Any]) -> str:
    return ", ".join(f"{column}={value}" for column, value in zip(table.key, values, strict=True))


def _explained(table: ReleasedTable, error: StoreError | DBAPIError) -> Exception:
    """The same failure in words about the mart, where we can tell."""
    cause = error.orig if isinstance(error, DBAPIError) else error.__cause__
    if isinstance(cause, psycopg.errors.UniqueViolation | psycopg.errors.NotNullViolation):
        detail = cause.diag.message_detail or cause.diag.message_primary
        return RejectedError(
            f"{table.name} has a key ({', '.join(table.key)}) that is null or comes twice: {detail} Mend the mart."
        )
    return RejectedError(str(error)) if isinstance(cause, psycopg.DataError) else error


def _check_arrival(connection: Connection, offer: _Offer, row_count: int, totals: Totals) -> None:
    """What PostgreSQL holds now must be what was sent: rows, and money to the last digit."""
    name = history.history_table(offer.table.name)
    arrived: int = connection.execute(
        text(f"SELECT count(*) FROM {name} WHERE release_to IS NULL")
    ).scalar_one()
    if arrived != row_count:
        raise ReleaseError(f"{offer.table.name}: {row_count:,} rows were sent and {arrived:,} arrived")
    found: dict[str, dict[str, Decimal]] = {}
    for currency_column, names in money_columns(offer.rows.schema).items():
        sums = ", ".join(f"sum({history.quoted(column)})" for column in names)
        rows = connection.execute(
            text(
                f"SELECT coalesce({history.quoted(currency_column)}, '{NO_CURRENCY}'), {sums} "
                f"FROM {name} WHERE release_to IS NULL GROUP BY 1"
            )
        )
        for row in rows:
            currency, *values = tuple[Any, ...](row)
            known = {column: value for column, value in zip(names, values, strict=True) if value is not None}
            if known:
                found.setdefault(currency, {}).update(known)
    if found != totals:
        raise ReleaseError(
            f"{offer.table.name}: the money sent ({totals_as_text(totals)}) is not the money that arrived "
            f"({totals_as_text(found)})"
        )


def _seal(
    connection: Connection,
    release_id: int,
    code_version: str,
    actor: str,
    batches: Iterable[Batch],
    tables: list[PublishedTable],
) -> Publication:
    root = release_root([table.seal for table in tables])
    published_at: datetime = connection.execute(text("SELECT clock_timestamp()")).scalar_one()
    connection.execute(
        insert(releases),
        {"id": release_id, "published_at": published_at, "code_version": code_version, "merkle_root": root},
    )
    connection.execute(
        insert(release_tables),
        [
            {
                "release_id": release_id,
                "table_name": table.seal.table,
                "row_count": table.seal.row_count,
                "inserted_count": table.inserted_count,
                "closed_count": table.closed_count,
                "columns": [list(column) for column in table.seal.columns],
                "control_totals": totals_as_text(table.seal.control_totals),
                "merkle_root": table.seal.merkle_root,
            }
            for table in tables
        ],
    )
    given = list(batches)
    rows = [
        {
            "source_system": b.source_system,
            "stream": b.stream,
            "batch_id": b.batch_id,
            "release_id": release_id,
        }
        for b in given
    ]
    if rows:
        connection.execute(insert_or_ignore(release_batches).on_conflict_do_nothing(), rows)
    first_in_this = select(release_batches.c.batch_id).where(release_batches.c.release_id == release_id)
    new: set[str] = set(connection.execute(first_in_this).scalars())
    log.append(
        connection,
        [
            log.Happening(
                log.RELEASE_PUBLISHED,
                actor,
                f"release/{release_id}",
                {
                    "merkle_root": root.hex(),
                    "code_version": code_version,
                    "batches": sorted(
                        [b.source_system, b.stream, b.batch_id, b.digest] for b in given if b.batch_id in new
                    ),
                },
            )
        ],
    )
    return Publication(release_id, True, published_at, root, tuple(tables))


def _unchanged(connection: Connection, release_id: int) -> Publication:
    row = connection.execute(select(releases).where(releases.c.id == release_id)).one()
    return Publication(release_id, False, row.published_at, row.merkle_root)


def _analyze(database: Database, tables: list[PublishedTable]) -> None:
    """Let the planner know tables that changed a lot; autovacuum would, but readers come at once.

    A small sample (300 rows for each unit of the target) is enough for them until autovacuum takes its larger one.
    """
    with database.begin() as connection:
        connection.execute(text("SET LOCAL default_statistics_target = 20"))
        for table in tables:
            if table.inserted_count + table.closed_count > table.seal.row_count / 10:
                connection.execute(text(f"ANALYZE {history.history_table(table.seal.table)}"))
