"""Orders as PostgreSQL itself writes them: any numbers in, JSON documents out, one statement and one round trip.

The document has the fields of `models.Order`, in their JSON forms, so nothing has to be parsed, validated and written again on
the way to the client. A test holds it equal to the model.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel
from sqlalchemy import Connection

from oms_core.api import models
from oms_core.store.errors import AmbiguousError, NotReleasedError
from oms_core.store.pipelined import together
from oms_core.store.released import MOST_CANDIDATES, ORDER

# Part of an order -> (its released table, its fields, its order).
_PARTS: Mapping[str, tuple[str, type[BaseModel], str]] = {
    "lines": ("fct_order_lines", models.OrderLine, "line_number, order_line_id"),
    "events": ("fct_order_events", models.OrderEvent, "occurred_at, event_id"),
    "shipments": ("fct_shipments", models.Shipment, "shipped_at, shipment_id"),
    "payments": ("fct_payments", models.Payment, "paid_at, payment_id"),
    "refunds": ("fct_refunds", models.Refund, "refunded_at, refund_id"),
    "returns": ("fct_returns", models.Return, "returned_at, return_id"),
}
MOST_LIVE_EVENTS = 20
_PROVENANCE = "order_attribute_provenance"
_RECIPIENT = "fct_order_addresses"
_TABLES = (
    "fct_orders", "order_numbers", "order_xref", _PROVENANCE, _RECIPIENT, *(table for table, _, _ in _PARTS.values()),
)  # fmt: skip
# Which of these tables the reader sees, and with which columns.
COLUMNS = """
SELECT c.relname::text, array_agg(a.attname::text ORDER BY a.attnum) FROM pg_class AS c
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE pg_table_is_visible(c.oid) AND c.relname = ANY(%(tables)s::text[]) GROUP BY c.relname"""
Columns = tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class Document:
    """One order.

    Attributes:
        json: the whole document, as `models.Order` has it.
        release_id: the release that was read.
        seal: the row hashes of all rows shown, where the order is now, and what else the document says of them but the
            release: the same for as long as the order is the same.
    """

    json: str
    release_id: int
    seal: str


def columns(rows: Collection[tuple[str, list[str]]]) -> Columns:
    """What `COLUMNS` answered, in a form that `statement` keeps its answer under."""
    return tuple(sorted((table, tuple(names)) for table, names in rows))


def parameters(numbers: Collection[str], *, explain: bool = False) -> dict[str, Any]:
    """Values of the statement."""
    return {"numbers": list(numbers), "explain": explain}


def tables() -> dict[str, Any]:
    """Values of `COLUMNS`."""
    return {"tables": list(_TABLES)}


def read(number: str, row: tuple[Any, ...]) -> Document:
    """The document in one row of the answer.

    Raises:
        NotReleasedError: the number leads nowhere.
        AmbiguousError: it leads to several orders; the error carries their ids.
    """
    _, release_id, ids, body, seal = row
    if not ids:
        raise NotReleasedError(f"no order in release {release_id} has the number {number!r}")
    if len(ids) > 1:
        raise AmbiguousError("order", number, tuple(ids))
    return Document(body, release_id, seal)


def read_documents(
    connection: Connection, numbers: Collection[str], *, explain: bool = False
) -> tuple[int | None, dict[str, Document | NotReleasedError | AmbiguousError]]:
    """Read orders in a transaction that stands already, such as one of an earlier release.

    Args:
        connection: of `Database.read`.
        numbers: golden ids, or numbers as any system writes them.
        explain: with the provenance of each value.

    Returns:
        The release that was read, and for each number its document or why there is none.
    """
    (seen,) = together(connection, [(COLUMNS, tables())])
    shown = columns([(table, names) for table, names in seen.rows])
    asked = list(dict.fromkeys(numbers))
    (found,) = together(connection, [(statement(shown), parameters(asked, explain=explain))])
    outcomes: dict[str, Document | NotReleasedError | AmbiguousError] = {}
    for number, row in zip(asked, found.rows, strict=True):
        try:
            outcomes[number] = read(number, row)
        except (NotReleasedError, AmbiguousError) as error:
            outcomes[number] = error
    return found.rows[0][1], outcomes


@cache
def statement(shown: Columns) -> str:
    """The statement over the released tables that there are: `(place, release, ids, document, seal)` for each number.

    Raises:
        NotReleasedError: there are no orders yet.
    """
    known = dict(shown)
    if "fct_orders" not in known:
        raise NotReleasedError("nothing was released yet: run `orderhub run` first")
    ways = " UNION ALL ".join(
        f"SELECT w.order_id AS id, {rank} AS rank FROM {table} AS w WHERE {_of('w', expression)} = n.number"
        + (" AND w.valid_to IS NULL" if table.endswith("_xref") else "")
        for rank, (_, table, expression) in enumerate(ORDER.ways)
        if table in known
    )
    names = ", ".join(f"'{found_by}'" for found_by, _, _ in ORDER.ways)
    record_ids = (
        "ARRAY(SELECT x.record_id FROM order_xref AS x WHERE x.order_id = o.order_id AND x.valid_to IS NULL "
        "ORDER BY x.record_id)"
        if "order_xref" in known
        else "'{}'::text[]"
    )
    joins, fields, hashes = [], ["NULL::json AS recipient"], []
    if _RECIPIENT in known:
        listed = ", ".join(
            _field(name, kind, known[_RECIPIENT], "a") for name, kind in _annotations(models.Recipient)
        )
        joins.append(f"LEFT JOIN {_RECIPIENT} AS a ON a.order_id = o.order_id")
        fields = [
            f"CASE WHEN a.order_id IS NOT NULL THEN (SELECT row_to_json(s) FROM (SELECT {listed}) AS s) END AS recipient"
        ]
        hashes.append("a.row_hash")
    for part, (table, model, order) in _PARTS.items():
        if table not in known:
            fields.append(f"'[]'::json AS {part}")
            continue
        present = [name for name in order.split(", ") if name in known[table]]
        listed = ", ".join(_field(name, kind, known[table]) for name, kind in _annotations(model))
        joins.append(
            f"LEFT JOIN LATERAL (SELECT coalesce(json_agg(r.shown), '[]'::json) AS documents, string_agg(r.row_hash, ',') AS hashes "
            f"FROM (SELECT t.row_hash, (SELECT row_to_json(s) FROM (SELECT {listed}) AS s) AS shown FROM {table} AS t "
            f"WHERE t.order_id = o.order_id ORDER BY {', '.join(f't.{name}' for name in present)}) AS r) AS {part} ON true"
        )
        fields.append(f"{part}.documents AS {part}")
        hashes.append(f"{part}.hashes")
    provenance = "NULL::json"
    sealed = "NULL::text"
    if _PROVENANCE in known:
        listed = ", ".join(
            _field(name, kind, known[_PROVENANCE]) for name, kind in _annotations(models.Origin)
        )
        order = "t.attribute, t.source_system, t.stream, t.record_key"
        provenance = (
            f"CASE WHEN %(explain)s THEN (SELECT coalesce(json_agg(r.shown), '[]'::json) FROM (SELECT (SELECT row_to_json(s) "
            f"FROM (SELECT {listed}) AS s) AS shown FROM {_PROVENANCE} AS t WHERE t.order_id = o.order_id ORDER BY {order}) AS r) END"
        )
        sealed = (
            f"CASE WHEN %(explain)s THEN (SELECT string_agg(t.row_hash, ',' ORDER BY {order}) FROM {_PROVENANCE} AS t "
            "WHERE t.order_id = o.order_id) END"
        )
    own = ", ".join(
        _field(name, kind, known["fct_orders"], "o") for name, kind in _annotations(models.OrderAttributes)
    )
    told = ", ".join(
        _field(name, kind, models.LiveEvent.model_fields) for name, kind in _annotations(models.LiveEvent)
    )
    now = ", ".join(
        _field(name, kind, models.Live.model_fields, "f")
        for name, kind in _annotations(models.Live)
        if name != "events"
    )
    kept = ", ".join(
        _field(name, kind, models.Reserved.model_fields) for name, kind in _annotations(models.Reserved)
    )
    references = "t.order_reference = o.order_id"
    if "order_numbers" in known and "order_number" in known["fct_orders"]:
        references = (
            "t.order_reference IN (o.order_id, o.order_number) AND NOT EXISTS (SELECT FROM order_numbers AS m "
            "WHERE m.order_number = t.order_reference AND m.order_id <> o.order_id)"
        )
    about = "newest.id AS release_id, found.way AS found_by, about.record_ids AS record_ids"
    return f"""
WITH newest AS (SELECT coalesce(nullif(current_setting('orderhub.as_of', true), '')::bigint, max(id)) AS id FROM releases)
SELECT n.place, newest.id, found.ids, made.document::text, made.seal
FROM unnest(%(numbers)s::text[]) WITH ORDINALITY AS n (number, place) CROSS JOIN newest
LEFT JOIN LATERAL (
    WITH RECURSIVE chain (id, steps) AS (
        SELECT n.number, 0 UNION ALL SELECT r.redirect_to, chain.steps + 1 FROM chain
        JOIN golden_id_redirects AS r ON r.entity = 'order' AND r.golden_id = chain.id
        WHERE r.redirect_to IS NOT NULL AND chain.steps < 100
    ), by_id AS MATERIALIZED (
        SELECT chain.id, CASE WHEN chain.steps = 0 THEN 'id' ELSE 'redirect' END AS way FROM chain
        WHERE EXISTS (SELECT FROM fct_orders AS o WHERE o.order_id = chain.id) ORDER BY chain.steps LIMIT 1
    ), by_number AS (
        SELECT ways.id, (ARRAY[{names}])[1 + min(ways.rank)] AS way FROM ({ways}) AS ways
        WHERE NOT EXISTS (SELECT FROM by_id) AND EXISTS (SELECT FROM fct_orders AS o WHERE o.order_id = ways.id)
        GROUP BY ways.id ORDER BY ways.id LIMIT {MOST_CANDIDATES}
    )
    SELECT array_agg(each.id ORDER BY each.id) AS ids, min(each.way) AS way
    FROM (SELECT id, way FROM by_id UNION ALL SELECT id, way FROM by_number) AS each
) AS found ON true
LEFT JOIN LATERAL (
    SELECT row_to_json(whole) AS document, concat_ws('|', whole_hash, whole.found_by, whole.record_ids::text, coalesce(whole.live::text, ''), coalesce(whole.reserved::text, ''), {", ".join(f"coalesce({item}, '')" for item in hashes) or "''"}, {sealed}) AS seal
    FROM fct_orders AS o {" ".join(joins)}
    CROSS JOIN LATERAL (SELECT {record_ids} AS record_ids) AS about
    LEFT JOIN LATERAL (
        SELECT row_to_json(s) AS shown FROM (
            SELECT {now}, (
                SELECT coalesce(json_agg(r), '[]') FROM (
                    SELECT {told} FROM order_flow_events AS t WHERE t.order_id = f.order_id
                    ORDER BY t.occurred_at DESC, t.event_id DESC LIMIT {MOST_LIVE_EVENTS}
                ) AS r
            ) AS events FROM order_flows AS f WHERE f.order_id = o.order_id
            AND coalesce(current_setting('orderhub.as_of', true), '') = ''
        ) AS s LIMIT 1 -- so that it is made once, for the document and for the seal
    ) AS live ON true
    LEFT JOIN LATERAL (
        SELECT coalesce(json_agg(r), '[]') AS shown FROM (
            SELECT {kept} FROM order_reservations AS t WHERE {references}
            ORDER BY t.reservation_id, t.line_number, t.location_id, t.lot_number, t.arrives_on
        ) AS r HAVING coalesce(current_setting('orderhub.as_of', true), '') = '' LIMIT 1 -- made once, too
    ) AS reserved ON true
    CROSS JOIN LATERAL (SELECT {own}, {about}, {", ".join(fields)}, live.shown AS live, reserved.shown AS reserved, {provenance} AS provenance) AS whole
    CROSS JOIN LATERAL (SELECT o.row_hash AS whole_hash) AS hashed
    WHERE o.order_id = found.ids[1] AND cardinality(found.ids) = 1
) AS made ON true
ORDER BY n.place"""


def _of(table: str, expression: str) -> str:
    """An expression over a table's column, with the column qualified."""
    return (
        expression.replace("record_id", f"{table}.record_id")
        if "(" in expression
        else f"{table}.{expression}"
    )


def _annotations(model: type[BaseModel]) -> list[tuple[str, Any]]:
    return [(name, field.annotation) for name, field in model.model_fields.items()]


def _field(name: str, annotation: Any, present: Collection[str], table: str = "t") -> str:
    """A column in its JSON form: amounts as text, instants in UTC, lists as they stand; null where nothing was released."""
    if name not in present:
        return f"NULL::text AS {name}"
    kinds = {annotation, *get_args(annotation)}
    column = f"{table}.{name}"
    if datetime in kinds:
        return f"(replace(({column} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z') AS {name}"  # readers have ISO dates
    for kind, form in (
        (Decimal, "text"),
        (bool, "boolean"),
        (int, "bigint"),
        (date, "date"),
        (models.TextList, "json"),
    ):
        if kind in kinds:
            return f"{column}::{form} AS {name}"
    return f"{column}::text AS {name}"
