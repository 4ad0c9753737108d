"""Notifications of sources: received, verified, kept as received, and drained by pulling just what they name.

Kept are the bytes, their SHA-256, when they came and the headers that say what they are; never a signature or a secret. A
delivery that is repeated is one delivery. Draining twice does no harm: it asks for the same records again.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from connectors.auth import Secrets
from connectors.client import Client
from connectors.declare import Source
from connectors.errors import ForgedError, MissingSecretError, StaleError
from connectors.extract import Progress, PullResult, pull_stream
from connectors.landing import Landing
from connectors.lookup import pull_keys
from connectors.tombstone import Gone, land_tombstones, note_returned
from connectors.webhook import Event, Incoming

MOST_BYTES = 1024 * 1024
_COUNTED_EVERY = 1.0  # seconds: a flood of forgeries costs one write in each

_metadata = sa.MetaData()

NOTIFICATIONS = sa.Table(
    "notifications",
    _metadata,
    sa.Column("notification_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("delivery", sa.Text, nullable=False),  # the vendor's id of it, or the SHA-256 of its bytes
    sa.Column("page_sha256", sa.Text, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("headers", sa.Text, nullable=False),  # JSON of those that say what it is
    sa.Column("events", sa.Text, nullable=False),  # JSON: what to pull for it
    sa.Column("received_at", sa.Text, nullable=False),
    sa.Column("drained_at", sa.Text),
    sa.Column("error", sa.Text),  # why it could not be drained yet
    sa.UniqueConstraint("source", "delivery"),
)
OUTCOMES = sa.Table(
    "notification_outcomes",
    _metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("outcome", sa.Text, primary_key=True),
    sa.Column("count", sa.BigInteger, nullable=False),
    sa.Column("latest_at", sa.Text, nullable=False),
)

Outcome = Literal["stored", "repeated", "ignored", "forged", "stale", "malformed", "unknown"]
# Not even a counter shall keep what anybody may write into an address.
NOBODY = "(unknown)"


@dataclass(frozen=True)
class Receipt:
    """What became of a notification; `detail` says why it was refused, `reply` is the body its sender wants to read."""

    outcome: Outcome
    detail: str = ""
    reply: str = ""


@dataclass(frozen=True)
class Tally:
    """How often something became of notifications of one source."""

    source: str
    outcome: str
    count: int
    latest_at: str


@dataclass(frozen=True)
class Waiting:
    """A notification that was not drained yet."""

    notification_id: int
    source: str
    delivery: str
    page_sha256: str
    byte_count: int
    events: list[dict[str, Any]]
    received_at: str
    error: str | None


def _open(landing: Landing) -> None:
    with landing.transaction() as connection:
        for table in _metadata.sorted_tables:
            connection.execute(sa.schema.CreateTable(table, if_not_exists=True))


class Receiver:
    """Takes notifications in: verifies, keeps, answers; pulls nothing. Safe for many threads.

    Args:
        landing: where the bytes go.
        sources: declarations by name.
        values: environment with the secrets.
    """

    def __init__(self, landing: Landing, sources: Mapping[str, Source], values: Mapping[str, str]) -> None:
        self._landing, self._sources, self._values = landing, sources, values
        self._counted: Counter[tuple[str, str]] = Counter()
        self._flushed = 0.0
        self._lock = threading.Lock()
        _open(landing)

    def receive(self, name: str, incoming: Incoming, now: datetime | None = None) -> Receipt:
        """Take one notification in; it is durable when this returns with `stored`."""
        receipt = self._receive(name, incoming, now or datetime.now(UTC))
        self._count(name if receipt.outcome != "unknown" else NOBODY, receipt.outcome)
        return receipt

    def challenge(self, name: str, incoming: Incoming) -> Receipt:
        """Answer a vendor's test of the address; nothing is kept."""
        source = self._sources.get(name)
        if source is None or source.webhook is None:
            return Receipt("unknown", f"{name[:60]!r} sends no notifications here")
        try:
            signature = source.webhook.signature
            answer = signature.challenge(incoming, _secrets(source, self._values))
        except MissingSecretError as error:
            return Receipt("unknown", str(error))
        except ForgedError as error:
            return Receipt("forged", f"{name}: {error}")
        return (
            Receipt("unknown", f"{name} tests no address")
            if answer is None
            else Receipt("ignored", "", answer)
        )

    def close(self) -> None:
        """Write down what was counted, and give the landing back."""
        with self._lock:
            self._flush()
        self._landing.close()

    def _receive(self, name: str, incoming: Incoming, now: datetime) -> Receipt:
        source = self._sources.get(name)
        if source is None or source.webhook is None:
            return Receipt("unknown", f"{name[:60]!r} sends no notifications here")
        webhook = source.webhook
        try:
            message = webhook.signature.open(incoming, _secrets(source, self._values), now)
        except MissingSecretError as error:
            return Receipt("unknown", str(error))
        except ForgedError as error:
            return Receipt("forged", f"{name}: {error}")
        except StaleError as error:
            return Receipt("stale", f"{name}: {error}")
        kept = {
            place.removeprefix("header:")
            for place in (webhook.topic, webhook.delivery)
            if place is not None and place.startswith("header:")
        } | {"content-type"}
        headers = {key: value for key, value in incoming.headers.items() if key in kept}
        try:
            events = webhook.read(message, headers.get(webhook.topic.removeprefix("header:")))
            delivery = webhook.delivery_of(message, incoming.headers)
        except ValueError as error:
            return Receipt("malformed", f"{name}: {error}")
        if not events:
            return Receipt("ignored", reply=webhook.reply)
        is_new = self._store(name, delivery, incoming.body, headers, events, now)
        return Receipt("stored" if is_new else "repeated", reply=webhook.reply)

    def _store(
        self,
        name: str,
        delivery: str | None,
        body: bytes,
        headers: Mapping[str, str],
        events: Sequence[Event],
        now: datetime,
    ) -> bool:
        """Keep a notification; False where it was here before."""
        if delivery is not None and self._is_known(name, delivery):
            return False
        digest = self._landing.archive(body)
        row = {
            "source": name,
            "delivery": delivery or hashlib.sha256(body).hexdigest(),
            "page_sha256": digest,
            "byte_count": len(body),
            "headers": json.dumps(dict(sorted(headers.items()))),
            "events": json.dumps([_event_row(event) for event in events]),
            "received_at": now.isoformat(),
        }
        try:
            with self._landing.transaction() as connection:
                connection.execute(sa.insert(NOTIFICATIONS).values(row))
        except IntegrityError:
            if delivery is None:
                # The same bytes may tell of another change: what was drained waits again, what waits tells of both.
                with self._landing.transaction() as connection:
                    connection.execute(
                        sa.update(NOTIFICATIONS)
                        .where(NOTIFICATIONS.c.source == name, NOTIFICATIONS.c.delivery == row["delivery"])
                        .values(drained_at=None, received_at=now.isoformat())
                    )
            return False
        return True

    def _is_known(self, name: str, delivery: str) -> bool:
        query = sa.select(NOTIFICATIONS.c.notification_id).filter_by(source=name, delivery=delivery)
        with self._landing.transaction() as connection:
            return connection.scalar(query) is not None

    def _count(self, name: str, outcome: str) -> None:
        with self._lock:
            self._counted[name, outcome] += 1
            if time.monotonic() - self._flushed >= _COUNTED_EVERY:
                self._flush()

    def _flush(self) -> None:
        at = datetime.now(UTC).isoformat()
        with self._landing.transaction() as connection:
            for (source, outcome), count in self._counted.items():
                named = (OUTCOMES.c.source == source) & (OUTCOMES.c.outcome == outcome)
                found = connection.execute(
                    sa.update(OUTCOMES).where(named).values(count=OUTCOMES.c.count + count, latest_at=at)
                )
                if not found.rowcount:
                    connection.execute(
                        sa.insert(OUTCOMES).values(source=source, outcome=outcome, count=count, latest_at=at)
                    )
        self._counted.clear()
        self._flushed = time.monotonic()


def _secrets(source: Source, values: Mapping[str, str]) -> dict[str, str]:
    if source.webhook is None:
        return {}
    kept = Secrets(source.name, values)
    return {name: kept.get(name) for name in source.webhook.signature.secrets}


def _event_row(event: Event) -> dict[str, Any]:
    return {
        "streams": list(event.notice.streams),
        "keys": list(event.keys),
        "is_deletion": event.notice.is_deletion,
        "merged_into": event.merged_into,
    }


def waiting(landing: Landing, source: str | None = None) -> list[Waiting]:
    """Notifications that nobody acted on yet, oldest first."""
    _open(landing)
    query = sa.select(NOTIFICATIONS).where(NOTIFICATIONS.c.drained_at.is_(None))
    if source is not None:
        query = query.where(NOTIFICATIONS.c.source == source)
    with landing.transaction() as connection:
        return [
            Waiting(
                row.notification_id,
                row.source,
                row.delivery,
                row.page_sha256,
                row.byte_count,
                json.loads(row.events),
                row.received_at,
                row.error,
            )
            for row in connection.execute(query.order_by(NOTIFICATIONS.c.notification_id))
        ]


def tallies(landing: Landing) -> list[Tally]:
    """What became of all notifications so far, those refused included."""
    _open(landing)
    query = sa.select(OUTCOMES).order_by(OUTCOMES.c.source, OUTCOMES.c.outcome)
    with landing.transaction() as connection:
        return [Tally(**row) for row in connection.execute(query).mappings()]


def drain(
    source: Source, landing: Landing, client: Client, progress: Progress | None = None
) -> list[PullResult]:
    """Pull just the records that waiting notifications name.

    A stream that cannot be asked by key is pulled from its cursor. What is told to be gone, or is not there when it is asked
    for, gets a tombstone. A notification is done when all it led to has landed; else it waits, with the reason.
    """
    if source.webhook is None:
        return []
    found = waiting(landing, source.name)
    keys: dict[str, set[str]] = {}
    told: dict[str, set[int]] = {}
    gone: list[Gone] = []
    for item in found:
        for event in item.events:
            deleted = event["is_deletion"] or event["merged_into"]
            gone += [Gone(event["streams"][0], key, "notification", event["merged_into"])
                     for key in event["keys"] if deleted]  # fmt: skip
            asked = [event["merged_into"]] if event["merged_into"] else [] if deleted else event["keys"]
            for name in event["streams"] if not event["is_deletion"] else ():
                keys.setdefault(name, set()).update(asked)
                told.setdefault(name, set()).add(item.notification_id)
    by_id = {item.notification_id: item for item in found}
    results: list[PullResult] = []
    failed: dict[int, str] = {}
    for stream in source.streams:
        if stream.name not in told:
            continue
        if stream.by_key is None or not keys[stream.name]:
            result = pull_stream(source, stream, landing, client, progress=progress)
        else:
            origins = _pages([by_id[item] for item in sorted(told[stream.name])])
            looked = pull_keys(source, stream, landing, client, keys[stream.name], origins)
            result = looked.result
            if source.notices_deletions:
                known = set(landing.values(source.name, stream.name, stream.key[0])) if looked.gone else set()
                gone += [Gone(stream.name, key, "lookup") for key in sorted(looked.gone & known)]
        results.append(result)
        if result.error is not None:
            failed |= dict.fromkeys(told[stream.name], result.error)
    results += note_returned(source, landing, results)
    if gone and source.notices_deletions:
        pages = _pages(
            [item for item in found if any(e["is_deletion"] or e["merged_into"] for e in item.events)]
        )
        buried = land_tombstones(source, landing, gone, evidence={"kind": "notification"}, pages=pages)
        if buried is not None:
            results.append(buried)
            if buried.error is not None:
                failed |= dict.fromkeys(by_id, buried.error)
    _settle(landing, found, failed)
    return results


def _pages(found: Iterable[Waiting]) -> list[tuple[str, int, str]]:
    """What was received, as pages of the batch it led to: so it is part of what the audit log seals."""
    named = {item.page_sha256: item for item in found}
    return [(digest, item.byte_count, f"POST /hooks/{item.source}") for digest, item in named.items()]


def _settle(landing: Landing, found: Sequence[Waiting], failed: Mapping[int, str]) -> None:
    now = datetime.now(UTC).isoformat()
    with landing.transaction() as connection:
        for item in found:
            # One that came again meanwhile has another time, and waits on.
            named = (NOTIFICATIONS.c.notification_id == item.notification_id) & (
                NOTIFICATIONS.c.received_at == item.received_at
            )
            error = failed.get(item.notification_id)
            connection.execute(
                sa.update(NOTIFICATIONS).where(named).values(drained_at=None if error else now, error=error)
            )
