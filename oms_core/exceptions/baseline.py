"""How long orders usually stay in a state: a quantile of the company's own history, and nothing where there is too little."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

QUANTILE = 0.95
FEWEST = 20  # stays; the 95th percentile of fewer is little more than their longest


@dataclass(frozen=True)
class Stay:
    """An order's time in a state; `event` took it out, None: it is still there."""

    flow: str
    state: str
    channel: str | None
    lasted: timedelta
    event: str | None


@dataclass(frozen=True)
class Baseline:
    """How long orders usually stay.

    Attributes:
        channel: whose orders it rests on; None: those of all channels, since this one has too few.
        limit: within which `QUANTILE` of the stays ended.
        median: half of them ended within.
        stays: how many it rests on.
        usual_exit: the event that ended most of them, and how many of them.
    """

    flow: str
    state: str
    channel: str | None
    limit: timedelta
    median: timedelta
    stays: int
    usual_exit: tuple[str, int]


class Baselines:
    """The baselines of every state and channel that has a history."""

    def __init__(self, stays: Iterable[Stay]) -> None:
        """Work them out from stays that have ended; those that last are what is judged, not what judges."""
        grouped: dict[tuple[str, str, str | None], list[Stay]] = {}
        for stay in stays:
            if stay.event is not None:
                for channel in {stay.channel, None}:
                    grouped.setdefault((stay.flow, stay.state, channel), []).append(stay)
        self._found = {key: _baseline(key, some) for key, some in grouped.items() if len(some) >= FEWEST}

    def of(self, flow: str, state: str, channel: str | None) -> Baseline | None:
        """The baseline of a channel, or of all; None where fewer than `FEWEST` stays ended."""
        return self._found.get((flow, state, channel)) or self._found.get((flow, state, None))

    def all(self) -> list[Baseline]:
        """Every one there is, by flow, state and channel."""
        return [
            self._found[key] for key in sorted(self._found, key=lambda key: (key[0], key[1], key[2] or ""))
        ]


def _baseline(key: tuple[str, str, str | None], stays: list[Stay]) -> Baseline:
    lasted = sorted(stay.lasted for stay in stays)
    exits = [stay.event for stay in stays if stay.event is not None]
    usual = max(sorted(set(exits)), key=exits.count)
    return Baseline(
        *key, _quantile(lasted, QUANTILE), _quantile(lasted, 0.5), len(stays), (usual, exits.count(usual))
    )


def _quantile(ordered: list[timedelta], share: float) -> timedelta:
    """The smallest value that at least this share of them does not exceed: one that was seen, never one in between."""
    return ordered[math.ceil(share * len(ordered)) - 1]
