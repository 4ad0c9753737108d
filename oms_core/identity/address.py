"""Postal addresses in one normal form, for Han and Latin alike, from one line or from several columns.

"上海市静安区南京西路213号1506室" and "Room 1506, 213 Nanjing West Road, Jing'an District, Shanghai" are one address: places in
pinyin without the word for what they are, kinds of street and points of the compass in English, numbers apart. What cannot
be read stays unknown; nothing is looked up in a gazetteer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from oms_core.identity import normalise

_COUNTRY = re.compile(
    r"^(?:中华人民共和国|中国|china|p\.?\s?r\.?\s?china)[,\s]*|[,\s]+(?:p\.?\s?r\.?\s?)?china$"
)
_MUNICIPALITIES = ("北京", "上海", "天津", "重庆")
_REGION = re.compile(r"^(.{2,6}?(?:省|特别行政区|自治区)|(?:北京|上海|天津|重庆)(?=市))")
_CITY = re.compile(r"^(.{2,6}?(?:市|自治州|地区|盟))")
# 小区 is a housing estate, 园区 and 社区 are parts of a street address.
_DISTRICT = re.compile(r"^(.{1,6}?(?<![小园社])(?:区|县|旗|市))")
_TOWN = re.compile(r"^.{1,6}?(?:街道|镇|乡)(?!.{0,2}(?:路|街))")
_HAN_STREET = re.compile(
    r"^(.{1,12}?(?:大道|大街|公路|胡同|马路|路|街|巷|道|里|村|弄))((?:[东南西北中]?(?:第?[一二三四五六七八九十]+|\d+)段)?)"
)
_HAN_UNIT = re.compile(r"\d+(?:-\d+)*")
_KINDS_HAN = (
    ("大道", "avenue"), ("大街", "street"), ("公路", "highway"), ("马路", "road"), ("胡同", "hutong"), ("路", "road"),
    ("街", "street"), ("巷", "lane"), ("道", "road"), ("弄", "lane"),
)  # fmt: skip
_COMPASS_HAN = {"东": "east", "南": "south", "西": "west", "北": "north", "中": "middle"}
_KINDS = {
    "st": "street", "str": "street", "strasse": "street", "rd": "road", "ave": "avenue", "av": "avenue", "avda": "avenue",
    "avenida": "avenue", "blvd": "boulevard", "bd": "boulevard", "boul": "boulevard", "dr": "drive", "ln": "lane",
    "ct": "court", "sq": "square", "pl": "place", "plaza": "place", "pkwy": "parkway", "hwy": "highway", "ter": "terrace",
    "lu": "road", "jie": "street", "dajie": "street", "dadao": "avenue", "xiang": "lane", "c": "calle",
    "dong": "east", "nan": "south", "xi": "west", "bei": "north", "zhong": "middle", "e": "east", "s": "south",
    "w": "west", "n": "north",
}  # fmt: skip
_PINYIN_WORDS = frozenset(("lu", "jie", "dajie", "dadao", "xiang", "dong", "nan", "xi", "bei", "zhong"))
_GERMAN_STREET = re.compile(r"(?<=[a-z]{3})(?:strasse|str)\b\.?")
_LATIN_UNIT = re.compile(
    r"\b(?:flat|apt|apartment|unit|suite|ste|room|rm|floor|fl|level|piso|wohnung|bat|esc|no\.?(?=\s?\d+\s?$))\.?\s*#?\s*(\w*\d\w*)\b"
    r"|#\s*(\w*\d[\w-]*)"
)
_SECTION = re.compile(r"\b(?:sec|section)\.?\s*\d+\b")
_ORDINAL = re.compile(r"\b\d+(?:st|nd|rd|th)\b")
_NUMBER = re.compile(r"\b\d+(?:\s?[-/]\s?\d+)*[a-z]?\b")
_CHINESE_POSTCODE = re.compile(r"(?<!\d)\d{6}(?!\d)")
_WORD = re.compile(r"[a-z0-9]+")
# Area, district and sector of a British postcode; its last two signs are letters, or were mistyped.
_BRITISH = re.compile(r"^([a-z]{1,2}\d[a-z\d]?\d)[a-z\d]{2}$")


@dataclass(frozen=True)
class Address:
    """An address in normal form; None where it is not said.

    Attributes:
        region, city, district: bare Latin letters, no spaces, without the word for what they are: shanghai, jingan.
        street: words in Latin letters, kind of street and compass in English: "nanjing west road".
        number: of the house, as "213" or "7-3-20".
        unit: flat, room or suite, digits and letters.
        postcode: without spaces.
        country: ISO 3166 alpha-2, lower case.
    """

    region: str | None
    city: str | None
    district: str | None
    street: str | None
    number: str | None
    unit: str | None
    postcode: str | None
    country: str | None

    @property
    def door(self) -> str | None:
        """House and unit: the same in every spelling and script of a street."""
        return "/".join(filter(None, (self.number, self.unit))) or None


@lru_cache(maxsize=1 << 17)
def read(
    street: str | None,
    city: str | None = None,
    region: str | None = None,
    postcode: str | None = None,
    country: str | None = None,
) -> Address:
    """Read an address. What a column says counts before what the street line says."""
    line = _COUNTRY.sub("", normalise.plain(street) or "").strip(" ,")
    zip_code = normalise.code(postcode)
    if zip_code is None and (found := _CHINESE_POSTCODE.search(line)) and normalise.is_han(line):
        zip_code, line = found.group(), _CHINESE_POSTCODE.sub("", line).strip(" ,")
    parsed = _han(line) if normalise.is_han(line) else _latin(line, normalise.code(country))
    named_region, named_city, district, road, number, unit = parsed
    return Address(
        place(region) or named_region,
        place(city) or named_city,
        district,
        road,
        number,
        unit,
        zip_code,
        normalise.code(country),
    )


def sector(postcode: str, country: str | None) -> str | None:
    """What a British postcode tells even where its last two signs were mistyped: m70 of m7036; None for every other.

    Source: Royal Mail, Programmers' guide to the PAF, chapter on postcode formats.
    """
    found = _BRITISH.match(postcode) if country == "GB" else None
    return None if found is None else found.group(1)


@lru_cache(maxsize=1 << 16)
def place(value: str | None) -> str | None:
    """A region, city or district in bare Latin letters: 上海市, Shanghai Shi and SHANGHAI are one."""
    text = normalise.plain(value)
    if text is None:
        return None
    if normalise.is_han(text):
        known = normalise.simplified("".join(text.split()))
        bare = re.sub(
            r"(?:特别行政区|(?:维吾尔|壮族|回族)?自治区|自治州|地区|省|市|新区|区|县|旗)$", "", known
        )
        return "".join(normalise.pinyin(bare if len(bare) > 1 else known))
    found = _WORD.findall(normalise.without_umlauts(normalise.folded(text) or ""))
    kinds = {"shi", "sheng", "qu", "xian", "city", "province", "district", "county"}
    return "".join([word for word in found if word not in kinds] or found) or None


_Parts = tuple[str | None, str | None, str | None, str | None, str | None, str | None]


def _han(line: str) -> _Parts:
    rest = normalise.simplified(re.sub(r"[\s,，。、()（）]+", "", line))
    found: list[str | None] = []
    for pattern in (_REGION, _CITY, _DISTRICT):
        part = pattern.match(rest)
        # A street's own name may hold 市 or 区: what is left must still be an address.
        if part is not None and len(rest) > part.end():
            found.append(place(part.group(1)))
            # 上海市 is a region and a city in one.
            if pattern is not _REGION or not rest.startswith(_MUNICIPALITIES):
                rest = rest[part.end() :]
        else:
            found.append(None)
    region, city, district = found
    if town := _TOWN.match(rest):
        rest = rest[town.end() :]
    street = None
    if road := _HAN_STREET.match(rest):
        street, rest = _english(road.group(1)), rest[road.end() :]
    elif road := re.match(r"^[^\d]{2,12}", rest):
        street, rest = " ".join(normalise.pinyin(road.group())), rest[road.end() :]
    numbers = _HAN_UNIT.findall(rest)
    return region, city, district, street, numbers[0] if numbers else None, "-".join(numbers[1:]) or None


def _english(road: str) -> str:
    for han, english in _KINDS_HAN:
        if road.endswith(han) and len(road) > len(han):
            name, words = road[: -len(han)], [english]
            if len(name) > 1 and name[-1] in _COMPASS_HAN:
                name, words = name[:-1], [_COMPASS_HAN[name[-1]], english]
            return " ".join(["".join(normalise.pinyin(name)), *words])
    return "".join(normalise.pinyin(road))


def _latin(line: str, country: str | None) -> _Parts:
    text = normalise.without_umlauts(normalise.folded(line) or "")
    units = [one or other for one, other in _LATIN_UNIT.findall(text)]
    text = _SECTION.sub(" ", _LATIN_UNIT.sub(" ", text))
    district = None
    if country == "cn" and (found := re.search(r"([a-z' ]+?)\s(?:district|qu)\b", text)):
        district, text = place(found.group(1)), text.replace(found.group(), " ")
    ordinals = _ORDINAL.findall(text)
    numbers = _NUMBER.findall(_ORDINAL.sub(" ", text))
    words = _WORD.findall(_GERMAN_STREET.sub(" street", _NUMBER.sub(" ", _ORDINAL.sub(" ", text))))
    named = [
        word if word in _PINYIN_WORDS and country not in ("cn", "sg", "hk", "tw") else _KINDS.get(word, word)
        for word in words
        if word not in ("no", "nr")
    ]
    number = re.sub(r"\s", "", numbers[0]) if numbers else None
    unit = "-".join([*units, *(re.sub(r"\s", "", found) for found in numbers[1:])])
    return None, None, district, " ".join([*ordinals, *named]) or None, number, unit or None
