"""How right a partition is, against a truth: pairwise precision, recall and F1."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Score:
    """Pairwise agreement of two partitions, each figure in 0..1; 1.0 where there is no pair to get wrong."""

    precision: float
    recall: float
    f1: float
    records: int


def pairwise(found: Mapping[str, str], truth: Mapping[str, str]) -> Score:
    """Compare two partitions over the records both know, by counting pairs.

    Args:
        found: record id -> golden id.
        truth: record id -> true id.
    """
    both = found.keys() & truth.keys()

    def pairs(counts: Counter[object]) -> int:
        return sum(count * (count - 1) // 2 for count in counts.values())

    joint = pairs(Counter((found[record], truth[record]) for record in both))
    said = pairs(Counter(found[record] for record in both))
    true = pairs(Counter(truth[record] for record in both))
    precision = joint / said if said else 1.0
    recall = joint / true if true else 1.0
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total else 0.0, len(both))
