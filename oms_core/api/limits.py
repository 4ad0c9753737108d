"""How much one caller may ask for: a token bucket for each, in this process.

Every process has buckets of its own and none asks another, so N processes together let a caller have N times the rate: whoever
scales out divides it.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST_CALLERS = 10_000  # kept at a time; the one that asked longest ago begins with a full bucket again


@dataclass(frozen=True)
class Limit:
    """`rate` requests a second in the long run, `burst` at once."""

    rate: float
    burst: float


class Buckets:
    """Token buckets by name, all of one limit."""

    def __init__(self, limit: Limit, clock: Callable[[], float] = time.monotonic) -> None:
        self.limit = limit
        self._clock = clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # (tokens, when)

    def take(self, name: str) -> float:
        """Take one token: 0 where there was one, else the seconds until there is."""
        now = self._clock()
        tokens, when = self._left.pop(name, (self.limit.burst, now))
        tokens = min(self.limit.burst, tokens + (now - when) * self.limit.rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self.limit.rate
        self._left[name] = (tokens if wait else tokens - 1, now)
        if len(self._left) > MOST_CALLERS:
            self._left.popitem(last=False)
        return wait
