"""Expectation maximisation over the outcomes of comparisons: the habits of matches and of others, and how common matches are.

Pure. Sources: I. P. Fellegi, A. B. Sunter, JASA 64 (1969); W. E. Winkler, Using the EM algorithm for weight computation in the
Fellegi-Sunter model of record linkage, ASA Section on Survey Research Methods (1988). That m is estimated among pairs that
agree on something else, one session after another, is Splink's practice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from oms_core.identity.scoring.model import Model

_ROUNDS = 40
_STATED = 4.0  # the stated priors weigh like so many matches
_STATED_PAIRS = 50.0  # and like so many pairs of others
_LEAST_STATED = 0.25  # people move and mistype: no outcome is taken for rarer among matches than this share of what is stated
_LEAST_RARE = 0.02  # of chance agreement, at least this share is taken to be chance indeed


@dataclass(frozen=True)
class Patterns:
    """Outcomes of all comparisons, each combination once: levels (patterns, comparisons), counts (patterns,)."""

    levels: NDArray[np.int64]
    counts: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """m and u per comparison, by outcome (index 0 is the last level), the prior, and for the fields of `together` the number
    of matches among the pairs that agree on all of them."""

    prior: float
    m: list[NDArray[np.float64]]
    u: list[NDArray[np.float64]]
    matches_together: float = 0.0


class _Outcomes:
    """The blocked pairs' patterns with what is asked of them again and again."""

    def __init__(self, model: Model, blocked: Patterns, one_in: int) -> None:
        self.levels, self.counts = blocked.levels, blocked.counts * one_in
        self.sizes = [len(comparison.levels) for comparison in model.comparisons]
        self.neutral = [
            np.array([level.neutral for level in reversed(comparison.levels)])
            for comparison in model.comparisons
        ]
        self.top = [len(comparison.levels) - 1 - comparison.top for comparison in model.comparisons]
        self.safe = np.maximum(self.levels, 0)
        self.known = self.levels >= 0

    def evidence(self, at: int, m: NDArray[np.float64], u: NDArray[np.float64]) -> NDArray[np.float64]:
        """Log odds that one comparison adds to each pattern."""
        ratio = np.where(self.neutral[at], 0.0, np.log(m / u))
        return np.where(self.known[:, at], ratio[self.safe[:, at]], 0.0)

    def by_level(self, at: int, weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Sum of weights per outcome of one comparison."""
        known = self.known[:, at]
        return np.bincount(self.levels[known, at], weights[known], minlength=self.sizes[at]).astype(float)


def _logistic(odds: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(odds, -500, 500)))


def maximise(
    model: Model,
    blocked: Patterns,
    random: Patterns,
    shares: Mapping[str, float],
    all_pairs: float,
    known_pairs: Mapping[str, float],
    one_in: int,
    together: tuple[str, ...] = (),
) -> Estimate:
    """Estimate m, u and the prior.

    Args:
        model: its comparisons with stated m and u, and a stated prior.
        blocked: outcomes of the pairs that blocking brings, or of one in so many.
        random: outcomes of pairs drawn at random.
        shares: by field, the share of all pairs that agree exactly, where it was counted.
        all_pairs: number of pairs of records.
        known_pairs: by field, number of pairs in which it is known on both sides.
        one_in: see `blocked`.
        together: fields among whose agreement matches are to be counted.
    """
    outcomes = _Outcomes(model, blocked, one_in)
    stated = [np.array([level.m for level in reversed(one.levels)]) for one in model.comparisons]
    seen, floors = _seen(model, random, shares, all_pairs)
    # First with stated habits of matches, to know roughly how many there are and how others agree.
    prior, u = _settle(outcomes, stated, seen, floors, model, all_pairs, known_pairs)
    m = _sessions(outcomes, stated, u, prior)
    prior, u = _settle(outcomes, m, seen, floors, model, all_pairs, known_pairs)
    for at in range(len(m)):
        # An outcome that matches hardly ever had says no more against one than having nothing in common.
        m[at] = np.maximum(m[at], u[at] * min(m[at][0] / u[at][0], 1.0))
    return Estimate(prior, m, u, _matches_among(outcomes, model, together, m, u, prior))


def _matches_among(
    outcomes: _Outcomes,
    model: Model,
    together: tuple[str, ...],
    m: list[NDArray[np.float64]],
    u: list[NDArray[np.float64]],
    prior: float,
) -> float:
    """Expected matches among the pairs that agree on some fields, judged by the others."""
    fields = [comparison.field for comparison in model.comparisons]
    key = [fields.index(field) for field in together]
    if not key:
        return 0.0
    rows = np.logical_and.reduce([outcomes.levels[:, at] == outcomes.top[at] for at in key])
    bayes = (
        prior
        / (1 - prior)
        * float(np.prod([m[at][outcomes.top[at]] / u[at][outcomes.top[at]] for at in key]))
    )
    others = [at for at in range(len(fields)) if at not in key]
    return float(_session(outcomes, rows, others, m, u, bayes / (1 + bayes)).sum())


def _seen(
    model: Model, random: Patterns, shares: Mapping[str, float], all_pairs: float
) -> tuple[list[NDArray[np.float64]], list[NDArray[np.float64]]]:
    """How often random pairs come out at each level, and the least that chance is taken to bring."""
    drawn = max(float(random.counts.sum()), 1.0)
    seen, floors = [], []
    for at, comparison in enumerate(model.comparisons):
        prior_u = np.array([level.u for level in reversed(comparison.levels)])
        known = random.levels[:, at] >= 0
        found = np.bincount(random.levels[known, at], random.counts[known], minlength=len(prior_u))
        share = (found + _STATED_PAIRS * prior_u) / (found.sum() + _STATED_PAIRS)
        floor = np.full(len(prior_u), 0.5 / drawn)
        if comparison.field in shares:
            exact = max(shares[comparison.field], 0.25 / all_pairs)
            stated = float(prior_u[len(share) - 1 - comparison.top])
            exact = (exact * all_pairs + _STATED_PAIRS * stated) / (all_pairs + _STATED_PAIRS)
            top = len(share) - 1 - comparison.top
            share[top] = 0.0
            share *= (1 - exact) / max(share.sum(), 1e-12)
            share[top] = exact
            floor[top] = 0.25 / max(all_pairs, 1.0)
        seen.append(share)
        floors.append(np.maximum(floor, _LEAST_RARE * share))
    return seen, floors


def _settle(
    outcomes: _Outcomes,
    m: list[NDArray[np.float64]],
    seen: list[NDArray[np.float64]],
    floors: list[NDArray[np.float64]],
    model: Model,
    all_pairs: float,
    known_pairs: Mapping[str, float],
) -> tuple[float, list[NDArray[np.float64]]]:
    """The prior and u that fit given habits of matches.

    Random pairs are a mixture, too: what matches there are among those that know a field is taken out of them.
    """
    prior = model.prior
    u = [np.maximum(share, floor) for share, floor in zip(seen, floors, strict=True)]
    for _ in range(_ROUNDS):
        odds = np.full(len(outcomes.counts), np.log(prior / (1 - prior)))
        for at in range(len(m)):
            odds += outcomes.evidence(at, m[at], u[at])
        matched = outcomes.counts * _logistic(odds)
        # One match more, at the stated rate: nothing where there is much to learn from.
        fresh = float(np.clip((matched.sum() + 1.0) / (all_pairs + 1.0 / model.prior), 1e-12, 0.5))
        moved = abs(np.log(fresh / prior))
        prior = fresh
        for at, comparison in enumerate(model.comparisons):
            among = max(known_pairs.get(comparison.field, all_pairs), 1.0)
            share = min(float(matched[outcomes.known[:, at]].sum()) / among, 0.5)
            u[at] = np.maximum((seen[at] - share * m[at]) / (1 - share), floors[at])
            u[at] /= u[at].sum()
        if moved < 1e-6:
            break
    return prior, u


def _sessions(
    outcomes: _Outcomes, stated: list[NDArray[np.float64]], u: list[NDArray[np.float64]], prior: float
) -> list[NDArray[np.float64]]:
    """m from pairs that agree on one or two telling fields, of all other fields.

    Among such pairs matches are common, and what else is alike by chance there (neighbours, namesakes, one country) is
    learnt there: u is free in each session. Over all pairs at once, such lumps would pass for matches.
    """
    fields = range(len(stated))
    total = [_STATED * one for one in stated]
    odds = prior / (1 - prior)
    for key in [*combinations(fields, 1), *combinations(fields, 2)]:
        rows = np.logical_and.reduce([outcomes.levels[:, at] == outcomes.top[at] for at in key])
        bayes = odds * float(np.prod([stated[at][outcomes.top[at]] / u[at][outcomes.top[at]] for at in key]))
        share = bayes / (1 + bayes)
        if share < 0.2 or outcomes.counts[rows].sum() < 20:
            continue
        others = [at for at in fields if at not in key]
        matched = _session(outcomes, rows, others, stated, u, share)
        for at in others:
            total[at] = total[at] + outcomes.by_level(at, matched)
    shares = [
        np.maximum(one / one.sum(), _LEAST_STATED * prior_m)
        for one, prior_m in zip(total, stated, strict=True)
    ]
    return [one / one.sum() for one in shares]


def _session(
    outcomes: _Outcomes,
    rows: NDArray[np.bool_],
    others: list[int],
    stated: list[NDArray[np.float64]],
    u: list[NDArray[np.float64]],
    share: float,
) -> NDArray[np.float64]:
    """Expected matches per pattern, zero outside the session."""
    counts = np.where(rows, outcomes.counts, 0.0)
    m, here = {at: stated[at] for at in others}, {at: u[at] for at in others}
    matched = counts * 0.0
    for _ in range(_ROUNDS):
        odds = np.full(len(counts), np.log(share / (1 - share)))
        for at in others:
            odds += outcomes.evidence(at, m[at], here[at])
        before = matched.sum()
        matched = counts * _logistic(odds)
        share = float(np.clip((matched.sum() + 1) / (counts.sum() + 2), 1e-6, 1 - 1e-6))
        for at in others:
            fresh = outcomes.by_level(at, matched) + 10 * stated[at]
            rest = outcomes.by_level(at, counts - matched) + 50 * u[at]
            m[at], here[at] = fresh / fresh.sum(), rest / rest.sum()
        if abs(matched.sum() - before) < 1e-4 * max(before, 1.0):
            break
    return matched
