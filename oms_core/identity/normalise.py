"""Normal forms that make two spellings of one thing comparable. Pure functions; None where there is nothing to compare."""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

import phonenumbers
from pypinyin import lazy_pinyin
from stdnum import ean

# Addresses a marketplace hands out instead of the buyer's own: they name an order or a buyer, not a person's mailbox.
RELAY_DOMAINS = ("marketplace.amazon.", "relay.", "privaterelay.", "noreply.", "guest.")
_PLACEHOLDER_PHONE = re.compile(r"^\+?\d*?(\d)\1{6,}$|0{8}$|123456789?$")
_COMPANY_SUFFIXES = {
    "ltd", "limited", "inc", "llc", "gmbh", "ag", "sarl", "sas", "sa", "bv", "co", "company", "corp", "pte", "plc", "kk",
    "youxian", "gongsi", "youxiangongsi", "kg",
}  # fmt: skip


def plain(value: str | None) -> str | None:
    """NFKC, lower case, single spaces; None when nothing is left."""
    if value is None:
        return None
    text = " ".join(unicodedata.normalize("NFKC", value).casefold().split())
    return text or None


def email(value: str | None) -> str | None:
    """Mailbox in lower case without its plus tag; None for relay addresses and what is no address."""
    text = plain(value)
    if text is None or text.count("@") != 1:
        return None
    local, domain = text.replace(" ", "").split("@")
    local = local.split("+")[0]
    if not local or "." not in domain or any(mark in f"{domain}." for mark in RELAY_DOMAINS):
        return None
    return f"{local}@{domain}"


@lru_cache(maxsize=262144)
def phone(value: str | None, country: str | None) -> str | None:
    """E.164 of a phone as written in `country` (ISO 3166 alpha-2); None for placeholders and what cannot be a number."""
    text = plain(value)
    if text is None:
        return None
    try:
        parsed = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return None if _PLACEHOLDER_PHONE.search(number) else number


@lru_cache(maxsize=262144)
def name(value: str | None) -> str | None:
    """A person's or company's name as Latin letters in a circle: script, spacing, accents and suffixes do not matter, nor
    whether the family name comes first.

    The circle is cut at its least rotation. "Wang Xiaoming", "Xiao Ming Wang" and 王小明 are one; "Amy Chen" and "May Chen",
    of the same letters, are two.
    """
    text = plain(value)
    if text is None:
        return None
    latin = " ".join(lazy_pinyin(text)) if any("\u4e00" <= sign <= "\u9fff" for sign in text) else text
    folded = "".join(sign for sign in unicodedata.normalize("NFD", latin) if not unicodedata.combining(sign))
    # "Mueller" is how "Müller" is written where there is no ü.
    folded = folded.replace("ae", "a").replace("oe", "o").replace("ue", "u").replace("ß", "ss")
    tokens = [token for token in re.split(r"[^a-z0-9]+", folded) if token and token not in _COMPANY_SUFFIXES]
    return _least_rotation("".join(tokens)) if tokens else None


def _least_rotation(text: str) -> str:
    """The rotation that sorts first. Booth's problem by Duval's two pointers, linear time."""
    doubled, size = text + text, len(text)
    best, other, same = 0, 1, 0
    while best < size and other < size and same < size:
        left, right = doubled[best + same], doubled[other + same]
        if left == right:
            same += 1
            continue
        if left > right:
            best += same + 1
        else:
            other += same + 1
        if best == other:
            other += 1
        same = 0
    start = min(best, other)
    return doubled[start : start + size]


def code(value: str | None) -> str | None:
    """A code without case, spaces and punctuation."""
    text = plain(value)
    if text is None:
        return None
    return re.sub(r"[^0-9a-z]", "", text) or None


def phone_tail(value: str | None) -> str | None:
    """Last eight digits: the same for one number in every national and international spelling; None for placeholders.

    Too weak by itself; only beside a name.
    """
    digits = re.sub(r"\D", "", plain(value) or "")
    if len(digits) < 8 or _PLACEHOLDER_PHONE.search(digits):
        return None
    return digits[-8:]


def gtin(gtin14: str | None, sku_code: str | None) -> str | None:
    """GTIN-14 of an article: as declared or, where a system uses it as its own code, of that code."""
    if gtin14 is not None:
        return gtin14
    digits = ean.compact(plain(sku_code) or "")
    return digits.zfill(14) if len(digits) >= 12 and ean.is_valid(digits) else None


_FULFILMENT_SUFFIX = re.compile(r"[-_ ](fba|fbm)$")


def sku_code(value: str | None) -> str | None:
    """A seller's item code of at least four signs, without the mark of who fulfils it."""
    text = code(_FULFILMENT_SUFFIX.sub("", plain(value) or ""))
    return text if text is not None and len(text) >= 4 else None


_UNITS = {
    "ml": ("ml", 1), "毫升": ("ml", 1), "cl": ("ml", 10), "l": ("ml", 1000), "升": ("ml", 1000), "litre": ("ml", 1000),
    "g": ("g", 1), "克": ("g", 1), "kg": ("g", 1000), "千克": ("g", 1000), "公斤": ("g", 1000),
}  # fmt: skip
_SIZE = re.compile(
    r"(?:(\d+)\s*[x×*]\s*)?(\d+(?:[.,]\d+)?)\s*(毫升|千克|公斤|升|克|litre|ml|cl|kg|l|g)(?![a-z])(?:\s*[x×*]\s*(\d+))?"
)


@lru_cache(maxsize=65536)
def size(title: str | None) -> tuple[int, Decimal, str] | None:
    """Pack count, content and unit (ml or g) that a title names: '2 × 50 ml' is (2, 50, ml). Unknown: None."""
    found = _SIZE.search(plain(title) or "")
    if found is None:
        return None
    before, content, unit, after = found.groups()
    base, factor = _UNITS[unit]
    return int(before or after or 1), Decimal(content.replace(",", ".")) * factor, base


@lru_cache(maxsize=65536)
def title(value: str | None) -> tuple[str, ...] | None:
    """A title as a sorted set of words with its size in one spelling; None under three words, too few to mean one thing."""
    text = plain(value)
    if text is None:
        return None
    folded = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    words = set(re.findall(r"[a-z0-9]+|[\u4e00-\u9fff]+", _SIZE.sub(" ", folded))) - {"by", "the", "of"}
    named = size(value)
    if named is not None:
        words.add(f"{named[0]}x{named[1].normalize():f}{named[2]}")
    return tuple(sorted(words)) if len(words) >= 3 else None


def house_number(street: str | None) -> str | None:
    """The digits of a street line, in order, apart; None where there are none."""
    return "-".join(re.findall(r"\d+", plain(street) or "")) or None


def tax_number(value: str | None) -> str | None:
    """A tax number of at least six signs, without punctuation; None for what somebody wrote to fill the field."""
    text = code(value)
    if text is None or len(text) < 6 or len(set(text)) < 3 or not any(sign.isdigit() for sign in text):
        return None
    return text


def order_number(value: str | None) -> str | None:
    """An order number in one spelling: NFKC, upper case, no leading marks; separators inside stay."""
    text = plain(value)
    if text is None:
        return None
    return text.upper().lstrip("#№ ").replace(" ", "") or None


def reference_candidates(value: str | None) -> list[str]:
    """Order numbers a free reference text may name, most literal first: 'SHOPIFY #1001 / rush' gives 1001 among them."""
    whole = order_number(value)
    if whole is None:
        return []
    parts = re.split(r"[\s,;:/|()\[\]]+", unicodedata.normalize("NFKC", value or "").upper())
    found = [whole]
    for part in parts:
        token = part.strip("#№.")
        if token and any(sign.isdigit() for sign in token):
            found.append(token)
    return list(dict.fromkeys(found))
