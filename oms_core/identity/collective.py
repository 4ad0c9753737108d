"""Scores between groups of records that exact evidence holds together already, and what the groups say beyond their records.

Two groups are compared by what is best known of each: any name, any address, all identifiers. A group that a register knows
already is no candidate for another entry of it; of several groups that cannot be one, a record belongs to one at most; and the
model's weights are calibrated by the records whose own identifiers place them (see `scoring.calibrate`).

Source: I. Bhattacharya, L. Getoor, Collective entity resolution in relational data, ACM TKDD 1 (2007).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from oms_core.identity.scoring.calibrate import Calibration, Choices, calibrate
from oms_core.identity.scoring.threshold import Thresholds

_NAMES = ("given_name", "surname", "full_name")
_IDENTIFIERS = ("phone", "email", "tax_number")
_MOST_MEMBERS = 12  # records of a group that are compared; more tell nothing new
_LEAST = -8.0 * math.log(2)  # log odds below which two groups are not worth a look
# What addresses say, in bits: against it, one region or city, one postcode, one house. A group of each has its own
# calibration, since namesakes in one house are another thing than namesakes in one city.
_NEAR = (0.0, 8.0, 11.0)
_KINDS = 2 * (len(_NEAR) + 2)  # company known or not, address unknown or in one of these ranges
_BITS = math.log(2)

Pair = tuple[str, str]
# Weights in bits by field of pairs of records, in their order; nan where a field is unknown.
WeighPairs = Callable[[Sequence[Pair]], Mapping[str, NDArray[np.float64]]]


@dataclass(frozen=True)
class Group:
    """What is known of the groups beside their records.

    Attributes:
        own: record -> what its own identifiers place it in; records they do not place are missing.
        mailboxes: record -> mailbox, slips of the fingers taken out.
        registers: record -> the list of customers it stands in once, if it stands in one.
        two_mailboxes: bits that two different mailboxes weigh; negative.
    """

    own: Mapping[str, str]
    mailboxes: Mapping[str, str]
    registers: Mapping[str, str]
    two_mailboxes: float


@dataclass(frozen=True)
class Found:
    """Two groups, by their places, with the probability that they are one, and their two records that are most alike."""

    left: str
    right: str
    probability: float
    groups: tuple[int, int]


# Thresholds of two groups, given their places among the clusters.
Limits = Callable[[tuple[int, int]], Thresholds]


def link(
    clusters: Sequence[frozenset[str]],
    candidates: Sequence[Pair],
    known: Group,
    weigh: WeighPairs,
    prior: float,
    limits: Limits,
) -> list[Found]:
    """Probabilities that groups are one.

    Args:
        clusters: the groups; single records among them.
        candidates: pairs of records that blocking brings.
        known: see `Group`.
        weigh: weighs pairs of records.
        prior: bits before anything is compared.
        limits: thresholds of two groups; pairs to keep apart are left out.

    Returns:
        At most one pair of records for each two groups, sorted by left, right.
    """
    place = {record: number for number, records in enumerate(clusters) for record in records}
    facts = [_facts(records, known) for records in clusters]
    wanted = sorted(
        {
            (min(place[left], place[right]), max(place[left], place[right]))
            for left, right in candidates
            if left in place and right in place and place[left] != place[right]
        }
    )
    wanted = [(one, other) for one, other in wanted if not facts[one].registers & facts[other].registers]
    leaving, choosing = _leaving(candidates, known)
    sides = [(_some(clusters[one]), _some(clusters[other])) for one, other in wanted]
    sides += [((record,), _some(rest)) for record, rest, _ in choosing]
    profile = _profiles(sides, weigh, prior)
    compared = len(wanted)
    calibration = _calibrated(profile, compared, leaving, [right for _, _, right in choosing])
    identified = _identified(profile, compared, known, [(facts[a], facts[b]) for a, b in wanted])
    hidden = profile.hidden[:compared] * _BITS
    odds = calibration.odds(hidden, profile.kind[:compared]) + identified
    probability = _among_rivals(wanted, odds, hidden + identified, facts, calibration.choice)
    chosen = _agglomerate(wanted, probability, facts, known, limits)
    found = [
        Found(min(pair), max(pair), chance, groups)
        for groups, pair, chance in zip(wanted, profile.best[:compared], chosen, strict=True)
        if limits(groups).decide(chance) != "apart"
    ]
    return sorted(found, key=lambda item: (item.left, item.right))


@dataclass(frozen=True)
class _Facts:
    registers: frozenset[str]
    mailboxes: frozenset[str]

    def differ(self, other: _Facts) -> bool:
        """Whether both have mailboxes and none in common."""
        return bool(self.mailboxes and other.mailboxes and not self.mailboxes & other.mailboxes)


def _facts(records: frozenset[str], known: Group) -> _Facts:
    return _Facts(
        frozenset(known.registers[record] for record in records if record in known.registers),
        frozenset(known.mailboxes[record] for record in records if record in known.mailboxes),
    )


def _some(records: frozenset[str]) -> tuple[str, ...]:
    return tuple(sorted(records)[:_MOST_MEMBERS])


def _leaving(
    candidates: Sequence[Pair], known: Group
) -> tuple[list[int], list[tuple[str, frozenset[str], bool]]]:
    """Records taken out of the group that their identifiers place them in, and the groups each may choose from.

    Returns:
        Number of the record per alternative, and (record, group without it, whether it is its own).
    """
    members: dict[str, set[str]] = defaultdict(set)
    for record, owner in known.own.items():
        members[owner].add(record)
    facts = {owner: _facts(frozenset(records), known) for owner, records in members.items()}
    near: dict[str, set[str]] = defaultdict(set)
    for left, right in candidates:
        for record, other in ((left, right), (right, left)):
            if record in known.own and other in known.own:
                near[record].add(known.own[other])
    numbers: list[int] = []
    found: list[tuple[str, frozenset[str], bool]] = []
    for number, record in enumerate(sorted(near)):
        own = known.own[record]
        for owner in sorted(near[record]):
            rest = frozenset(members[owner] - {record})
            if not rest or (owner != own and not facts[own].differ(facts[owner])):
                continue
            register = known.registers.get(record)
            if register is not None and any(known.registers.get(other) == register for other in rest):
                continue
            numbers.append(number)
            found.append((record, rest, owner == own))
    return numbers, found


@dataclass(frozen=True)
class _Profile:
    """Per pair of groups, in bits: all but identifiers with the prior, identifiers, address alone, kind, most alike pair."""

    hidden: NDArray[np.float64]
    identifiers: NDArray[np.float64]
    mailbox: NDArray[np.float64]
    address: NDArray[np.float64]
    kind: NDArray[np.int64]
    best: list[Pair]


def _profiles(
    sides: Sequence[tuple[tuple[str, ...], tuple[str, ...]]], weigh: WeighPairs, prior: float
) -> _Profile:
    """Compare groups by what is best known of each."""
    pairs: dict[Pair, int] = {}
    unit: list[int] = []
    which: list[int] = []
    for number, (ones, others) in enumerate(sides):
        for one in ones:
            for other in others:
                pair = (one, other) if one < other else (other, one)
                which.append(pairs.setdefault(pair, len(pairs)))
                unit.append(number)
    units, rows = np.array(unit, dtype=np.int64), np.array(which, dtype=np.int64)
    listed = list(pairs)
    weights = weigh(listed) if listed else {}

    def of(fields: Sequence[str]) -> NDArray[np.float64]:
        """Sum over fields of each pair of records; nan where none is known."""
        columns = [weights[field] for field in fields if field in weights]
        if not columns:
            return np.full(len(listed), np.nan)
        stacked = np.stack(columns)
        unknown = np.isnan(stacked).all(axis=0)
        return np.where(unknown, np.nan, np.nansum(stacked, axis=0))

    def best(values: NDArray[np.float64]) -> NDArray[np.float64]:
        """The largest of each two groups; -inf where none is known."""
        found = np.full(len(sides), -np.inf)
        np.maximum.at(found, units, np.where(np.isnan(values), -np.inf, values)[rows])
        return found

    def known(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.where(np.isinf(values), 0.0, values)

    name, company = best(of(list(_NAMES))), best(of(("company_name",)))
    more = [
        field
        for field in weights
        if field not in (*_NAMES, *_IDENTIFIERS, "company_name") and field != "address"
    ]
    address = best(of(("address",)))
    rest = [known(best(of((field,)))) for field in more]
    hidden = prior + known(name) + known(company) + known(address) + sum(rest, np.zeros(len(sides)))
    mailbox = best(of(("email",)))
    identifiers = sum(
        (known(best(of((field,)))) for field in _IDENTIFIERS if field != "email"), np.zeros(len(sides))
    )
    whole = of([*weights])
    likest = np.full(len(sides), -1)
    # The last of the best by sorting: unit, weight, then pair, so that the order of records means nothing.
    order = np.lexsort((-rows, np.nan_to_num(whole, nan=-np.inf)[rows], units)) if len(units) else units
    likest[units[order]] = rows[order]
    place = np.where(np.isinf(address), 0, 1 + np.digitize(address, _NEAR))
    kind = place + _KINDS // 2 * ~np.isinf(company)
    return _Profile(
        hidden,
        identifiers,
        known(mailbox),
        known(address),
        kind.astype(np.int64),
        [listed[row] for row in likest],
    )


def _calibrated(
    profile: _Profile, compared: int, numbers: Sequence[int], right: Sequence[bool]
) -> Calibration:
    """Calibrate by the records that left their groups: once with their addresses, once without."""
    number = np.array(numbers, dtype=np.int64)
    chosen = np.array(right, dtype=bool)
    hidden, address = profile.hidden[compared:], profile.address[compared:]
    kind = profile.kind[compared:]
    records = int(number.max()) + 1 if len(number) else 0
    half = _KINDS // 2
    views = [(hidden, kind), (hidden - address, kind // half * half)]
    parts = []
    for shift, (weight, of_kind) in enumerate(views):
        keep = weight * _BITS >= _LEAST
        if shift:
            keep &= kind % half > 0  # without an address already: seen once
        parts.append((number[keep] + shift * records, of_kind[keep], weight[keep] * _BITS, chosen[keep]))
    place, of_kind, weight, told = (np.concatenate(column) for column in zip(*parts, strict=True))
    # Only records with an alternative choose.
    unique, dense = np.unique(place, return_inverse=True)
    return calibrate(Choices(dense, of_kind, weight, told, len(unique)), _KINDS)


def _identified(
    profile: _Profile, compared: int, known: Group, sides: Sequence[tuple[_Facts, _Facts]]
) -> NDArray[np.float64]:
    """Log odds by identifiers, natural logarithms."""
    differ = np.array([one.differ(other) for one, other in sides], dtype=bool)
    mailbox = profile.mailbox[:compared]
    mailbox = np.where(differ, np.minimum(mailbox, known.two_mailboxes), mailbox)
    return np.asarray((profile.identifiers[:compared] + mailbox) * _BITS)


def _logistic(odds: float) -> float:
    return 1 / (1 + math.exp(-max(min(odds, 500.0), -500.0)))


def _among_rivals(
    wanted: Sequence[tuple[int, int]],
    odds: NDArray[np.float64],
    weights: NDArray[np.float64],
    facts: Sequence[_Facts],
    choice: float,
) -> list[float]:
    """Probabilities, given that a group is one with one at most of those that cannot be one with each other."""
    near: dict[int, dict[int, tuple[float, float]]] = defaultdict(dict)
    for (one, other), value, bits in zip(wanted, odds.tolist(), weights.tolist(), strict=True):
        near[one][other] = near[other][one] = value, bits

    def are_rivals(one: int, other: int) -> bool:
        if facts[one].registers & facts[other].registers or facts[one].differ(facts[other]):
            return True
        return near[one].get(other, (-math.inf, 0.0))[0] < 0

    def chance(group: int, other: int) -> float:
        value, bits = near[group][other]
        against = sum(
            math.exp(min(choice * (rival - bits), 50.0))
            for third, (_, rival) in near[group].items()
            if third != other and rival >= _LEAST and are_rivals(other, third)
        )
        return _logistic(value) / (1 + against)

    return [min(chance(one, other), chance(other, one)) for one, other in wanted]


def _agglomerate(
    wanted: Sequence[tuple[int, int]],
    probability: Sequence[float],
    facts: Sequence[_Facts],
    known: Group,
    limits: Limits,
) -> list[float]:
    """Lower what joined groups speak against: the likeliest pair first, each later one as what it would join by then."""
    root: dict[int, int] = {}
    of_root: dict[int, _Facts] = {}
    members: dict[int, list[int]] = {}
    chances = dict(zip(wanted, probability, strict=True))

    def find(group: int) -> int:
        while root.get(group, group) != group:
            group = root[group]
        return group

    result = dict(chances)
    for (one, other), chance in sorted(chances.items(), key=lambda item: (-item[1], item[0])):
        merge = limits((one, other)).merge
        if chance < merge:
            continue
        left, right = find(one), find(other)
        if left == right:
            continue
        ours, theirs = of_root.get(left, facts[left]), of_root.get(right, facts[right])
        between = [
            chances[min(a, b), max(a, b)]
            for a in members.get(left, [left])
            for b in members.get(right, [right])
            if (min(a, b), max(a, b)) in chances
        ]
        lowered = chance
        if ours.differ(theirs) and not facts[one].differ(facts[other]):
            lowered = _logistic(math.log(chance / max(1 - chance, 1e-12)) + known.two_mailboxes * _BITS)
        mean = sum(between) / len(between)
        if mean < 0.5:
            lowered = min(lowered, mean)
        if lowered < merge:
            result[one, other] = lowered
            continue
        root[right] = left
        members[left] = members.get(left, [left]) + members.pop(right, [right])
        of_root[left] = _Facts(ours.registers | theirs.registers, ours.mailboxes | theirs.mailboxes)
    return [result[pair] for pair in wanted]
