"""Order events of a release as an object-centric event log (OCEL 2.0, JSON), for process mining.

Objects are orders, their lines, shipments, payments, refunds and returns, and the customers, SKUs and places they
point at; events are the counted micro-events of `fct_order_events`. No name, address or number that reaches a person
is in it: customers appear by golden id, type, country and segment.

Source: https://www.ocel-standard.org/2.0/ocel20_specification.pdf
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import IO, Any, cast

import psycopg
from sqlalchemy import Connection, text

from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database

_ROWS_AT_ONCE = 2000
_SECONDS = 600
# The standard's instant for what an object is from the beginning.
_ALWAYS = "1970-01-01T00:00:00Z"


@dataclass(frozen=True)
class ObjectType:
    """A kind of object: where its rows stand, what is told of each, and what it points at.

    Attributes:
        attributes: (column, OCEL type) told of each object.
        relations: (column that holds the other object's id, its type, qualifier).
        condition: SQL that a row must meet.
    """

    name: str
    table: str
    key: str
    attributes: tuple[tuple[str, str], ...]
    relations: tuple[tuple[str, str, str], ...] = ()
    condition: str = "true"


OBJECT_TYPES = (
    ObjectType(
        "customer",
        "dim_customers",
        "customer_id",
        (("customer_type", "string"), ("country", "string"), ("customer_segment", "string")),
    ),
    ObjectType(
        "sku",
        "dim_skus",
        "sku_id",
        (("sku_code", "string"), ("category_code", "string"), ("needs_cold_chain", "boolean")),
    ),
    ObjectType(
        "location",
        "dim_locations",
        "location_id",
        (("location_code", "string"), ("location_type", "string"), ("country", "string")),
    ),
    ObjectType(
        "order",
        "fct_orders",
        "order_id",
        (
            ("order_number", "string"),
            ("channel", "string"),
            ("order_type", "string"),
            ("order_status", "string"),
            ("currency", "string"),
            ("net_amount", "float"),
            ("promised_at", "time"),
        ),
        (("customer_id", "customer", "placed by"),),
    ),
    ObjectType(
        "order_line",
        "fct_order_lines",
        "order_line_id",
        (("qty", "float"), ("uom", "string"), ("net_amount", "float"), ("currency", "string")),
        (("order_id", "order", "part of"), ("sku_id", "sku", "of")),
        "order_id IS NOT NULL",
    ),
    ObjectType(
        "shipment",
        "fct_shipments",
        "shipment_id",
        (("carrier_code", "string"), ("service_level", "string"), ("shipment_status", "string")),
        (("order_id", "order", "ships"), ("from_location_id", "location", "from")),
        "order_id IS NOT NULL",
    ),
    ObjectType(
        "payment",
        "fct_payments",
        "payment_id",
        (("method", "string"), ("amount", "float"), ("currency", "string"), ("payment_status", "string")),
        (("order_id", "order", "pays"),),
        "order_id IS NOT NULL",
    ),
    ObjectType(
        "refund",
        "fct_refunds",
        "refund_id",
        (("amount", "float"), ("currency", "string"), ("reason", "string")),
        (("order_id", "order", "refunds"),),
        "order_id IS NOT NULL",
    ),
    ObjectType(
        "return",
        "fct_returns",
        "return_id",
        (("qty", "float"), ("uom", "string"), ("reason", "string")),
        (("order_id", "order", "returns"), ("sku_id", "sku", "of")),
        "order_id IS NOT NULL",
    ),
)
_EVENT_ATTRIBUTES = (
    ("source_system", "string"),
    ("recorded_at", "time"),
    ("biz_step", "string"),
)


@dataclass(frozen=True)
class Written:
    """What an export holds: the release, and how many objects of each type and events of each type."""

    release_id: int
    objects: Mapping[str, int]
    events: Mapping[str, int]


def write(database: Database, to: IO[str], as_of: int | None = None) -> Written:
    """Write the event log of a release; memory grows with the ids of objects, not with their values.

    Args:
        database: the operational store, read through its reading role.
        to: where the JSON goes.
        as_of: release id; None is the current release.

    Raises:
        NotReleasedError: nothing was released yet.
    """
    objects: dict[str, int] = defaultdict(int)
    events: dict[str, int] = defaultdict(int)
    with database.read(as_of, seconds=_SECONDS) as connection:
        release_id = connection.execute(text("SELECT max(id) FROM releases")).scalar()
        if release_id is None:
            raise NotReleasedError("nothing was released yet: run `orderhub run` first")
        known: dict[str, set[str]] = {}
        to.write('{"objectTypes": ')
        to.write(_json([_type(kind.name, kind.attributes) for kind in OBJECT_TYPES]))
        counted = text("SELECT DISTINCT event_type FROM fct_order_events WHERE is_counted ORDER BY 1")
        names: list[str] = [row.event_type for row in connection.execute(counted)]
        to.write(',\n"eventTypes": ')
        to.write(_json([_type(name, _EVENT_ATTRIBUTES) for name in names]))
        to.write(',\n"objects": [')
        found = (item for kind in OBJECT_TYPES for item in _objects(connection, kind, known))
        _listed(to, found, objects)
        to.write('],\n"events": [')
        _listed(to, _events(connection, known), events)
        to.write("]}\n")
    return Written(as_of or int(release_id), dict(objects), dict(events))


def _type(name: str, attributes: Sequence[tuple[str, str]]) -> dict[str, Any]:
    return {"name": name, "attributes": [{"name": column, "type": kind} for column, kind in attributes]}


def _listed(to: IO[str], items: Iterable[dict[str, Any]], counted: dict[str, int]) -> None:
    for at, item in enumerate(items):
        to.write(",\n" if at else "\n")
        to.write(_json(item))
        counted[item["type"]] += 1


def _objects(
    connection: Connection, kind: ObjectType, known: dict[str, set[str]]
) -> Iterator[dict[str, Any]]:
    columns = [kind.key, *(name for name, _ in kind.attributes), *(name for name, _, _ in kind.relations)]
    ids = known.setdefault(kind.name, set())
    for row in _rows(
        connection,
        f"SELECT {', '.join(columns)} FROM {kind.table} WHERE {kind.condition} ORDER BY {kind.key}",
    ):
        ids.add(row[kind.key])
        yield {
            "id": _object_id(kind.name, row[kind.key]),
            "type": kind.name,
            "attributes": [
                {"name": name, "time": _ALWAYS, "value": row[name]}
                for name, _ in kind.attributes
                if row[name] is not None
            ],
            "relationships": [
                {"objectId": _object_id(other, row[column]), "qualifier": qualifier}
                for column, other, qualifier in kind.relations
                if row[column] in known[other]
            ],
        }


def _events(connection: Connection, known: Mapping[str, set[str]]) -> Iterator[dict[str, Any]]:
    rows = _rows(
        connection,
        "SELECT e.event_id, e.event_type, e.occurred_at, e.order_id, e.location_id, e.source_system, e.recorded_at, "
        "e.biz_step, (SELECT array_agg(s.shipment_id ORDER BY s.shipment_id) FROM fct_shipments AS s "
        "WHERE s.order_id = e.order_id AND s.order_record_id = e.order_record_id) AS shipment_ids "
        "FROM fct_order_events AS e WHERE e.is_counted AND e.order_id IS NOT NULL AND e.occurred_at IS NOT NULL "
        "ORDER BY e.occurred_at, e.event_id",
    )
    for row in rows:
        touched = [("order", row["order_id"], "of"), ("location", row["location_id"], "at")]
        touched += [("shipment", shipment, "moves") for shipment in row["shipment_ids"] or ()]
        yield {
            "id": f"event:{row['event_id']}",
            "type": row["event_type"],
            "time": row["occurred_at"],
            "attributes": [
                {"name": name, "value": row[name]} for name, _ in _EVENT_ATTRIBUTES if row[name] is not None
            ],
            "relationships": [
                {"objectId": _object_id(kind, key), "qualifier": qualifier}
                for kind, key, qualifier in touched
                if key in known[kind]
            ],
        }


def _object_id(kind: str, key: str) -> str:
    # Keys of two kinds may be equal; ids in the log may not.
    return f"{kind}:{key}"


def _rows(connection: Connection, sql: str) -> Iterator[dict[str, Any]]:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    size = _ROWS_AT_ONCE if psycopg.capabilities.has_stream_chunked() else 1
    with driver.cursor() as cursor:
        stream = cast("Generator[tuple[Any, ...]]", cursor.stream(sql.encode(), size=size))
        with contextlib.closing(stream):
            for row in stream:
                assert cursor.description is not None
                yield {column.name: value for column, value in zip(cursor.description, row, strict=True)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, default=_plain)


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return f"{value.isoformat()}T00:00:00Z"
    if isinstance(value, Decimal):
        return float(value)  # the format knows no decimals; amounts here keep to 15 digits
    raise TypeError(f"no JSON for {type(value).__name__}")
