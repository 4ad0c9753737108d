"""Products matched by title, without labels: words, character n-grams, model numbers, sizes, colours, price.

Similarity is a sum of cosines of IDF-weighted terms plus what model numbers, numbers, measures, colours and prices say.
What similarity means is learned from the data at hand (`contrast`): how much better a record's best candidate is than what
is found by chance. So the probability is one a threshold from costs can be put to, on catalogues nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from oms_core.identity import contrast, size, title_text
from oms_core.identity.contrast import Floats, Ints
from oms_core.identity.scorer import Scored

# Parts of the similarity. Two spellings of one title are 1.0: words, their trigrams, and half as much all text.
_WORDS, _GRAMS, _TEXT = 0.4, 0.4, 0.2
_MODEL, _MODEL_IN_TEXT = 0.2, 0.2
_NUMBERS_DIFFER, _MEASURES_DIFFER, _COLOURS_DIFFER = -0.1, -0.1, -0.1
_PRICE = 0.12
_PRICE_SAME, _PRICE_FAR = (
    0.5,
    1.5,
)  # natural log of the ratio: up to half as much again speaks for, beyond it against
# Two contents or packs that are named and differ are two articles: odds fall by this many bits.
_CONTENTS_DIFFER_BITS = 12.0

_CANDIDATES = 10
# Work for one record while candidates are looked up: postings read. Terms beyond it are too frequent to find anything by.
_POSTINGS_PER_RECORD = 6_000
_CHUNK = 1_024
_KEPT_SHARE = 0.2
# Pairs below this probability are not reported, as in `scorer`.
_AT_LEAST = 0.01
# Identical rows beyond this many are reported as a star around the first, not as all pairs.
_MOST_IN_FULL = 12


@dataclass(frozen=True)
class _Catalogue:
    """Distinct records as vectors. Rows [0, split) are the left side; split = all rows where one catalogue is deduplicated."""

    split: int
    words: sp.csr_matrix
    grams: sp.csr_matrix
    text: sp.csr_matrix
    keys: sp.csr_matrix
    text_keys: sp.csr_matrix
    key_bits: Floats
    numbers: sp.csr_matrix
    quantities: Sequence[size.Quantities]
    prices: Floats

    @property
    def count(self) -> int:
        return int(self.words.shape[0])


def score_titles(
    records: pa.Table,
    *,
    sides: bool = False,
    one_to_one: bool = False,
    new: pa.Array[Any] | None = None,
) -> Scored:
    """Score pairs of product records.

    Args:
        records: record_id (text, unique), title, and where known brand, mpn, sku_code, description, price, source_system.
        sides: only pairs of two source systems; needs source_system with exactly two values.
        one_to_one: each record has at most one match on the other side; needs `sides`.
        new: record ids; only pairs that touch one of them are reported.

    Returns:
        Pairs sorted by left_id and right_id; each probability at least 0.01.

    Raises:
        ValueError: a column is missing, ids are not unique, or `sides` without two source systems.
    """
    rows = _rows(records, sides=sides, one_to_one=one_to_one)
    if not rows:
        return Scored(_pair_table([], [], np.zeros(0), {}), [])
    groups, cut = _identical(rows)
    order = sorted(groups, key=lambda key: (key[0], groups[key][0]["record_id"]))
    sample = [groups[key][0] for key in order]
    split = sum(key[0] == order[0][0] for key in order) if sides else len(order)
    catalogue = _catalogue(sample, split)
    left, right, found = _candidates(catalogue, sides=sides)
    cut += found
    evidence = _evidence(catalogue, left, right)
    log_odds = _log_odds(catalogue, left, right, evidence, sides=sides, one_to_one=one_to_one)
    if one_to_one and len(left):
        kept = assign(left, right, _chance(log_odds))
        left, right, log_odds = left[kept], right[kept], log_odds[kept]
        evidence = {name: values[kept] for name, values in evidence.items()}
    members = [[row["record_id"] for row in groups[key]] for key in order]
    return Scored(_expand(members, left, right, log_odds, evidence, sides=sides, new=new), cut)


def _rows(records: pa.Table, *, sides: bool, one_to_one: bool) -> list[dict[str, Any]]:
    missing = {"record_id", "title"} - set(records.column_names)
    if missing:
        raise ValueError(f"records have no column {', '.join(sorted(missing))}: give record_id and title")
    if one_to_one and not sides:
        raise ValueError("one_to_one links two catalogues: give sides=True and two values of source_system")
    wanted = [
        name
        for name in (
            "record_id",
            "title",
            "brand",
            "mpn",
            "description",
            "price",
            "source_system",
            "sku_code",
        )
        if name in records.column_names
    ]
    rows: list[dict[str, Any]] = records.select(wanted).to_pylist()
    if len({row["record_id"] for row in rows}) != len(rows):
        raise ValueError("record_id is not unique: number the rows, or name another column as the id")
    if sides:
        systems = {row.get("source_system") for row in rows}
        if rows and (len(systems) > 2 or None in systems):
            raise ValueError(f"sides=True links two source systems; records name {len(systems)}")
    return rows


def _identical(
    rows: Iterable[dict[str, Any]],
) -> tuple[dict[tuple[Any, ...], list[dict[str, Any]]], list[str]]:
    """Rows by side and content, each group by record id: identical rows are compared once."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        content = tuple(
            row.get(name) for name in ("title", "brand", "mpn", "description", "price", "sku_code")
        )
        groups.setdefault((row.get("source_system") or "", *map(repr, content)), []).append(row)
    cut = []
    for key, group in groups.items():
        group.sort(key=lambda row: row["record_id"])
        if len(group) > _MOST_IN_FULL:
            cut.append(
                f"{len(group):,} identical rows with the title {key[1]}: compared as one and reported as "
                f"{len(group) - 1:,} pairs with the first instead of {len(group) * (len(group) - 1) // 2:,}"
            )
    return groups, sorted(cut)


def _joined(row: Mapping[str, Any], *names: str) -> str:
    return " ".join(str(row[name]) for name in names if row.get(name))


def _catalogue(rows: Sequence[Mapping[str, Any]], split: int) -> _Catalogue:
    titles = [title_text.read_title(_joined(row, "title", "brand", "mpn")) for row in rows]
    texts = [
        title_text.read_title(_joined(row, "title", "brand", "mpn", "description"), grams=False)
        if row.get("description")
        else title
        for row, title in zip(rows, titles, strict=True)
    ]
    keys, key_bits, key_columns = _incidence(
        [text.keys + title.keys for text, title in zip(texts, titles, strict=True)]
    )
    own_keys, _, _ = _incidence([title.keys for title in titles], key_columns)
    numbers, _, _ = _incidence([title.numbers for title in titles])
    return _Catalogue(
        split,
        _weighted([title.words for title in titles]),
        _weighted([title.grams for title in titles]),
        _weighted([text.words for text in texts]),
        own_keys,
        keys,
        key_bits,
        numbers,
        [size.quantities(row.get("title")) for row in rows],
        np.array([_price(row.get("price")) for row in rows]),
    )


def _price(value: Any) -> float:
    number = float(value) if value is not None else float("nan")
    return number if number > 0 else float("nan")


def _incidence(
    terms: Sequence[tuple[str, ...]], columns: Mapping[str, int] | None = None
) -> tuple[sp.csr_matrix, Floats, Mapping[str, int]]:
    """Which row has which term (0 or 1), the information of each term in bits, and its column."""
    known: dict[str, int] = dict(columns or {})
    indices: list[int] = []
    pointers = [0]
    for row in terms:
        if columns is None:
            distinct = {known.setdefault(term, len(known)) for term in row}
        else:
            distinct = {known[term] for term in row}
        indices.extend(distinct)
        pointers.append(len(indices))
    shape = (len(terms), max(len(known), 1))
    matrix = sp.csr_matrix((np.ones(len(indices)), np.array(indices, dtype=np.int64), pointers), shape=shape)
    frequency = np.bincount(matrix.indices, minlength=shape[1])
    bits = np.log2((len(terms) + 1) / np.maximum(frequency, 1))
    return matrix, bits, known


def _weighted(terms: Sequence[tuple[str, ...]]) -> sp.csr_matrix:
    """Rows of unit length, each term weighted by its information (IDF)."""
    matrix, bits, _ = _incidence(terms)
    matrix.data = bits[matrix.indices]
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    length[length == 0] = 1.0
    return sp.csr_matrix(sp.diags(1.0 / length) @ matrix)


def _candidates(catalogue: _Catalogue, *, sides: bool) -> tuple[Ints, Ints, list[str]]:
    """Pairs worth a look: each record's ten most similar ones, both ways."""
    everything = sp.csr_matrix(
        sp.hstack(
            [
                catalogue.words * np.sqrt(_WORDS),
                catalogue.grams * np.sqrt(_GRAMS),
                catalogue.text * np.sqrt(_TEXT),
            ]
        ),
        dtype=np.float32,
    )
    split, count = catalogue.split, catalogue.count
    left = everything[:split]
    right = everything[split:] if sides else everything
    left, right, cut = _without_frequent(left, right)
    forth, near = _nearest(left, right, exclude_self=not sides)
    if sides:
        near_back, back = _swap(_nearest(right, left, exclude_self=False))
        first, second = np.r_[forth, near_back], np.r_[near, back] + split
    else:
        first, second = np.minimum(forth, near), np.maximum(forth, near)
    pairs = np.unique(first * count + second)
    return pairs // count, pairs % count, cut


def _swap(pairs: tuple[Ints, Ints]) -> tuple[Ints, Ints]:
    return pairs[1], pairs[0]


def _without_frequent(
    left: sp.csr_matrix, right: sp.csr_matrix
) -> tuple[sp.csr_matrix, sp.csr_matrix, list[str]]:
    """Leave out the most frequent terms until the work per record is bounded; rows then share rare terms only."""
    ours, theirs = (
        np.bincount(left.indices, minlength=left.shape[1]),
        np.bincount(right.indices, minlength=right.shape[1]),
    )
    work = ours.astype(np.float64) * theirs
    budget = float(_POSTINGS_PER_RECORD) * max(left.shape[0], right.shape[0])
    if work.sum() <= budget:
        return left, right, []
    order = np.argsort(work, kind="stable")
    kept = np.zeros(len(work), dtype=bool)
    kept[order[np.cumsum(work[order]) <= budget]] = True
    keep = sp.diags(kept.astype(np.float32))
    dropped = int((~kept).sum())
    least = int((ours + theirs)[~kept].min())
    sentence = f"{dropped:,} of {len(work):,} terms, each in at least {least:,} records, were not used to look for candidates"
    pruned = [sp.csr_matrix(side @ keep) for side in (left, right)]
    for side in pruned:
        side.eliminate_zeros()
    return pruned[0], pruned[1], [sentence]


def _nearest(left: sp.csr_matrix, right: sp.csr_matrix, *, exclude_self: bool) -> tuple[Ints, Ints]:
    """For each row of `left` its most similar rows of `right`."""
    turned = sp.csr_matrix(right.T)

    def look(begin: int) -> tuple[Ints, Ints]:
        found = sp.csr_matrix(left[begin : begin + _CHUNK] @ turned)
        counts = np.diff(found.indptr)
        rows = np.repeat(np.arange(len(counts)), counts)
        columns, values = found.indices.astype(np.int64), found.data
        if exclude_self:
            values = np.where(columns == rows + begin, 0.0, values)
        best = np.zeros(len(counts))
        filled = counts > 0
        if filled.any():
            best[filled] = np.maximum.reduceat(values, found.indptr[:-1][filled])
        kept = values > np.maximum(best[rows] * _KEPT_SHARE, 1e-9)
        rows, columns, values = rows[kept], columns[kept], values[kept]
        # Rounded, so that ties do not hang on the order of additions.
        order = np.lexsort((columns, -np.round(values, 5), rows))
        rows, columns = rows[order], columns[order]
        place = np.arange(len(rows)) - np.searchsorted(rows, rows)
        near = place < _CANDIDATES
        return rows[near] + begin, columns[near]

    with ThreadPoolExecutor(max_workers=2) as pool:
        parts = list(pool.map(look, range(0, left.shape[0], _CHUNK)))
    return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])


def _evidence(catalogue: _Catalogue, left: Ints, right: Ints) -> dict[str, Floats]:
    """What speaks for and against each pair; each value in shares of the similarity."""
    found = {
        "words": _WORDS * _dot(catalogue.words, left, right),
        "characters": _GRAMS * _dot(catalogue.grams, left, right),
        "text": _TEXT * _dot(catalogue.text, left, right),
    }
    most = max(float(np.log2(catalogue.count + 1)), 1.0)
    informative = sp.csr_matrix(catalogue.keys @ sp.diags(catalogue.key_bits))
    shared = _largest(informative, catalogue.keys, left, right) / most
    in_text = np.maximum(
        _largest(informative, catalogue.text_keys, left, right),
        _largest(informative, catalogue.text_keys, right, left),
    )
    found["model"] = _MODEL * shared
    found["model in text"] = _MODEL_IN_TEXT * np.maximum(in_text / most, shared)
    named = np.asarray(catalogue.numbers.sum(axis=1)).ravel()
    common = _dot(catalogue.numbers, left, right)
    found["numbers"] = _NUMBERS_DIFFER * np.clip(np.minimum(named[left], named[right]) - common, 0, 2) / 2
    found |= _quantity_evidence(catalogue.quantities, left, right)
    apart = np.abs(np.log(catalogue.prices[left] / catalogue.prices[right]))
    found["price"] = _PRICE * np.where(np.isnan(apart), 0.0, _PRICE_SAME - np.minimum(apart, _PRICE_FAR))
    return found


def _quantity_evidence(quantities: Sequence[size.Quantities], left: Ints, right: Ints) -> dict[str, Floats]:
    measures, colours, contents = np.zeros(len(left)), np.zeros(len(left)), np.zeros(len(left))
    speaking = np.array([bool(item.measures or item.colours or item.pack) for item in quantities])
    for place in np.flatnonzero(speaking[left] & speaking[right]):
        ours, theirs = quantities[left[place]], quantities[right[place]]
        measures[place] = _MEASURES_DIFFER * min(size.measures_agree(ours, theirs)[1], 2)
        if ours.colours and theirs.colours and not ours.colours & theirs.colours:
            colours[place] = _COLOURS_DIFFER
        contents[place] = size.contents_differ(ours, theirs)
    return {"measures": measures, "colours": colours, "contents differ": contents}


def _dot(matrix: sp.csr_matrix, left: Ints, right: Ints) -> Floats:
    parts = [
        np.asarray(
            matrix[left[at : at + 65_536]].multiply(matrix[right[at : at + 65_536]]).sum(axis=1)
        ).ravel()
        for at in range(0, len(left), 65_536)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _largest(ours: sp.csr_matrix, theirs: sp.csr_matrix, left: Ints, right: Ints) -> Floats:
    parts = [
        ours[left[at : at + 65_536]].multiply(theirs[right[at : at + 65_536]]).max(axis=1).toarray().ravel()
        for at in range(0, len(left), 65_536)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def _similarity(evidence: Mapping[str, Floats]) -> Floats:
    total: Floats = np.sum([values for name, values in evidence.items() if name != "contents differ"], axis=0)
    return np.round(total, 9)


def _log_odds(
    catalogue: _Catalogue,
    left: Ints,
    right: Ints,
    evidence: Mapping[str, Floats],
    *,
    sides: bool,
    one_to_one: bool,
) -> Floats:
    """Natural log odds of each pair."""
    similarity = _similarity(evidence) - evidence["contents differ"]
    if sides and one_to_one:
        found = _exclusive(catalogue, left, right, similarity)
    else:
        found = _inclusive(catalogue, left, right, similarity)
    odds: Floats = found - evidence["contents differ"] * _CONTENTS_DIFFER_BITS * np.log(2)
    return odds


def _exclusive(catalogue: _Catalogue, left: Ints, right: Ints, similarity: Floats) -> Floats:
    """Each record has at most one match: leads over rivals count, and a good candidate leaves little to those below it."""
    count = catalogue.count
    sorted_left = contrast.sort_lists(left, similarity, right, count)
    sorted_right = contrast.sort_lists(right, similarity, left, count)
    views = []
    for mine, other, owner in ((sorted_left, sorted_right, right), (sorted_right, sorted_left, left)):
        features = np.column_stack(
            [
                similarity,
                contrast.gap_below(similarity, *mine),
                contrast.gap_to_best_other(similarity, owner, *other),
            ]
        )
        views.append(contrast.Lists(*mine, features))
    odds = [
        _after_better(view, calibration.log_odds(view.features))
        for view, calibration in zip(views, contrast.calibrate(views, similarity, one_each=True), strict=True)
    ]
    lowest: Floats = np.minimum(*odds)
    return lowest


def _after_better(view: contrast.Lists, log_odds: Floats) -> Floats:
    """Log odds of a match given that the owner may have it with a better candidate."""
    ranked = log_odds[view.order]
    none_so_far = np.cumsum(-np.logaddexp(0.0, ranked)) + np.logaddexp(0.0, ranked)
    filled = view.stop > view.start
    base = np.repeat(none_so_far[view.start[filled]], (view.stop - view.start)[filled])
    log_chance = none_so_far - base - np.logaddexp(0.0, -ranked)
    result = np.empty_like(log_odds)
    log_chance = np.minimum(log_chance, -1e-12)
    result[view.order] = log_chance - np.log(-np.expm1(log_chance))
    return result


def _inclusive(catalogue: _Catalogue, left: Ints, right: Ints, similarity: Floats) -> Floats:
    """A record may have several matches: what counts is how far a pair stands out from both records' surroundings."""
    owner, other = np.r_[left, right], np.r_[right, left]
    twice = np.r_[similarity, similarity]
    order, start, stop = contrast.sort_lists(owner, twice, other, catalogue.count)
    surroundings = np.zeros(catalogue.count)
    crowded = stop - start > 3
    surroundings[crowded] = twice[order[start[crowded] + 3]]
    features = np.column_stack([twice, twice - surroundings[owner], twice - surroundings[other]])
    view = contrast.Lists(order, start, stop, features)
    calibration = contrast.calibrate([view], twice, one_each=False)[0]
    odds = calibration.log_odds(features)
    return np.minimum(odds[: len(left)], odds[len(left) :])


def _chance(log_odds: Floats) -> Floats:
    chance: Floats = 0.5 * (1.0 + np.tanh(0.5 * log_odds))
    return chance


def assign(left: Ints, right: Ints, probability: Floats) -> NDArray[np.intp]:
    """The pairs of the one-to-one assignment with the largest expected number of true matches.

    Args:
        left, right: (p,) node numbers; the sides' numbers may overlap.
        probability: (p,) in [0, 1].

    Returns:
        Positions of the assigned pairs, ascending.

    Source: the sparse Jonker-Volgenant algorithm of SciPy; an own dummy partner for each left node lets it stay alone.
    """
    rows, row_of = np.unique(left, return_inverse=True)
    columns, column_of = np.unique(right, return_inverse=True)
    # Costs must not be zero; alone costs 2, a match less by its probability.
    cost = sp.csr_matrix(
        (
            np.r_[2.0 - probability, np.full(len(rows), 2.0)],
            (np.r_[row_of, np.arange(len(rows))], np.r_[column_of, len(columns) + np.arange(len(rows))]),
        ),
        shape=(len(rows), len(columns) + len(rows)),
    )
    chosen_row, chosen_column = min_weight_full_bipartite_matching(cost)
    chosen = set(zip(chosen_row.tolist(), chosen_column.tolist(), strict=True))
    return np.array(
        [
            place
            for place, pair in enumerate(zip(row_of.tolist(), column_of.tolist(), strict=True))
            if pair in chosen
        ],
        dtype=np.intp,
    )


def _expand(
    members: Sequence[Sequence[str]],
    left: Ints,
    right: Ints,
    log_odds: Floats,
    evidence: Mapping[str, Floats],
    *,
    sides: bool,
    new: pa.Array[Any] | None,
) -> pa.Table:
    """From distinct contents back to records."""
    wanted = None if new is None else set(new.to_pylist())
    lefts: list[str] = []
    rights: list[str] = []
    origin: list[int] = []
    for place in np.flatnonzero(_chance(log_odds) >= _AT_LEAST).tolist():
        ours, theirs = members[left[place]], members[right[place]]
        if len(ours) * len(theirs) > _MOST_IN_FULL**2:
            pairs = [(ours[0], record) for record in theirs]
        else:
            pairs = [(one, other) for one in ours for other in theirs]
        for one, other in pairs:
            if wanted is None or one in wanted or other in wanted:
                lefts.append(min(one, other))
                rights.append(max(one, other))
                origin.append(place)
    where = np.array(origin, dtype=np.intp)
    return _pair_table(
        lefts, rights, log_odds[where], {name: values[where] for name, values in evidence.items()}
    )


def _pair_table(
    left: Sequence[str], right: Sequence[str], log_odds: Floats, evidence: Mapping[str, Floats]
) -> pa.Table:
    columns: dict[str, pa.Array[Any]] = {
        "left_id": pa.array(left, pa.string()),
        "right_id": pa.array(right, pa.string()),
        "probability": pa.array(_chance(log_odds), pa.float64()),
        "match_weight": pa.array(log_odds / np.log(2), pa.float64()),
    }
    table = pa.table(columns)
    return table.sort_by([("left_id", "ascending"), ("right_id", "ascending")])
