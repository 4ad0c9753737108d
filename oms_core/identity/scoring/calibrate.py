"""How far a model's weights can be trusted among these records: a choice model fitted to records whose identity is proven.

A record that its own identifiers (mailbox, tax number, account) place for certain is taken out of its group, its identifiers
are hidden, and the weights of what is left say where it would go: to one of the groups it is like, or to none. How often that
is right, weight by weight, is what a weight is worth for records that never had an identifier. Nobody's labels are needed.

Source: D. McFadden, Modelling the choice of residential location (1978), for the nested choice. That proven pairs serve as labels of others: P. Christen, Automatic record linkage using seeded nearest neighbour and support
vector machine classification, KDD (2008).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

# What is believed before anything is seen: the weights are right. In natural logarithms, standard deviations.
_OFFSET, _SLOPE = 2.0, 0.3


@dataclass(frozen=True)
class Choices:
    """Records that had to choose.

    Attributes:
        record: (n,) number of the record that each alternative belongs to, 0 … records - 1.
        kind: (n,) what was known of the alternative and the record, 0 … kinds - 1.
        weight: (n,) log odds by the model, natural logarithms.
        chosen: (n,) whether this alternative is the right one; of a record none may be.
        records: how many records there are.
    """

    record: NDArray[np.int64]
    kind: NDArray[np.int64]
    weight: NDArray[np.float64]
    chosen: NDArray[np.bool_]
    records: int


@dataclass(frozen=True)
class Calibration:
    """Per kind, log odds that the best alternative, or one as good as it, is right: offset + slope x weight.

    `choice`: log odds between two alternatives per difference of their weights.
    """

    offset: NDArray[np.float64]
    slope: NDArray[np.float64]
    choice: float

    def odds(self, weight: NDArray[np.float64], kind: NDArray[np.int64]) -> NDArray[np.float64]:
        """Calibrated log odds, natural logarithms, of alternatives without a rival."""
        return self.offset[kind] + self.slope[kind] * weight


def calibrate(choices: Choices, kinds: int) -> Calibration:
    """Fit a nested choice: whether any alternative is right, by the best of them, and which one.

    Without anything to learn from, weights stay as they are.

    Args:
        choices: what is proven.
        kinds: how many kinds there are.
    """
    if not len(choices.weight):
        return Calibration(np.zeros(kinds), np.ones(kinds), 1.0)
    order = np.lexsort((choices.weight, choices.record))
    # The last of each record in this order is its best.
    last = np.append(np.flatnonzero(np.diff(choices.record[order])), len(order) - 1)
    best = order[last]
    right = np.bincount(choices.record, choices.chosen, choices.records)[choices.record[best]] > 0
    offset, slope = _whether(choices.weight[best], choices.kind[best], right, kinds)
    return Calibration(offset, slope, _which(choices))


def _whether(
    weight: NDArray[np.float64], kind: NDArray[np.int64], right: NDArray[np.bool_], kinds: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Logistic regression per kind, weights believed to be right until seen otherwise."""

    def loss(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        offset, slope = values[:kinds], values[kinds:]
        odds = offset[kind] + slope[kind] * weight
        surplus = right - 1 / (1 + np.exp(-np.clip(odds, -500, 500)))
        likelihood = float(-np.logaddexp(0, np.where(right, -odds, odds)).sum())
        belief = float((offset**2).sum() / _OFFSET**2 + ((slope - 1) ** 2).sum() / _SLOPE**2) / 2
        gradient = np.concatenate(
            [
                offset / _OFFSET**2 - np.bincount(kind, surplus, kinds),
                (slope - 1) / _SLOPE**2 - np.bincount(kind, surplus * weight, kinds),
            ]
        )
        return belief - likelihood, gradient

    start = np.concatenate([np.zeros(kinds), np.ones(kinds)])
    bounds = [(-20.0, 20.0)] * kinds + [(0.0, 5.0)] * kinds
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds).x
    return found[:kinds], found[kinds:]


def _which(choices: Choices) -> float:
    """What a difference of weights says of which alternative is right, where one is."""
    decided = np.bincount(choices.record, choices.chosen, choices.records) == 1
    keep = decided[choices.record]
    record, weight, chosen = choices.record[keep], choices.weight[keep], choices.chosen[keep]

    def loss(values: NDArray[np.float64]) -> float:
        odds = values[0] * weight
        most = np.full(choices.records, -np.inf)
        np.maximum.at(most, record, odds)
        total = np.bincount(record, np.exp(odds - most[record]), choices.records)
        likelihood = float((odds[chosen] - most[record[chosen]] - np.log(total[record[chosen]])).sum())
        return float((values[0] - 1) ** 2 / _SLOPE**2 / 2 - likelihood)

    return float(minimize(loss, np.ones(1), method="L-BFGS-B", bounds=[(0.0, 5.0)]).x[0])
