"""Draws from a stream of random numbers."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


def fill(rng: random.Random, pattern: str) -> str:
    """Replace # with a digit and @ with a letter."""
    return "".join(
        str(rng.randrange(10)) if c == "#" else rng.choice("ABDEFGHJLNPQRSTUWXYZ") if c == "@" else c
        for c in pattern
    )


def weighted(rng: random.Random, options: Sequence[tuple[T, int]]) -> T:
    return rng.choices([o for o, _ in options], [w for _, w in options])[0]
