"""Bring what releases changed to whoever follows: CloudEvents by HTTP, at least once, in order.

The follower's cursor moves after its answer, in the same transaction that holds its row: two deliveries to one follower take
turns, and a killed one repeats at most one batch. Events keep their ids, so a follower can tell a repetition.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md (batched content mode)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx
from sqlalchemy import select, text, update
from sqlalchemy.dialects.postgresql import insert

from oms_core.release.feed import Change, read_changes
from oms_core.store.errors import StoreError
from oms_core.store.postgres import Database
from oms_core.store.tables import feed_followers

Say = Callable[[str], None]
_TRIES = 4
_TIMEOUT = httpx.Timeout(30, connect=10)
_TYPE = "application/cloudevents-batch+json"


class DeliveryError(StoreError):
    """A follower did not take a batch; nothing after it was sent."""


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
    batch: int = 100,
    say: Say = lambda _: None,
    pause: Callable[[float], None] = time.sleep,
) -> Delivered:
    """Send a follower every change it does not have yet.

    Args:
        database: the operational store.
        name: of the follower; where it stands is kept under it.
        url: where its batches are posted, https, or http on loopback.
        headers: sent along, such as an authorisation; not kept.
        batch: changes per request, 1 to 1000.
        say: told after each batch.
        pause: waits between tries.

    Raises:
        DeliveryError: the follower answers with an error, or not at all, after four tries. What it took stays taken.
    """
    parts = httpx.URL(url)
    if parts.scheme != "https" and parts.host not in ("127.0.0.1", "localhost", "::1"):
        raise DeliveryError(f"{url} is not https: events go in the clear to this machine only")
    with database.begin() as connection:
        known = insert(feed_followers).values(name=name, url=url)
        connection.execute(
            known.on_conflict_do_update(index_elements=["name"], set_={"url": known.excluded.url})
        )
    count = 0
    cursor: str | None
    with httpx.Client(timeout=_TIMEOUT, follow_redirects=False) as client:
        while True:
            with database.begin() as connection:
                held = select(feed_followers.c.cursor).where(feed_followers.c.name == name).with_for_update()
                cursor = connection.execute(held).scalar_one()
                changes = read_changes(connection, cursor, limit=batch)
                if not changes:
                    return Delivered(count, cursor)
                _post(client, url, headers or {}, changes, pause)
                cursor = changes[-1].cursor
                connection.execute(
                    update(feed_followers)
                    .where(feed_followers.c.name == name)
                    .values(
                        cursor=cursor,
                        delivered_count=feed_followers.c.delivered_count + len(changes),
                        delivered_at=text("clock_timestamp()"),
                    )
                )
            count += len(changes)
            say(f"{name} took {count:,} changes, up to release {changes[-1].release_id}")


def _post(
    client: httpx.Client,
    url: str,
    headers: Mapping[str, str],
    changes: Sequence[Change],
    pause: Callable[[float], None],
) -> None:
    body = json.dumps([change.cloud_event() for change in changes], ensure_ascii=False).encode()
    fault = ""
    for attempt in range(_TRIES):
        if attempt:
            pause(2.0 ** (attempt - 1))
        try:
            answer = client.post(url, content=body, headers={**headers, "Content-Type": _TYPE})
        except httpx.HTTPError as error:
            fault = f"{type(error).__name__}: {error}"
            continue
        if answer.is_success:
            return
        fault = f"HTTP {answer.status_code}"
        if answer.status_code < 500 and answer.status_code not in (408, 425, 429):
            break
    raise DeliveryError(f"{url} did not take {len(changes)} changes ({fault}): mend it, then deliver again")
