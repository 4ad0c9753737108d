"""What to compare and what to block on, from the columns that a prepared table has. Pure; the counting is the caller's.

A field of a known kind has levels of its own; any other column gets levels by its content. Conditions are SQL in the part of
the language that DuckDB, PostgreSQL and Spark share: =, <=, levenshtein, substr, length, abs, least, greatest, coalesce.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from oms_core.identity.scoring.model import Comparison, Kind, Level
from oms_core.identity.scoring.prepare import CODES

# Stated priors, used as they are where there is nothing to learn from and as a few pairs' worth of evidence elsewhere.
# m: how often two records of one entity agree so far; u: how often two of different entities do.
NAMESAKES = "both names the same"
_SAME, _CLOSE, _NEAR, _LOOSE = (0.80, 0.01), (0.08, 0.005), (0.04, 0.01), (0.03, 0.02)


@dataclass(frozen=True)
class Plan:
    """Comparisons with stated priors, blocking rules, and what was left out, in sentences."""

    comparisons: tuple[Comparison, ...]
    blocks: tuple[tuple[str, ...], ...]
    most_in_block: int
    kinds: Mapping[str, Kind]
    left_out: tuple[str, ...] = ()


def _level(
    label: str, test: str, prior: tuple[float, float], frequency: str | None = None, neutral: bool = False
) -> Level:
    return Level(label=label, test=test, m=prior[0], u=prior[1], frequency=frequency, neutral=neutral)


def _rest(levels: Sequence[Level], label: str = "different") -> tuple[Level, ...]:
    """Add the level of what is left, and bring the priors to a sum of one."""
    m, u = sum(level.m for level in levels), sum(level.u for level in levels)
    scale = min(1.0, 0.97 / m)
    scaled = [level.model_copy(update={"m": level.m * scale}) for level in levels]
    return (*scaled, Level(label=label, test="", m=1 - m * scale, u=1 - u))


def _missing(*columns: str) -> str:
    return " or ".join(f"{column}_l is null or {column}_r is null" for column in columns)


def _equal(column: str) -> str:
    return f"{column}_l = {column}_r"


def _within(column: str, edits: int, shortest: int = 0) -> str:
    test = f"levenshtein({column}_l, {column}_r) <= {edits}"
    # Lengths are cheap; the distance is not.
    test = f"abs(length({column}_l) - length({column}_r)) <= {edits} and {test}"
    if shortest:
        test = f"least(length({column}_l), length({column}_r)) >= {shortest} and {test}"
    return test


def _begins(column: str, shortest: int = 1) -> str:
    """One value is the beginning of the other."""
    left, right = f"{column}_l", f"{column}_r"
    size = f"least(length({left}), length({right}))"
    return f"{size} >= {shortest} and substr({left}, 1, {size}) = substr({right}, 1, {size})"


def _slip(column: str) -> str:
    """One sign mistyped, lost, added, or two signs swapped."""
    swapped = f"{column}_signs_l = {column}_signs_r and levenshtein({column}_l, {column}_r) <= 2"
    return f"({_within(column, 1)}) or ({swapped})"


def _swapped() -> str:
    """Given and family name in each other's place, one of them perhaps mistyped. One name in the other's place alone is a
    relative's whose names stand the other way round."""
    near = "levenshtein({0}, {1}) <= 2 and least(length({0}), length({1})) >= length({0}) - 1"
    first = near.format("surname_l", "given_name_r")
    second = near.format("given_name_l", "surname_r")
    return f"(given_name_l = surname_r and {first}) or (surname_l = given_name_r and {second})"


def _strangers(have: Collection[str]) -> str:
    """Two known names with nothing in common: relatives, housemates, colleagues or neighbours may share all else.

    What people of one household or shops in one building share is no evidence between two of them.
    """
    tests = []
    if "given_name" in have:
        name = "given_name"
        alike = [_begins(name), _within(name, 2, 3)]
        if "given_name_forms" in have:
            alike.append("coalesce(words_alike(given_name_forms_l, given_name_forms_r) > 0, false)")
        if "surname" in have:
            alike.append(f"coalesce({_swapped()}, false)")
        tests.append(f"given_name_l <> given_name_r and not {_any(*alike)}")
    if "company_name" in have:
        name, least = "company_name", "least(length(company_name_l), length(company_name_r))"
        alike = [
            _begins(name, 4),
            "words_alike(company_words_l, company_words_r) > 0",
            f"levenshtein({name}_l, {name}_r) * 3 <= {least}",
        ]
        tests.append(f"company_name_l <> company_name_r and not {_any(*alike)}")
    return _any(*tests) if tests else ""


def _shared(have: Collection[str], agree: str) -> list[Level]:
    """The neutral level of what strangers share."""
    strangers = _strangers(have)
    return (
        [_level("shared by different names", _all(agree, strangers), (0.01, 0.001), neutral=True)]
        if strangers
        else []
    )


def _given_name(have: Collection[str]) -> Comparison:
    name = "given_name"
    initial = _all(_equal(name), f"length({name}_l) = 1")
    levels = [
        _level("the same initial", initial, (0.005, 0.0005), neutral=True),
        _level("same", _equal(name), _SAME, name),
    ]
    if "surname" in have:
        levels.append(_level("given and family name swapped", _swapped(), (0.01, 0.001), neutral=True))
    levels += [
        _level("one letter differs", _within(name, 1, 3), _CLOSE),
        _level("short form of the other", "words_alike(given_name_forms_l, given_name_forms_r) > 0", _NEAR),
        _level("one begins the other", _begins(name), _NEAR),
        _level("two letters differ", _within(name, 2, 5), _NEAR),
        _level("sounds alike", _equal("given_name_sound"), _LOOSE),
    ]
    return Comparison(
        field=name, columns=_used(name, levels, have), unknown=_missing(name), levels=_rest(levels)
    )


def _surname(have: Collection[str]) -> Comparison:
    name = "surname"
    levels = [_level("same", _equal(name), _SAME, name)]
    if "given_name" in have:
        crossed = "given_name_l = surname_r or surname_l = given_name_r"
        levels.append(_level("given and family name swapped", _swapped(), (0.02, 0.0005)))
        levels.append(_level("the other's given name", crossed, (0.005, 0.002)))
    levels += [
        _level("one letter differs", _within(name, 1, 3), _CLOSE),
        _level("two letters differ", _within(name, 2, 5), _NEAR),
        _level("one begins the other", _begins(name, 3), _NEAR),
        _level("sounds alike", _equal("surname_sound"), _LOOSE),
    ]
    return Comparison(
        field=name, columns=_used(name, levels, have), unknown=_missing(name), levels=_rest(levels)
    )


def _full_name() -> Comparison:
    """What given and family name together say beyond each alone: less, where names of one language go together.

    Nothing until `training` has counted namesakes.
    """
    levels = (
        Level(
            label=NAMESAKES, test=_all(_equal("given_name"), _equal("surname")), m=0.5, u=0.5, neutral=True
        ),
        Level(label="not both the same", test="", m=0.5, u=0.5, neutral=True),
    )
    return Comparison(
        field="full_name",
        columns=("given_name", "surname"),
        unknown=_missing("given_name", "surname"),
        levels=levels,
    )


def _company(have: Collection[str]) -> Comparison:
    name = "company_name"
    left, right = f"{name}_l", f"{name}_r"
    least = f"least(length({left}), length({right}))"
    words = "words_alike(company_words_l, company_words_r)"
    levels = [
        _level("same", _equal(name), _SAME, name),
        _level("same words", _equal("company_words"), _CLOSE),
        _level(
            "spelt almost alike",
            _all(f"{least} >= 6", f"levenshtein({left}, {right}) * 8 <= {least}"),
            _CLOSE,
        ),
        _level("one begins the other", _begins(name, 5), _NEAR),
        _level("most words the same", f"{words} >= 0.6", _NEAR),
        _level("spelt alike", _all(f"{least} >= 6", f"levenshtein({left}, {right}) * 4 <= {least}"), _NEAR),
        _level("a word in common", f"{words} > 0", (0.03, 0.05)),
    ]
    return Comparison(
        field=name, columns=_used(name, levels, have), unknown=_missing(name), levels=_rest(levels)
    )


def _date(name: str) -> Comparison:
    left, right = f"{name}_l", f"{name}_r"
    turned = f"substr({left}, 1, 4) = substr({right}, 1, 4) and substr({left}, 5, 2) = substr({right}, 7, 2) and substr({left}, 7, 2) = substr({right}, 5, 2)"
    slip = f"({_within(name, 1)}) or ({name}_signs_l = {name}_signs_r and levenshtein({left}, {right}) <= 2)"
    parts = [
        f"substr({left}, {at}, {size}) = substr({right}, {at}, {size})"
        for at, size in ((1, 4), (5, 2), (7, 2))
    ]
    two_of_three = " or ".join(
        f"({parts[first]} and {parts[second]})" for first, second in ((0, 1), (0, 2), (1, 2))
    )
    levels = [
        _level("same", _equal(name), (0.85, 0.0005), name),
        _level("day and month swapped", turned, (0.01, 0.0005)),
        _level("one digit differs or two are swapped", slip, (0.07, 0.002)),
        _level("two of year, month and day the same", two_of_three, (0.03, 0.005)),
        _level("two digits differ", _within(name, 2), (0.02, 0.03)),
    ]
    columns = (name, f"{name}_signs")
    return Comparison(field=name, columns=columns, unknown=_missing(name), levels=_rest(levels))


def _phone(have: Collection[str]) -> Comparison:
    plain = _code("phone")
    levels = _shared(have, _equal("phone")) + list(plain.levels)
    columns = tuple(dict.fromkeys([*plain.columns, *_used("phone", levels, have)]))
    return plain.model_copy(update={"levels": tuple(levels), "columns": columns})


def _code(name: str) -> Comparison:
    levels = [
        _level("same", _equal(name), (0.88, 0.0005), name),
        _level("one sign differs or two are swapped", _slip(name), (0.07, 0.001)),
        _level("two signs differ", _within(name, 2, 6), (0.02, 0.005)),
    ]
    return Comparison(
        field=name, columns=(name, f"{name}_signs"), unknown=_missing(name), levels=_rest(levels)
    )


def _email(have: Collection[str]) -> Comparison:
    almost, local = _within("email", 2, 8), _within("email_name", 2, 6)
    levels = [_level("same", _equal("email"), _SAME, "email")]
    if "surname" in have:
        # Mailboxes are made of names: namesakes have similar ones, so nothing is learnt beyond the name.
        alike = _all(_equal("surname"), _any(_equal("email_name"), almost, local))
        levels.append(_level("similar, as the names are", alike, (0.08, 0.001), neutral=True))
    levels += [
        _level("same name before the @", _equal("email_name"), _CLOSE),
        _level("almost the same mailbox", almost, _CLOSE),
        _level("name before the @ almost the same", local, _NEAR),
    ]
    columns = ("email", "email_name", *(["surname"] if "surname" in have else []))
    return Comparison(field="email", columns=columns, unknown=_missing("email"), levels=_rest(levels))


def _any(*tests: str) -> str:
    return "(" + " or ".join(f"({test})" for test in tests if test) + ")"


def _all(*tests: str) -> str:
    return " and ".join(f"({test})" for test in tests)


def _address(have: Collection[str]) -> Comparison:
    """Number, street, postcode and city are one piece of evidence: who shares one of them tends to share the others, and
    two shops in one building share them all."""
    street, number = "street_name" in have, "street_number" in have and "street_name" in have
    code, city = "postcode" in have, "city" in have
    same_number = _equal("street_number")
    same_street = _equal("street_name")
    alike = _any(same_street, _within("street_name", 2, 6), _begins("street_name", 6))
    same_place = _any(_equal("postcode") if code else "", _equal("city") if city else "")
    near_city = _any(_within("city", 2, 5), _begins("city", 4))
    near_place = _any(_slip("postcode") if code else "", near_city if city else "")
    place = code or city
    levels = _shared(have, _any(alike if street else "", same_place if place else ""))
    if number and place:
        levels.append(
            _level(
                "number, street and place the same", _all(same_number, same_street, same_place), (0.4, 1e-4)
            )
        )
        almost = _all(same_number, alike, _any(same_place, near_place))
        levels.append(_level("number, street and place almost the same", almost, (0.1, 1e-4)))
    if number:
        levels.append(
            _level("number and street the same, another place", _all(same_number, alike), (0.05, 1e-4))
        )
    if street and place:
        unknown = "street_number_l is null or street_number_r is null"
        if number:
            test = _all(alike, same_place, unknown)
            levels.append(_level("street and place the same, number unknown", test, (0.05, 5e-4)))
        levels.append(_level("street and place the same", _all(alike, same_place), (0.05, 5e-4)))
    if number and place:
        levels.append(_level("number and place the same", _all(same_number, same_place), (0.05, 5e-4)))
    if street:
        levels.append(_level("same street, another place", alike, (0.03, 1e-3), None))
    if code and city:
        levels.append(
            _level("postcode and city the same", _all(_equal("postcode"), _equal("city")), (0.1, 1e-3))
        )
    if code:
        levels.append(_level("same postcode", _equal("postcode"), (0.05, 1e-3), "postcode"))
    if city:
        levels.append(_level("same city", _equal("city"), (0.05, 1e-2), "city"))
    if place:
        levels.append(_level("postcode or city almost the same", near_place, (0.04, 1e-2)))
    for name, prior in (("region", (0.03, 0.05)), ("country", (0.03, 0.3))):
        if place and name in have:
            levels.append(_level(f"same {name}", _equal(name), prior, name if name == "region" else None))
    columns = ["street_number"] * number + ["street_name"] * street
    columns += ["postcode", "postcode_signs"] * code + ["city"] * city
    columns += [name for name in ("region", "country") if place and name in have]
    unknown = _all(
        *(_missing(column) for column in columns if column not in ("street_number", "postcode_signs"))
    )
    return Comparison(field="address", columns=tuple(columns), unknown=unknown, levels=_rest(levels))


def _words(name: str) -> Comparison:
    left, right = f"{name}_l", f"{name}_r"
    longest, least = f"greatest(length({left}), length({right}))", f"least(length({left}), length({right}))"
    spelt = f"{longest} <= 40 and {_within(name, 2, 6)}"
    levels = [
        _level("same", _equal(name), _SAME, name),
        _level("spelt almost alike", spelt, _CLOSE),
        _level("nearly all words the same", f"{least} >= 6 and words_alike({left}, {right}) >= 0.8", _CLOSE),
        _level("one begins the other", _begins(name, 6), _NEAR),
        _level("most words the same", f"{least} >= 6 and words_alike({left}, {right}) >= 0.5", _NEAR),
    ]
    return Comparison(field=name, columns=(name,), unknown=_missing(name), levels=_rest(levels))


def _few(name: str) -> Comparison:
    """A column of few different values, such as a state or a country."""
    levels = [
        _level("same", _equal(name), (0.9, 0.2), name),
        _level("one letter differs", _within(name, 1, 2), (0.03, 0.01)),
    ]
    return Comparison(field=name, columns=(name,), unknown=_missing(name), levels=_rest(levels))


def _number(name: str) -> Comparison:
    left, right = f"{name}_l", f"{name}_r"
    size = f"greatest(abs({left}), abs({right}))"
    levels = [
        _level("same", _equal(name), (0.7, 0.02)),
        _level("within 1 %", f"abs({left} - {right}) <= 0.01 * {size}", (0.1, 0.02)),
        _level("within 10 %", f"abs({left} - {right}) <= 0.1 * {size}", (0.1, 0.1)),
    ]
    return Comparison(field=name, columns=(name,), unknown=_missing(name), levels=_rest(levels))


def _used(name: str, levels: Sequence[Level], have: Collection[str]) -> tuple[str, ...]:
    """The columns of `have` that the levels' tests mention, `name` first."""
    tests = " ".join(level.test for level in levels)
    return tuple(
        dict.fromkeys([name, *(column for column in sorted(have) if f"{column}_l" in _tokens(tests))])
    )


def _tokens(text: str) -> set[str]:
    return set("".join(sign if sign.isalnum() or sign == "_" else " " for sign in text).split())


def comparisons(columns: Sequence[str], kinds: Mapping[str, Kind]) -> tuple[Comparison, ...]:
    """Comparisons with stated priors for the columns of a prepared table.

    Args:
        columns: names of its columns that hold at least two different values.
        kinds: content of those without a name of their own.
    """
    have = set(columns)
    found: list[Comparison] = []
    known: dict[str, Callable[[], Comparison]] = {
        "given_name": lambda: _given_name(have),
        "surname": lambda: _surname(have),
        "company_name": lambda: _company(have),
        "date_of_birth": lambda: _date("date_of_birth"),
        "phone": lambda: _phone(have),
        "email": lambda: _email(have),
        "address_2": lambda: _words("address_2"),
        "region": lambda: _few("region"),
        "country": lambda: _few("country"),
    }
    known |= {name: partial(_code, name) for name in CODES}
    if have & {"postcode", "city"}:
        # Part of the address then.
        del known["region"], known["country"]
    for name, make in known.items():
        if name in have:
            found.append(make())
    if {"given_name", "surname"} <= have:
        found.append(_full_name())
    if have & {"postcode", "city", "street_name"}:
        found.append(_address(have))
    for name, kind in kinds.items():
        if name in have:
            found.append({"text": _words, "number": _number, "date": _date, "code": _code}[kind](name))
    return tuple(_possible(comparison, have) for comparison in found)


def _possible(comparison: Comparison, have: Collection[str]) -> Comparison:
    """Without levels that ask for a column there is not: of names without a short form, say, nothing is known of those.

    What such a level would have taken falls to the last one.
    """
    kept = [level for level in comparison.levels if _columns_of(level.test) <= set(have)]
    if len(kept) == len(comparison.levels):
        return comparison
    last = kept[-1].model_copy(
        update={"m": 1 - sum(level.m for level in kept[:-1]), "u": 1 - sum(level.u for level in kept[:-1])}
    )
    return comparison.model_copy(update={"levels": (*kept[:-1], last)})


def _columns_of(test: str) -> set[str]:
    return {token.removesuffix("_l") for token in _tokens(test) if token.endswith("_l")}


@dataclass(frozen=True)
class Form:
    """One thing to block on: a column, the field it stands for, how often it survives an error in the field, how many pairs
    of records agree on it in blocks that are not too large, and the share of all records that are in such blocks or alone."""

    column: str
    field: str
    survives: float
    pairs: float
    known: float  # share of records that have it
    kept: float
    agreeing: float  # share of all pairs that agree on it


def forms(columns: Collection[str], comparison_fields: Collection[str]) -> list[tuple[str, str, float]]:
    """Columns that a plan may block on: (column, field, probability that it survives one error in the field)."""
    found = []
    for column in sorted(columns):
        base = column
        survives = 0.0
        for suffix, left in (("_sound", 0.5), ("_head", 0.5), ("_tail", 0.5)):
            if column.endswith(suffix):
                base, survives = column.removesuffix(suffix), left
        if column.endswith("_signs"):
            base, survives = column.removesuffix("_signs"), 0.2
        if column == "company_words":
            base, survives = "company_name", 0.3
        if column == "email_name":
            base, survives = "email", 0.4
        if column == "email_name_head":
            base, survives = "email", 0.6
        if column == "name_either_way":
            base, survives = "surname", 0.05
        parts = ("postcode", "city", "street_name", "street_number", "region")
        if ("address" if base in parts else base) in comparison_fields:
            found.append((column, base, survives))
    return found


# Rules that stay affordable however many records come, for models that are trained on few and used on many.
STATED_BLOCKS: tuple[tuple[str, ...], ...] = (
    ("tax_number",), ("national_id",), ("email",), ("phone",), ("marketplace_buyer_id",), ("gln",), ("location_code",),
    ("name_either_way", "postcode"), ("name_either_way", "city_head"), ("name_either_way", "date_of_birth"),
    ("name_either_way",), ("email_name",), ("given_name_sound", "surname_sound", "city_head"),
    ("surname_sound", "postcode", "street_number"), ("given_name_head", "postcode", "street_number"),
    ("surname_head", "date_of_birth"), ("given_name_head", "phone_tail"), ("surname_head", "phone_tail"),
    ("company_name",), ("company_words",), ("company_name_head", "postcode"), ("company_name_head", "city_head"),
    ("company_name_head", "phone_tail"), ("street_name_head", "street_number", "postcode"),
)  # fmt: skip


def choose_blocks(
    candidates: Sequence[Form],
    count: Callable[[tuple[str, ...]], tuple[float, float]],
    records: int,
    *,
    budget: float,
    most_rules: int = 14,
    seed: int = 4,
) -> list[tuple[str, ...]]:
    """Sets of columns that together bring nearly all matches into few pairs.

    Simulates 4,000 matching pairs whose fields each stay, change a little, change altogether or are missing, independently;
    then takes, one after another, the rule that catches most of those not yet caught per pair it costs.

    Args:
        candidates: what can be blocked on.
        count: for a set of columns, pairs that agree on all, and the share of the records that know all which are in blocks
            not too large.
        records: number of records.
        budget: pairs in total.
    """
    if not candidates:
        return []
    simulated = 4000
    generator = np.random.default_rng(seed)
    fields = sorted({form.field for form in candidates})
    state = {}
    for field in fields:
        known = max(form.known for form in candidates if form.field == field)
        draw = generator.random(simulated)
        lost = 1 - known**2
        # same, slightly wrong, altogether different or missing
        state[field] = np.where(
            draw < lost,
            2,
            np.where(draw < lost + (1 - lost) * 0.25, 1, np.where(draw < lost + (1 - lost) * 0.33, 2, 0)),
        )
    caught_by = {}
    for form in candidates:
        survived = generator.random(simulated) < form.survives
        caught_by[form.column] = (state[form.field] == 0) | ((state[form.field] == 1) & survived)
    all_pairs = max(records * (records - 1) / 2, 1.0)
    two = [
        (first, second)
        for at, first in enumerate(candidates)
        for second in candidates[at + 1 :]
        if first.field != second.field
    ]
    rules: list[tuple[str, ...]] = [(form.column,) for form in candidates]
    rules += [(first.column, second.column) for first, second in two]
    # Fields are taken as independent until a rule is about to be taken; then it is counted.
    alone = len(candidates)
    expected = [first.agreeing * second.agreeing * all_pairs for first, second in two]
    pairs: NDArray[np.float64] = np.array([form.pairs for form in candidates] + expected)
    kept: NDArray[np.float64] = np.array([form.kept for form in candidates] + [1.0] * len(two))
    counted = np.arange(len(rules)) < alone
    open_rules = np.ones(len(rules), dtype=bool)
    catches = np.stack([np.logical_and.reduce([caught_by[column] for column in rule]) for rule in rules])
    catches = catches.astype(np.float32)
    share = catches.mean(axis=1)
    # Probability, per simulated match, that no rule has caught it.
    missed = np.ones(simulated, dtype=np.float32)
    chosen: list[tuple[str, ...]] = []
    left = budget
    while len(chosen) < most_rules:
        gain = kept * (catches @ missed) / simulated
        # No rule brings fewer pairs than it catches matches: the rule that brings the fewest for what it catches says how
        # many matches there can be, and matches that several rules bring are paid for once.
        telling = counted & (kept * share > 0.2)
        matches = float((pairs[telling] / (kept * share)[telling]).min()) if telling.any() else 0.0
        cost = np.maximum(pairs - (kept * share - gain) * matches, 0.0)
        worth = np.where(open_rules & (cost <= left), gain / (cost / max(records, 1) + 0.3), -1.0)
        best = int(worth.argmax())
        if worth[best] <= 0:
            break
        if not counted[best]:
            pairs[best], kept[best] = count(rules[best])
            counted[best] = True
            continue
        if gain[best] < 0.0005:
            break
        chosen.append(rules[best])
        open_rules[best] = False
        left -= float(cost[best])
        missed = missed * (1 - kept[best] * catches[best])
    # A rule whose columns are part of another's brings all of that one's pairs.
    return [rule for rule in chosen if not any(set(other) < set(rule) for other in chosen)]
