"""One partner for each record at most, where two catalogues are each free of duplicates. Pure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from oms_core.identity.linking.accuracy import connected

Positions = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]


def one_to_one(left: Positions, right: Positions, probability: Probabilities) -> Positions:
    """Choose the pairs that give the most evidence in all with every record used once at most.

    Exact within each group of records that hang together; the evidence of a pair is its log odds.

    Args:
        left, right: (m,) positions of records of the first and of the second catalogue, all of one numbering.
        probability: (m,) of each pair; pass only pairs that count.

    Returns:
        Positions of the chosen pairs, ascending.

    Source: the assignment problem; solved by SciPy after D. F. Crouse (2016).
    """
    from scipy.optimize import linear_sum_assignment

    if not len(left):
        return np.zeros(0, dtype=np.int64)
    certain = np.clip(probability, 1e-12, 1 - 1e-12)
    # Shifted so that every pair that counts is worth more than none.
    gain = np.log(certain / (1 - certain))
    gain = gain - gain.min() + 1.0
    size = int(max(left.max(), right.max())) + 1
    groups = connected(size, np.stack([left, right], axis=1))[left]
    order = np.argsort(groups, kind="stable")
    chosen = []
    for block in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
        if len(block) == 1:
            chosen.append(int(block[0]))
            continue
        rows, row = np.unique(left[block], return_inverse=True)
        columns, column = np.unique(right[block], return_inverse=True)
        worth = np.zeros((len(rows), len(columns)))
        pair = np.full(worth.shape, -1, dtype=np.int64)
        worth[row, column] = gain[block]
        pair[row, column] = block
        taken = pair[linear_sum_assignment(worth, maximize=True)]
        chosen += [int(place) for place in taken if place >= 0]
    return np.sort(np.asarray(chosen, dtype=np.int64))
