"""CloudEvents to NATS JetStream: structured mode, one message each, under its type, such as `<prefix>.order.updated`.

One is sent when the one before is kept, so the stream has them in order. `Nats-Msg-Id` is the event's id: what is sent again within
the stream's duplicate window is kept once.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/nats-protocol-binding.md; NATS, JetStream publishing.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from urllib.parse import urlsplit

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.errors import Error as StreamError

from oms_core.outbox.target import LOOPBACK, DeliveryError, Event

_TYPE = "application/cloudevents+json"
_SECONDS = 10.0


class JetStream:
    """Publishes to the JetStream of one server; its streams are the other side's."""

    def __init__(self, url: str, *, token: str | None = None, credentials: str | None = None) -> None:
        """Connect.

        Args:
            url: `tls://host:4222/prefix`, or `nats://` on loopback.
            token: authorises, where it is set.
            credentials: path of a `.creds` file, where it is set.

        Raises:
            DeliveryError: it cannot be reached, or events would go in the clear.
        """
        parts = urlsplit(url)
        self._prefix = parts.path.strip("/").replace("/", ".") or "orderhub"
        if parts.scheme != "tls" and parts.hostname not in LOOPBACK:
            raise DeliveryError(f"{url} is not tls://: events go in the clear to this machine only")
        self._loop = asyncio.Runner()
        self._url = f"{parts.scheme}://{parts.netloc}"
        options = {"token": token, "user_credentials": credentials}
        given = {name: value for name, value in options.items() if value}
        try:
            self._client: Client = self._loop.run(
                nats.connect(
                    self._url, connect_timeout=_SECONDS, allow_reconnect=False, error_cb=_ignore, **given
                )
            )
        except (NatsError, OSError) as error:
            self._loop.close()
            raise DeliveryError(f"{self._url} cannot be reached: {type(error).__name__} {error}") from error

    def send(self, events: Sequence[Event]) -> None:
        """Publish them one after the other; see `Target`."""
        self._loop.run(self._send(events))

    def close(self) -> None:
        """Close the connection."""
        self._loop.run(self._client.close())
        self._loop.close()

    async def _send(self, events: Sequence[Event]) -> None:
        stream = self._client.jetstream(timeout=_SECONDS)
        for event in events:
            subject = f"{self._prefix}.{event['type'].removeprefix('orderhub.')}"
            headers = {"Content-Type": _TYPE, "Nats-Msg-Id": event["id"]}
            try:
                await stream.publish(
                    subject, json.dumps(dict(event), ensure_ascii=False).encode(), headers=headers
                )
            except (NatsError, StreamError, OSError) as error:
                raise DeliveryError(
                    f"{self._url} did not keep {event['id']} under {subject} ({type(error).__name__} {error}): it needs a "
                    f"stream of {self._prefix}.>; mend it, then deliver again"
                ) from error


async def _ignore(_: Exception) -> None:
    """What goes wrong is told by the call that it goes wrong in."""
