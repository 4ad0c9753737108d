"""CloudEvents to Kafka: binary mode, one record each, its key the golden id, so that each id's changes stay in order.

The producer is idempotent and waits for all replicas: within one delivery nothing is doubled or changes places.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md; librdkafka, idempotent producer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from confluent_kafka import KafkaException, Producer

from oms_core.outbox.target import LOOPBACK, DeliveryError, Event

_SECONDS = 30.0
_NOT_HEADERS = ("data", "datacontenttype")


class Kafka:
    """Publishes to one topic."""

    def __init__(self, url: str, settings: Mapping[str, str] | None = None) -> None:
        """Make the producer; it connects when it first sends.

        Args:
            url: `kafka://host:9092/topic`.
            settings: of librdkafka, such as `security.protocol` and what it needs.

        Raises:
            DeliveryError: there is no topic, a setting makes no sense, or events would go in the clear.
        """
        parts = urlsplit(url)
        self._topic = parts.path.strip("/")
        given = dict(settings or {})
        if not self._topic:
            raise DeliveryError(f"{url} names no topic: kafka://host:9092/topic")
        is_private = given.get("security.protocol", "").upper() in ("SSL", "SASL_SSL")
        if not is_private and parts.hostname not in LOOPBACK:
            raise DeliveryError(
                f"{url} without security.protocol SSL or SASL_SSL: events go in the clear to this machine only"
            )
        own = {
            "bootstrap.servers": parts.netloc, "enable.idempotence": True, "delivery.timeout.ms": int(_SECONDS * 1000),
        }  # fmt: skip
        try:
            self._producer = Producer({"client.id": "orderhub", "log_level": 0, **given, **own})
        except KafkaException as error:
            raise DeliveryError(f"Kafka does not accept the settings: {error}") from error

    def send(self, events: Sequence[Event]) -> None:
        """Produce them in their order and wait for all; see `Target`."""
        faults: list[str] = []

        def delivered(error: Any, _: Any) -> None:
            if error is not None:
                faults.append(str(error))

        for event in events:
            key, value, headers = record(event)
            self._producer.produce(self._topic, value, key, headers=headers, on_delivery=delivered)
            self._producer.poll(0)
        waiting = self._producer.flush(_SECONDS + 5)
        if faults or waiting:
            self._producer.purge()
            raise DeliveryError(
                f"Kafka did not keep {max(len(faults), waiting)} of {len(events)} events in {self._topic} "
                f"({faults[0] if faults else 'no answer'}): mend it, then deliver again"
            )

    def close(self) -> None:
        """Nothing waits any more: each batch was flushed."""
        self._producer.purge()


def record(event: Event) -> tuple[bytes, bytes, list[tuple[str, str | bytes | None]]]:
    """Key, value and headers of an event's record."""
    headers: list[tuple[str, str | bytes | None]] = [
        (f"ce_{name}", str(value).encode()) for name, value in event.items() if name not in _NOT_HEADERS
    ]
    headers.append(("content-type", event["datacontenttype"].encode()))
    return event["subject"].encode(), json.dumps(event["data"], ensure_ascii=False).encode(), headers
