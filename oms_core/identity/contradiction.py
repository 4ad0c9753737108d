"""Where trusted sources contradict each other about one golden record. Pure: values in, contradictions out."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from pypinyin import lazy_pinyin
from rapidfuzz import fuzz

from oms_core.identity import normalise

Row = Mapping[str, Any]

# Below this share of common words and letters two names are two names, not two spellings of one.
_ONE_NAME = 80.0
_LEGAL_FORMS = {
    "ltd", "limited", "inc", "llc", "gmbh", "ag", "sarl", "sas", "sa", "bv", "co", "company", "corp", "corporation",
    "pte", "plc", "kk", "kg", "youxian", "gongsi", "youxiangongsi", "zeren",
}  # fmt: skip


def _exact(left: str, right: str) -> bool:
    return left == right


def _one_name(left: str, right: str) -> bool:
    return (
        fuzz.token_set_ratio(left, right) >= _ONE_NAME
        or fuzz.ratio(left.replace(" ", ""), right.replace(" ", "")) >= _ONE_NAME
    )


def _words(value: str | None) -> str | None:
    """A name as Latin words: script, accents, case, punctuation and legal form do not matter."""
    text = normalise.plain(value)
    if text is None:
        return None
    latin = " ".join(lazy_pinyin(text)) if any("\u4e00" <= sign <= "\u9fff" for sign in text) else text
    folded = "".join(sign for sign in unicodedata.normalize("NFD", latin) if not unicodedata.combining(sign))
    words = [word for word in re.split(r"[^\w]+", folded.replace("ß", "ss")) if word]
    return " ".join(word for word in words if word not in _LEGAL_FORMS) or " ".join(words) or None


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
        "company_name": Comparison(_of("company_name", _words), _one_name),
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
