"""A product title as evidence: words, character n-grams, model numbers and numbers, in any script. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import pairwise

from oms_core.identity import normalise

_LATIN_OR_HAN = re.compile(
    r"[^\W_\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+|[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)
_HAN = re.compile(r"[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff]")
_DIGIT = re.compile(r"\d")
_LETTER = re.compile(r"[^\W\d_]")
# A number with a unit is a measure, not a model: 50ml, 1080p, 10ft, 3rd.
_MEASURE = re.compile(
    r"\d+(?:ml|cl|dl|l|ltr|mg|g|kg|oz|floz|lb|lbs|mm|cm|m|ft|feet|in|inch|inches|kb|mb|gb|tb|kbps|mbps|gbps|w|kw|watts?|hz|khz|mhz|ghz|"
    r"v|volts?|a|ah|mah|mp|megapixels?|p|x|bit|bits|dpi|rpm|db|btu|cu|qt|pk|pack|pcs|ct|user|users|u|st|nd|rd|th|d|er|ch|k|s|hr|hrs|min|"
    r"years?|mo|days?|port|ports|way|piece|pieces)"
)
# Units in one spelling and on their number, so that "10 Feet" and "10ft", "50 ml" and "50毫升" are one word.
_UNIT_SPELLINGS = {
    **dict.fromkeys(("毫升", "milliliter", "millilitre"), "ml"), **dict.fromkeys(("升", "公升", "liter", "litre", "liters", "litres"), "l"),
    **dict.fromkeys(("克", "gram", "grams"), "g"), **dict.fromkeys(("千克", "公斤"), "kg"),
    **dict.fromkeys(("feet", "foot"), "ft"), **dict.fromkeys(("inch", "inches", '"', "''", "英寸"), "in"),
    **dict.fromkeys(("watt", "watts"), "w"), **dict.fromkeys(("volt", "volts"), "v"), **dict.fromkeys(("lbs", "pounds"), "lb"),
    **dict.fromkeys(("ounce", "ounces"), "oz"), **dict.fromkeys(("megapixel", "megapixels"), "mp"),
    **{unit: unit for unit in ("ml", "cl", "l", "mg", "g", "kg", "oz", "lb", "mm", "cm", "ft", "in", "mb", "gb", "tb", "kbps", "mbps",
                               "gbps", "w", "hz", "khz", "mhz", "ghz", "v", "mah", "mp", "rpm", "db", "btu")},
}  # fmt: skip
_UNIT = re.compile(
    r"(?<=\d)[\s-]?(?:("
    + "|".join(
        sorted((unit for unit in _UNIT_SPELLINGS if unit.isascii() and unit.isalpha()), key=len, reverse=True)
    )
    + r")(?![a-z0-9])|("
    + "|".join(
        sorted(
            (unit for unit in _UNIT_SPELLINGS if not (unit.isascii() and unit.isalpha())),
            key=len,
            reverse=True,
        )
    )
    + "))"
)
_LONGEST_SUFFIX = 4
_SHORTEST_CODE = 4
_SHORTEST_DIGITS = 5
_GRAM = 3


@dataclass(frozen=True)
class TitleText:
    """What a text offers for comparison; each a set of distinct terms in a fixed order.

    Attributes:
        words: Latin words and numbers, compounds also without their punctuation, Chinese in pairs of characters.
        grams: character trigrams inside words; of Chinese, characters and pairs of them.
        codes: model numbers as written, without punctuation.
        keys: `codes` and their stems without a suffix of letters ('wgr614na' also as 'wgr614').
        numbers: plain numbers, also those of measures: 2007, 16 of 16gb.
    """

    words: tuple[str, ...]
    grams: tuple[str, ...]
    codes: tuple[str, ...]
    keys: tuple[str, ...]
    numbers: tuple[str, ...]


def fold(text: str) -> str:
    """NFKC, case folded, without accents, Chinese in simplified characters."""
    if text.isascii():
        return text.lower()
    folded = normalise.simplified(unicodedata.normalize("NFKC", text).casefold())
    return "".join(sign for sign in unicodedata.normalize("NFD", folded) if not unicodedata.combining(sign))


def _word_grams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[at : at + _GRAM] for at in range(len(padded) - _GRAM + 1)]


def _han_words(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[at : at + 2] for at in range(len(run) - 1)]


def _han_grams(run: str) -> list[str]:
    return [*run, *(one + two for one, two in pairwise(run))]


def is_code(word: str) -> bool:
    """Whether a word without punctuation looks like a model number: letters and digits mixed, or a long row of digits."""
    if not _DIGIT.search(word) or _HAN.search(word):
        return False
    if _LETTER.search(word):
        return len(word) >= _SHORTEST_CODE and not _MEASURE.fullmatch(word)
    return len(word) >= _SHORTEST_DIGITS


def stem(code: str) -> str | None:
    """A model number without its suffix of up to four letters; None where nothing, or too little, would go.

    'wgr614na' and 'wgr614' are one model in two markets, 'psx1' is no stem of anything.
    """
    bare = code.rstrip("abcdefghijklmnopqrstuvwxyz")
    cut = len(code) - len(bare)
    return bare if 0 < cut <= _LONGEST_SUFFIX and len(bare) >= _SHORTEST_CODE else None


def read_title(text: str | None, *, grams: bool = True) -> TitleText:
    """Take a text apart.

    Args:
        text: a title, or title and description.
        grams: whether n-grams are wanted; descriptions do without.
    """
    words: dict[str, None] = {}
    pieces: dict[str, None] = {}
    codes: dict[str, None] = {}
    numbers: dict[str, None] = {}
    before = ""
    plain = _UNIT.sub(lambda found: f"{_UNIT_SPELLINGS[found[1] or found[2]]} ", fold(text or ""))
    for chunk in plain.split():
        runs = _LATIN_OR_HAN.findall(chunk)
        if not runs:
            before = ""
            continue
        latin = [run for run in runs if not _HAN.match(run)]
        for run in runs:
            if _HAN.match(run):
                words.update(dict.fromkeys(_han_words(run)))
                if grams:
                    pieces.update(dict.fromkeys(_han_grams(run)))
            else:
                words[run] = None
                if grams:
                    pieces.update(dict.fromkeys(_word_grams(run)))
        whole = "".join(latin)
        if len(latin) > 1 and _DIGIT.search(whole):
            words[whole] = None
        for run in (*latin, whole):
            if is_code(run):
                codes[run] = None
            if run.isdigit() and len(run) < _SHORTEST_DIGITS:
                numbers[run.lstrip("0") or "0"] = None
            elif _MEASURE.fullmatch(run):
                numbers[re.match(r"\d+", run).group()] = None  # type: ignore[union-attr]
        # "MDR EX32LP" is written for MDREX32LP.
        if before and _DIGIT.search(whole) and not _MEASURE.fullmatch(whole) and is_code(before + whole):
            codes[before + whole] = None
        last = runs[-1]
        before = last if last.isascii() and last.isalpha() and len(last) <= _LONGEST_SUFFIX else ""
    keys = dict(codes)
    keys.update(dict.fromkeys(bare for code in codes if (bare := stem(code)) is not None))
    return TitleText(tuple(words), tuple(pieces), tuple(codes), tuple(keys), tuple(numbers))
