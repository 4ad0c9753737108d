"""Normal forms that make two spellings of one thing comparable. Pure functions; None where there is nothing to compare."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import phonenumbers
from pypinyin import lazy_pinyin

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
    """A person's or company's name as a sorted set of Latin tokens: script, order, accents and suffixes do not matter."""
    text = plain(value)
    if text is None:
        return None
    # Syllables of one Chinese name are joined again, since the order of family and given name is not known.
    latin = " ".join(lazy_pinyin(text)) if any("\u4e00" <= sign <= "\u9fff" for sign in text) else text
    folded = "".join(sign for sign in unicodedata.normalize("NFD", latin) if not unicodedata.combining(sign))
    tokens = [token for token in re.split(r"[^a-z0-9]+", folded) if token and token not in _COMPANY_SUFFIXES]
    return "".join(sorted("".join(tokens))) if tokens else None


def code(value: str | None) -> str | None:
    """A code without case, spaces and punctuation."""
    text = plain(value)
    if text is None:
        return None
    return re.sub(r"[^0-9a-z]", "", text) or None


def tax_number(value: str | None) -> str | None:
    """A tax number of at least six signs, without punctuation."""
    text = code(value)
    return text if text is not None and len(text) >= 6 else None


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
