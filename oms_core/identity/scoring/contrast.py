"""How likely the best candidate is the right one, learned without labels from lists of candidates.

Every record has a list of candidates, best first. Where a record's match is in the list, taking it away leaves a list exactly
such as the record would have if its match did not exist: the next candidate is a *decoy*, a best candidate known to be wrong.
Best candidates against decoys show how far evidence that is found by chance reaches, on these data and no others; from the
excess of best candidates over decoys follow the share of records with a match and the probability of each pair. (The same
reasoning as target and decoy searches in proteomics, Elias and Gygi 2007, and as the two-groups model of Efron 2008; the tilt
of the null density is Qin 1999.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_ROUNDS = 20
# Half of each round's belief is kept: decoys depend on belief and belief on decoys, which swings otherwise.
_DAMPING = 0.5
_RIDGE = 1.0
_STEEPEST = 3.0
_FARTHEST = 5.0
_FEWEST_LISTS = 12
# A first guess of who has a match, for the first round only: half of the similarity of a record with itself.
_SEED_SIMILARITY = 0.5
_LEAST_SHARE = 1e-3
_LARGEST_SHARE = 0.995
# Where lists are too few to learn from: odds of one at half similarity, rising by one bit for each twentieth.
_PLAIN_SLOPE = 20 * float(np.log(2)) / 1.0
_MOST_LISTS = 20_000


@dataclass(frozen=True)
class Lists:
    """Candidates of each owner, best first.

    Attributes:
        order: (p,) pairs sorted by owner, then similarity downward.
        start, stop: (n,) where each owner's pairs begin and end in `order`.
        features: (p, f) evidence per pair in the order of pairs: similarity, and gaps to rivals.
    """

    order: Ints
    start: Ints
    stop: Ints
    features: Floats


@dataclass(frozen=True)
class Calibration:
    """Log odds (natural) that a list's best candidate is its owner's match: `features @ slopes + intercept`.

    Attributes:
        center, scale: (f,) features are centred, scaled and clipped to ±5 before use.
        share: of the owners, how many have a match at all.
        lists: how many lists it was learned from.
    """

    center: Floats
    scale: Floats
    slopes: Floats
    intercept: float
    share: float
    lists: int

    def standardised(self, features: Floats) -> Floats:
        """(p, f) centred, scaled, clipped."""
        return np.clip((features - self.center) / self.scale, -_FARTHEST, _FARTHEST)

    def log_odds(self, features: Floats) -> Floats:
        """(p,) natural log odds."""
        odds: Floats = self.standardised(features) @ self.slopes + self.intercept
        return odds


def sort_lists(owner: Ints, similarity: Floats, tie: Ints, count: int) -> tuple[Ints, Ints, Ints]:
    """Order pairs by owner, then similarity downward, then `tie` upward: (order, start, stop)."""
    order = np.lexsort((tie, -similarity, owner))
    sorted_owner = owner[order]
    everyone = np.arange(count)
    return order, np.searchsorted(sorted_owner, everyone), np.searchsorted(sorted_owner, everyone, "right")


def gap_below(similarity: Floats, order: Ints, start: Ints, stop: Ints) -> Floats:
    """(p,) each pair's lead over the next candidate of its owner; over nothing (0) where it is the last."""
    ranked = similarity[order]
    following = np.append(ranked[1:], 0.0)
    ends = stop[stop > start] - 1
    following[ends] = 0.0
    gaps = np.empty_like(similarity)
    gaps[order] = ranked - following
    return gaps


def gap_to_best_other(similarity: Floats, owner: Ints, order: Ints, start: Ints, stop: Ints) -> Floats:
    """(p,) each pair's lead over the best other candidate of `owner`; negative where it is not the best."""
    count = stop - start
    best = np.zeros(len(start))
    second = np.zeros(len(start))
    some, several = count > 0, count > 1
    best[some] = similarity[order[start[some]]]
    second[several] = similarity[order[start[several] + 1]]
    first_pair = np.full(len(start), -1)
    first_pair[some] = order[start[some]]
    is_first = first_pair[owner] == np.arange(len(similarity))
    return similarity - np.where(is_first, second[owner], best[owner])


def in_turn(view: Lists, calibration: Calibration, *, at_most_one: bool) -> Floats:
    """Log odds of each pair when a list is gone through from the best candidate down.

    A candidate below the best is a match only if all above it are (or, with `at_most_one`, none is): how often lists have a
    second match, a third and so on is learned from the same evidence.

    Returns:
        (p,) natural log odds in the order of pairs.
    """
    order, start, stop = view.order, view.start, view.stop
    log_odds = calibration.log_odds(view.features)[order]
    filled = stop > start
    if at_most_one:
        passed = np.cumsum(-np.logaddexp(0.0, log_odds)) + np.logaddexp(0.0, log_odds)
        log_chance = (
            passed - np.repeat(passed[start[filled]], (stop - start)[filled]) - np.logaddexp(0.0, -log_odds)
        )
        chance = np.exp(np.minimum(log_chance, 0.0))
    else:
        ratio = log_odds - np.log(calibration.share / (1 - calibration.share))
        chance = _ratio_in_turn(ratio, start, stop, calibration.share)
    result = np.empty_like(log_odds)
    chance = np.clip(chance, 1e-12, 1 - 1e-12)
    result[order] = np.log(chance / (1 - chance))
    return result


def _ratio_in_turn(ratio: Floats, start: Ints, stop: Ints, share: float) -> Floats:
    owner = np.repeat(np.arange(len(start)), stop - start)
    rank = np.arange(len(ratio)) - start[owner]
    chance = np.zeros(len(ratio))
    above = np.ones(len(start))
    for place in range(int((stop - start).max(initial=0))):
        here = np.flatnonzero(rank == place)
        weight = above[owner[here]]
        if place > 0:
            share = min(share, 0.5)
            for _ in range(100):
                believed = weight @ _sigmoid(ratio[here] + np.log(share / (1 - share)))
                share = float(np.clip(believed / max(weight.sum(), 1e-9), 1e-4, _LARGEST_SHARE))
        chance[here] = weight * _sigmoid(ratio[here] + np.log(share / (1 - share)))
        above = np.zeros(len(start))
        above[owner[here]] = chance[here]
    return chance


def contested(view: Lists, calibration: Calibration, target: Ints, *, sure: float = 0.9) -> float:
    """Share of the records claimed with certainty that two owners or more claim as their match.

    Where owners are free of duplicates hardly any record is claimed twice.

    Args:
        target: (p,) the record that each pair's owner would claim.
        sure: probability from which a best candidate counts as claimed.
    """
    filled = view.stop > view.start
    first = view.order[view.start[filled]]
    claimed = target[first[_sigmoid(calibration.log_odds(view.features[first])) >= sure]]
    if len(claimed) == 0:
        return 0.0
    _, claims = np.unique(claimed, return_counts=True)
    return float((claims > 1).mean())


def calibrate(views: list[Lists], similarity: Floats, *, one_each: bool) -> list[Calibration]:
    """Learn, for each view of the same pairs, the log odds of a list's best candidate.

    Args:
        views: the lists of one side, or of two sides.
        similarity: (p,) of each pair, 1.0 for a record with itself.
        one_each: a match belongs to one owner of each side, so that both sides have the same number of matches.

    Returns:
        One calibration per view. Where fewer than 12 lists have three candidates, odds follow from the similarity alone.
    """
    usable = [_contrast(view) for view in views]
    if min(len(contrast.first) for contrast in usable) < _FEWEST_LISTS:
        return [_plain(view.features.shape[1]) for view in views]
    believed = [
        np.where(similarity[contrast.first] > _SEED_SIMILARITY, 0.9, _LEAST_SHARE) for contrast in usable
    ]
    fitted: list[tuple[Floats, Floats, Floats, float]] = []
    found: list[Calibration] = []
    for _ in range(_ROUNDS):
        fitted = [_separate(contrast, weight) for contrast, weight in zip(usable, believed, strict=True)]
        matches = [share * len(first) for _, first, _, share in fitted]
        if one_each:
            matches = [min(*matches, _LARGEST_SHARE * min(len(first) for _, first, _, _ in fitted))] * len(
                matches
            )
        found, believed = [], list(believed)
        for place, (coefficients, first, decoy, _) in enumerate(fitted):
            share = float(np.clip(matches[place] / len(first), _LEAST_SHARE, _LARGEST_SHARE))
            steepness, normaliser = _tilt(first, decoy, believed[place], share)
            offset = float(np.log(share / (1 - share))) - normaliser
            log_odds = steepness * first + offset
            contrast = usable[place]
            found.append(
                Calibration(
                    contrast.center,
                    contrast.scale,
                    steepness * coefficients[:-1],
                    steepness * float(coefficients[-1]) + offset,
                    share,
                    len(first),
                )
            )
            believed[place] = (1 - _DAMPING) * _sigmoid(log_odds) + _DAMPING * believed[place]
    return found


@dataclass(frozen=True)
class _Contrast:
    first: Ints
    best: Floats
    decoys: Floats
    center: Floats
    scale: Floats


def _contrast(view: Lists) -> _Contrast:
    enough = np.flatnonzero(view.stop - view.start >= 3)
    if len(enough) > _MOST_LISTS:
        # Every n-th list stands for all; which ones does not depend on chance.
        enough = enough[:: -(-len(enough) // _MOST_LISTS)]
    first, second = view.order[view.start[enough]], view.order[view.start[enough] + 1]
    both = np.vstack([view.features[first], view.features[second]])
    if len(both) == 0:
        width = view.features.shape[1]
        return _Contrast(first, both, both, np.zeros(width), np.ones(width))
    center, scale = both.mean(0), both.std(0) + 1e-9
    standard = np.clip((both - center) / scale, -_FARTHEST, _FARTHEST)
    standard = np.column_stack([standard, np.ones(len(standard))])
    return _Contrast(first, standard[: len(first)], standard[len(first) :], center, scale)


def _plain(width: int) -> Calibration:
    slopes = np.zeros(width)
    slopes[0] = _PLAIN_SLOPE
    return Calibration(np.r_[_SEED_SIMILARITY, np.zeros(width - 1)], np.ones(width), slopes, 0.0, 0.5, 0)


def _separate(contrast: _Contrast, weight: Floats) -> tuple[Floats, Floats, Floats, float]:
    """Logistic regression of best candidates against decoys: coefficients, both sides' scores, share of matches."""
    rows = np.vstack([contrast.best, contrast.decoys])
    label = np.r_[np.ones(len(contrast.best)), np.zeros(len(contrast.decoys))]
    coefficients = _logistic(rows, label, np.r_[np.ones(len(contrast.best)), weight])
    scores = rows @ coefficients
    best, decoy = scores[: len(contrast.best)], scores[len(contrast.best) :]
    return coefficients, best, decoy, 1.0 - _share_without(best, decoy, weight)


def _logistic(rows: Floats, label: Floats, weight: Floats) -> Floats:
    """Weighted logistic regression with a ridge; no slope is negative, for all evidence speaks for a match."""
    live = np.ones(rows.shape[1], dtype=bool)
    while True:
        coefficients = np.zeros(rows.shape[1])
        coefficients[live] = _newton(rows[:, live], label, weight)
        lowest = int(np.argmin(coefficients[:-1]))
        if coefficients[lowest] >= 0:
            return coefficients
        live[lowest] = False


def _newton(rows: Floats, label: Floats, weight: Floats) -> Floats:
    coefficients = np.zeros(rows.shape[1])
    penalty = np.r_[np.full(rows.shape[1] - 1, _RIDGE), 1e-6]
    for _ in range(50):
        chance = _sigmoid(rows @ coefficients)
        slope = rows.T @ (weight * (label - chance)) - penalty * coefficients
        curve = (rows * (weight * chance * (1 - chance))[:, None]).T @ rows + np.diag(penalty)
        step = np.linalg.solve(curve, slope)
        coefficients = coefficients + step
        if np.abs(step).max() < 1e-9:
            break
    return coefficients


def _share_without(best: Floats, decoy: Floats, weight: Floats) -> float:
    """Share of owners without a match, from above: where decoys lie, best candidates are mostly decoys too (Storey 2002)."""
    order = np.argsort(decoy, kind="stable")
    mass = np.cumsum(weight[order])
    mass /= mass[-1]
    ranked = np.sort(best)
    least = 1.0
    for part in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        bound = decoy[order[min(int(np.searchsorted(mass, part)), len(order) - 1)]]
        least = min(least, float(np.searchsorted(ranked, bound)) / len(best) / part)
    return max(least, _LEAST_SHARE)


def _tilt(best: Floats, decoy: Floats, weight: Floats, share: float) -> tuple[float, float]:
    """Steepness a of the matches' density f0·exp(a·z)/norm against the decoys' f0 (maximum likelihood), and ln norm."""
    top = float(decoy.max())
    chosen, most = (0.0, 0.0), -np.inf
    for steepness in np.linspace(0.1, _STEEPEST, 30):
        normaliser = float(
            np.log(weight @ np.exp(steepness * (decoy - top)) / weight.sum()) + steepness * top
        )
        likelihood = float(
            np.logaddexp(np.log1p(-share), np.log(share) + steepness * best - normaliser).sum()
        )
        if likelihood > most:
            chosen, most = (float(steepness), normaliser), likelihood
    return chosen


def _sigmoid(value: Floats) -> Floats:
    result: Floats = 0.5 * (1.0 + np.tanh(0.5 * value))
    return result
