"""Where a probability becomes a decision: thresholds from what a wrong merge, a missed match and a review cost.

Bayes' rule for two errors and a way out. At probability p that two records are one entity, merging costs (1 - p) times a
wrong merge, keeping apart costs p times a missed match, asking a steward costs one review. The cheapest wins.
Source: R. O. Duda, P. E. Hart, D. G. Stork, Pattern Classification, 2nd edition, section 2.2 and problem 13 of chapter 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Costs:
    """What each outcome costs, in one unit of your choice (say, minutes of work); only their ratios matter.

    `review=None`: nobody reviews.

    Raises:
        ValueError: a cost is negative, not finite, or an error is free.
    """

    wrong_merge: float = 1.0
    missed_match: float = 1.0
    review: float | None = None

    def __post_init__(self) -> None:
        for name in ("wrong_merge", "missed_match"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"the cost of a {name.replace('_', ' ')} is {value}; it must be a number above 0"
                )
        if self.review is not None and not (math.isfinite(self.review) and self.review >= 0):
            raise ValueError(
                f"the cost of a review is {self.review}; it must be 0 or more, or None for no review"
            )

    def at_stake(self, stake: float) -> Costs:
        """What errors cost where more or less hangs on them than usual; a review takes as long whatever it is about.

        Args:
            stake: how much hangs on the records, 1 for the usual.
        """
        return Costs(self.wrong_merge * stake, self.missed_match * stake, self.review)


@dataclass(frozen=True)
class Thresholds:
    """Probabilities: at or above `merge` merge, from `review` up to it ask, below keep apart. review <= merge."""

    merge: float
    review: float

    def decide(self, probability: float) -> Literal["merge", "review", "apart"]:
        """The cheapest decision."""
        if probability >= self.merge:
            return "merge"
        return "review" if probability >= self.review else "apart"


def thresholds(costs: Costs) -> Thresholds:
    """The probabilities at which the cheapest decision changes.

    A review that costs more than the best of both errors ever does is never asked for: both thresholds are then
    wrong_merge / (wrong_merge + missed_match), the point where the two errors cost the same.
    """
    indifferent = costs.wrong_merge / (costs.wrong_merge + costs.missed_match)
    if costs.review is None:
        return Thresholds(indifferent, indifferent)
    merge = 1 - costs.review / costs.wrong_merge
    review = costs.review / costs.missed_match
    if review >= merge or review >= 1 or merge <= 0:
        return Thresholds(indifferent, indifferent)
    return Thresholds(merge, review)
