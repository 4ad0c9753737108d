"""A product title as evidence: words, character n-grams, model numbers and numbers, in any script. Pure functions."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from pypinyin import Style, pinyin

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
_LONGEST_SUFFIX = 4
_SHORTEST_CODE = 4
_SHORTEST_DIGITS = 5
_GRAM = 3


@dataclass(frozen=True)
class TitleText:
    """What a text offers for comparison; each a set of distinct terms in a fixed order.

    Attributes:
        words: Latin words and numbers, compounds also without their punctuation, Chinese in pairs of characters.
        grams: character trigrams inside words; of Chinese, syllables and pairs of syllables, so that simplified and traditional
            characters agree.
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
    """NFKC, case folded, without accents."""
    if text.isascii():
        return text.lower()
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in unicodedata.normalize("NFD", folded) if not unicodedata.combining(sign))


@lru_cache(maxsize=65_536)
def _syllable(sign: str) -> str:
    return str(pinyin(sign, style=Style.NORMAL, heteronym=False)[0][0])


def _word_grams(word: str) -> list[str]:
    padded = f" {word} "
    return [padded[at : at + _GRAM] for at in range(len(padded) - _GRAM + 1)]


def _han_words(run: str) -> list[str]:
    return [run] if len(run) == 1 else [run[at : at + 2] for at in range(len(run) - 1)]


def _han_grams(run: str) -> list[str]:
    syllables = [_syllable(sign) for sign in run]
    return syllables + [f"{one}_{two}" for one, two in pairwise(syllables)]


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
    for chunk in fold(text or "").split():
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
