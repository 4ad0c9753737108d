"""Is a record still about the same customer, article, place or order as before, or was its key given to another?

A record is compared with its own previous version. It was rewritten when its name and a strong identifier contradict what
it had and no strong identifier agrees, or when nothing comparable agrees and at least two values contradict. Somebody who
marries or moves, a shop that moved, an article whose title was corrected: all keep something, and are not rewritten.

What is kept of a record for that is a JSON object of the columns in `COLUMNS`, as staged, without empty ones. Not its
normal form: a better normalisation would else look as if everybody had been rewritten. Personal data among it is what the
landing holds anyway; it is stored in the operational store only, and no released view shows it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Mapping
from difflib import SequenceMatcher
from typing import Any

from oms_core.identity import normalise

Values = Mapping[str, Any]
Compare = Callable[[Values, Values], bool | None]

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "customer": (
        "customer_type", "full_name", "company_name", "email", "phone", "phone_e164", "tax_number",
        "marketplace_buyer_id", "street", "postcode", "country",
    ),
    "sku": ("gtin14", "sku_code", "title", "mpn", "brand"),
    "location": ("gln", "location_name", "street", "postcode"),
    "order": ("order_number", "customer_key"),
}  # fmt: skip

# Shares of equal signs above which two spellings are one, and below which they are two. Between them nothing is said.
_ALIKE = 0.8
_UNLIKE = 0.6
# Shares of equal words of two titles, alike.
_MOST_WORDS = 0.6
_FEW_WORDS = 0.25
_CJK = re.compile(r"[\u3400-\u9fff]")


def identifying(entity: str, row: Values) -> str:
    """The values that tell who or what a record is, as compact JSON; `{}` where it has none."""
    found = {name: value for name in COLUMNS[entity] if (value := row[name]) not in (None, "")}
    return json.dumps(found, ensure_ascii=False, separators=(",", ":"))


def rewritten(entity: str, before: str, after: str) -> str | None:
    """What tells that a record became somebody or something else between two versions; None when nothing does.

    Args:
        entity: customer, sku, location or order.
        before, after: `identifying` of the two versions.

    Returns:
        The names of the values that contradict, such as "name and e-mail differ"; never the values.
    """
    old, new = json.loads(before), json.loads(after)
    strong, name, others, weak = _fields(entity, old, new)
    said = {field: compare(old, new) for field, compare in [*strong, name, *others, *weak]}
    differing = [field for field, agrees in said.items() if agrees is False]
    by_strong = [said[field] for field, _ in strong]
    is_other_name = said[name[0]] is False
    # Who shares a weak value, such as a brand, need not be the same.
    nothing_agrees = not any(said[field] for field, _ in [*strong, name, *others])
    if (is_other_name and False in by_strong and True not in by_strong) or (
        nothing_agrees and len(differing) >= 2
    ):
        return f"{', '.join(differing[:-1])} and {differing[-1]} differ"
    return None


Field = tuple[str, Compare]


def _fields(entity: str, old: Values, new: Values) -> tuple[list[Field], Field, list[Field], list[Field]]:
    """Strong identifiers, the name, what else identifies, and what contradicts but never confirms."""
    if entity == "customer":
        is_company = "company" in (old.get("customer_type"), new.get("customer_type"))
        tax = ("tax number", _equal(lambda row: normalise.tax_number(row.get("tax_number"))))
        buyer = ("marketplace buyer id", _equal(lambda row: normalise.code(row.get("marketplace_buyer_id"))))
        mailbox = ("e-mail", _equal(lambda row: normalise.email(row.get("email"))))
        number = ("phone", _equal(_phone))
        # A company that renames itself changes its mailbox, too; a person's mailbox is the person's.
        strong, others = ([tax, buyer], [mailbox]) if is_company else ([tax, buyer, mailbox], [])
        return strong, ("name", _names(_customer_name)), [*others, number, ("street", _street)], []
    if entity == "sku":
        gtin = ("GTIN", _equal(lambda row: normalise.gtin(row.get("gtin14"), row.get("sku_code"))))
        part = ("part number", _equal(lambda row: normalise.code(row.get("mpn"))))
        brand = ("brand", _equal(lambda row: normalise.code(row.get("brand"))))
        return [gtin, part], ("title", _title), [], [brand]
    if entity == "location":
        gln = ("GLN", _equal(lambda row: normalise.code(row.get("gln"))))
        return [gln], ("name", _names(lambda row: row.get("location_name"))), [("street", _street)], []
    order = ("order number", _equal(lambda row: normalise.order_number(row.get("order_number"))))
    return [order], ("customer", _equal(lambda row: row.get("customer_key"))), [], []


def _equal(value: Callable[[Values], str | None]) -> Compare:
    def compare(old: Values, new: Values) -> bool | None:
        left, right = value(old), value(new)
        return None if left is None or right is None else left == right

    return compare


def _phone(row: Values) -> str | None:
    return normalise.phone(row.get("phone_e164") or row.get("phone"), row.get("country"))


def _customer_name(row: Values) -> str | None:
    company, person = row.get("company_name"), row.get("full_name")
    return (company or person) if row.get("customer_type") == "company" else (person or company)


def _names(value: Callable[[Values], str | None]) -> Compare:
    """Alike when one name holds the other, typing errors forgiven; other when they share no word at all."""

    def compare(old: Values, new: Values) -> bool | None:
        one, other = value(old), value(new)
        if one is None or other is None:
            return None
        if normalise.name(one) == normalise.name(other):
            return True
        left, right = _words(one), _words(other)
        if not left or not right:
            return None
        if _likeness(" ".join(left), " ".join(right)) >= _ALIKE:
            return True
        few, many = sorted((left, right), key=len)
        met = sum(any(_is_word(word, known) for known in many) for word in few)
        if met == len(few) >= 2:
            return True
        return None if met else False

    return compare


def _is_word(word: str, known: str) -> bool:
    if len(word) == 1 or len(known) == 1:  # an initial
        return word[0] == known[0]
    return word == known or (min(len(word), len(known)) >= 4 and _likeness(word, known) >= _ALIKE)


def _street(old: Values, new: Values) -> bool | None:
    """Other when postcode or house number differ; they survive every spelling of a street."""
    one, other = old.get("street"), new.get("street")
    if one is None or other is None:
        return None
    for left, right in (
        (normalise.code(old.get("postcode")), normalise.code(new.get("postcode"))),
        (normalise.house_number(one), normalise.house_number(other)),
    ):
        if left is not None and right is not None and left != right:
            return False
    likeness = _likeness(" ".join(_words(one)), " ".join(_words(other)))
    return True if likeness >= _ALIKE else False if likeness < _UNLIKE else None


def _title(old: Values, new: Values) -> bool | None:
    """Other when the sizes they name differ, or hardly a word is shared; a translation is not comparable."""
    one, other = old.get("title"), new.get("title")
    if one is None or other is None:
        return None
    sizes = normalise.size(one), normalise.size(other)
    if None not in sizes and sizes[0] != sizes[1]:
        return False
    if bool(_CJK.search(one)) != bool(_CJK.search(other)):
        return None
    left, right = set(_words(one)), set(_words(other))
    if not left or not right:
        return None
    if _likeness(" ".join(sorted(left)), " ".join(sorted(right))) >= _ALIKE:
        return True
    few, many = sorted((left, right), key=len)
    share = sum(any(_is_word(word, known) for known in many) for word in few) / len(few)
    return True if share >= _MOST_WORDS else False if share <= _FEW_WORDS else None


def _words(value: str) -> list[str]:
    """Latin words in lower case without accents; Chinese by its sound, one word a sign."""
    text = normalise.plain(value) or ""
    if _CJK.search(text):
        text = " ".join(normalise.pinyin(text))
    folded = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    return re.findall(r"\w+", folded)


def _likeness(left: str, right: str) -> float:
    return SequenceMatcher(None, left, right, autojunk=False).ratio()
