"""Where trusted sources contradict each other about one golden record. Pure: values in, contradictions out."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from typing import Any

from rapidfuzz import fuzz

from oms_core.identity import normalise
from oms_core.identity.golden.survivorship import InForce

Row = Mapping[str, Any]

# Below this share of common words and letters two names are two names, not two spellings of one.
_ONE_NAME = 80.0
# A short form of a name stands in the long one; shorter than this many letters it would stand in many.
_SHORTEST_FORM = 6


def _exact(left: str, right: str) -> bool:
    return left == right


def _one_name(left: str, right: str) -> bool:
    if fuzz.token_set_ratio(left, right) >= _ONE_NAME:
        return True
    shorter, longer = sorted((left.replace(" ", ""), right.replace(" ", "")), key=len)
    return fuzz.ratio(shorter, longer) >= _ONE_NAME or (len(shorter) >= _SHORTEST_FORM and shorter in longer)


def _words(value: str | None) -> str | None:
    return " ".join(normalise.name_words(value)) or None


def _company(value: str | None) -> str | None:
    # With its legal form a Chinese company's line of trade is read as such, and so is comparable to the English one.
    return _words(
        f"{value}有限公司" if normalise.is_han(value) and not str(value).endswith("公司") else value
    )


@dataclass(frozen=True)
class Comparison:
    """How two values of one attribute are compared.

    Attributes:
        normal: normal form of a record's value; None where there is nothing to compare.
        same: whether two normal forms are one value in two spellings.
    """

    normal: Callable[[Row], str | None]
    same: Callable[[str, str], bool] = _exact


def _of(column: str, normal: Callable[[str | None], str | None]) -> Callable[[Row], str | None]:
    return lambda row: normal(row[column])


COMPARABLE: Mapping[str, Mapping[str, Comparison]] = {
    "customer": {
        "full_name": Comparison(_of("full_name", _words), _one_name),
        "company_name": Comparison(_of("company_name", _company), _one_name),
        "customer_type": Comparison(_of("customer_type", normalise.plain)),
        "email": Comparison(_of("email", normalise.email)),
        "phone_e164": Comparison(
            lambda row: normalise.phone(row["phone_e164"] or row["phone"], row["country"])
        ),
        "tax_number": Comparison(_of("tax_number", normalise.tax_number)),
        "country": Comparison(_of("country", normalise.code)),
    },
    "sku": {
        "brand": Comparison(_of("brand", _words), _one_name),
        "gtin14": Comparison(lambda row: normalise.gtin(row["gtin14"], None)),
        "mpn": Comparison(_of("mpn", normalise.code)),
        "origin_country": Comparison(_of("origin_country", normalise.code)),
    },
    "location": {
        "location_name": Comparison(_of("location_name", _words), _one_name),
        "location_type": Comparison(_of("location_type", normalise.plain)),
        "gln": Comparison(_of("gln", normalise.code)),
        "country": Comparison(_of("country", normalise.code)),
    },
    "order": {"currency": Comparison(_of("currency", normalise.code))},
}


MUST_AGREE = "must_agree"
SAME_TRUST = "same_trust"


@dataclass(frozen=True)
class Told:
    """What one record tells of an attribute; `normal` is the form in which values were compared."""

    record_id: str
    source_system: str
    value: str
    normal: str


@dataclass(frozen=True)
class Contradiction:
    """Trusted sources that tell different values of one attribute of a golden record.

    Attributes:
        cause: must_agree (the attribute has one true value), or same_trust (the rule leaves the sources even).
        told: one record per source system, its newest, most trusted source first.
    """

    entity: str
    golden_id: str
    attribute: str
    cause: str
    told: tuple[Told, ...]


def contradictions(entity: str, rows: Iterable[Row], rules: Sequence[InForce]) -> Iterator[Contradiction]:
    """Find contradictions among the records of each golden id.

    Each source system speaks through its newest record that tells the attribute. Only sources that the rule lists are
    trusted; two spellings of one value do not contradict each other.

    Args:
        entity: customer, sku, location or order.
        rows: records with golden_id, record_id, source_system, source_updated_at and the columns in `columns(entity)`,
            sorted by golden_id.
        rules: the rule of every unit of the entity; others are passed over.
    """
    compared = [
        (
            item,
            {name: COMPARABLE[entity][name] for name in item.unit.attributes if name in COMPARABLE[entity]},
        )
        for item in rules
        if item.entity == entity
    ]
    for golden_id, group in groupby(rows, key=lambda row: str(row["golden_id"])):
        records = list(group)
        for item, comparisons in compared:
            for attribute, comparison in comparisons.items():
                found = _about(item, attribute, comparison, records)
                if found is not None:
                    yield Contradiction(entity, golden_id, attribute, *found)


def columns(entity: str, rules: Sequence[InForce]) -> list[str]:
    """Columns that `contradictions` looks at: every attribute of the units with something to compare."""
    return [
        attribute
        for item in rules
        if item.entity == entity and any(name in COMPARABLE[entity] for name in item.unit.attributes)
        for attribute in item.unit.attributes
    ]


def _about(
    item: InForce, attribute: str, comparison: Comparison, records: Sequence[Row]
) -> tuple[str, tuple[Told, ...]] | None:
    trusted = [row for row in records if row["source_system"] in item.priorities]
    must_agree = attribute in item.must_agree
    if not must_agree:
        able = [row for row in trusted if any(row[name] is not None for name in item.unit.attributes)]
        if not able:
            return None
        trust = {row["record_id"]: _trust(item, row, able) for row in able}
        best = min(trust.values())
        trusted = [row for row in able if trust[row["record_id"]] == best]
    if len({row["source_system"] for row in trusted}) < 2:
        return None
    newest: dict[str, tuple[Row, str]] = {}
    for row in sorted(trusted, key=lambda row: (_age(row["source_updated_at"]), row["record_id"])):
        normal = comparison.normal(row)
        if normal is not None:
            newest.setdefault(row["source_system"], (row, normal))
    values = sorted({normal for _, normal in newest.values()})
    if all(comparison.same(left, right) for left, right in _pairs(values)):
        return None
    told = [
        Told(row["record_id"], system, str(row[attribute] if row[attribute] is not None else normal), normal)
        for system, (row, normal) in newest.items()
    ]
    told.sort(key=lambda one: (item.priorities[one.source_system], one.source_system))
    return (MUST_AGREE if must_agree else SAME_TRUST), tuple(told)


def _pairs(values: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((left, right) for place, left in enumerate(values) for right in values[place + 1 :])


def _trust(item: InForce, row: Row, able: Sequence[Row]) -> tuple[float, int]:
    """What the rule and the priority say of a record, smaller is more trusted; where they leave two even, nothing chose."""
    decides = 0.0
    if item.rule == "most_recent":
        decides = _age(row["source_updated_at"])
    elif item.rule == "most_complete":
        decides = -float(sum(row[name] is not None for name in item.unit.attributes))
    elif item.rule == "most_frequent":
        value = _whole(item, row)
        decides = -float(sum(_whole(item, other) == value for other in able))
    return decides, item.priorities[row["source_system"]]


def _whole(item: InForce, row: Row) -> tuple[str, ...]:
    return tuple("" if row[name] is None else str(row[name]).strip() for name in item.unit.attributes)


def _age(updated_at: datetime | None) -> float:
    """Smaller is newer; a record without a time is the oldest."""
    if updated_at is None:
        return float("inf")
    return -(updated_at.replace(tzinfo=None) - datetime(1970, 1, 1)).total_seconds()
