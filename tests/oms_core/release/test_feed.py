"""What releases changed, in order: none is missed, none comes twice, and a follower is served at least once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest
from sqlalchemy import text

from oms_core.outbox.deliver import deliver
from oms_core.outbox.target import DeliveryError
from oms_core.release.feed import Change, CursorError, read_changes
from oms_core.store.postgres import Database


def order(order_id: str, amount: str) -> dict[str, Any]:
    return {"order_id": order_id, "order_number": order_id, "currency": "EUR", "net_amount": Decimal(amount)}


@pytest.fixture
def three_releases(database: Database, publish_small: Callable[..., Any]) -> Database:
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2"), order("c", "3")])
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2.5"), order("d", "4")])
    publish_small(database, fct_orders=[order("a", "1"), order("b", "2.5"), order("c", "3"), order("d", "4")])
    return database


def changes(database: Database, after: str | None = None, **options: Any) -> list[Change]:
    with database.begin() as connection:
        return read_changes(connection, after, **options)


def told(found: list[Change]) -> list[tuple[int, str, str]]:
    return [(change.release_id, change.golden_id, change.kind) for change in found]


ORDERS = [
    (1, "a", "created"), (1, "b", "created"), (1, "c", "created"),
    (2, "b", "updated"), (2, "c", "deleted"), (2, "d", "created"),
    (3, "c", "created"),
]  # fmt: skip


def test_changes_come_in_the_order_of_releases(three_releases: Database) -> None:
    assert told(changes(three_releases, entities=["order"])) == ORDERS


@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_whoever_goes_on_from_a_cursor_misses_none_and_sees_none_twice(
    three_releases: Database, size: int
) -> None:
    whole, cursor = [], None
    while page := changes(three_releases, cursor, limit=size):
        whole += page
        cursor = page[-1].cursor
    assert whole == changes(three_releases, limit=1000)
    assert [entry for entry in told(whole) if entry in ORDERS] == ORDERS


def test_a_cursor_of_another_feed_is_refused(three_releases: Database) -> None:
    for cursor in ("", "x", "WzEsIm1vb2QiLCJhIl0", "bnVsbA"):
        with pytest.raises(CursorError, match="no cursor of this feed"):
            changes(three_releases, cursor)


def test_a_change_is_a_cloud_event(three_releases: Database) -> None:
    event = changes(three_releases, entities=["order"])[3].cloud_event()
    assert (event["specversion"], event["id"], event["type"]) == (
        "1.0",
        "2/order/b",
        "orderhub.order.updated",
    )
    assert event["data"]["order_id"] == "b" and len(event["data"]["row_hash"]) == 64


class Follower(HTTPServer):
    """Takes batches, and answers as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[dict[str, Any]]] = []
        self.answers: list[int] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Follower)
        assert self.headers["Content-Type"] == "application/cloudevents-batch+json"
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        status = server.answers.pop(0) if server.answers else 204
        if status < 300:
            server.batches.append(body)
        self.send_response(status)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def follower() -> Iterator[Follower]:
    server = Follower()
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_follower_gets_everything_once_and_then_what_is_new(
    three_releases: Database, follower: Follower, publish_small: Callable[..., Any]
) -> None:
    whole = [change.cloud_event() for change in changes(three_releases, limit=1000)]
    done = deliver(three_releases, "oms", follower.url, batch=3)
    assert [event for batch in follower.batches for event in batch] == whole
    assert done.changes == len(whole) and max(map(len, follower.batches)) == 3
    assert deliver(three_releases, "oms", follower.url).changes == 0
    publish_small(three_releases, fct_orders=[order("a", "9")])
    deliver(three_releases, "oms", follower.url)
    assert follower.batches[-1][0]["id"] == "4/order/a"


def test_a_follower_that_stumbles_is_tried_again(three_releases: Database, follower: Follower) -> None:
    follower.answers = [503, 429]
    waits: list[float] = []
    deliver(three_releases, "oms", follower.url, pause=waits.append)
    assert waits == [1, 2] and len(follower.batches) == 1


def test_what_a_follower_refuses_stays_undelivered(three_releases: Database, follower: Follower) -> None:
    follower.answers = [204, 400]
    with pytest.raises(DeliveryError, match="HTTP 400"):
        deliver(three_releases, "oms", follower.url, batch=3)
    with three_releases.begin() as connection:
        assert connection.execute(text("SELECT delivered_count FROM orderhub.feed_followers")).scalar() == 3
    before = len(follower.batches)
    deliver(three_releases, "oms", follower.url, batch=3)
    assert follower.batches[before][0]["id"] != follower.batches[0][0]["id"]


def test_events_do_not_leave_in_the_clear(three_releases: Database) -> None:
    with pytest.raises(DeliveryError, match="not https"):
        deliver(three_releases, "oms", "http://oms.example/hook")
