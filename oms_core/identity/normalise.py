"""Normal forms that make two spellings of one thing comparable. Pure functions; None where there is nothing to compare.

All take and give text and remember what they said: a million records repeat most of their values.
"""

from __future__ import annotations

import re
import unicodedata
from decimal import Decimal
from functools import lru_cache

import phonenumbers
from opencc import OpenCC
from stdnum import ean
from stdnum.cn import uscc
from stdnum.eu import vat as eu_vat
from stdnum.exceptions import ValidationError
from stdnum.gb import vat as gb_vat
from stdnum.sg import uen
from stdnum.us import ein

# Addresses a marketplace hands out instead of the buyer's own: they name an order or a buyer, not a person's mailbox.
RELAY_DOMAINS = (
    "marketplace.amazon.",
    "relay.",
    "privaterelay.",
    "noreply.",
    "guest.",
    "members.ebay.",
    "mozmail.",
)
_RELAY = re.compile(r"(?:^|\.)(?:" + "|".join(re.escape(domain) for domain in RELAY_DOMAINS) + ")")
# Written where a form insists on an address and there is none.
_NO_MAILBOX = frozenset(
    re.split(
        " ",
        "none no na n/a nil null unknown noemail nomail no-email no.email noreply no-reply donotreply test wu",
    )
)
_PLACEHOLDER_PHONE = re.compile(
    # One digit many times; nothing but zeros in the end; digits in sequence; the number Chinese forms show as an example;
    # numbers kept free for films in North America.
    r"(\d)\1{6,}$|0{7}$|^\+?\d{0,4}?0?123456789?0?$|987654321?0?$|^(?:\+?86)?13800138000$|^\+?1?[2-9]\d\d55501\d\d$"
)
_COMPANY_SUFFIXES = {
    "ltd", "limited", "inc", "incorporated", "llc", "llp", "gmbh", "mbh", "ag", "ug", "ohg", "kg", "kgaa", "ek", "sarl", "sas",
    "sasu", "eurl", "sa", "sl", "slu", "srl", "spa", "bv", "nv", "bvba", "oy", "oyj", "ab", "aps", "co", "company", "corp",
    "corporation", "pte", "pty", "plc", "kk", "gk", "sdn", "bhd", "youxian", "gongsi", "youxiangongsi",
}  # fmt: skip
_LINKING_WORDS = {"and", "und", "et", "y"}
_HAN = re.compile(r"[\u3400-\u9fff\uf900-\ufaff]")
# What Chinese writes where English has a company's legal form, and the trades that English names translate.
_HAN_COMPANY = re.compile(
    r"(?:股份)?有限(?:责任)?公司|股份公司|集团公司|集团|公司|株式会社|有限会社|合同会社"
)
_HAN_TRADES = {
    "进出口": "import export", "国际贸易": "international trading", "贸易": "trading", "商贸": "trading", "科技": "technology",
    "食品": "foods", "化妆品": "cosmetics", "日用品": "daily necessities", "百货": "department store", "供应链": "supply chain",
    "国际": "international", "实业": "industrial", "电子": "electronics", "服装": "garment", "餐饮": "catering",
    "零售": "retail", "健康": "health", "生物": "biological", "医药": "pharmaceutical", "物流": "logistics", "美容": "beauty",
    "美妆": "beauty", "超市": "supermarket", "市": "", "省": "",
}  # fmt: skip
_TRADES = {
    "trade": "trading", "food": "foods", "cosmetic": "cosmetics", "tech": "technology", "technologies": "technology",
    "industry": "industrial", "industries": "industrial", "electronic": "electronics",
}  # fmt: skip
_LONGEST_PERSON = 4  # signs of a person's name; a longer one is a firm's
_TO_SIMPLIFIED = OpenCC("t2s")
# "Mueller" is how "Müller" is written where there is no ü; but the "ue" of Xue, Yue and Jue is a sound of its own.
_UMLAUT = re.compile(r"ae|oe|(?<![jqxyln])ue|(?<=[jln])ue(?=r)")
_INITIALS = re.compile(r"\b(?:[a-z]\.){2,}")
_WORDS = re.compile(r"[a-z0-9]+")


@lru_cache(maxsize=1 << 18)
def plain(value: str | None) -> str | None:
    """NFKC, lower case, single spaces; None when nothing is left."""
    if value is None:
        return None
    text = value if value.isascii() else unicodedata.normalize("NFKC", value)
    return " ".join(text.casefold().split()) or None


def is_han(value: str | None) -> bool:
    """Whether a text holds Chinese signs (Chinese, or Japanese kanji)."""
    return value is not None and not value.isascii() and _HAN.search(value) is not None


@lru_cache(maxsize=1 << 17)
def simplified(value: str) -> str:
    """Chinese in simplified signs, by OpenCC's dictionary; other text as it is."""
    return str(_TO_SIMPLIFIED.convert(value)) if is_han(value) else value


def pinyin(text: str) -> list[str]:
    """Sounds of Chinese signs, without tones; ü as u, as most passports and forms have it: 吕 is lu."""
    # Its dictionaries take a third of a second to import, which runs without Chinese names need not pay.
    from pypinyin import lazy_pinyin

    return [sound.replace("ü", "u") for sound in lazy_pinyin(text, v_to_u=True)]


@lru_cache(maxsize=1 << 18)
def folded(value: str | None) -> str | None:
    """Plain text in bare Latin letters: Chinese in pinyin, one word per sign; no accents."""
    text = plain(value)
    if text is None or text.isascii():
        return text
    if is_han(text):
        text = " ".join(pinyin(simplified(text)))
    bare = "".join(sign for sign in unicodedata.normalize("NFD", text) if not unicodedata.combining(sign))
    return " ".join(bare.translate(_BARE).split()) or None


_BARE = str.maketrans({"ß": "ss", "ø": "o", "ł": "l", "ı": "i", "đ": "d", "æ": "a", "œ": "o"})


def without_umlauts(text: str) -> str:
    """Text in bare Latin letters with "Mueller" as "Muller"."""
    return _UMLAUT.sub(lambda found: found.group()[0], text)


@lru_cache(maxsize=1 << 18)
def email(value: str | None) -> str | None:
    """Mailbox in lower case without its plus tag; None for relay addresses, placeholders and what is no address."""
    text = plain(value)
    if text is None or text.count("@") != 1:
        return None
    local, domain = text.replace(" ", "").split("@")
    local = local.split("+")[0]
    if not local or "." not in domain or local in _NO_MAILBOX or _RELAY.search(f"{domain}."):
        return None
    if domain in ("gmail.com", "googlemail.com"):  # one mailbox, dots or not
        local, domain = local.replace(".", ""), "gmail.com"
    return f"{local}@{domain}"


@lru_cache(maxsize=1 << 18)
def phone(value: str | None, country: str | None) -> str | None:
    """E.164 of a phone as written in `country` (ISO 3166 alpha-2); None for placeholders and what cannot be a number."""
    text = plain(value)
    if text is None or len(text) < 6:
        return None
    if country is None and (abroad := _DIALLED_ABROAD.match(text)):
        text = "+" + text[abroad.end() :]
    try:
        parsed = phonenumbers.parse(text, country)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    number = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return None if is_placeholder_phone(number) else number


# What is dialled before a foreign number from most of the world, North America, Japan and Australia; of the longer ones only before
# so many digits that it cannot be an area's code.
_DIALLED_ABROAD = re.compile(r"00(?!11)|(?:0011|011|010)(?=(?:\D*\d){10})")


def is_placeholder_phone(digits: str) -> bool:
    """Whether a number is what people write who have to write one: 13800000000, 11111111, 12345678."""
    return _PLACEHOLDER_PHONE.search(digits) is not None


@lru_cache(maxsize=1 << 18)
def name(value: str | None) -> str | None:
    """A person's or company's name as Latin letters in a circle: script, spacing, accents and suffixes do not matter, nor
    whether the family name comes first.

    The circle is cut at its least rotation. "Wang Xiaoming", "Xiao Ming Wang" and 王小明 are one; "Amy Chen" and "May Chen",
    of the same letters, are two.
    """
    return _least_rotation("".join(words)) if (words := name_words(value)) else None


@lru_cache(maxsize=1 << 18)
def name_words(value: str | None) -> tuple[str, ...]:
    """The words of a name in bare Latin letters, without legal forms and linking words; a Chinese sign is one word."""
    text = plain(value)
    if text is None:
        return ()
    if is_han(text):
        text = simplified(text)
        bare = _HAN_COMPANY.sub(" ", text)
        if bare != text or len(text) > _LONGEST_PERSON:
            for han, english in _HAN_TRADES.items():
                bare = bare.replace(han, f" {english} ")
        text = " ".join(pinyin(bare if bare.strip() else text))
    text = _INITIALS.sub(lambda found: found.group().replace(".", "") + " ", folded(text) or "")
    words = _WORDS.findall(without_umlauts(text))
    kept = [
        _TRADES.get(word, word)
        for word in words
        if word not in _COMPANY_SUFFIXES and word not in _LINKING_WORDS
    ]
    return tuple(kept or words)


@lru_cache(maxsize=1 << 17)
def is_firm(value: str | None) -> bool:
    """Whether a name ends in a legal form, as only firms' names do."""
    text = plain(value)
    if text is None:
        return False
    if is_han(text):
        return _HAN_COMPANY.search(simplified(text)) is not None
    words = _WORDS.findall(
        _INITIALS.sub(lambda found: found.group().replace(".", "") + " ", folded(text) or "")
    )
    return len(words) > 1 and words[-1] in _COMPANY_SUFFIXES


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


@lru_cache(maxsize=1 << 18)
def code(value: str | None) -> str | None:
    """A code without case, spaces and punctuation."""
    text = plain(value)
    if text is None:
        return None
    return _NOT_CODE.sub("", text) or None


_NOT_CODE = re.compile(r"[^0-9a-z]")
_NOT_DIGITS = re.compile(r"\D")


@lru_cache(maxsize=1 << 18)
def phone_tail(value: str | None) -> str | None:
    """Last eight digits: the same for one number in every national and international spelling; None for placeholders.

    Too weak by itself; only beside a name.
    """
    digits = _NOT_DIGITS.sub("", plain(value) or "")
    if len(digits) < 8 or is_placeholder_phone(digits):
        return None
    return digits[-8:]


@lru_cache(maxsize=1 << 17)
def gtin(gtin14: str | None, sku_code: str | None) -> str | None:
    """GTIN-14 of an article: as declared or, where a system uses it as its own code, of that code.

    None where the check digit is wrong (GS1 General Specifications, 7.9), and for a number kept for use within one
    company (prefixes 2 and 02), which another company gives to something else.
    """
    for value in (gtin14, sku_code):
        digits = ean.compact(plain(value) or "")
        if 12 <= len(digits) <= 14 and digits.isdecimal() and ean.is_valid(digits):
            number = str(digits).zfill(14)
            return None if number[1] == "2" or number[1:3] == "02" or not number.strip("0") else number
    return None


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


@lru_cache(maxsize=1 << 18)
def house_number(street: str | None) -> str | None:
    """The digits of a street line, in order, apart; None where there are none."""
    return "-".join(_DIGITS.findall(plain(street) or "")) or None


_DIGITS = re.compile(r"\d+")


# Schemes of countries outside the European Union, with the lengths their numbers have; other lengths are other schemes.
_TAX_SCHEMES = {"CN": (uscc, (18,)), "US": (ein, (9,)), "SG": (uen, (9, 10))}
_EU = frozenset(
    re.split(" ", "AT BE BG CY CZ DE DK EE EL ES FI FR GR HR HU IE IT LT LU LV MT NL PL PT RO SE SI SK XI")
)


@lru_cache(maxsize=1 << 17)
def tax_number(value: str | None, country: str | None = None) -> str | None:
    """A tax number without punctuation, lower case, in the form its scheme prescribes where the country is known.

    With `country` (ISO 3166 alpha-2, or the prefix of a European VAT number itself) the number is checked: Chinese USCI
    (GB 32100), VAT of Britain and the European Union, EIN, Singapore's UEN. One that fails is None: a typing mistake
    must neither join nor part two companies. Without a country it has at least six signs, one of them a digit; what
    somebody wrote to fill the field is None.
    """
    text = code(value)
    if text is None or len(text) < 6 or len(set(text)) < 3 or not any(sign.isdigit() for sign in text):
        return None
    upper, prefix = text.upper(), text[:2].upper()
    if len(upper) == 18 and uscc.is_valid(upper):
        return upper.lower()
    try:
        if prefix in _EU:
            return _eu_vat(upper)
        if prefix == "GB" or country == "GB":
            return "gb" + str(gb_vat.validate(upper.removeprefix("GB"))).lower()
        if country in _EU:
            # A number without its country's letters may be of a scheme that is not VAT: then it stays as it is.
            return _eu_vat(f"{country}{upper}") if eu_vat.is_valid(f"{country}{upper}") else text
        scheme, lengths = _TAX_SCHEMES.get(country or "", (None, ()))
        if scheme is not None and len(upper) in lengths:
            return str(scheme.validate(upper)).lower()
    except ValidationError:
        return None
    return text


def _eu_vat(value: str) -> str:
    # Only the numbers that a country's prefix announces can be checked; other texts that begin so are codes.
    return str(eu_vat.validate(value)).lower()


def tax_scheme(number: str) -> str:
    """Which kind of tax number a normal form is: two numbers of one kind that differ are of two companies."""
    if len(number) == 18 and uscc.is_valid(number.upper()):
        return "USCI"
    return f"{number[:2].upper()} VAT" if number[:2].isalpha() else f"{len(number)} signs"


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
