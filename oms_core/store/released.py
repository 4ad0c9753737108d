"""Find rows of the released tables by whatever number somebody has: golden ids, redirects, numbers, source keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, text

from oms_core.store.errors import AmbiguousError, NotReleasedError

# record_id is "<source>:<stream>:<source_key>"; a source key may hold colons itself. Indexed as written here.
SOURCE_KEY = "substring(record_id, '^[^:]*:[^:]*:(.*)$')"
MOST_CANDIDATES = 20


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
class Entity:
    """Where an entity's rows stand, and which tables and columns hold numbers that lead to them.

    Attributes:
        ways: (found_by, table, expression).
        further: ways that are tried where those lead nowhere, since a code that is best believed of one row may be an odd
            one, or a recycled one, of another.
    """

    name: str
    table: str
    ways: tuple[tuple[str, str, str], ...]
    further: tuple[tuple[str, str, str], ...] = ()


ORDER = Entity(
    "order",
    "fct_orders",
    (
        ("order_number", "fct_orders", "order_number"),
        ("order_number", "order_numbers", "order_number"),
        ("record_id", "order_xref", "record_id"),
        ("source_key", "order_xref", SOURCE_KEY),
    ),
)
CUSTOMER = Entity(
    "customer",
    "dim_customers",
    (("record_id", "customer_xref", "record_id"), ("source_key", "customer_xref", SOURCE_KEY)),
)
SKU = Entity(
    "sku",
    "dim_skus",
    (
        ("sku_code", "dim_skus", "sku_code"),
        ("gtin14", "dim_skus", "gtin14"),
        ("record_id", "sku_xref", "record_id"),
        ("source_key", "sku_xref", SOURCE_KEY),
    ),
    (("sku_number", "sku_numbers", "sku_number"),),
)
LOCATION = Entity(
    "location",
    "dim_locations",
    (
        ("location_code", "dim_locations", "location_code"),
        ("gln", "dim_locations", "gln"),
        ("record_id", "location_xref", "record_id"),
        ("source_key", "location_xref", SOURCE_KEY),
    ),
    (("location_number", "location_numbers", "location_number"),),
)


class Released:
    """The released tables as one reading transaction sees them.

    Attributes:
        release_id: the release that is read; None before the first.
        tables: names of the tables and views there are.
    """

    def __init__(self, connection: Connection) -> None:
        """Look around; the connection comes from `Database.read`.

        Raises:
            NotReleasedError: the transaction was asked to read a release that does not exist.
        """
        self._connection = connection
        row = connection.execute(
            text(
                "SELECT nullif(current_setting('orderhub.as_of', true), '')::bigint, (SELECT max(id) FROM releases), "
                "array(SELECT viewname::text FROM pg_views WHERE schemaname = ANY (current_schemas(false)))"
            )
        ).one()
        asked, newest, names = tuple[int | None, int | None, list[str]](row)
        if asked is not None and not 1 <= asked <= (newest or 0):
            raise NotReleasedError(f"there is no release {asked}: the newest is {newest or 'still to come'}")
        self.release_id = asked or newest
        self.tables = frozenset(names)

    def find(self, entity: Entity, number: str) -> Found:
        """Find the row that a number leads to.

        A golden id leads to its row or, retired, to the one that took over. Any other number may lead to several rows,
        since systems reuse numbers: then nothing is guessed.

        Args:
            entity: `ORDER`, `CUSTOMER`, `SKU` or `LOCATION`.
            number: golden id, number, record id or source key, exactly as some system writes it.

        Raises:
            NotReleasedError: it leads nowhere.
            AmbiguousError: it leads to several rows; the error carries their ids.
        """
        if entity.table not in self.tables:
            raise NotReleasedError("nothing was released yet: run `orderhub run` first")
        missing = f"no {entity.name} in release {self.release_id} has the number {number!r}"
        if "\0" in number:  # PostgreSQL's text holds none
            raise NotReleasedError(missing)
        found = (
            self._by_id(entity, number)
            or self._by_number(entity, number, entity.ways)
            or self._by_number(entity, number, entity.further)
        )
        if not found:
            raise NotReleasedError(missing)
        if len(found) > 1:
            raise AmbiguousError(entity.name, number, tuple(one.golden_id for one in found))
        return found[0]

    def _by_id(self, entity: Entity, number: str) -> list[Found]:
        """The row with this golden id or, where the id is retired and not shown, with its successor's."""
        rows = self._connection.execute(
            text(
                "WITH RECURSIVE chain (id, steps) AS (SELECT CAST(:number AS text), 0 UNION ALL "
                "SELECT r.redirect_to, chain.steps + 1 FROM chain JOIN golden_id_redirects AS r "
                "ON r.entity = :entity AND r.golden_id = chain.id "
                "WHERE r.redirect_to IS NOT NULL AND chain.steps < 100) "
                f"SELECT chain.id, CASE WHEN chain.steps = 0 THEN 'id' ELSE 'redirect' END FROM chain "
                f"JOIN {entity.table} AS shown ON shown.{entity.name}_id = chain.id ORDER BY chain.steps LIMIT 1"
            ),
            {"number": number, "entity": entity.name},
        )
        return [Found(*tuple[str, str](row)) for row in rows]

    def _by_number(self, entity: Entity, number: str, tried: tuple[tuple[str, str, str], ...]) -> list[Found]:
        """All rows that the number leads to, each with the first way that led there.

        A GTIN of 8, 12 or 13 digits is one of 14 with zeros before it (GS1 General Specifications, section 3.3.2).
        """
        key = f"{entity.name}_id"
        gtin = number.zfill(14) if number.isdecimal() and len(number) in (8, 12, 13) else number
        ways = " UNION ALL ".join(
            f"SELECT {key} AS id, {rank} AS rank FROM {table} "
            f"WHERE {expression} = {':gtin' if found_by == 'gtin14' else ':number'}"
            + (" AND valid_to IS NULL" if table.endswith("_xref") else "")
            for rank, (found_by, table, expression) in enumerate(tried)
            if table in self.tables
        )
        if not ways:
            return []
        rows = self._connection.execute(
            text(
                f"SELECT ways.id, min(ways.rank) FROM ({ways}) AS ways "
                f"JOIN {entity.table} AS shown ON shown.{key} = ways.id GROUP BY ways.id ORDER BY ways.id LIMIT :limit"
            ),
            {"number": number, "gtin": gtin, "limit": MOST_CANDIDATES},
        )
        found = [tuple[str, int](row) for row in rows]
        return [Found(golden_id, tried[rank][0]) for golden_id, rank in found]

    def rows(
        self,
        table: str,
        values: Mapping[str, Any],
        order_by: str,
        *,
        columns: str = "*",
        limit: int | None = None,
    ) -> list[dict[str, Any]]:
        """Rows whose columns equal the values; none if the table was never released."""
        if table not in self.tables:
            return []
        condition = " AND ".join(f"{column} = :{column}" for column in values)
        # LIMIT NULL is no limit.
        statement = f"SELECT {columns} FROM {table} WHERE {condition} ORDER BY {order_by} LIMIT :limit"
        found = self._connection.execute(text(statement), {**values, "limit": limit})
        return [dict(row) for row in found.mappings()]

    def record_ids(self, entity: Entity, golden_id: str) -> list[str]:
        """Ids of the source records that are this row now, `<source>:<stream>:<key>`, sorted."""
        links = self.rows(f"{entity.name}_xref", {f"{entity.name}_id": golden_id}, "record_id")
        return [link["record_id"] for link in links if link["valid_to"] is None]
