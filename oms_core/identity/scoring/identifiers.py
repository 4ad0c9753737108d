"""What codes say about pairs of products: a shared article number is strong evidence, two that differ are as strong against.

A code proves nothing where it stands on records whose titles have nothing in common, where makers differ, or where the contents
named in the titles differ: codes get recycled, and "N/A" is not one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from rapidfuzz import fuzz

from oms_core.identity import normalise
from oms_core.identity.scoring import size

Positions = npt.NDArray[np.int64]
Row = dict[str, Any]

# Chance that two records are one article given the code they share: numbers with a check digit, a maker's part number
# beside its name, an item code that mixes letters and digits.
_GTIN, _PART, _ITEM = 0.9999, 0.99, 0.97
_MOST_SHARERS = 3
# Of more records with one code their titles must be alike (share of common words, of 100), most of those in one script; codes
# under more titles than this are not looked at.
_ALIKE = 70.0
_MOST_TITLES = 50
_MOST_PAIRED = 50
_SHORTEST = 4
_SHORTEST_ITEM = 6


def shared_codes(
    rows: Sequence[Row], sides: Positions | None
) -> tuple[Positions, Positions, npt.NDArray[np.float64]]:
    """Pairs of products that share an article number.

    Args:
        rows: mappings with any of gtin14, brand, mpn, sku_code, title.
        sides: (n,) file of each row where two are linked: then only pairs across.

    Returns:
        (m,) positions left < right, and the probability of each pair.
    """
    found: dict[tuple[int, int], float] = {}
    rules: tuple[tuple[Callable[[Row], str | None], float], ...] = (
        (lambda row: row.get("gtin14"), _GTIN),
        (_part, _PART),
        (_item, _ITEM),
    )
    for code, chance in rules:
        holders: dict[str, list[int]] = defaultdict(list)
        for place, row in enumerate(rows):
            value = code(row)
            if value is not None:
                holders[value].append(place)
        for places in holders.values():
            if len(places) < 2 or _is_crowded(places, sides, rows):
                continue
            few = len(places) <= _MOST_PAIRED
            for left, right in combinations(places, 2) if few else pairwise(places):
                if sides is not None and sides[left] == sides[right]:
                    continue
                if chance < _GTIN and contradicts(rows[left], rows[right]):
                    continue
                found[left, right] = max(chance, found.get((left, right), 0.0))
    pairs = sorted(found)
    listed = np.asarray(pairs, dtype=np.int64).reshape(-1, 2)
    return listed[:, 0], listed[:, 1], np.asarray([found[pair] for pair in pairs], dtype=np.float64)


def contradicts(left: Row, right: Row) -> bool:
    """Whether two products cannot be one: two right GTINs, two makers, or two contents that differ."""
    ours, theirs = left.get("gtin14"), right.get("gtin14")
    if ours is not None and theirs is not None:
        return bool(ours != theirs)
    maker, other = normalise.code(left.get("brand")), normalise.code(right.get("brand"))
    if maker and other and not (maker.startswith(other) or other.startswith(maker)):
        return True
    return size.contents_differ(size.quantities(left.get("title")), size.quantities(right.get("title")))


def gtins_differ(left: Row, right: Row) -> bool:
    """Whether both have a GTIN, and not the same."""
    ours, theirs = left.get("gtin14"), right.get("gtin14")
    return ours is not None and theirs is not None and bool(ours != theirs)


def _part(row: Row) -> str | None:
    """A maker's part number of at least four signs with a digit."""
    code = normalise.code(row.get("mpn"))
    if code is None or len(code) < _SHORTEST or not any(sign.isdigit() for sign in code):
        return None
    return code


def _item(row: Row) -> str | None:
    """A seller's item code long and mixed enough not to be another seller's by chance."""
    code = normalise.sku_code(row.get("sku_code"))
    if code is None or len(code) < _SHORTEST_ITEM:
        return None
    mixed = any(sign.isdigit() for sign in code) and any(sign.isalpha() for sign in code)
    return code if mixed else None


def _is_crowded(places: Sequence[int], sides: Positions | None, rows: Sequence[Row]) -> bool:
    """Whether more records share a code than one article has in one file, and their titles do not say that they are one."""
    here = len(places) if sides is None else int(np.bincount(sides[np.asarray(places)]).max())
    if here <= (2 * _MOST_SHARERS if sides is None else _MOST_SHARERS):
        return False
    titles = sorted({title for place in places if (title := normalise.plain(rows[place].get("title")))})
    if len(titles) > _MOST_TITLES:
        return True
    compared = [
        fuzz.token_set_ratio(one, other) >= _ALIKE
        for one, other in combinations(titles, 2)
        if normalise.is_han(one) == normalise.is_han(other)
    ]
    # One title on all of them says as much as many that are alike; none says nothing.
    return not titles or 2 * sum(compared) < len(compared)
