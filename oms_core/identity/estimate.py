"""Expectation maximisation over the outcomes of comparisons: a match's and a non-match's habits, and how common matches are.

Pure. Source: I. P. Fellegi, A. B. Sunter, JASA 64 (1969); W. E. Winkler, Using the EM algorithm for weight computation in
the Fellegi-Sunter model of record linkage, ASA Section on Survey Research Methods (1988).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oms_core.identity.model import Model

_MOST_ROUNDS = 60


@dataclass(frozen=True)
class Patterns:
    """Outcomes of all comparisons, each combination once: levels (patterns, comparisons), counts (patterns,)."""

    levels: NDArray[np.int64]
    counts: NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    prior: float
    m: list[NDArray[np.float64]]  # per comparison, by outcome: index 0 is the last level
    u: list[NDArray[np.float64]]


def maximise(
    model: Model,
    blocked: Patterns,
    random: Patterns,
    shares: Mapping[str, float],
    all_pairs: float,
    one_in: int,
) -> Estimate:
    """Expectation maximisation over the blocked pairs, against the outcomes of random pairs."""
    drawn = random.counts.sum()
    m, stated, seen, floors = [], [], [], []
    for at, comparison in enumerate(model.comparisons):
        size = len(comparison.levels)
        prior_m = np.array([level.m for level in reversed(comparison.levels)])
        prior_u = np.array([level.u for level in reversed(comparison.levels)])
        known = random.levels[:, at] >= 0
        outcomes = np.bincount(random.levels[known, at], random.counts[known], minlength=size)
        weight = 2.0
        share = (outcomes + weight * prior_u) / (outcomes.sum() + weight)
        floor = np.full(size, 0.5 / max(drawn, 1.0))
        if comparison.field in shares:
            exact = max(shares[comparison.field], 0.25 / all_pairs)
            share[:-1] *= (1 - exact) / max(share[:-1].sum(), 1e-12)
            share[-1] = exact
            floor[-1] = 0.25 / max(all_pairs, 1.0)
        m.append(prior_m.copy())
        stated.append(prior_m)
        seen.append(share)
        floors.append(floor)
    u = [np.maximum(share, floor) for share, floor in zip(seen, floors, strict=True)]
    counts = blocked.counts * one_in
    prior = model.prior
    onehot = [
        [(blocked.levels[:, at] == level).astype(float) for level in range(len(seen[at]))]
        for at in range(len(seen))
    ]
    for _ in range(_MOST_ROUNDS):
        odds = np.full(len(counts), np.log(prior / (1 - prior)))
        for at, comparison in enumerate(model.comparisons):
            ratio = np.log(m[at] / u[at])
            for number, level in enumerate(reversed(comparison.levels)):
                if level.neutral:
                    ratio[number] = 0.0
            odds += np.where(blocked.levels[:, at] >= 0, ratio[np.maximum(blocked.levels[:, at], 0)], 0.0)
        matched = counts / (1 + np.exp(-np.clip(odds, -500, 500)))
        # One match more, at the stated rate: nothing where there is much to learn from.
        new_prior = (matched.sum() + 1.0) / (all_pairs + 1.0 / model.prior)
        moved = abs(np.log(new_prior / prior))
        prior = float(np.clip(new_prior, 1e-12, 0.5))
        for at in range(len(m)):
            by_level = np.array([(matched * hot).sum() for hot in onehot[at]])
            weight = 4.0
            fresh = (by_level + weight * stated[at]) / (by_level.sum() + weight)
            moved = max(moved, float(np.abs(fresh - m[at]).max()))
            m[at] = fresh
            # Random pairs are a mixture, too: what matches there are is taken out of them.
            u[at] = np.maximum((seen[at] - prior * m[at]) / (1 - prior), floors[at])
            u[at] /= u[at].sum()
        if moved < 1e-5:
            break
    for at in range(len(m)):
        # An outcome that matches hardly ever had says no more against one than having nothing in common.
        m[at] = np.maximum(m[at], u[at] * m[at][0] / u[at][0])
    return Estimate(prior, m, u)
