"""The transactional outbox: what is to be told to others, written in the transaction in which it happens.

An event is in the outbox exactly when its cause is committed. Readers go by `seq` and see an event only when no transaction
that began writing before its own is still open: so none can appear behind a place that was read already.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, text

from oms_core.store.pipelined import together

SOURCE = "urn:orderhub:oms"
_ADD = """
INSERT INTO orderhub.outbox_events (event_id, type, subject, occurred_at, data)
SELECT * FROM unnest(%(ids)s::text[], %(types)s::text[], %(subjects)s::text[], %(instants)s::timestamptz[], %(data)s::jsonb[])
ON CONFLICT (event_id) DO NOTHING
"""
_READ = text(
    "SELECT seq, event_id, type, subject, occurred_at, recorded_at, data FROM orderhub.outbox_events "
    "WHERE seq > :after AND written_by < txid_snapshot_xmin(txid_current_snapshot()) ORDER BY seq LIMIT :limit"
)


@dataclass(frozen=True)
class Telling:
    """Something to be told.

    Attributes:
        event_id: told again under the same id, it is told once.
        kind: CloudEvents type, such as orderhub.flow.moved.
        subject: golden id of the order it is about.
        occurred_at: when it happened, which may be before it became known.
        data: JSON values.
    """

    event_id: str
    kind: str
    subject: str
    occurred_at: datetime
    data: Mapping[str, Any]


@dataclass(frozen=True)
class Told:
    """A telling as the outbox holds it."""

    seq: int
    telling: Telling
    recorded_at: datetime

    def cloud_event(self) -> dict[str, Any]:
        """It as a CloudEvents 1.0 event in JSON; `recordedtime` is when it became known here."""
        telling = self.telling
        return {
            "specversion": "1.0",
            "id": telling.event_id,
            "source": SOURCE,
            "type": telling.kind,
            "subject": telling.subject,
            "time": _utc(telling.occurred_at),
            "recordedtime": _utc(self.recorded_at),
            "datacontenttype": "application/json",
            "data": dict(telling.data),
        }


def append(connection: Connection, tellings: Sequence[Telling]) -> int:
    """Put events into the outbox; gives how many were not there yet."""
    if not tellings:
        return 0
    (done,) = together(connection, [adding(tellings)])
    return done.count


def adding(tellings: Sequence[Telling]) -> tuple[str, dict[str, Any]]:
    """The statement that puts events into the outbox, to be sent with others; see `together`."""
    return _ADD, {
        "ids": [item.event_id for item in tellings],
        "types": [item.kind for item in tellings],
        "subjects": [item.subject for item in tellings],
        "instants": [item.occurred_at for item in tellings],
        "data": [json.dumps(item.data, ensure_ascii=False) for item in tellings],
    }


def read(connection: Connection, after: int = 0, *, limit: int = 100) -> list[Told]:
    """Read events after a place in the outbox, in order; fewer than `limit` means there are no more for now."""
    rows = connection.execute(_READ, {"after": after, "limit": limit})
    return [
        Told(
            row.seq, Telling(row.event_id, row.type, row.subject, row.occurred_at, row.data), row.recorded_at
        )
        for row in rows
    ]


def _utc(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")
