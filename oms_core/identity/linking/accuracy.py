"""How right a partition is, against a truth: pairwise and B³ precision, recall and F1.

Everything is counted from the sizes of groups, never pair by pair, so a million records take seconds.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Score:
    """Agreement of two partitions, each figure in 0..1; 1.0 where there is nothing to get wrong."""

    precision: float
    recall: float
    f1: float
    records: int


@dataclass(frozen=True)
class Accuracy:
    """Both usual measures: `pairwise` weighs large clusters by their pairs, `b_cubed` weighs every record alike."""

    pairwise: Score
    b_cubed: Score


def pairwise(found: Mapping[str, str], truth: Mapping[str, str]) -> Score:
    """Compare two partitions over the records both know, by counting pairs.

    Args:
        found: record id -> golden id.
        truth: record id -> true id.
    """
    both = sorted(found.keys() & truth.keys())
    return compare([found[record] for record in both], [truth[record] for record in both]).pairwise


def compare(
    found: Sequence[Hashable], truth: Sequence[Hashable], sides: Sequence[Hashable] | None = None
) -> Accuracy:
    """Compare two partitions of the same records.

    Args:
        found, truth: (n,) cluster of each record, in one order of records.
        sides: (n,) file of each record where two files were linked. Two records of one file are then neither a right
            nor a wrong pair: nobody asked about them.

    Raises:
        ValueError: the sequences differ in length.

    Source: Bagga and Baldwin (1998) for B³.
    """
    if len(found) != len(truth) or (sides is not None and len(sides) != len(found)):
        raise ValueError(
            f"{len(found)} found and {len(truth)} true clusters; there must be one of each a record"
        )
    ours, theirs = _codes(found), _codes(truth)
    files = _codes(sides) if sides is not None else None
    joint = _pair_codes(ours, theirs)
    return Accuracy(
        _score(_pairs(joint, files), _pairs(ours, files), _pairs(theirs, files), len(found)),
        _b_cubed(ours, theirs, joint, files),
    )


def compare_pairs(
    found: Sequence[Hashable],
    true_pairs: Iterable[tuple[int, int]],
    false_pairs: Iterable[tuple[int, int]] | None = None,
    sides: Sequence[Hashable] | None = None,
) -> Accuracy:
    """Compare a partition with pairs that are known to be matches.

    Args:
        found: (n,) cluster of each record.
        true_pairs: positions of two records that are one.
        false_pairs: positions of two records that are known not to be one. Where given, only labelled pairs are judged;
            otherwise every pair that is not true is false.
        sides: as in `compare`.

    Returns:
        `pairwise` over the pairs as they stand. B³ needs clusters: those are what the true pairs connect.
    """
    ours = _codes(found)
    files = _codes(sides) if sides is not None else None
    true = _unique_pairs(true_pairs)
    if files is not None:
        true = true[files[true[:, 0]] != files[true[:, 1]]]
    joint = int((ours[true[:, 0]] == ours[true[:, 1]]).sum())
    if false_pairs is None:
        said = _pairs(ours, files)
    else:
        wrong = _unique_pairs(false_pairs)
        said = joint + int((ours[wrong[:, 0]] == ours[wrong[:, 1]]).sum())
    theirs = connected(len(found), true)
    return Accuracy(
        _score(joint, said, len(true), len(found)),
        _b_cubed(ours, theirs, _pair_codes(ours, theirs), files),
    )


def connected(records: int, pairs: npt.NDArray[np.int64]) -> Codes:
    """Label what pairs connect.

    Args:
        records: how many records there are.
        pairs: (m, 2) positions.

    Returns:
        (records,) labels from 0; a record in no pair has a label of its own.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    ones = np.ones(len(pairs), dtype=np.int8)
    graph = coo_array((ones, (pairs[:, 0], pairs[:, 1])), shape=(records, records))
    return np.asarray(connected_components(graph, directed=False)[1], dtype=np.int64)


def _unique_pairs(pairs: Iterable[tuple[int, int]]) -> npt.NDArray[np.int64]:
    listed = np.asarray(list(pairs), dtype=np.int64).reshape(-1, 2)
    listed = listed[listed[:, 0] != listed[:, 1]]
    listed.sort(axis=1)
    return np.asarray(np.unique(listed, axis=0), dtype=np.int64)


def _codes(labels: Sequence[Hashable]) -> Codes:
    """The same partition as numbers from 0."""
    if isinstance(labels, np.ndarray) and labels.dtype.kind in "iu":
        return np.asarray(np.unique(labels, return_inverse=True)[1], dtype=np.int64)
    known: dict[Hashable, int] = {}
    return np.fromiter((known.setdefault(label, len(known)) for label in labels), np.int64, len(labels))


def _pair_codes(left: Codes, right: Codes) -> Codes:
    """One number per combination of two labels."""
    if not len(left):
        return left
    return np.asarray(
        np.unique(left * (int(right.max()) + 1) + right, return_inverse=True)[1], dtype=np.int64
    )


def _pairs(groups: Codes, files: Codes | None) -> int:
    """Pairs within the groups, of two files where files are given."""
    if not len(groups):
        return 0
    counts = [int(count) for count in np.bincount(np.bincount(groups))]
    every = sum(size * (size - 1) // 2 * count for size, count in enumerate(counts))
    return every if files is None else every - _pairs(_pair_codes(groups, files), None)


def _b_cubed(ours: Codes, theirs: Codes, joint: Codes, files: Codes | None) -> Score:
    """Mean over records of the share of their cluster that is right, and of their true cluster that was found."""
    if not len(ours):
        return Score(1.0, 1.0, 1.0, 0)

    def peers(groups: Codes) -> npt.NDArray[np.float64]:
        """Members of each record's group: itself, and all others or those of the other file."""
        sizes = np.bincount(groups)[groups]
        if files is not None:
            of_one_file = _pair_codes(groups, files)
            sizes = sizes - np.bincount(of_one_file)[of_one_file] + 1
        return sizes.astype(np.float64)

    right = peers(joint)
    precision = float((right / peers(ours)).mean())
    recall = float((right / peers(theirs)).mean())
    return Score(precision, recall, 2 * precision * recall / (precision + recall), len(ours))


def _score(joint: int, said: int, true: int, records: int) -> Score:
    precision = joint / said if said else 1.0
    recall = joint / true if true else 1.0
    total = precision + recall
    return Score(precision, recall, 2 * precision * recall / total if total else 0.0, records)
