"""The best plan for one order: which nodes send it, and what each of them sends.

With the nodes of a plan given, each line is filled from the cheapest of them first, which is best, since nothing ties
the lines together. So the search is over sets of nodes only, and bounds cut it: for most orders no split can beat
the best single node, and that is known without looking at one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations

import numpy as np

from oms_core.fulfilment.sourcing.network import Floats, Integers

MOST_SETS = 60_000  # sets of one size whose bound is looked at
MOST_FILLED = 48_000  # lines of sets of one size that are filled
TIE = 1e-12  # scores nearer than this are equal, so that rounding decides nothing


@dataclass(frozen=True, eq=False)
class Plan:
    """A way to fill an order.

    Attributes:
        nodes: positions of the nodes, ascending.
        takes: (nodes, lines) in millionths of the units.
        score: what it costs; less is better.
    """

    nodes: tuple[int, ...]
    takes: Integers
    score: float


def best(
    fixed: Floats, line: Floats, stock: Integers, need: Integers, split: float, most_parcels: int
) -> tuple[Plan | None, float]:
    """The best plan of at most so many parcels, and a bound: no plan scores less.

    The bound is the plan's score where it is proven best, and infinite where it is proven that there is no plan. It is
    lower where there are too many sets of nodes to look at each; then the most promising ones were looked at.

    Args:
        fixed: (n,) score of a parcel, zero or more.
        line: (n, l) score of sending a whole line, zero or more; a part of it costs its share.
        stock: (n, l) what a node may give, at most `need`.
        need: (l,) above zero.
        split: score of each parcel beyond the first.
        most_parcels: one or more.

    Ties go to fewer parcels, then to the nodes that come first.
    """
    usable = np.flatnonzero(stock.any(axis=1))
    if not usable.size or (stock.sum(axis=0) < need).any():
        return None, math.inf
    fixed, line, stock = fixed[usable], line[usable], stock[usable]
    found: tuple[int, ...] | None = None
    score = math.inf
    alone = np.flatnonzero((stock == need).all(axis=1))
    if alone.size:
        totals = fixed[alone] + line[alone].sum(axis=1)
        first = _first(totals)
        found, score = (int(alone[first]),), float(totals[first])
    bound = score
    if most_parcels > 1 and usable.size > 1:
        floor = _floor(line, stock, need)
        cheapest = np.sort(fixed)[:most_parcels]
        kept: Integers | None = None
        for size in range(2, min(most_parcels, usable.size) + 1):
            extra = floor + split * (size - 1)
            least = float(cheapest[:size].sum()) + extra
            if least >= score - TIE:
                continue
            if kept is None:
                kept = _undominated(fixed, line, stock, need)
            rest = kept[fixed[kept] + float(cheapest[: size - 1].sum()) + extra < score - TIE]
            if rest.size < size:
                continue
            exact = True
            widest = _widest(size)
            if rest.size > widest:
                by_promise = np.argsort(
                    fixed[rest] + (line[rest] * (stock[rest] / need)).sum(axis=1), kind="stable"
                )
                rest, exact = np.sort(rest[by_promise[:widest]]), False
            sets = rest[_sets(rest.size, size)]
            sums = fixed[sets].sum(axis=1) + extra
            sets, sums = sets[sums < score - TIE], sums[sums < score - TIE]
            most = max(MOST_FILLED // need.size, 100)
            if len(sets) > most:
                sets, exact = sets[np.sort(np.argsort(sums, kind="stable")[:most])], False
            if len(sets):
                totals = _fill(fixed, line, stock, need, sets)[0] + split * (size - 1)
                first = _first(totals)
                if totals[first] < score - TIE:
                    found, score = tuple(int(node) for node in sets[first]), float(totals[first])
            bound = min(bound, score) if exact else min(bound, least)
    if found is None:
        if math.isinf(bound):
            return None, math.inf
        found = _widest_cover(stock, need, most_parcels)
        if found is None:
            return None, bound
        score = float(_fill(fixed, line, stock, need, np.array([found]))[0][0]) + split * (len(found) - 1)
    _, takes = _fill(fixed, line, stock, need, np.array([found]))
    sent = takes[0].any(axis=1)  # a node that sends nothing is in no best plan but where its parcel is free
    nodes = tuple(int(usable[node]) for node, sends in zip(found, sent, strict=True) if sends)
    return Plan(nodes, takes[0][sent], score), min(bound, score)


def _widest_cover(stock: Integers, need: Integers, most: int) -> tuple[int, ...] | None:
    """Nodes that fill the order, taken by how much of what is still missing each could send; None: that finds none."""
    missing = need
    nodes: list[int] = []
    while missing.any() and len(nodes) < most:
        nodes.append(int(np.argmax((np.minimum(stock, missing) / need).sum(axis=1))))
        missing = missing - np.minimum(stock[nodes[-1]], missing)
    return None if missing.any() or len(set(nodes)) < len(nodes) else tuple(sorted(nodes))


def _first(totals: Floats) -> int:
    return int(np.flatnonzero(totals <= totals.min() + TIE)[0])


def _floor(line: Floats, stock: Integers, need: Integers) -> float:
    """What the lines cost at least, were every parcel free."""
    order = np.argsort(line, axis=0, kind="stable")
    held = np.take_along_axis(stock, order, axis=0)
    before = np.cumsum(held, axis=0) - held
    take = np.minimum(held, np.maximum(need - before, 0))
    return float((take / need * np.take_along_axis(line, order, axis=0)).sum())


def _fill(
    fixed: Floats, line: Floats, stock: Integers, need: Integers, sets: Integers
) -> tuple[Floats, Integers]:
    """Fill the order from each set of nodes: (k,) scores, infinite where a set holds too little; (k, size, l) takes."""
    cost = line[sets]
    order = np.argsort(cost, axis=1, kind="stable")
    held = np.take_along_axis(stock[sets], order, axis=1)
    through = np.cumsum(held, axis=1)
    take = np.minimum(held, np.maximum(need - (through - held), 0))
    scores = fixed[sets].sum(axis=1) + (take / need * np.take_along_axis(cost, order, axis=1)).sum(
        axis=(1, 2)
    )
    scores[(through[:, -1] < need).any(axis=1)] = np.inf
    takes = np.zeros_like(take)
    np.put_along_axis(takes, order, take, axis=1)
    return scores, takes


def _undominated(fixed: Floats, line: Floats, stock: Integers, need: Integers) -> Integers:
    """Nodes of which no other one holds every line they hold, in full, at no higher cost."""
    holds = stock > 0
    full = stock == need
    # [a, b]: b makes a needless
    better = fixed[None, :] <= fixed[:, None]
    for number in range(need.size):
        covered = full[None, :, number] & (line[None, :, number] <= line[:, None, number])
        better &= covered | ~holds[:, None, number]
    equal = better & better.T
    rank = np.arange(fixed.size)
    better &= ~equal | (rank[None, :] < rank[:, None])
    np.fill_diagonal(better, False)
    return np.flatnonzero(~better.any(axis=1))


@lru_cache(maxsize=64)
def _sets(count: int, size: int) -> Integers:
    if size == 2:
        return np.stack(np.triu_indices(count, 1), axis=1)
    return np.array(list(combinations(range(count), size)), np.int64)


@lru_cache
def _widest(size: int) -> int:
    widest = size
    while math.comb(widest + 1, size) <= MOST_SETS:
        widest += 1
    return widest
