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
MOST_FILLED = 12_000  # sets of one size that are filled
_TIE = 1e-12  # scores nearer than this are equal, so that rounding decides nothing


@dataclass(frozen=True, eq=False)
class Plan:
    """A way to fill an order.

    Attributes:
        nodes: positions of the nodes, ascending.
        takes: (nodes, lines) in millionths of the units.
        score: what it costs; less is better.
        bound: no plan scores less; equal to the score where the plan is proven best.
    """

    nodes: tuple[int, ...]
    takes: Integers
    score: float
    bound: float

    @property
    def is_best(self) -> bool:
        """Whether no other plan can be better."""
        return self.score <= self.bound + _TIE


def best(
    fixed: Floats, line: Floats, stock: Integers, need: Integers, split: float, most_parcels: int
) -> Plan | None:
    """The best plan of at most so many parcels; None where there is none.

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
        return None
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
            if least >= score - _TIE:
                continue
            if kept is None:
                kept = _undominated(fixed, line, stock, need)
            rest = kept[fixed[kept] + float(cheapest[: size - 1].sum()) + extra < score - _TIE]
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
            sets, sums = sets[sums < score - _TIE], sums[sums < score - _TIE]
            if len(sets) > MOST_FILLED:
                sets, exact = sets[np.sort(np.argsort(sums, kind="stable")[:MOST_FILLED])], False
            if len(sets):
                totals = _fill(fixed, line, stock, need, sets)[0] + split * (size - 1)
                first = _first(totals)
                if totals[first] < score - _TIE:
                    found, score = tuple(int(node) for node in sets[first]), float(totals[first])
            bound = min(bound, score) if exact else min(bound, least)
    if found is None:
        return None
    _, takes = _fill(fixed, line, stock, need, np.array([found]))
    sent = takes[0].any(axis=1)  # a node that sends nothing is in no best plan but where its parcel is free
    nodes = tuple(int(usable[node]) for node, sends in zip(found, sent, strict=True) if sends)
    return Plan(nodes, takes[0][sent], score, min(bound, score))


def _first(totals: Floats) -> int:
    return int(np.flatnonzero(totals <= totals.min() + _TIE)[0])


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
