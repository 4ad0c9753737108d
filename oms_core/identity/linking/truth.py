"""Read a file that says which records are one, in the forms such files come in, and measure a clustering by it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from oms_core.identity.linking.accuracy import Accuracy, compare, compare_pairs, connected
from oms_core.identity.linking.files import read
from oms_core.identity.linking.recognise import fold

_CLUSTER_WORDS = (
    "cluster",
    "entity",
    "truth",
    "true",
    "group",
    "golden",
    "gold",
    "class",
    "person",
    "real",
    "match_id",
)
_LABEL_WORDS = ("label", "match", "is_match", "gold", "ismatch", "duplicate", "is_duplicate", "target")
_YES, _NO = (
    {"1", "1.0", "true", "yes", "y", "t", "match"},
    {"0", "0.0", "false", "no", "n", "f", "nonmatch", "non-match"},
)


class TruthError(Exception):
    """A truth file does not fit the files; the message says what it takes."""


@dataclass(frozen=True)
class Truth:
    """What is true, by position of the records in the files, the second file's after the first's.

    Either `pairs`, with `false_pairs` where the file labels both, or `clusters`: position -> true cluster.
    """

    records: int
    sides: tuple[int, ...] | None
    pairs: list[tuple[int, int]] | None = None
    false_pairs: list[tuple[int, int]] | None = None
    clusters: dict[int, str] | None = None
    unknown: int = 0

    def judge(self, labels: npt.NDArray[np.int64]) -> tuple[Accuracy, list[str]]:
        """Measure a clustering.

        Args:
            labels: (records,) cluster of each record.

        Returns:
            The measures, and what there is to say about them.
        """
        notes = []
        if self.unknown:
            notes.append(
                f"truth: {self.unknown:,} rows name records that are not in the files; they do not count"
            )
        found = labels.tolist()
        if self.clusters is not None:
            known = sorted(self.clusters)
            if len(known) < self.records:
                notes.append(f"truth: measured on the {len(known):,} of {self.records:,} records it names")
            sides = [self.sides[place] for place in known] if self.sides is not None else None
            return compare(
                [found[place] for place in known], [self.clusters[place] for place in known], sides
            ), notes
        pairs = self.pairs or []
        if self.false_pairs is not None:
            judged = len(pairs) + len(self.false_pairs)
            notes.append(f"truth: {judged:,} labelled pairs; precision is measured on those alone")
            return compare_pairs(found, pairs, self.false_pairs, self.sides), notes
        if self.sides is None:
            # Doubles of doubles are doubles: what the pairs connect is one.
            true = connected(self.records, np.asarray(pairs, dtype=np.int64).reshape(-1, 2))
            return compare(found, true.tolist()), notes
        return compare_pairs(found, pairs, None, self.sides), notes


def read_truth(
    path: Path, ids: Sequence[Sequence[str]], inputs: Sequence[Path], encoding: str | None = None
) -> Truth:
    """Read a truth file and find out which of its columns name records: two of them for pairs, or one and a cluster.

    Args:
        path: CSV or Parquet, with a header or without. Beside pairs a column may say whether they are true.
        ids: of each file, in the order of its records.
        inputs: the files, for messages.
        encoding: of a CSV file; found out where None.

    Raises:
        TruthError: no column names records of the files.
        FileError: the file cannot be read.
    """
    places = [{name: place for place, name in enumerate(own)} for own in ids]
    table = _with_header_row(read(path, encoding).table, places)
    linking = len(places) == 2
    records = sum(len(own) for own in ids)
    sides = tuple(side for side, own in enumerate(ids) for _ in own) if linking else None
    shares = {
        name: [_share(table[name].to_pylist(), known) for known in places] for name in table.column_names
    }
    id_columns = [name for name in table.column_names if max(shares[name]) >= 0.5]
    if not id_columns:
        raise TruthError(
            f"{path}: no column names records of {' or '.join(map(str, inputs))} (columns: "
            f"{', '.join(table.column_names)}); it takes two id columns, or an id and a cluster column"
        )
    columns = _cluster_columns(table, shares, id_columns, linking)
    if columns is not None:
        clusters, unknown = _true_clusters(path, table, columns, places)
        return Truth(records, sides, clusters=clusters, unknown=unknown)
    first, second = _pair_columns(path, table, shares, linking)
    left, right, shift = places[0], places[-1], len(ids[0]) if linking else 0
    marks = _marks(table, (first, second))
    true: list[tuple[int, int]] = []
    false: list[tuple[int, int]] = []
    unknown = 0
    for row, (one, other) in enumerate(zip(table[first].to_pylist(), table[second].to_pylist(), strict=True)):
        if one not in left or other not in right:
            unknown += 1
            continue
        wanted = true if marks is None or marks[row] in _YES else false
        wanted.append((left[one], right[other] + shift))
    return Truth(records, sides, pairs=true, false_pairs=false or None, unknown=unknown)


def _marks(table: pa.Table, ids: tuple[str, str]) -> list[str] | None:
    """Yes or no for each pair, where a column says so."""
    for name in table.column_names:
        if fold(name) in _LABEL_WORDS and name not in ids:
            marks = [str(mark).casefold() for mark in table[name].to_pylist()]
            if set(marks) <= _YES | _NO:
                return marks
    return None


def _with_header_row(table: pa.Table, places: Sequence[Mapping[str, int]]) -> pa.Table:
    """A truth file without a header: its first row, taken for names, is ids."""
    names = table.column_names
    known = sum(any(name in known for known in places) for name in names)
    if known < 2 or known < len(names) - 1:
        return table
    columns = [pa.chunked_array([pa.array([name], pa.string()), *table[name].chunks]) for name in names]
    return pa.table(columns, names=[f"column_{place}" for place in range(1, len(names) + 1)])


def _share(values: Sequence[str | None], known: Mapping[str, int]) -> float:
    return sum(value in known for value in values) / len(values) if values else 0.0


def _says_cluster(name: str) -> bool:
    folded = fold(name)
    return any(word in folded.split("_") or folded.startswith(word) for word in _CLUSTER_WORDS)


def _cluster_columns(
    table: pa.Table, shares: Mapping[str, list[float]], id_columns: Sequence[str], linking: bool
) -> tuple[str, str] | None:
    """(id column, cluster column) where the file gives every record a cluster; None where it lists pairs."""

    def best(candidates: Sequence[str]) -> str:
        return max(
            candidates,
            key=lambda name: (table[name].null_count == 0, len(pc.unique(table[name])), max(shares[name])),
        )

    named = [name for name in table.column_names if _says_cluster(name)]
    unnamed = [name for name in id_columns if name not in named]
    for cluster in named:
        if unnamed and len(pc.unique(table[cluster])) < table.num_rows:
            return best(unnamed), cluster
    if len(table.column_names) == 2 and len(id_columns) == 1:
        other = next(name for name in table.column_names if name != id_columns[0])
        return id_columns[0], other
    if not linking and len(table.column_names) == 2 and len(id_columns) == 2:
        # Two columns of numbers: each record once in the first, fewer values in the second, is a list of clusters.
        first, second = table.column_names
        every_record = len(pc.unique(table[first])) == table.num_rows
        if every_record and shares[first][0] == 1.0 and len(pc.unique(table[second])) < 0.98 * table.num_rows:
            repeated = {value for value in table[second].to_pylist() if value is not None}
            if len(repeated & set(table[first].to_pylist())) > 0.9 * len(repeated):
                return first, second
    return None


def _true_clusters(
    path: Path, table: pa.Table, columns: tuple[str, str], places: Sequence[Mapping[str, int]]
) -> tuple[dict[int, str], int]:
    """Position -> cluster, and how many rows name no record."""
    clusters: dict[int, str] = {}
    unknown = 0
    for name, cluster in zip(table[columns[0]].to_pylist(), table[columns[1]].to_pylist(), strict=True):
        if name is None or cluster is None:
            unknown += 1
            continue
        found = [
            known[name] + (len(places[0]) if side else 0)
            for side, known in enumerate(places)
            if name in known
        ]
        if len(found) > 1:
            raise TruthError(
                f"{path}: id {name!r} is in both files; give the truth as pairs of a left and a right id"
            )
        if not found:
            unknown += 1
            continue
        clusters[found[0]] = cluster
    return clusters, unknown


def _pair_columns(
    path: Path, table: pa.Table, shares: Mapping[str, list[float]], linking: bool
) -> tuple[str, str]:
    """The two columns that name a left and a right record, in this order."""
    best: tuple[float, int, tuple[str, str]] | None = None
    names = table.column_names
    for one, other in combinations(range(len(names)), 2):
        for first, second in ((one, other), (other, one)):
            left, right = shares[names[first]][0], shares[names[second]][-1]
            if min(left, right) < 0.5 or (not linking and first > second):
                continue
            # A running number of the rows is no id, however many ids it happens to meet.
            is_counter = fold(names[first]) in ("id", "index", "row", "column_1") and len(names) > 2
            rank = (
                left + right - is_counter - 0.01 * (first > second),
                -first - second,
                (names[first], names[second]),
            )
            if best is None or rank > best:
                best = rank
    if best is None:
        raise TruthError(
            f"{path}: no two columns name a record of the first and one of the second file (columns: {', '.join(names)})"
        )
    return best[2]
