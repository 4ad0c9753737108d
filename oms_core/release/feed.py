"""What each release changed, in order, for services that follow: the history of releases is the outbox.

A change is in the feed exactly when its release is committed, since both are the same rows. A follower keeps the cursor of the
last change it dealt with; asked again from there, the feed is the same. A golden id that was merged is followed by the
identity events (`identity/feed.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from oms_core.release.history import history_table, quoted
from oms_core.release.tables import declared
from oms_core.store.errors import StoreError
from oms_core.store.tables import STATE_SCHEMA

MOST_CHANGES = 1000
# What is followed: entity -> the released table that holds it.
FOLLOWED = {
    "order": "fct_orders",
    "customer": "dim_customers",
    "sku": "dim_skus",
    "location": "dim_locations",
}
SOURCE = "urn:orderhub:releases"


class CursorError(StoreError):
    """The cursor is none this feed gave out."""


@dataclass(frozen=True)
class Change:
    """One golden record that a release brought, changed or took away.

    Attributes:
        kind: created, updated or deleted.
        row_hash: of the row as the release shows it, hexadecimal; None when it was taken away.
        cursor: where to go on after this change.
    """

    release_id: int
    published_at: datetime
    entity: str
    golden_id: str
    kind: str
    row_hash: str | None

    @property
    def cursor(self) -> str:
        place = json.dumps([self.release_id, self.entity, self.golden_id], separators=(",", ":"))
        return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")

    def cloud_event(self) -> dict[str, Any]:
        """The change as a CloudEvents 1.0 event in JSON. Its id stays the same however often it is delivered."""
        return {
            "specversion": "1.0",
            "id": f"{self.release_id}/{self.entity}/{self.golden_id}",
            "source": SOURCE,
            "type": f"orderhub.{self.entity}.{self.kind}",
            "subject": self.golden_id,
            "time": self.published_at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "data": {
                "release_id": self.release_id,
                "entity": self.entity,
                f"{self.entity}_id": self.golden_id,
                "row_hash": self.row_hash,
            },
        }


def read_changes(
    connection: Connection, after: str | None = None, *, entities: Sequence[str] = (), limit: int = 100
) -> list[Change]:
    """Read the changes that follow a cursor, oldest first; fewer than `limit` means there are no more for now.

    Args:
        connection: of the owner.
        after: cursor of the last change dealt with; None reads from the first release.
        entities: order, customer, sku, location; all by default.
        limit: changes at most, 1 to `MOST_CHANGES`.

    Raises:
        CursorError: the cursor is none of ours.
        ValueError: the limit is out of range, or an entity is unknown.
    """
    if not 1 <= limit <= MOST_CHANGES:
        raise ValueError(f"limit {limit} is not between 1 and {MOST_CHANGES:,}")
    wanted = sorted(set(entities) or FOLLOWED)
    unknown = [entity for entity in wanted if entity not in FOLLOWED]
    if unknown:
        raise ValueError(f"nothing is known of {unknown[0]!r}: follow {', '.join(FOLLOWED)}")
    release, entity, golden_id = _place(after)
    found: list[Change] = []
    newest = connection.execute(text(f"SELECT max(id) FROM {STATE_SCHEMA}.releases")).scalar() or 0
    while len(found) < limit and release <= newest:
        for each in wanted:
            if each >= entity and len(found) < limit and _exists(connection, FOLLOWED[each]):
                past = golden_id if each == entity else ""
                found += _of_release(connection, release, each, past, limit - len(found))
        release, entity, golden_id = release + 1, "", ""
    return found


def _place(cursor: str | None) -> tuple[int, str, str]:
    if cursor is None:
        return 1, "", ""
    try:
        place = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        release, entity, golden_id = place
    except (ValueError, TypeError):
        release, entity, golden_id = None, None, None
    if (
        not isinstance(release, int)
        or not 0 < release < 2**63
        or entity not in FOLLOWED
        or not isinstance(golden_id, str)
        or "\0" in golden_id
    ):
        raise CursorError(f"{cursor!r} is no cursor of this feed: leave it out to begin at the first release")
    return release, entity, golden_id


def _exists(connection: Connection, table: str) -> bool:
    name = {"name": history_table(table)}
    return connection.execute(text("SELECT to_regclass(:name)"), name).scalar() is not None


def _of_release(connection: Connection, release: int, entity: str, past: str, limit: int) -> list[Change]:
    table = FOLLOWED[entity]
    (key,) = declared(table).key
    column, name = quoted(key), history_table(table)
    rows = connection.execute(
        text(
            "SELECT changed.id, changed.kind, changed.row_hash, r.published_at FROM ("
            f"SELECT new.{column} AS id, encode(new.row_hash, 'hex') AS row_hash, CASE WHEN EXISTS ("
            f"SELECT FROM {name} AS old WHERE old.{column} = new.{column} AND old.release_to = :release) "
            f"THEN 'updated' ELSE 'created' END AS kind FROM {name} AS new WHERE new.release_from = :release "
            f"UNION ALL SELECT old.{column}, NULL, 'deleted' FROM {name} AS old WHERE old.release_to = :release "
            f"AND NOT EXISTS (SELECT FROM {name} AS new WHERE new.{column} = old.{column} AND new.release_from = :release)"
            f") AS changed JOIN {STATE_SCHEMA}.releases AS r ON r.id = :release "
            'WHERE changed.id COLLATE "C" > :past ORDER BY changed.id COLLATE "C" LIMIT :limit'
        ),
        {"release": release, "past": past, "limit": limit},
    )
    return [Change(release, row.published_at, entity, row.id, row.kind, row.row_hash) for row in rows]
