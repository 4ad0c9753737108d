"""From scored pairs of files to clusters: along the most probable pairs first, and never by one weak pair alone."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt


def grouped(
    records: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    probability: npt.NDArray[np.float64],
    merge: float,
    sides: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Cluster records by the pairs of them that were scored.

    Two clusters are joined by all that was scored between them, not by the best pair: its probabilities have to be `merge` on
    average. Records of one cluster are copies of one thing, so each of the smaller one should have a tie to the other: where
    fewer do, the odds must be better by that factor, since chance had as many more goes (Bonferroni).

    Args:
        records: how many there are.
        left, right: (m,) positions of each pair.
        probability: (m,) that the two are one; pairs below `merge` count against.
        merge: probability from which a pair counts.
        sides: (records,) file of each, where only pairs across two files are scored.

    Returns:
        (records,) labels from 0.
    """
    root = list(range(records))
    size = [1] * records
    firsts = [1] * records if sides is None else (sides == 0).astype(int).tolist()
    between: dict[int, dict[int, tuple[float, int]]] = defaultdict(dict)
    counts = probability >= merge
    # Only what touches a pair that counts can be joined.
    touched = np.zeros(records, dtype=bool)
    touched[left[counts]] = touched[right[counts]] = True
    kept = touched[left] & touched[right]
    for one, other, chance in zip(
        left[kept].tolist(), right[kept].tolist(), probability[kept].tolist(), strict=True
    ):
        total, known = between[one].get(other, (0.0, 0))
        between[one][other] = between[other][one] = total + chance, known + 1
    needed = merge / max(1 - merge, 1e-12)

    def find(record: int) -> int:
        while root[record] != record:
            root[record] = root[root[record]]
            record = root[record]
        return record

    def smaller(one: int, other: int) -> int:
        """Records of the smaller cluster that could have had a tie to the other."""
        if sides is None:
            return min(size[one], size[other])
        seconds = size[one] - firsts[one], size[other] - firsts[other]
        return min(firsts[one], seconds[1]) + min(seconds[0], firsts[other])

    wanted = np.flatnonzero(counts)
    # Ties by position, so that the same pairs give the same clusters.
    order = wanted[np.lexsort((right[wanted], left[wanted], -probability[wanted]))]
    for one, other in zip(left[order].tolist(), right[order].tolist(), strict=True):
        one, other = find(one), find(other)
        if one == other:
            continue
        total, known = between[one][other]
        mean = total / known
        if mean < merge or mean * known < needed * (1 - mean) * smaller(one, other):
            continue
        if len(between[one]) < len(between[other]):
            one, other = other, one
        root[other] = one
        size[one] += size[other]
        firsts[one] += firsts[other]
        for third, (more, seen) in between.pop(other).items():
            del between[third][other]
            if third == one:
                continue
            held, known = between[one].get(third, (0.0, 0))
            between[one][third] = between[third][one] = held + more, known + seen
    roots = np.array([find(record) for record in range(records)], dtype=np.int64)
    return np.asarray(np.unique(roots, return_inverse=True)[1], dtype=np.int64)
