"""CloudEvents by HTTP POST.

Source: https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/http-protocol-binding.md (batched content mode)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence

import httpx

from oms_core.outbox.target import LOOPBACK, DeliveryError, Event

_TRIES = 4
_TIMEOUT = httpx.Timeout(30, connect=10)
_TYPE = "application/cloudevents-batch+json"


class Webhook:
    """Posts batches to an address, up to four times where it may pass."""

    def __init__(
        self, url: str, headers: Mapping[str, str], pause: Callable[[float], None] = time.sleep
    ) -> None:
        """Address https, or http on loopback; `pause` waits between tries.

        Raises:
            DeliveryError: events would go in the clear.
        """
        parts = httpx.URL(url)
        if parts.scheme != "https" and parts.host not in LOOPBACK:
            raise DeliveryError(f"{url} is not https: events go in the clear to this machine only")
        self._url, self._headers, self._pause = url, headers, pause
        self._client = httpx.Client(timeout=_TIMEOUT, follow_redirects=False)

    def send(self, events: Sequence[Event]) -> None:
        """Post one batch; see `Target`."""
        body = json.dumps(list(events), ensure_ascii=False).encode()
        fault = ""
        for attempt in range(_TRIES):
            if attempt:
                self._pause(2.0 ** (attempt - 1))
            try:
                answer = self._client.post(
                    self._url, content=body, headers={**self._headers, "Content-Type": _TYPE}
                )
            except httpx.HTTPError as error:
                fault = f"{type(error).__name__}: {error}"
                continue
            if answer.is_success:
                return
            fault = f"HTTP {answer.status_code}"
            if answer.status_code < 500 and answer.status_code not in (408, 425, 429):
                break
        raise DeliveryError(
            f"{self._url} did not take {len(events)} events ({fault}): mend it, then deliver again"
        )

    def close(self) -> None:
        """Close the client."""
        self._client.close()
