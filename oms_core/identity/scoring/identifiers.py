"""What codes say about pairs of products: a shared article number is strong evidence, two that differ are as strong against.

A code proves nothing where several records of one file have it, where makers differ, or where the contents named in the
titles differ: codes get recycled, and "N/A" is not one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import numpy.typing as npt

from oms_core.identity import normalise
from oms_core.identity.scoring import size

Positions = npt.NDArray[np.int64]
Row = dict[str, Any]

# Chance that two records are one article given the code they share: numbers with a check digit, a maker's part number
# beside its name, an item code that mixes letters and digits.
_GTIN, _PART, _ITEM = 0.9999, 0.99, 0.97
_MOST_SHARERS = 3
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
            if not 2 <= len(places) <= 2 * _MOST_SHARERS or _is_crowded(places, sides):
                continue
            for left, right in combinations(places, 2):
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


def _is_crowded(places: Sequence[int], sides: Positions | None) -> bool:
    """Whether more records of one file share a code than one article has there."""
    if sides is None:
        return False
    counts = np.bincount(sides[np.asarray(places)])
    return bool(counts.max() > _MOST_SHARERS)
