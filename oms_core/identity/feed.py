"""What happened to golden ids, in order, for services that follow it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

MOST_EVENTS = 10_000


@dataclass(frozen=True)
class Event:
    """One event; `stable.IdentityEvent` says what each kind holds. `at` is the instant of its run, aware UTC."""

    seq: int
    at: datetime
    entity: str
    kind: str
    golden_id: str
    record_id: str | None
    other_id: str | None
    reason: str | None


def read_events(
    connection: Connection, after: int = 0, limit: int = 1000, entity: str | None = None
) -> list[Event]:
    """Read the events that follow one, oldest first; fewer than `limit` means there are no more for now.

    A follower keeps the `seq` of the last event it has dealt with and asks for what comes after: it misses none and sees
    none twice, since identity is written by one transaction at a time. Numbers may be skipped.

    Args:
        connection: of either role.
        after: sequence number of the last event already known; 0 reads from the beginning.
        limit: events at most, 1 to `MOST_EVENTS`.
        entity: customer, sku, location or order; all by default.

    Raises:
        ValueError: the limit is out of range.
    """
    if not 1 <= limit <= MOST_EVENTS:
        raise ValueError(f"limit {limit} is not between 1 and {MOST_EVENTS:,}")
    found = connection.execute(
        text(
            "SELECT seq, at, entity, kind, golden_id, record_id, other_id, reason FROM released.identity_events "
            "WHERE seq > :after AND (CAST(:entity AS text) IS NULL OR entity = :entity) ORDER BY seq LIMIT :limit"
        ),
        {"after": after, "limit": limit, "entity": entity},
    )
    return [Event(**row) for row in found.mappings()]
