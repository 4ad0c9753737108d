"""Erase a person from the operational store: released history, what identity remembers, the key of the person.

Released rows keep their hashes: a personal value makes room for its commitment, and with the key gone nobody can tell by
trying what it was of. Amounts, dates and links are not touched. What was erased, and what the landing holds since, is
logged, so that `audit verify` knows an erasure from a forgery.

Sources: GDPR article 17; PIPL article 47.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, insert, select, text, update

from oms_core.audit import log
from oms_core.identity.stewardship import steward
from oms_core.identity.stewardship.errors import ContradictionError
from oms_core.release.history import existing_columns, history_table, quoted
from oms_core.release.persons import COMMITTED, ERASED, commitment_sql, person_sql
from oms_core.release.tables import RELEASED_TABLES, ReleasedTable
from oms_core.store.errors import StoreError
from oms_core.store.tables import (
    STATE_SCHEMA,
    erased_records,
    erasures,
    identity_records,
    identity_tasks,
    identity_values,
    release_tables,
)

_WRITTEN = ("full_name", "company_name", "email", "phone", "phone_e164", "tax_number", "street", "postcode")


# What people and systems write about orders while they are fulfilled: whose rows, their texts, their JSON.
_WRITTEN_ABOUT: Mapping[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "flow_orders": ("order_id = ANY(:ids)", (), ("facts",)),
    "flow_events": ("order_id = ANY(:ids)", ("reason",), ("data",)),
    "flow_changes": ("order_id = ANY(:ids)", ("reason",), ()),
    "outbox_events": ("subject = ANY(:ids)", (), ("data",)),
    "exceptions": ("order_id = ANY(:ids)", ("reason",), ("evidence", "suggestion")),
    "exception_history": (
        f"exception_id IN (SELECT exception_id FROM {STATE_SCHEMA}.exceptions WHERE order_id = ANY(:ids))",
        ("reason", "suggested"),
        ("evidence",),
    ),
}
WRITTEN_TABLES = tuple(_WRITTEN_ABOUT)


class ErasureRefusedError(StoreError):
    """Nothing was erased; the message says why."""


@dataclass(frozen=True)
class About:
    """All that hangs on a customer.

    Attributes:
        customer_id: golden id.
        person_ids: that id, ids that were merged into it, and ids of the customer's orders.
        records: ids of the customer's source records.
        documents: ids of the source records of the customer's orders.
        values: personal values as systems wrote them.
        own: those of them that no other customer has.
    """

    customer_id: str
    person_ids: tuple[str, ...]
    records: tuple[str, ...]
    documents: tuple[str, ...]
    values: frozenset[str]
    own: frozenset[str]


def about(connection: Connection, customer_id: str) -> About:
    """Gather what hangs on a golden customer.

    Raises:
        ErasureRefusedError: it was erased already.
    """
    done = connection.execute(
        select(erasures.c.erased_at).where(erasures.c.person_id == customer_id)
    ).scalar()
    state = {"id": customer_id}
    merged = _column(
        connection,
        "WITH RECURSIVE into_it (id) AS (SELECT CAST(:id AS text) UNION SELECT g.golden_id "
        f"FROM {STATE_SCHEMA}.golden_ids AS g JOIN into_it ON g.redirect_to = into_it.id AND g.entity = 'customer') "
        "SELECT id FROM into_it ORDER BY id",
        state,
    )
    records = _column(
        connection,
        f"SELECT record_id FROM {STATE_SCHEMA}.identity_members WHERE entity = 'customer' AND golden_id = :id "
        "AND valid_to IS NULL ORDER BY record_id",
        state,
    )
    orders = _column(
        connection,
        f"SELECT DISTINCT order_id FROM {history_table('fct_orders')} WHERE customer_id = ANY(:ids) ORDER BY order_id",
        {"ids": merged},
    )
    documents = _column(
        connection,
        f"SELECT DISTINCT record_id FROM {history_table('order_xref')} WHERE order_id = ANY(:ids) AND release_to IS NULL "
        "ORDER BY record_id",
        {"ids": orders},
    )
    fields = _column(
        connection,
        f"SELECT fields FROM {STATE_SCHEMA}.identity_values WHERE entity = 'customer' AND record_id = ANY(:ids)",
        {"ids": records},
    )
    values = {str(item[name]) for item in fields for name in _WRITTEN if item.get(name)}
    history = history_table("dim_customers")
    held = [
        name for name in existing_columns(connection, "dim_customers") if name in _personal("dim_customers")
    ]
    for name in held:
        values |= {
            value
            for value in _column(
                connection,
                f"SELECT DISTINCT {quoted(name)} FROM {history} WHERE customer_id = ANY(:ids)",
                {"ids": merged},
            )
            if value is not None and not value.startswith(ERASED)
        }
    if done is not None and not values:
        raise ErasureRefusedError(f"{customer_id} was erased on {done:%Y-%m-%d %H:%M}Z already")
    return About(
        customer_id=customer_id,
        person_ids=tuple(sorted({*merged, *orders})),
        records=tuple(records),
        documents=tuple(documents),
        values=frozenset(values),
        own=frozenset(_own(connection, values, records)),
    )


def _personal(table: str) -> tuple[str, ...]:
    return RELEASED_TABLES[table].personal


def _own(connection: Connection, values: Collection[str], records: Sequence[str]) -> list[str]:
    """E-mail addresses, telephone and tax numbers and streets that stand in no record of anybody else."""
    reaching = ("email", "phone", "phone_e164", "tax_number", "street")
    matches = " OR ".join(f"v.fields->>'{name}' = known.value" for name in reaching)
    return _column(
        connection,
        "SELECT known.value FROM unnest(CAST(:values AS text[])) AS known (value) WHERE EXISTS ("
        f"SELECT FROM {STATE_SCHEMA}.identity_values AS v WHERE v.entity = 'customer' AND v.record_id = ANY(:records) "
        f"AND ({matches})) AND NOT EXISTS (SELECT FROM {STATE_SCHEMA}.identity_values AS v "
        f"WHERE v.entity = 'customer' AND v.record_id <> ALL(:records) AND ({matches}))",
        {"values": sorted(values), "records": list(records)},
    )


def _column(connection: Connection, sql: str, values: Mapping[str, Any]) -> list[Any]:
    return list(connection.execute(text(sql), values).scalars())


def keep_together(connection: Connection, records: Sequence[str], *, by: str, reason: str) -> int:
    """Say of a person's records that they are one, since what said so is about to go. Gives the decisions made.

    Records that stewards parted stay parted.
    """
    made = 0
    for left, right in pairwise(records):
        before = steward.history(connection, "customer", left, right)
        if steward.in_force(before) is not None:
            continue
        try:
            steward.decide(
                connection,
                "customer",
                left,
                right,
                "same",
                by=by,
                reason=reason,
                seen=steward.version(before) or None,
            )
        except ContradictionError:
            continue
        made += 1
    return made


def erase_released(connection: Connection, person_ids: Sequence[str]) -> dict[str, int]:
    """Put commitments in place of personal values, in every version of every release, and destroy the keys.

    Returns:
        Row versions changed, by table.

    Raises:
        ErasureRefusedError: a row was sealed before seals held commitments; its proof would not survive.
    """
    changed = {}
    for table in RELEASED_TABLES.values():
        if _columns(connection, table):
            mine = f"{person_sql(table, 't.')} = ANY(:ids)"
            count = _erase_table(connection, table, mine, {"ids": list(person_ids)})
            if count:
                changed[table.name] = count
    connection.execute(
        text(f"DELETE FROM {STATE_SCHEMA}.person_keys WHERE person_id = ANY(:ids)"), {"ids": list(person_ids)}
    )
    return changed


def erase_superseded(connection: Connection, before: datetime, *, dry_run: bool = False) -> dict[str, int]:
    """Put commitments in place of personal values in rows that no release has shown since an instant.

    Persons keep their keys, since what is shown of them now is sealed by them, too. Rows that were sealed before seals held
    commitments stay as they are.

    Args:
        before: aware; rows count that a release published before it replaced.
        dry_run: count, and touch nothing.

    Returns:
        Row versions changed, by table.
    """
    changed = {}
    for table in RELEASED_TABLES.values():
        if not _columns(connection, table):
            continue
        old = (
            f"t.release_to IN (SELECT id FROM {STATE_SCHEMA}.releases WHERE published_at < :before) "
            "AND t.release_from = ANY(:sealed)"
        )
        values = {"before": before, "sealed": sorted(_sealed(connection, table))}
        if dry_run:
            count: int = connection.execute(
                text(
                    f"SELECT count(*) FROM {history_table(table.name)} AS t WHERE {old} AND {_holds(connection, table)}"
                ),
                values,
            ).scalar_one()
        else:
            count = _erase_table(connection, table, old, values)
        if count:
            changed[table.name] = count
    return changed


def _sealed(connection: Connection, table: ReleasedTable) -> set[int]:
    """Releases that sealed the table's personal values as commitments."""
    return {
        row.release_id
        for row in connection.execute(
            select(release_tables.c.release_id, release_tables.c.columns).where(
                release_tables.c.table_name == table.name
            )
        )
        if any(kind == COMMITTED for _, kind in row.columns)
    }


def _columns(connection: Connection, table: ReleasedTable) -> list[str]:
    """The table's personal columns that a release brought."""
    existing = existing_columns(connection, table.name)
    return [column for column in table.personal if column in existing]


def _holds(connection: Connection, table: ReleasedTable) -> str:
    """SQL for a row that still has a personal value."""
    each = (
        f"({quoted(column)} IS NOT NULL AND {quoted(column)} NOT LIKE '{ERASED}%')"
        for column in _columns(connection, table)
    )
    return f"({' OR '.join(each)})"


def _erase_table(connection: Connection, table: ReleasedTable, which: str, values: Mapping[str, Any]) -> int:
    """Put commitments into the rows `t` for which the condition `which` is true."""
    name = history_table(table.name)
    columns = _columns(connection, table)
    mine = f"{which} AND {_holds(connection, table)}"
    sealed = _sealed(connection, table)
    since = _column(connection, f"SELECT DISTINCT release_from FROM {name} AS t WHERE {mine}", values)
    if set(since) - sealed:
        raise ErasureRefusedError(
            f"{table.name} holds rows of release {min(set(since) - sealed)}, which was sealed before personal values were "
            "sealed as commitments: erasing them would break its seal. Export what you need and start a new store."
        )
    keyless = _column(
        connection,
        f"SELECT {person_sql(table, 't.')} FROM {name} AS t WHERE {mine} AND NOT EXISTS ("
        f"SELECT FROM {STATE_SCHEMA}.person_keys AS k WHERE k.person_id = {person_sql(table, 't.')}) LIMIT 1",
        values,
    )
    if keyless:
        raise ErasureRefusedError(
            f"{table.name} has personal values of {keyless[0]}, whose key is gone: `orderhub audit verify` says more"
        )
    sets = ", ".join(
        f"{quoted(column)} = '{ERASED}' || {commitment_sql(column, f't.{quoted(column)}', 'k.key')}"
        for column in columns
    )
    return connection.execute(
        text(
            f"UPDATE {name} AS t SET {sets} FROM {STATE_SCHEMA}.person_keys AS k "
            f"WHERE k.person_id = {person_sql(table, 't.')} AND {mine}"
        ),
        values,
    ).rowcount


def erase_written(connection: Connection, found: About) -> dict[str, int]:
    """Put `erased` in place of a person's values in what was written live about the person's orders.

    That is events of flows and what changed by them, what was told to others, and exceptions with their evidence. Sourcing
    decisions name a city and no address, as released orders do, and stay.

    Returns:
        Rows changed, by table.
    """
    # Of one or two signs nobody can say whom they name; letters count as whole words only.
    known = sorted(
        {v for v in found.values if len(v) > (2 if v.isascii() else 1)}, key=lambda v: (-len(v), v)
    )
    if not known:
        return {}
    pattern = re.compile(
        "|".join(rf"(?<!\w){re.escape(v)}(?!\w)" if v.isascii() else re.escape(v) for v in known),
        re.IGNORECASE,
    )
    return {
        table: count
        for table, (of_person, texts, documents) in _WRITTEN_ABOUT.items()
        if (count := _erase_texts(connection, table, of_person, texts, documents, found.person_ids, pattern))
    }


def _erase_texts(
    connection: Connection,
    table: str,
    of_person: str,
    texts: Sequence[str],
    documents: Sequence[str],
    person_ids: Sequence[str],
    pattern: re.Pattern[str],
) -> int:
    name, columns = f"{STATE_SCHEMA}.{table}", [*texts, *documents]
    rows = connection.execute(
        text(f"SELECT ctid::text AS place, {', '.join(columns)} FROM {name} WHERE {of_person}"),
        {"ids": list(person_ids)},
    ).mappings()
    changed = []
    for row in rows:
        after = {column: _without(row[column], pattern) for column in columns}
        if any(after[column] != row[column] for column in columns):
            changed.append(
                {"place": row["place"]}
                | {c: json.dumps(v, ensure_ascii=False) if c in documents else v for c, v in after.items()}
            )
    if not changed:
        return 0
    is_append_only = connection.execute(
        text(
            "SELECT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = CAST(:name AS regclass) AND tgname = 'append_only')"
        ),
        {"name": name},
    ).scalar()
    if is_append_only:
        connection.execute(text(f"ALTER TABLE {name} DISABLE TRIGGER append_only"))
    sets = ", ".join(f"{c} = CAST(:{c} AS jsonb)" if c in documents else f"{c} = :{c}" for c in columns)
    connection.execute(text(f"UPDATE {name} SET {sets} WHERE ctid = CAST(:place AS tid)"), changed)
    if is_append_only:
        connection.execute(text(f"ALTER TABLE {name} ENABLE TRIGGER append_only"))
    return len(changed)


def _without(value: Any, pattern: re.Pattern[str]) -> Any:
    """A value with every text in it rid of what the pattern finds."""
    match value:
        case str():
            return pattern.sub("erased", value)
        case list():
            return [_without(item, pattern) for item in value]
        case dict():
            return {name: _without(item, pattern) for name, item in value.items()}
    return value


def forget(connection: Connection, records: Sequence[str]) -> None:
    """Blank what identity remembers of records: the values it looked at, and what questions to stewards showed."""
    for table in (identity_values, identity_records):
        column = "fields" if table is identity_values else "identifying"
        connection.execute(
            update(table)
            .where(table.c.entity == "customer", table.c.record_id.in_(records))
            .values({column: {} if table is identity_values else None})
        )
    connection.execute(
        update(identity_tasks)
        .where(
            identity_tasks.c.entity == "customer",
            identity_tasks.c.left_record_id.in_(records) | identity_tasks.c.right_record_id.in_(records),
        )
        .values(evidence={})
    )


def begin(connection: Connection, found: About, *, by: str, reason: str, batches: Iterable[str]) -> None:
    """Log that an erasure begins, so that one that was cut short shows as such."""
    data = {"reason": reason, "batches": sorted(batches)}
    log.append(connection, [log.Happening(log.PERSON_ERASING, by, f"customer/{found.customer_id}", data)])


def finish(
    connection: Connection,
    found: About,
    *,
    by: str,
    reason: str,
    rows: Mapping[str, int],
    digests: Mapping[str, str | None],
    pages: Mapping[str, str | None],
    keys: Iterable[tuple[str, str, tuple[str, ...]]],
) -> tuple[int, int]:
    """Keep the erasure: what stays erased, and the log entry that vouches for it.

    Args:
        found: who was erased.
        by, reason: who erases, and why.
        rows: rows touched, by table or stream.
        digests: batch id -> its digest since.
        pages: name of an erased page -> SHA-256 of what lies there since, None for nothing.
        keys: (source, stream, key) of records that must stay erased.

    Returns:
        Number of the erasure, and place of the log entry.
    """
    number: int = connection.execute(
        insert(erasures)
        .values(person_id=found.customer_id, erased_by=by, reason=reason)
        .returning(erasures.c.id)
    ).scalar_one()
    listed = sorted({json.dumps([source, stream, *key]) for source, stream, key in keys})
    for record_key in listed:
        connection.execute(
            text(
                f"INSERT INTO {STATE_SCHEMA}.{erased_records.name} (record_key, erasure_id) VALUES (:key, :id) "
                "ON CONFLICT DO NOTHING"
            ),
            {"key": record_key, "id": number},
        )
    data = {
        "erasure": number,
        "reason": reason,
        "rows": dict(rows),
        "batches": sorted([batch, digest] for batch, digest in digests.items()),
        "pages": sorted([page, now or ""] for page, now in pages.items()),
    }
    places = log.append(
        connection, [log.Happening(log.PERSON_ERASED, by, f"customer/{found.customer_id}", data)]
    )
    return number, places[0]


def note_again(connection: Connection, *, by: str, pages: Mapping[str, str | None], rows: int) -> None:
    """Log that rows of erased persons came again and were erased before anything read them."""
    data = {"pages": sorted([page, now or ""] for page, now in pages.items()), "rows": rows}
    log.append(connection, [log.Happening(log.PERSON_KEPT_ERASED, by, "landing", data)])


def kept_erased(connection: Connection) -> dict[tuple[str, str], set[tuple[str, ...]]]:
    """Keys of records that stay erased, by (source, stream)."""
    found: dict[tuple[str, str], set[tuple[str, ...]]] = {}
    for row in connection.execute(select(erased_records.c.record_key)):
        source, stream, *key = json.loads(row.record_key)
        found.setdefault((source, stream), set()).add(tuple(key))
    return found
