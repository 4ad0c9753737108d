"""Rate limits: one token bucket per twin, with the vendor's own headers and error body."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from starlette.responses import JSONResponse, Response

clock = time.monotonic  # seconds; tests that do not want to wait put another one here


def _too_many(retry_after: float) -> Response:
    seconds = str(max(1, math.ceil(retry_after)))
    return JSONResponse({"error": "Too Many Requests"}, status_code=429, headers={"Retry-After": seconds})


def _no_headers(limit: int, remaining: int) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True)
class RateLimit:
    """What a twin declares as its `rate_limit`.

    Args:
        limit: bucket size, in requests; also what flows back in one `window`.
        window: seconds in which an empty bucket is full again.
        refuse: (seconds until the next token) -> the vendor's 429 response, with its headers and body.
        headers: (limit, remaining) -> headers the vendor puts on every answer.
    """

    limit: int
    window: float
    refuse: Callable[[float], Response] = _too_many
    headers: Callable[[int, int], Mapping[str, str]] = _no_headers


@dataclass
class TokenBucket:
    """The running state of one `RateLimit`; `clock` values are monotonic seconds."""

    rate: RateLimit
    tokens: float = field(init=False)
    filled_at: float | None = None

    def __post_init__(self) -> None:
        self.tokens = float(self.rate.limit)

    def take(self, clock: float) -> float:
        """Take one token. Return 0.0 when it was there, else the seconds until it will be."""
        per_second = self.rate.limit / self.rate.window
        elapsed = 0.0 if self.filled_at is None else max(0.0, clock - self.filled_at)
        self.filled_at = clock
        self.tokens = min(float(self.rate.limit), self.tokens + elapsed * per_second)
        if self.tokens >= 1.0:
            self.tokens -= 1.0
            return 0.0
        return (1.0 - self.tokens) / per_second

    @property
    def remaining(self) -> int:
        """Whole tokens left."""
        return int(self.tokens)
