"""The run of `orderhub resolve`: files in, pairs and clusters out, with nothing set up before.

Read, recognise the columns, score, decide at the cheapest threshold, cluster; and, where a truth is at hand, measure.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from oms_core.identity.linking import files, recognise
from oms_core.identity.linking.accuracy import Accuracy
from oms_core.identity.linking.conform import conform
from oms_core.identity.linking.grouping import grouped
from oms_core.identity.linking.recognise import Column, ColumnError, Entity
from oms_core.identity.linking.truth import read_truth
from oms_core.identity.scoring.assignment import one_to_one as assign
from oms_core.identity.scoring.identifiers import gtins_differ, shared_codes
from oms_core.identity.scoring.threshold import Costs, thresholds

Say = Callable[[str], None]
Positions = npt.NDArray[np.int64]
Probabilities = npt.NDArray[np.float64]

# Of records that are equal in every column so many are compared; the others go where the first of them goes. A block of
# a million equal rows would otherwise have half a trillion pairs.
_MOST_EQUAL = 5
# All pairs of a cluster up to this size are listed; of a larger one those that were compared.
_MOST_LISTED = 60
# Two files count as free of duplicates where fewer than this share of the records have a double in their own file. What
# one to one loses is at most that share; what it wins among variants of one article is far more.
_FEW_DOUBLES = 0.1


class LinkError(Exception):
    """What was asked does not fit the files; the message says why and what to do."""


@dataclass(frozen=True)
class Source:
    """One input as it was understood."""

    path: Path
    format: str
    records: int
    id_column: str | None
    columns: tuple[Column, ...]
    left_out: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Links:
    """The outcome.

    Attributes:
        pairs: `left_id`, `right_id`, `probability`, `cluster_id`; of two files, left is of the first. Every pair of a
            cluster of moderate size, also where the two hang together through others only.
        clusters: `file`, `id`, `cluster_id` for every record.
        sources: the inputs.
        threshold: probability from which a pair counts.
        one_to_one: whether a record could have one partner only.
        notes: what was decided, cut or left out, in sentences.
        accuracy: against the truth, if one was given.
        seconds: by step.
    """

    pairs: pa.Table
    clusters: pa.Table
    sources: tuple[Source, ...]
    threshold: float
    one_to_one: bool
    notes: tuple[str, ...]
    accuracy: Accuracy | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def linked_records(self) -> int:
        """Records that have a partner."""
        sizes = (
            np.bincount(np.asarray(self.clusters["cluster_id"])) if self.clusters.num_rows else np.zeros(0)
        )
        return int(sizes[sizes > 1].sum())

    @property
    def entities(self) -> int:
        """Clusters, those of one record included."""
        return len(set(self.clusters["cluster_id"].to_pylist()))


@dataclass(frozen=True)
class _Matches:
    """Scored pairs by position: (m,) left < right, their probabilities, and sentences about what was cut."""

    left: Positions
    right: Positions
    probability: Probabilities
    cut: tuple[str, ...] = ()

    def take(self, keep: npt.NDArray[Any]) -> _Matches:
        """Those of a mask or of positions."""
        return _Matches(self.left[keep], self.right[keep], self.probability[keep], self.cut)

    def with_more(self, left: Positions, right: Positions, probability: Probabilities) -> _Matches:
        """These and others; of a pair in both, the stronger evidence counts."""
        left, right = np.concatenate([self.left, left]), np.concatenate([self.right, right])
        probability = np.concatenate([self.probability, probability])
        order = np.lexsort((-probability, right, left))
        left, right, probability = left[order], right[order], probability[order]
        first = np.ones(len(order), dtype=bool)
        first[1:] = (left[1:] != left[:-1]) | (right[1:] != right[:-1])
        return _Matches(left[first], right[first], probability[first], self.cut)


@dataclass(frozen=True)
class _Evidence:
    """All records of all files in one table, `record_id` and `source_system` first, and what each position is."""

    table: pa.Table
    ids: tuple[Any, ...]
    sides: Positions

    @property
    def records(self) -> int:
        return len(self.sides)


def link(
    paths: Sequence[Path],
    entity: Entity,
    *,
    ids: Sequence[str] = (),
    mapping: Mapping[str, str] | None = None,
    one_to_one: bool | None = None,
    threshold: float | None = None,
    truth: Path | None = None,
    encoding: str | None = None,
    say: Say = lambda message: None,
) -> Links:
    """Find the records that mean one thing: within one file, or across two.

    Args:
        paths: one file to deduplicate, or two to link.
        entity: what the records describe.
        ids: the id column, or one for each file; recognised where empty.
        mapping: canonical name -> column; recognised where not given. A column need not be in both files.
        one_to_one: a record has one partner at most. None: only where neither file has doubles of its own.
        threshold: probability from which a pair counts. None: where a wrong merge and a missed match cost the same.
        truth: a file of true pairs (two id columns) or of id and cluster.
        encoding: of CSV files; found out where None.
        say: told what is being done.

    Raises:
        LinkError, ColumnError, TruthError: the call does not fit the files.
        FileError: a file cannot be read.
    """
    if len(paths) not in (1, 2):
        raise LinkError(f"{len(paths)} inputs: give one file to deduplicate or two to link")
    if one_to_one and len(paths) == 1:
        raise LinkError(
            "--one-to-one needs two inputs; within one file every record can have several doubles"
        )
    if len(ids) > len(paths):
        raise LinkError(
            f"--id is given {len(ids)} times for {len(paths)} input{'s' if len(paths) > 1 else ''}"
        )
    clock = _Clock()
    read = []
    for path in paths:
        say(f"reading {path}")
        read.append(files.read(path, encoding))
    clock.lap("read")
    sources, evidence = _understand(read, entity, ids, mapping)
    notes: list[str] = []
    asked = None
    if truth is not None:
        asked = read_truth(truth, [own.to_pylist() for own in evidence.ids], paths, encoding)
    clock.lap("recognise")
    merge = thresholds(Costs()).merge if threshold is None else threshold
    matches, chosen = _match(evidence, entity, one_to_one, merge, len(paths) == 2, notes, say)
    clock.lap("score")
    sides = evidence.sides if len(paths) == 2 else None
    labels = grouped(evidence.records, matches.left, matches.right, matches.probability, merge, sides)
    matches = matches.take((matches.probability >= merge) & (labels[matches.left] == labels[matches.right]))
    labels = np.unique(labels, return_index=True)[1].argsort().argsort()[labels] + 1
    notes += matches.cut
    pairs = _pairs(evidence, matches, labels, len(paths) == 2, notes)
    clusters = _clusters(evidence, sources, labels)
    clock.lap("cluster")
    accuracy = None
    if asked is not None:
        accuracy, remarks = asked.judge(labels)
        notes += remarks
        clock.lap("measure")
    return Links(pairs, clusters, sources, merge, chosen, tuple(notes), accuracy, clock.laps)


class _Clock:
    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.laps[name] = round(now - self._last, 2)
        self._last = now


# Understanding the files


def _understand(
    read: Sequence[files.Records], entity: Entity, ids: Sequence[str], mapping: Mapping[str, str] | None
) -> tuple[tuple[Source, ...], _Evidence]:
    declared = _per_file(read, mapping or {})
    sources, tables, all_ids = [], [], []
    for place, records in enumerate(read):
        wanted = ids[min(place, len(ids) - 1)] if ids else None
        try:
            found = recognise.recognise(records.table, entity, wanted, declared[place])
        except ColumnError as error:
            raise ColumnError(f"{records.path}: {error}") from error
        count = records.table.num_rows
        own: Any = (
            records.table[found.id_column]
            if found.id_column is not None
            else pa.chunked_array([pa.array(range(1, count + 1)).cast(pa.string())])
        )
        mark = "ab"[place]
        columns: dict[str, Any] = {
            "record_id": pc.binary_join_element_wise(mark, own, ":"),
            "source_system": pa.array([mark] * count, pa.string()),
        }
        columns |= conform(records.table, found.columns, entity)
        tables.append(pa.table(columns))
        all_ids.append(own)
        notes = (*records.notes, *found.notes)
        if not count:
            notes = (*notes, "no records: there is nothing below the header")
        sources.append(
            Source(records.path, records.format, count, found.id_column, found.columns, found.left_out, notes)
        )
    table = pa.concat_tables(tables, promote_options="default")
    sides = np.repeat(np.arange(len(read)), [len(own) for own in all_ids])
    return tuple(sources), _Evidence(table, tuple(all_ids), sides.astype(np.int64))


def _per_file(read: Sequence[files.Records], mapping: Mapping[str, str]) -> list[dict[str, str]]:
    """The declared columns of each file; one that no file has is an error."""
    declared: list[dict[str, str]] = [{} for _ in read]
    for canonical, column in mapping.items():
        holders = [place for place, records in enumerate(read) if column in records.table.column_names]
        # Without a holder the first file names the fault, with its columns.
        for place in holders or [0]:
            declared[place][canonical] = column
    return declared


# Scoring


def _match(
    evidence: _Evidence,
    entity: Entity,
    one_to_one: bool | None,
    merge: float,
    linking: bool,
    notes: list[str],
    say: Say,
) -> tuple[_Matches, bool]:
    nothing = np.zeros(0, dtype=np.int64)
    none = _Matches(nothing, nothing, np.zeros(0))
    evidence_columns = evidence.table.columns[2:]
    if all(column.null_count == evidence.records for column in evidence_columns):
        notes.append("no column holds anything to compare: every record stays alone")
        return none, bool(one_to_one)
    if evidence.records < 2 or (linking and len(set(evidence.sides.tolist())) < 2):
        notes.append("there are no two records to compare: every record stays alone")
        return none, bool(one_to_one)
    most = 1 if linking else _MOST_EQUAL
    groups = _equal_groups(evidence, most)
    kept = groups.kept
    if len(kept) < evidence.records:
        others = "another of their file" if most == 1 else f"{most} or more others"
        notes.append(
            f"{evidence.records - len(kept):,} records equal {others} in every column: they "
            + ("stay without a partner" if one_to_one else "go where the first of those goes")
        )
    table = evidence.table.take(kept) if len(kept) < evidence.records else evidence.table
    say(f"comparing {len(kept):,} records")
    matches, chosen = _decide(table, evidence.sides[kept], entity, one_to_one, merge, linking, notes)
    if chosen:
        matches = matches.take(matches.probability >= merge)
        matches = matches.take(assign(matches.left, matches.right, matches.probability))
    positions = np.asarray(kept, dtype=np.int64)
    matches = _Matches(positions[matches.left], positions[matches.right], matches.probability, matches.cut)
    return (matches if one_to_one else groups.follow(matches, linking)), chosen


def _decide(
    table: pa.Table,
    sides: Positions,
    entity: Entity,
    one_to_one: bool | None,
    merge: float,
    linking: bool,
    notes: list[str],
) -> tuple[_Matches, bool]:
    """Score, and find out whether a record can have one partner only where nobody said so.

    Of people and places the scorer says which records have a double in their own file; of products, `titles` learns it.
    """
    if not linking or one_to_one is not None:
        matches, _ = _score(table, entity, sides=linking, one_to_one=bool(one_to_one))
        return matches, bool(one_to_one)
    if entity == "sku":
        matches, chosen = _score(table, entity, sides=True, one_to_one=None)
        reason = "the files are free of duplicates" if chosen else "a file has duplicates of its own"
    else:
        matches, _ = _score(table, entity, sides=False, one_to_one=False)
        inside = (sides[matches.left] == sides[matches.right]) & (matches.probability >= merge)
        doubles = len(np.unique(np.concatenate([matches.left[inside], matches.right[inside]])))
        chosen = doubles < _FEW_DOUBLES * len(sides)
        matches = matches.take(sides[matches.left] != sides[matches.right])
        reason = f"{doubles:,} of {len(sides):,} records have a double in their own file"
    notes.append(
        f"one to one, since {reason}; --many-to-many otherwise"
        if chosen
        else f"not one to one, since {reason}; --one-to-one otherwise"
    )
    return matches, chosen


def _hashes(table: pa.Table, columns: Sequence[str]) -> npt.NDArray[np.uint64]:
    """(n,) one number per row, equal where the columns are equal."""
    from oms_core.identity.scoring.engines import in_memory

    con = in_memory()
    try:
        con.register("records", table.select(columns))
        listed = ", ".join('"' + name.replace('"', '""') + '"' for name in columns)
        hashes: Any = con.sql(f"select hash({listed}) as equal from records").to_arrow_table()
    finally:
        con.close()
    return np.asarray(hashes["equal"], dtype=np.uint64)


def _score(table: pa.Table, entity: Entity, *, sides: bool, one_to_one: bool | None) -> tuple[_Matches, bool]:
    """Scored pairs by position, and whether every record has one partner at most."""
    if entity == "sku":
        from oms_core.identity.scoring.titles import fit_titles

        fitted = fit_titles(table, sides=sides, one_to_one=one_to_one)
        scored, chosen = fitted.scored, fitted.one_to_one
    else:
        from oms_core.identity.scoring.prepare import prepare
        from oms_core.identity.scoring.scorer import score
        from oms_core.identity.scoring.training import train

        prepared = prepare(table)
        scored, chosen = score(prepared, train(prepared), sides=sides), False
    names = table["record_id"].combine_chunks()
    left = np.asarray(pc.index_in(scored.pairs["left_id"], value_set=names), dtype=np.int64)
    right = np.asarray(pc.index_in(scored.pairs["right_id"], value_set=names), dtype=np.int64)
    probability = np.asarray(scored.pairs["probability"], dtype=np.float64)
    matches = _Matches(np.minimum(left, right), np.maximum(left, right), probability, tuple(scored.cut))
    if entity == "sku":
        matches = _with_codes(table, matches, sides)
    elif entity == "location":
        matches = _with_sites(table, matches)
    return matches, chosen


def _with_codes(table: pa.Table, matches: _Matches, linking: bool) -> _Matches:
    """Add what article numbers say to what titles say."""
    columns = [name for name in ("gtin14", "brand", "mpn", "sku_code", "title") if name in table.column_names]
    if not {"gtin14", "mpn", "sku_code"} & set(columns):
        return matches
    rows = table.select(columns).to_pylist()
    if "gtin14" in columns:
        pairs = zip(matches.left.tolist(), matches.right.tolist(), strict=True)
        matches = matches.take(
            np.asarray([not gtins_differ(rows[left], rows[right]) for left, right in pairs], dtype=bool)
        )
    file_of = np.asarray(pc.index_in(table["source_system"], value_set=pa.array(["a", "b"])), dtype=np.int64)
    left, right, probability = shared_codes(rows, file_of if linking else None)
    return matches.with_more(left, right, probability)


def _with_sites(table: pa.Table, matches: _Matches) -> _Matches:
    """Add what places say of themselves to what a model makes of their records, and take out what they rule out."""
    from oms_core.identity.linking.sites import Sites

    sites = Sites(table, linking=len(pc.unique(table["source_system"])) > 1)
    pairs = zip(matches.left.tolist(), matches.right.tolist(), strict=True)
    matches = matches.take(np.asarray([not sites.differ(left, right) for left, right in pairs], dtype=bool))
    return matches.with_more(*sites.pairs())


@dataclass(frozen=True)
class _EqualGroups:
    """Records equal in every column of one file: which are compared, and which follow a compared one.

    `followers` (f, 2): a record that is not compared, and the one it follows. `doubles` (d, 2): that one and the next
    equal one, which is compared, so that what the scorer thinks of equal records is known.
    """

    kept: Positions
    followers: npt.NDArray[np.int64]
    second: Positions

    def follow(self, matches: _Matches, linking: bool) -> _Matches:
        """Add the pairs of the records that were not compared: those of the record they equal."""
        if not len(self.followers):
            return matches
        new_left: list[Positions] = [matches.left]
        new_right: list[Positions] = [matches.right]
        new_probability: list[Probabilities] = [matches.probability]
        if linking:
            partner: dict[int, tuple[int, float]] = {}
            for left, right, probability in zip(
                matches.left.tolist(), matches.right.tolist(), matches.probability.tolist(), strict=True
            ):
                for one, other in ((left, right), (right, left)):
                    if one not in partner or probability > partner[one][1]:
                        partner[one] = (other, probability)
            found = [
                (follower, *partner[first]) for follower, first in self.followers.tolist() if first in partner
            ]
            if not found:
                return matches
            follower, other = (np.asarray([row[place] for row in found], dtype=np.int64) for place in (0, 1))
            new_probability.append(np.asarray([row[2] for row in found]))
        else:
            of_equals = {
                (left, right): probability
                for left, right, probability in zip(
                    matches.left.tolist(), matches.right.tolist(), matches.probability.tolist(), strict=True
                )
            }
            pairs = [
                (place, first, of_equals[min(first, second), max(first, second)])
                for (place, first), second in zip(self.followers.tolist(), self.second.tolist(), strict=True)
                if (min(first, second), max(first, second)) in of_equals
            ]
            if not pairs:
                return matches
            follower, other = (np.asarray([row[place] for row in pairs], dtype=np.int64) for place in (0, 1))
            new_probability.append(np.asarray([row[2] for row in pairs]))
        new_left.append(np.minimum(follower, other))
        new_right.append(np.maximum(follower, other))
        return _Matches(
            np.concatenate(new_left), np.concatenate(new_right), np.concatenate(new_probability), matches.cut
        )


def _equal_groups(evidence: _Evidence, most: int) -> _EqualGroups:
    """Find records equal in every column of evidence, file by file."""
    everything = np.arange(evidence.records)
    columns = [name for name in evidence.table.column_names if name != "record_id"]
    hashes = _hashes(evidence.table, columns)
    _, group, size = np.unique(hashes, return_inverse=True, return_counts=True)
    nothing = np.zeros((0, 2), dtype=np.int64)
    if size.max(initial=0) <= most:
        return _EqualGroups(everything, nothing, np.zeros(0, dtype=np.int64))
    # In the order of the ids, so that the order of the rows changes nothing.
    by_id = np.asarray(pc.sort_indices(evidence.table["record_id"]), dtype=np.int64)
    order = by_id[np.argsort(group[by_id], kind="stable")]
    starts = np.concatenate([[0], np.cumsum(np.bincount(group))[:-1]])
    rank = np.arange(len(order)) - starts[group[order]]
    follows = rank >= most
    first, second = order[starts], order[np.minimum(starts + 1, len(order) - 1)]
    places = order[follows]
    followers = np.stack([places, first[group[places]]], axis=1)
    return _EqualGroups(np.sort(order[~follows]), followers, second[group[places]])


# What comes out


def _pairs(
    evidence: _Evidence, matches: _Matches, labels: Positions, linking: bool, notes: list[str]
) -> pa.Table:
    """Pairs with ids, in the order of the files; within clusters also those that hang together through others."""
    left, right, probability = _completed(evidence, matches, labels, linking, notes)
    order = np.lexsort((right, left))
    left, right, probability = left[order], right[order], probability[order]
    ids: Any = pa.chunked_array([chunk for own in evidence.ids for chunk in own.chunks], pa.string())
    return pa.table(
        {
            "left_id": ids.take(left),
            "right_id": ids.take(right),
            "probability": pa.array(probability),
            "cluster_id": pa.array(labels[left]),
        }
    )


def _completed(
    evidence: _Evidence, matches: _Matches, labels: Positions, linking: bool, notes: list[str]
) -> tuple[Positions, Positions, Probabilities]:
    """Add the pairs of a cluster that were not compared or scored lower by themselves.

    Their probability is that of the weakest link on the strongest way between the two: clusters grow along the pairs
    from the most to the least probable, and what a pair brings together hangs together by it.
    """
    sizes = np.bincount(labels)
    edges = np.bincount(labels[matches.left], minlength=len(sizes))
    if linking:
        firsts = np.bincount(labels[evidence.sides == 0], minlength=len(sizes))
        wanted = firsts * (sizes - firsts)
    else:
        wanted = sizes * (sizes - 1) // 2
    partial = (edges < wanted) & (sizes <= _MOST_LISTED)
    too_large = (edges < wanted) & (sizes > _MOST_LISTED)
    if too_large.any():
        notes.append(
            f"{int(too_large.sum()):,} clusters of more than {_MOST_LISTED} records (the largest has {int(sizes.max()):,}): "
            "only the pairs that were compared are listed; --clusters has every record"
        )
    rows = np.flatnonzero(partial[labels[matches.left]])
    if not len(rows):
        return matches.left, matches.right, matches.probability
    known = set(zip(matches.left[rows].tolist(), matches.right[rows].tolist(), strict=True))
    members: dict[int, list[int]] = {}
    root: dict[int, int] = {}
    added: list[tuple[int, int, float]] = []
    for row in rows[np.argsort(-matches.probability[rows], kind="stable")].tolist():
        one, other = (
            root.setdefault(place, place) for place in (int(matches.left[row]), int(matches.right[row]))
        )
        if one == other:
            continue
        ours, theirs = members.pop(one, [one]), members.pop(other, [other])
        for left, right in ((min(pair), max(pair)) for pair in ((a, b) for a in ours for b in theirs)):
            if (left, right) not in known and not (linking and evidence.sides[left] == evidence.sides[right]):
                added.append((left, right, float(matches.probability[row])))
        members[one] = ours + theirs
        root.update(dict.fromkeys(theirs, one))
    if not added:
        return matches.left, matches.right, matches.probability
    return (
        np.concatenate([matches.left, np.asarray([row[0] for row in added], dtype=np.int64)]),
        np.concatenate([matches.right, np.asarray([row[1] for row in added], dtype=np.int64)]),
        np.concatenate([matches.probability, np.asarray([row[2] for row in added])]),
    )


def _clusters(evidence: _Evidence, sources: Sequence[Source], labels: Positions) -> pa.Table:
    names = [str(source.path) for source in sources]
    return pa.table(
        {
            "file": pa.array([names[side] for side in evidence.sides.tolist()], pa.string()),
            "id": pa.chunked_array([chunk for own in evidence.ids for chunk in own.chunks], pa.string()),
            "cluster_id": pa.array(labels),
        }
    )
