"""Where changes are sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from oms_core.store.errors import StoreError

Event = Mapping[str, Any]  # CloudEvents 1.0, as its JSON format has it
LOOPBACK = ("127.0.0.1", "localhost", "::1")


class DeliveryError(StoreError):
    """A follower did not take a batch; nothing after it was sent."""


class Target(Protocol):
    """Takes batches of events, each of them whole or not at all as far as the caller is concerned."""

    def send(self, events: Sequence[Event]) -> None:
        """Send events in their order; returns once they are kept on the other side.

        Raises:
            DeliveryError: they are not, or it is not known. Sent again, they bear the same ids.
        """

    def close(self) -> None:
        """Let go of connections."""
