"""Find rows of the released tables by whatever number somebody has: golden ids, redirects, numbers, source keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from oms_core.store.errors import AmbiguousError, NotReleasedError

# record_id is "<source>:<stream>:<source_key>"; a source key may hold colons itself. Indexed as written here.
SOURCE_KEY = "substring(record_id, '^[^:]*:[^:]*:(.*)$')"
_MOST_CANDIDATES = 20


@dataclass(frozen=True)
class Found:
    """What a number led to.

    Attributes:
        golden_id: id of the row in the released table.
        found_by: "id", "redirect", or the column the number stands in, such as "order_number" or "record_id".
    """

    golden_id: str
    found_by: str


@dataclass(frozen=True)
class _Entity:
    """Where an entity's rows stand, and which tables and columns hold numbers that lead to them."""

    name: str
    table: str
    ways: tuple[tuple[str, str, str], ...]  # (found_by, table, expression)


_CURRENT = " AND valid_to IS NULL"
ORDER = _Entity(
    "order",
    "fct_orders",
    (
        ("order_number", "fct_orders", "order_number"),
        ("order_number", "order_numbers", "order_number"),
        ("record_id", "order_xref", "record_id"),
        ("source_key", "order_xref", SOURCE_KEY),
    ),
)
CUSTOMER = _Entity(
    "customer",
    "dim_customers",
    (("record_id", "customer_xref", "record_id"), ("source_key", "customer_xref", SOURCE_KEY)),
)
SKU = _Entity(
    "sku",
    "dim_skus",
    (
        ("sku_code", "dim_skus", "sku_code"),
        ("gtin14", "dim_skus", "gtin14"),
        ("record_id", "sku_xref", "record_id"),
        ("source_key", "sku_xref", SOURCE_KEY),
    ),
)


def released_names(connection: Connection) -> frozenset[str]:
    """Names of the tables the release can show."""
    rows = connection.execute(text("SELECT viewname FROM pg_views WHERE schemaname = current_schema()"))
    return frozenset(rows.scalars().all())


def shown_release(connection: Connection) -> int | None:
    """Id of the release this transaction reads; None before the first."""
    found: int | None = connection.execute(
        text(
            "SELECT coalesce(nullif(current_setting('orderhub.as_of', true), '')::bigint, max(id)) FROM releases"
        )
    ).scalar()
    return found


def find(connection: Connection, entity: _Entity, number: str) -> Found:
    """Find the row that a number leads to, in the release the transaction reads.

    A golden id leads to its row or, retired, to the one that took over. Any other number may lead to several rows, since
    systems reuse numbers: then nothing is guessed.

    Args:
        connection: from `Database.read`.
        entity: `ORDER`, `CUSTOMER` or `SKU`.
        number: golden id, number, record id or source key, exactly as some system writes it.

    Raises:
        NotReleasedError: it leads nowhere.
        AmbiguousError: it leads to several rows; the error carries their ids.
    """
    names = released_names(connection)
    if entity.table not in names:
        raise NotReleasedError("nothing was released yet: run `orderhub run` first")
    key = f"{entity.name}_id"
    current = _redirected(connection, entity, key, number)
    if current is not None:
        return current
    ways = " UNION ALL ".join(
        f"SELECT {key} AS id, '{found_by}' AS found_by, {rank} AS rank FROM {table} "
        f"WHERE {expression} = :number{_CURRENT if table.endswith('_xref') else ''}"
        for rank, (found_by, table, expression) in enumerate(entity.ways)
        if table in names
    )
    rows = connection.execute(
        text(
            f"SELECT ways.id, min(found_by) FILTER (WHERE rank = best) FROM (SELECT *, min(rank) OVER (PARTITION BY id) "
            f"AS best FROM ({ways}) AS every) AS ways JOIN {entity.table} AS shown ON shown.{key} = ways.id "
            "GROUP BY ways.id ORDER BY ways.id LIMIT :limit"
        ),
        {"number": number, "limit": _MOST_CANDIDATES},
    ).all()
    if not rows:
        release = shown_release(connection)
        raise NotReleasedError(f"no {entity.name} in release {release} has the number {number!r}")
    if len(rows) > 1:
        raise AmbiguousError(entity.name, number, tuple(str(row[0]) for row in rows))
    return Found(str(rows[0][0]), str(rows[0][1]))


def _redirected(connection: Connection, entity: _Entity, key: str, number: str) -> Found | None:
    """The row with this golden id or, if the id is retired and the release does not show it, with its successor's."""
    row = connection.execute(
        text(
            "WITH RECURSIVE chain (id, steps) AS (SELECT CAST(:number AS text), 0 UNION ALL "
            "SELECT r.redirect_to, chain.steps + 1 FROM chain JOIN golden_id_redirects AS r "
            "ON r.entity = :entity AND r.golden_id = chain.id WHERE r.redirect_to IS NOT NULL AND chain.steps < 100) "
            f"SELECT chain.id, chain.steps FROM chain JOIN {entity.table} AS shown ON shown.{key} = chain.id "
            "ORDER BY chain.steps LIMIT 1"
        ),
        {"number": number, "entity": entity.name},
    ).first()
    return None if row is None else Found(row.id, "redirect" if row.steps else "id")


def rows_of(
    connection: Connection,
    table: str,
    values: Mapping[str, Any],
    order_by: str,
    *,
    columns: str = "*",
    limit: int | None = None,
) -> list[dict[str, Any]]:
    """Rows of a released table whose columns equal the values; none if the table was never released."""
    if table not in released_names(connection):
        return []
    condition = " AND ".join(f"{column} = :{column}" for column in values)
    # LIMIT NULL is no limit.
    statement = f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order_by} LIMIT :limit"
    return [dict(row) for row in connection.execute(text(statement), {**values, "limit": limit}).mappings()]
