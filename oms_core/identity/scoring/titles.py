"""Products matched by title, without labels: words, character n-grams, model numbers, sizes, colours, price.

Similarity is a sum of cosines of IDF-weighted terms plus what model numbers, numbers, measures, colours and prices say.
What similarity means is learned from the data at hand (`contrast`): how much better a record's best candidate is than what
is found by chance. So the probability is one a threshold from costs can be put to, on catalogues nobody has seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp
from numpy.typing import NDArray
from scipy.sparse.csgraph import min_weight_full_bipartite_matching

from oms_core.identity.scoring import contrast, size, title_text
from oms_core.identity.scoring.contrast import Floats, Ints
from oms_core.identity.scoring.scorer import FieldWeight, Scored
from oms_core.identity.scoring.title_text import TitleText

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
# A catalogue counts as free of duplicates while at most this share of the other's records is claimed twice.
_MOST_CONTESTED = 0.1

_CANDIDATES = 10
# Work for one record while candidates are looked up: postings read. Terms beyond it are too frequent to find anything by.
_POSTINGS_PER_RECORD = 2_500
_POSTINGS_ALWAYS = 1e8
_CHUNK = 1_024
_KEPT_SHARE = 0.2
# Pairs below this probability are not reported, as in `scorer`.
_AT_LEAST = 0.01
# Identical rows beyond this many are reported as a star around the first, not as all pairs.
_MOST_IN_FULL = 12
_MOST_BITS = 20.0
# In an explanation, words below this are summed up.
_LEAST_SHOWN_BITS = 0.1
_ROUNDING = 1e-6
_CONTENT = ("title", "brand", "mpn", "description", "price", "sku_code")


@dataclass(frozen=True)
class _Catalogue:
    """Distinct records as vectors. Rows [0, split) are the left side; split = all rows where one catalogue is deduplicated.

    Attributes:
        information: (n,) bits of all words of a title together.
    """

    split: int
    titles: Sequence[TitleText]
    texts: Sequence[TitleText]
    words: sp.csr_matrix
    word_columns: Mapping[str, int]
    grams: sp.csr_matrix
    text: sp.csr_matrix
    text_columns: Mapping[str, int]
    keys: sp.csr_matrix
    text_keys: sp.csr_matrix
    key_bits: Floats
    numbers: sp.csr_matrix
    quantities: Sequence[size.Quantities]
    prices: Floats
    information: Floats

    @property
    def count(self) -> int:
        return len(self.titles)


@dataclass(frozen=True)
class _End:
    """All pairs seen from one of their two records.

    Attributes:
        features: (p, 3) similarity, lead over the next candidate, lead over the other record's candidates.
        log_odds: (p,) natural.
        weight: (p,) what this end counts for in the pair's log odds; both ends together 1.
    """

    calibration: contrast.Calibration
    features: Floats
    log_odds: Floats
    weight: Floats


@dataclass(frozen=True)
class FittedTitles:
    """Scored titles with all that is needed to explain a pair.

    Attributes:
        scored: what `score_titles` returns.
        free_of_duplicates: per side (one where a single catalogue is deduplicated), as the data show it.
        one_to_one: whether pairs were assigned one to one.
        shares: per side, the estimated share of records that have a match.
    """

    scored: Scored
    free_of_duplicates: tuple[bool, ...]
    one_to_one: bool
    shares: tuple[float, ...]
    _catalogue: _Catalogue
    _row_of: Mapping[str, int]
    _pair_of: Mapping[tuple[int, int], int]
    _evidence: Mapping[str, Floats]
    _ends: Sequence[_End]
    _log_odds: Floats


def score_titles(
    records: pa.Table,
    *,
    sides: bool = False,
    one_to_one: bool | None = False,
    new: pa.Array[Any] | None = None,
) -> Scored:
    """Score pairs of product records.

    Args:
        records: record_id (text, unique), title, and where known brand, mpn, sku_code, description, price, source_system.
        sides: only pairs of two source systems; needs source_system with at most two values.
        one_to_one: assign each record at most one match on the other side; needs `sides`. None: where both sides turn out to
            be free of duplicates.
        new: record ids; only pairs that touch one of them are reported.

    Returns:
        Pairs sorted by left_id and right_id, of a probability of at least 0.01. Levels: -1 unknown, 0 differs, up to 4 (words)
        or 2 (model, price) or 1.

    Raises:
        ValueError: a column is missing, ids are not unique, or `sides` with more than two source systems.
    """
    return fit_titles(records, sides=sides, one_to_one=one_to_one, new=new).scored


def fit_titles(
    records: pa.Table,
    *,
    sides: bool = False,
    one_to_one: bool | None = False,
    new: pa.Array[Any] | None = None,
) -> FittedTitles:
    """Score as `score_titles` does and keep what `explain_titles` needs. Arguments and errors are the same."""
    rows = _rows(records, sides=sides, one_to_one=one_to_one)
    groups, cut = _identical(rows)
    order = sorted(groups, key=lambda key: (key[0] if sides else "", groups[key][0]["record_id"]))
    sample = [groups[key][0] for key in order]
    split = sum(key[0] == order[0][0] for key in order) if sides else len(order)
    catalogue = _catalogue(sample, split)
    left, right, found = _candidates(catalogue, sides=sides)
    evidence = _evidence(catalogue, left, right)
    ends, free = _ends(catalogue, left, right, _similarity(evidence), sides=sides, one_to_one=one_to_one)
    log_odds = ends[0].weight * ends[0].log_odds + ends[1].weight * ends[1].log_odds
    log_odds = log_odds - evidence["contents differ"] * _CONTENTS_DIFFER_BITS * np.log(2)
    assigned = bool(one_to_one) or (one_to_one is None and sides and all(free))
    kept = assign(left, right, _chance(log_odds)) if assigned else np.arange(len(left))
    members = [[row["record_id"] for row in groups[key]] for key in order]
    pairs = _expand(
        members,
        catalogue,
        left[kept],
        right[kept],
        log_odds[kept],
        sides,
        sides and (assigned or all(free)),
        assigned,
    )
    table = _pair_table(*pairs, _levels(catalogue, evidence, left, right, kept), new)
    return FittedTitles(
        Scored(table, cut + found),
        free,
        assigned,
        tuple(end.calibration.share for end in (ends if sides else ends[:1])),
        catalogue,
        {record: place for place, group in enumerate(members) for record in group},
        {pair: place for place, pair in enumerate(zip(left.tolist(), right.tolist(), strict=True))},
        evidence,
        ends,
        log_odds,
    )


def _rows(records: pa.Table, *, sides: bool, one_to_one: bool | None) -> list[dict[str, Any]]:
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
    """Rows by side and content, each group by record id: identical rows are compared once, rows without a title not at all."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    untitled = 0
    for row in rows:
        if not (row["title"] or "").strip():
            untitled += 1
            continue
        groups.setdefault((row.get("source_system") or "", *map(row.get, _CONTENT)), []).append(row)
    cut = [f"{untitled:,} records have no title and were not compared"] if untitled else []
    for group in sorted(groups.values(), key=lambda group: str(group[0]["record_id"])):
        group.sort(key=lambda row: str(row["record_id"]))
        if len(group) > _MOST_IN_FULL:
            cut.append(
                f"{len(group):,} identical rows with the title {group[0]['title']!r}: compared as one, and joined by "
                f"{len(group) - 1:,} pairs with the first instead of {len(group) * (len(group) - 1) // 2:,}"
            )
    return groups, cut


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
    words, word_bits, word_columns = _incidence([title.words for title in titles])
    grams, gram_bits, _ = _incidence([title.grams for title in titles])
    described = any(text is not title for text, title in zip(texts, titles, strict=True))
    text, text_bits, text_columns = (
        _incidence([text.words for text in texts]) if described else (words, word_bits, word_columns)
    )
    return _Catalogue(
        split=split,
        titles=titles,
        texts=texts,
        words=_weighted(words, word_bits),
        word_columns=word_columns,
        grams=_weighted(grams, gram_bits),
        text=_weighted(text, text_bits),
        text_columns=text_columns,
        keys=own_keys,
        text_keys=keys,
        key_bits=key_bits,
        numbers=numbers,
        quantities=[size.quantities(row.get("title")) for row in rows],
        prices=np.array([_price(row.get("price")) for row in rows], dtype=np.float64),
        information=np.asarray(words @ word_bits).ravel(),
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


def _weighted(matrix: sp.csr_matrix, bits: Floats) -> sp.csr_matrix:
    """Rows of unit length, each term weighted by its information (IDF)."""
    weighted = sp.csr_matrix(matrix @ sp.diags(bits))
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(axis=1)).ravel())
    length[length == 0] = 1.0
    return sp.csr_matrix(sp.diags(1.0 / length) @ weighted)


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
    budget = max(float(_POSTINGS_PER_RECORD) * max(left.shape[0], right.shape[0]), _POSTINGS_ALWAYS)
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
    if left.shape[0] == 0 or right.shape[0] == 0:
        return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
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
    speaking = np.array([bool(item.measures or item.colours or item.pack) for item in quantities], dtype=bool)
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
    """(p,) 1.0 for a record with itself; two contents that differ count as nothing in common."""
    parts = [values for name, values in evidence.items() if name != "contents differ"]
    total: Floats = np.round(np.sum(parts, axis=0), 9) - evidence["contents differ"]
    return total


def _ends(
    catalogue: _Catalogue,
    left: Ints,
    right: Ints,
    similarity: Floats,
    *,
    sides: bool,
    one_to_one: bool | None,
) -> tuple[list[_End], tuple[bool, ...]]:
    """Log odds of every pair from both its ends, and which sides are free of duplicates."""
    nodes, count = (left, right), catalogue.count
    if sides:
        pairs = [np.arange(len(left))] * 2
        lists = [contrast.sort_lists(nodes[end], similarity, nodes[1 - end], count) for end in (0, 1)]
        below = [contrast.gap_below(similarity, *each) for each in lists]
        views = [
            contrast.Lists(*lists[end], np.column_stack([similarity, below[end], below[1 - end]]))
            for end in (0, 1)
        ]
        calibrations = [contrast.calibrate([view], similarity, one_each=False)[0] for view in views]
    else:
        # Each pair twice, once in the list of each of its records.
        owner, other, twice = np.r_[left, right], np.r_[right, left], np.r_[similarity, similarity]
        order, start, stop = contrast.sort_lists(owner, twice, other, count)
        gaps = contrast.gap_below(twice, order, start, stop)
        swapped = np.r_[gaps[len(left) :], gaps[: len(left)]]
        views = [contrast.Lists(order, start, stop, np.column_stack([twice, gaps, swapped]))]
        calibrations = contrast.calibrate(views, twice, one_each=False)
        pairs = [np.arange(len(left)), len(left) + np.arange(len(left))]
        nodes = (owner, other)
    free = tuple(
        contrast.contested(view, calibration, nodes[1 - end] if sides else nodes[1]) <= _MOST_CONTESTED
        for end, (view, calibration) in enumerate(zip(views, calibrations, strict=True))
    )
    if sides and (one_to_one or all(free)):
        return _exclusive_ends(nodes, lists, below, similarity), free
    seen = [
        contrast.in_turn(view, calibration, at_most_one=False)
        for view, calibration in zip(views, calibrations, strict=True)
    ]
    if not sides:
        views, calibrations, seen = views * 2, calibrations * 2, seen * 2
    odds = [seen[end][pairs[end]] for end in (0, 1)]
    if any(free):
        first = np.full(len(left), 0.5)
    else:
        # Only one of several duplicates leads the list of their match, but their match leads each of their lists.
        first = (odds[0] >= odds[1]).astype(np.float64)
    weights = (first, 1.0 - first)
    return [
        _End(calibrations[end], views[end].features[pairs[end]], odds[end], weights[end]) for end in (0, 1)
    ], free


def _exclusive_ends(
    nodes: tuple[Ints, Ints],
    lists: Sequence[tuple[Ints, Ints, Ints]],
    below: Sequence[Floats],
    similarity: Floats,
) -> list[_End]:
    """Each record has at most one match: the lead over all rivals counts, and a good candidate leaves little to those below."""
    views = []
    for end in (0, 1):
        lead = contrast.gap_to_best_other(similarity, nodes[1 - end], *lists[1 - end])
        views.append(contrast.Lists(*lists[end], np.column_stack([similarity, below[end], lead])))
    half = np.full(len(similarity), 0.5)
    return [
        _End(calibration, view.features, contrast.in_turn(view, calibration, at_most_one=True), half)
        for view, calibration in zip(views, contrast.calibrate(views, similarity, one_each=True), strict=True)
    ]


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
    catalogue: _Catalogue,
    left: Ints,
    right: Ints,
    log_odds: Floats,
    sides: bool,
    exclusive: bool,
    assigned: bool,
) -> tuple[list[str], list[str], list[float], list[int]]:
    """From distinct contents back to records: ids of both, log odds, and the pair of contents (-1: identical rows)."""
    lefts: list[str] = []
    rights: list[str] = []
    odds: list[float] = []
    origin: list[int] = []
    for place in np.flatnonzero(_chance(log_odds) >= _AT_LEAST).tolist():
        ours, theirs = members[left[place]], members[right[place]]
        value = float(log_odds[place])
        if exclusive and max(len(ours), len(theirs)) > 1:
            # Different articles of one title: any of them is as likely as the next.
            chance = float(_chance(log_odds[place : place + 1])[0]) / max(len(ours), len(theirs))
            value = float(np.log(chance / (1 - chance)))
        if assigned:
            pairs = list(zip(ours, theirs, strict=False))
        elif len(ours) * len(theirs) > _MOST_IN_FULL**2:
            # Connected all the same: identical rows are joined among themselves, or by the shared first.
            pairs = [(ours[0], record) for record in theirs] + [(record, theirs[0]) for record in ours[1:]]
        else:
            pairs = [(one, other) for one in ours for other in theirs]
        lefts += [min(pair) for pair in pairs]
        rights += [max(pair) for pair in pairs]
        odds += [value] * len(pairs)
        origin += [place] * len(pairs)
    if not sides:
        for node, group in enumerate(members):
            if len(group) == 1:
                continue
            bits = _identical_bits(catalogue, node)
            pairs = (
                list(combinations(group, 2))
                if len(group) <= _MOST_IN_FULL
                else [(group[0], record) for record in group[1:]]
            )
            if _chance(np.array([bits * np.log(2)]))[0] >= _AT_LEAST:
                lefts += [min(pair) for pair in pairs]
                rights += [max(pair) for pair in pairs]
                odds += [bits * float(np.log(2))] * len(pairs)
                origin += [-1] * len(pairs)
    return lefts, rights, odds, origin


def _identical_bits(catalogue: _Catalogue, node: int) -> float:
    """Match weight of two rows of the same content: chance alone repeats a title of few or frequent words."""
    return min(float(catalogue.information[node] - np.log2(max(catalogue.count, 1))), _MOST_BITS)


_LEVELS = ("words", "model", "numbers", "measures", "colours", "contents", "price")


def _levels(
    catalogue: _Catalogue,
    evidence: Mapping[str, Floats],
    left: Ints,
    right: Ints,
    kept: Ints | NDArray[np.intp],
) -> dict[str, NDArray[np.int8]]:
    """A small number per comparison of the kept pairs; a last row stands for identical rows."""
    left, right = left[kept], right[kept]
    shown = {name: values[kept] for name, values in evidence.items()}

    def known(matrix: sp.csr_matrix) -> NDArray[np.bool_]:
        filled = np.diff(matrix.indptr) > 0
        both: NDArray[np.bool_] = filled[left] & filled[right]
        return both

    named = {
        name: np.array([bool(getattr(item, name)) for item in catalogue.quantities], dtype=bool)
        for name in ("measures", "colours")
    }
    contents = np.array(
        [item.content is not None or item.pack is not None for item in catalogue.quantities], dtype=bool
    )
    priced = ~np.isnan(catalogue.prices)
    levels = {
        "words": np.floor(shown["words"] / _WORDS * 4 + 1e-9),
        "model": np.where(
            shown["model"] > 0,
            2,
            np.where(shown["model in text"] > 0, 1, np.where(known(catalogue.keys), 0, -1)),
        ),
        "numbers": np.where(known(catalogue.numbers), shown["numbers"] >= 0, -1),
        "measures": np.where(named["measures"][left] & named["measures"][right], shown["measures"] >= 0, -1),
        "colours": np.where(named["colours"][left] & named["colours"][right], shown["colours"] >= 0, -1),
        "contents": np.where(contents[left] & contents[right], shown["contents differ"] == 0, -1),
        "price": np.where(
            priced[left] & priced[right],
            (shown["price"] > 0).astype(int) + (shown["price"] > _PRICE * (_PRICE_SAME - 0.1)),
            -1,
        ),
    }
    same = {"words": 4, "model": 2, "price": 2}
    return {name: np.r_[levels[name], same.get(name, 1)].astype(np.int8) for name in _LEVELS}


def _pair_table(
    left: Sequence[str],
    right: Sequence[str],
    log_odds: Sequence[float],
    origin: Sequence[int],
    levels: Mapping[str, NDArray[np.int8]],
    new: pa.Array[Any] | None,
) -> pa.Table:
    odds, where = np.array(log_odds, dtype=np.float64), np.array(origin, dtype=np.intp)
    columns: dict[str, pa.Array[Any]] = {
        "left_id": pa.array(left, pa.string()),
        "right_id": pa.array(right, pa.string()),
        "probability": pa.array(_chance(odds), pa.float64()),
        "match_weight": pa.array(odds / np.log(2), pa.float64()),
        **{name: pa.array(values[where], pa.int8()) for name, values in levels.items()},
    }
    table = pa.table(columns)
    if new is not None:
        touched = pc.or_(
            pc.is_in(table["left_id"], value_set=new), pc.is_in(table["right_id"], value_set=new)
        )
        table = table.filter(touched)
    return table.sort_by([("left_id", "ascending"), ("right_id", "ascending")])


def explain_titles(fitted: FittedTitles, left_id: str, right_id: str) -> list[FieldWeight]:
    """What spoke for and against a pair, in bits that sum to its match weight.

    Args:
        fitted: from `fit_titles`.
        left_id, right_id: two records that were compared.

    Returns:
        The odds of a pair half alike, then the evidence from strongest to weakest: words both titles have or one lacks, n-grams, model
        numbers, numbers, measures, colours, contents, price, and what rival candidates take away. Each word's share follows from
        cosine = 1/2 cosine + 1/2 (1 - half the squared distance).

    Raises:
        KeyError: a record is unknown, or the two were no candidates of each other.
    """
    for record in (left_id, right_id):
        if record not in fitted._row_of:
            raise KeyError(f"record {record} has no title or was not among the records: nothing to explain")
    one, other = sorted((fitted._row_of[left_id], fitted._row_of[right_id]))
    if one == other:
        bits = _identical_bits(fitted._catalogue, one)
        return [
            FieldWeight(
                "identical", None, None, "the same content; the rarer its words, the more it says", bits
            )
        ]
    place = fitted._pair_of.get((one, other))
    if place is None:
        raise KeyError(
            f"{left_id} and {right_id} were not compared: too little in common for a candidate pair"
        )
    start = rivals = per_similarity = 0.0
    for end in fitted._ends:
        slopes = end.calibration.slopes / end.calibration.scale * float(end.weight[place]) / np.log(2)
        start += float(
            end.calibration.intercept * end.weight[place] / np.log(2) - slopes @ end.calibration.center
        )
        per_similarity += float(slopes.sum())
        rivals += float(slopes[1:] @ (end.features[place, 1:] - end.features[place, 0]))
    weights = _evidence_weights(fitted, one, other, place, per_similarity)
    start += per_similarity * (_WORDS + _GRAMS + _TEXT) / 2
    weights.append(FieldWeight("rivals", None, None, "other candidates of either record", rivals))
    total = float(fitted._log_odds[place] / np.log(2))
    rest = total - start - sum(weight.weight_bits for weight in weights)
    if abs(rest) > 1e-9:
        weights.append(
            FieldWeight("rank", None, None, "place among the candidates, and limits of evidence", rest)
        )
    weights.sort(
        key=lambda weight: (
            -abs(weight.weight_bits),
            weight.field,
            weight.left_value or "",
            weight.right_value or "",
        )
    )
    return [FieldWeight("prior", None, None, "odds of a pair half alike", start), *weights]


def _measures(named: size.Quantities) -> list[str]:
    return [f"{value:g} {unit}" for unit, values in sorted(named.measures.items()) for value in values]


def _evidence_weights(
    fitted: FittedTitles, one: int, other: int, place: int, per_similarity: float
) -> list[FieldWeight]:
    catalogue, evidence = fitted._catalogue, fitted._evidence
    ours, theirs = catalogue.titles[one], catalogue.titles[other]
    parts: dict[str, tuple[bool, bool, float]] = {}
    for matrix, columns, share, texts in (
        (catalogue.words, catalogue.word_columns, _WORDS, catalogue.titles),
        (catalogue.text, catalogue.text_columns, _TEXT, catalogue.texts),
    ):
        left, right = matrix[one].toarray().ravel(), matrix[other].toarray().ravel()
        for word in dict.fromkeys((*texts[one].words, *texts[other].words)):
            mine, its = left[columns[word]], right[columns[word]]
            bits = per_similarity * share * (0.5 * mine * its - 0.25 * (mine - its) ** 2)
            has = parts.get(word, (False, False, 0.0))
            parts[word] = (has[0] or mine > 0, has[1] or its > 0, has[2] + bits)
    found = [
        FieldWeight(
            "word",
            word if mine else None,
            word if its else None,
            "in both" if mine and its else "in one only",
            bits,
        )
        for word, (mine, its, bits) in parts.items()
        if abs(bits) >= _LEAST_SHOWN_BITS
    ]
    faint = [bits for _, _, bits in parts.values() if abs(bits) < _LEAST_SHOWN_BITS]
    if faint:
        found.append(FieldWeight("words", None, None, f"{len(faint)} words of little weight", sum(faint)))
    shared = [gram for gram in ours.grams if gram in set(theirs.grams)]
    found.append(
        FieldWeight(
            "characters",
            str(len(ours.grams)),
            str(len(theirs.grams)),
            f"{len(shared)} n-grams in both",
            per_similarity * (float(evidence["characters"][place]) - _GRAMS / 2),
        )
    )
    named = (catalogue.quantities[one], catalogue.quantities[other])
    shown: dict[str, tuple[Any, Any]] = {
        "model": (ours.codes, theirs.codes),
        "model in text": (catalogue.texts[one].codes, catalogue.texts[other].codes),
        "numbers": (ours.numbers, theirs.numbers),
        "measures": (_measures(named[0]), _measures(named[1])),
        "colours": (sorted(named[0].colours), sorted(named[1].colours)),
        "price": ([str(catalogue.prices[one])], [str(catalogue.prices[other])]),
    }
    for name, (left_value, right_value) in shown.items():
        value = float(evidence[name][place])
        if value:
            label = "agrees" if value > 0 else "differs"
            found.append(
                FieldWeight(name, " ".join(left_value), " ".join(right_value), label, per_similarity * value)
            )
    if evidence["contents differ"][place]:
        found.append(
            FieldWeight(
                "contents",
                str(named[0].content or named[0].pack),
                str(named[1].content or named[1].pack),
                "different contents or packs are different articles",
                -_CONTENTS_DIFFER_BITS - per_similarity,
            )
        )
    return found
