"""Why a released row differs between two releases: the batch that brought other values, or what happened to an identity."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlalchemy import Connection, text

from oms_core.release.history import existing_columns, history_table
from oms_core.release.read import Difference, RowChange
from oms_core.store.postgres import Database
from oms_core.store.tables import STATE_SCHEMA

# Marts whose values come from several records, and where it is told from which.
_PROVENANCE = {
    "fct_orders": ("order_attribute_provenance", "order_id", "stream || ':' || record_key"),
    "dim_customers": ("golden_attribute_provenance", "golden_id", "record_id"),
    "dim_skus": ("golden_attribute_provenance", "golden_id", "record_id"),
    "dim_locations": ("golden_attribute_provenance", "golden_id", "record_id"),
}


def reasons(database: Database, left: int, right: int, difference: Difference) -> list[list[str]]:
    """Why each change of a difference came about.

    Args:
        database: the operational store.
        left, right: the releases that were compared, the earlier first.
        difference: what `read.diff` found between them.

    Returns:
        One list of sentences per change, in step. Empty where neither a batch nor an identity explains it: then code, rules
        or seeds changed between the two releases.
    """
    with database.begin() as connection:
        new_batches = {
            row.batch_id: f"{row.source_system} {row.stream}"
            for row in connection.execute(
                text(
                    f"SELECT batch_id, source_system, stream FROM {STATE_SCHEMA}.release_batches "
                    "WHERE release_id > :left AND release_id <= :right"
                ),
                {"left": left, "right": right},
            )
        }
        told = _provenance(connection, difference, right)
        events = _events(connection, left, right, _ids(difference.changes))
    found = []
    for change in difference.changes:
        sentences = _by_batch(change, difference.table, told, new_batches)
        for golden_id in sorted(_ids([change])):
            sentences += events.get(golden_id, [])
        found.append(list(dict.fromkeys(sentences)))
    return found


def code_changes(database: Database, left: int, right: int) -> list[str]:
    """Code versions between two releases, where they differ: what else may have changed values."""
    with database.begin() as connection:
        versions = list(
            connection.execute(
                text(
                    f"SELECT id, code_version FROM {STATE_SCHEMA}.releases WHERE id BETWEEN :left AND :right ORDER BY id"
                ),
                {"left": left, "right": right},
            )
        )
    changes = []
    for before, after in pairwise(versions):
        if before.code_version != after.code_version:
            changes.append(
                f"release {after.id} was built by {after.code_version}, the one before by {before.code_version}"
            )
    return changes


def _ids(changes: Iterable[RowChange]) -> set[str]:
    """Golden ids that a change is about: those in its key, and those it changed from or to."""
    found: set[str] = set()
    for change in changes:
        values: list[Any] = [*change.key.values()]
        for name, pair in change.columns.items():
            if name.endswith("_id"):
                values += pair
        found |= {
            value
            for value in values
            if isinstance(value, str) and value[:4] in ("ORD-", "CUS-", "SKU-", "LOC-")
        }
    return found


def _provenance(
    connection: Connection, difference: Difference, release_id: int
) -> Mapping[tuple[str, str], list[tuple[str, str, str]]]:
    """(key, attribute) -> (record, batch, rule) that told the value in a release."""
    if difference.table not in _PROVENANCE or not difference.changes:
        return {}
    table, key, record = _PROVENANCE[difference.table]
    if not existing_columns(connection, table):
        return {}
    wanted = [str(next(iter(change.key.values()))) for change in difference.changes]
    rows = connection.execute(
        text(
            f"SELECT {key} AS key, attribute, {record} AS record, batch_id, rule FROM {history_table(table)} "
            f"WHERE {key} = ANY(:wanted) AND release_from <= :release AND (release_to IS NULL OR release_to > :release)"
        ),
        {"wanted": wanted, "release": release_id},
    )
    found: dict[tuple[str, str], list[tuple[str, str, str]]] = defaultdict(list)
    for row in rows:
        found[row.key, row.attribute].append((row.record, row.batch_id, row.rule))
    return found


def _by_batch(
    change: RowChange,
    table: str,
    told: Mapping[tuple[str, str], Sequence[tuple[str, str, str]]],
    new_batches: Mapping[str, str],
) -> list[str]:
    sentences = []
    key = str(next(iter(change.key.values())))
    if table in _PROVENANCE:
        by_batch: dict[tuple[str, str, str], list[str]] = defaultdict(list)
        for attribute in change.columns:
            for record, batch_id, rule in told.get((key, attribute), ()):
                if batch_id in new_batches:
                    by_batch[record, batch_id, rule].append(attribute)
        for (record, batch_id, rule), attributes in sorted(by_batch.items()):
            shown = ", ".join(attributes[:6]) + (
                f" and {len(attributes) - 6} more" if len(attributes) > 6 else ""
            )
            sentences.append(f"{shown}: {record} in {new_batches[batch_id]} batch {batch_id} ({rule})")
    _, after = change.columns.get("_batch_id", (None, None))
    if isinstance(after, str) and after in new_batches:
        sentences.append(f"{new_batches[after]} batch {after}")
    return sentences


def _events(connection: Connection, left: int, right: int, ids: set[str]) -> dict[str, list[str]]:
    """Golden id -> what happened to it between the publication of two releases."""
    if not ids:
        return {}
    rows = connection.execute(
        text(
            f"SELECT e.kind, e.golden_id, e.record_id, e.other_id, e.reason FROM {STATE_SCHEMA}.identity_events AS e "
            f"WHERE (e.golden_id = ANY(:ids) OR e.other_id = ANY(:ids)) "
            f"AND e.at > (SELECT published_at FROM {STATE_SCHEMA}.releases WHERE id = :left) "
            f"AND e.at <= (SELECT published_at FROM {STATE_SCHEMA}.releases WHERE id = :right) ORDER BY e.seq"
        ),
        {"ids": sorted(ids), "left": left, "right": right},
    )
    found: dict[str, list[str]] = defaultdict(list)
    for row in rows:
        what = {
            "born": f"{row.golden_id} was born from {row.record_id}",
            "merged": f"{row.golden_id} was merged into {row.other_id}",
            "split": f"{row.golden_id} was split off {row.other_id}",
            "moved": f"{row.record_id} moved from {row.other_id} to {row.golden_id}",
        }.get(row.kind, f"{row.golden_id} was {row.kind}")
        sentence = what + (f" ({row.reason})" if row.reason else "")
        for golden_id in {row.golden_id, row.other_id} & ids:
            found[golden_id].append(sentence)
    return found
