"""Which golden id a source key leads to, now or at any instant since the store began, and where retired ids lead."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from oms_core.store.tables import ENTITIES


class AmbiguousKeyError(Exception):
    """A source key that two streams of one system use for different things; the message lists what it may mean."""


@dataclass(frozen=True)
class Link:
    """A record's link to a golden id, in force from `valid_from` until before `valid_to` (aware UTC; None: still)."""

    record_id: str
    golden_id: str
    match_rule: str
    valid_from: datetime
    valid_to: datetime | None


def lookup(
    connection: Connection, entity: str, source_system: str, key: str, at: datetime | None = None
) -> str | None:
    """Golden id of a source record.

    Args:
        connection: of either role.
        entity: customer, sku, location or order.
        source_system: name of the system.
        key: the record's key in that system, in whichever stream, or its whole record id, "<source>:<stream>:<key>".
        at: aware instant; the id the record had then, which may have retired since (`current_id` leads on). Now by
            default.

    Returns:
        The golden id; None where no such record was linked at that instant.

    Raises:
        AmbiguousKeyError: records of several streams have that key and belong to different ids.
        ValueError: `at` has no time zone.
    """
    if at is not None and at.tzinfo is None:
        raise ValueError(f"instant {at.isoformat()} has no time zone: say which, such as +00:00")
    found = connection.execute(
        text(
            "SELECT DISTINCT golden_id, record_id FROM released.identity_links WHERE entity = :entity "
            "AND (record_id = :key AND starts_with(record_id, :source || ':') "
            "OR regexp_replace(record_id, ':[^:]*:', ':') = :source || ':' || :key) "
            "AND CASE WHEN CAST(:at AS timestamptz) IS NULL THEN valid_to IS NULL "
            "ELSE valid_from <= :at AND coalesce(valid_to, 'infinity') > :at END ORDER BY record_id"
        ),
        {"entity": entity, "source": source_system, "key": key, "at": at},
    ).all()
    ids = sorted({row.golden_id for row in found})
    if len(ids) > 1:
        listed = ", ".join(f"{row.record_id} is {row.golden_id}" for row in found)
        raise AmbiguousKeyError(
            f"key {key!r} of {source_system} means {len(ids)} {entity} ids: {listed}. Ask by record id."
        )
    return ids[0] if ids else None


def links(connection: Connection, entity: str, record_id: str) -> list[Link]:
    """All links a record ever had, oldest first; their intervals do not overlap."""
    found = connection.execute(
        text(
            "SELECT record_id, golden_id, match_rule, valid_from, valid_to FROM released.identity_links "
            "WHERE entity = :entity AND record_id = :record ORDER BY valid_from"
        ),
        {"entity": entity, "record": record_id},
    )
    return [Link(**row) for row in found.mappings()]


def current_id(connection: Connection, entity: str, golden_id: str) -> str | None:
    """The id in force that a golden id leads to: itself or, retired, the end of its redirects.

    None where the id was never born, or where its redirects end at one that retired without an heir.
    """
    found = connection.execute(
        text(
            "WITH RECURSIVE chain (id) AS (SELECT CAST(:id AS text) UNION "
            "SELECT r.redirect_to FROM chain JOIN released.golden_id_redirects AS r "
            "ON r.entity = :entity AND r.golden_id = chain.id WHERE r.redirect_to IS NOT NULL) "
            "SELECT chain.id FROM chain WHERE EXISTS (SELECT FROM released.identity_links AS l "
            "WHERE l.entity = :entity AND l.golden_id = chain.id AND l.valid_to IS NULL)"
        ),
        {"id": golden_id, "entity": entity},
    )
    return found.scalar_one_or_none()


@dataclass(frozen=True)
class Found:
    """Golden id of a record at some instant, and the id in force that it leads to now; None: it retired without an heir."""

    entity: str
    golden_id: str
    current_id: str | None


def find(
    connection: Connection, record: str, at: datetime | None = None, entity: str | None = None
) -> list[Found]:
    """Golden ids of a source record whose entity need not be known; a record may stand for several entities.

    Args:
        connection: of either role.
        record: record id, "<source>:<stream>:<key>", or "<source>:<key>".
        at: aware instant; now by default.
        entity: only this one.

    Raises:
        AmbiguousKeyError, ValueError: see `lookup`.
    """
    source, _, key = record.partition(":")
    found = []
    for kind in ENTITIES if entity is None else (entity,):
        golden_id = lookup(connection, kind, source, record, at) or lookup(connection, kind, source, key, at)
        if golden_id is not None:
            found.append(Found(kind, golden_id, current_id(connection, kind, golden_id)))
    return found
