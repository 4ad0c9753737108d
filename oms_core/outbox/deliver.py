"""Bring what releases changed to whoever follows: CloudEvents, at least once, in order.

The follower's cursor moves after its answer, in the same transaction that holds its row: two deliveries to one follower take
turns, and a killed one repeats at most one batch. Events keep their ids, so a follower can tell a repetition.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, select, text, update
from sqlalchemy.dialects.postgresql import insert

from oms_core.outbox.target import DeliveryError, Event, Target
from oms_core.outbox.webhook import Webhook
from oms_core.release.feed import read_changes
from oms_core.store import outbox
from oms_core.store.postgres import Database
from oms_core.store.tables import feed_followers

Say = Callable[[str], None]
_OF_OMS = "oms:"  # begins cursors of the OMS feed
Feed = Literal["releases", "oms"]


@dataclass(frozen=True)
class Delivered:
    """How many changes a follower took, and where it stands since."""

    changes: int
    cursor: str | None


def deliver(
    database: Database,
    name: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    settings: Mapping[str, str] | None = None,
    feed: Feed = "releases",
    batch: int = 100,
    say: Say = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Send a follower every change it does not have yet.

    Args:
        database: the operational store.
        name: of the follower; where it stands is kept under it.
        url: `https://…` for a webhook, `tls://host:4222/prefix` for NATS JetStream, `kafka://host:9092/topic`; `http://` and
            `nats://` on loopback.
        headers: sent along, such as an authorisation; not kept.
        settings: of librdkafka; for NATS `credentials`, the path of a .creds file; not kept.
        feed: what is followed: changes of releases, or what happens in the OMS; a follower follows one.
        batch: events per request, 1 to 1000.
        say: told after each batch.
        pause: waits between tries.

    Raises:
        DeliveryError: the follower answers with an error, or not at all. What it took stays taken.
    """
    count = 0
    cursor: str | None
    with closing(_target(url, headers or {}, settings or {}, pause)) as target:
        with database.begin() as connection:
            known = insert(feed_followers).values(name=name, url=url)
            connection.execute(
                known.on_conflict_do_update(index_elements=["name"], set_={"url": known.excluded.url})
            )
        while True:
            with database.begin() as connection:
                held = select(feed_followers.c.cursor).where(feed_followers.c.name == name).with_for_update()
                cursor = connection.execute(held).scalar_one()
                events = _read(connection, feed, cursor, batch)
                if not events:
                    return Delivered(count, cursor)
                target.send([event for _, event in events])
                cursor = events[-1][0]
                connection.execute(
                    update(feed_followers)
                    .where(feed_followers.c.name == name)
                    .values(
                        cursor=cursor,
                        delivered_count=feed_followers.c.delivered_count + len(events),
                        delivered_at=text("clock_timestamp()"),
                    )
                )
            count += len(events)
            say(f"{name} took {count:,} events, up to {events[-1][1]['id']}")


def _read(connection: Connection, feed: Feed, cursor: str | None, limit: int) -> list[tuple[str, Event]]:
    """The events that follow a cursor, each with its own.

    Raises:
        DeliveryError: the follower followed another feed until now.
    """
    is_of_oms = cursor is not None and cursor.startswith(_OF_OMS)
    if cursor is not None and is_of_oms != (feed == "oms"):
        raise DeliveryError("this follower follows another feed: give the second one a name of its own")
    if feed == "releases":
        changes = read_changes(connection, cursor, limit=limit)
        return [(change.cursor, change.cloud_event()) for change in changes]
    after = int((cursor or f"{_OF_OMS}0").removeprefix(_OF_OMS))
    return [
        (f"{_OF_OMS}{told.seq}", told.cloud_event()) for told in outbox.read(connection, after, limit=limit)
    ]


def _target(
    url: str, headers: Mapping[str, str], settings: Mapping[str, str], pause: Callable[[float], None]
) -> Target:
    """What an address leads to. The clients of brokers are extras, imported where they are used."""
    scheme = url.partition(":")[0]
    token = headers.get("Authorization", "").removeprefix("Bearer ") or None
    try:
        if scheme in ("nats", "tls"):
            from oms_core.outbox.jetstream import JetStream

            return JetStream(url, token=token, credentials=settings.get("credentials"))
        if scheme == "kafka":
            from oms_core.outbox.kafka import Kafka

            return Kafka(url, settings)
    except ImportError as error:
        extra = "kafka" if scheme == "kafka" else "nats"
        raise DeliveryError(
            f"{url} needs the client of its broker: pip install 'orderhub[{extra}]'"
        ) from error
    return Webhook(url, headers, pause)
