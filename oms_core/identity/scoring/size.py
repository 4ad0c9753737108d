"""What a product title says about quantity and colour: contents, packs, measures, in Latin and Chinese. Pure functions.

"50 ml", "2 × 50 ml" and "500 ml" are three articles; "2支装" and "2-pack" say the same.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

# Unit as written -> dimension and factor to its base unit (ml, g, mm, GB, W, min, pieces).
_UNITS: Mapping[str, tuple[str, float]] = {
    **dict.fromkeys(("ml", "milliliter", "milliliters", "millilitre", "毫升"), ("ml", 1.0)),
    **dict.fromkeys(("cl", "厘升"), ("ml", 10.0)),
    **dict.fromkeys(("dl", "分升"), ("ml", 100.0)),
    **dict.fromkeys(("l", "lt", "ltr", "liter", "liters", "litre", "litres", "升", "公升"), ("ml", 1000.0)),
    **dict.fromkeys(("fl oz", "fl.oz", "fl. oz", "floz", "fl oz.", "fluid ounce", "fluid ounces"), ("ml", 29.5735)),
    **dict.fromkeys(("gal", "gallon", "gallons"), ("ml", 3785.41)),
    **dict.fromkeys(("mg", "毫克"), ("g", 0.001)),
    **dict.fromkeys(("g", "gr", "gram", "grams", "gramm", "grammes", "克"), ("g", 1.0)),
    **dict.fromkeys(("kg", "kgs", "kilo", "kilos", "kilogram", "kilograms", "千克", "公斤"), ("g", 1000.0)),
    **dict.fromkeys(("斤", "市斤"), ("g", 500.0)),
    **dict.fromkeys(("oz", "ounce", "ounces", "盎司"), ("g", 28.3495)),
    **dict.fromkeys(("lb", "lbs", "pound", "pounds", "磅"), ("g", 453.592)),
    **dict.fromkeys(("mm", "毫米"), ("mm", 1.0)),
    **dict.fromkeys(("cm", "厘米"), ("mm", 10.0)),
    **dict.fromkeys(("m", "meter", "meters", "metre", "metres", "米"), ("mm", 1000.0)),
    **dict.fromkeys(("in", "inch", "inches", "zoll", '"', "”", "''", "英寸", "寸"), ("mm", 25.4)),
    **dict.fromkeys(("ft", "foot", "feet"), ("mm", 304.8)),
    **dict.fromkeys(("mb",), ("gb", 1 / 1024)),
    **dict.fromkeys(("gb", "gig", "gigabyte", "gigabytes"), ("gb", 1.0)),
    **dict.fromkeys(("tb", "terabyte", "terabytes"), ("gb", 1024.0)),
    **dict.fromkeys(("w", "watt", "watts", "瓦"), ("w", 1.0)),
    **dict.fromkeys(("kw",), ("w", 1000.0)),
}  # fmt: skip
_CONTENTS = ("ml", "g")
_PIECES = (
    "count", "counts", "ct", "pieces", "piece", "pcs", "pc", "pk", "pack", "packs", "stück", "stueck", "stk", "er", "er pack",
    "er-pack", "capsules", "tablets", "sheets", "支装", "件装", "瓶装", "只装", "片装", "盒装", "包装", "袋装", "个装", "粒装", "罐装",
    "条装", "双装", "支", "件", "瓶", "只", "片", "盒", "包", "袋", "个", "粒", "罐", "条", "双",
)  # fmt: skip
_CHINESE_DIGITS = {
    "一": 1,
    "二": 2,
    "两": 2,
    "三": 3,
    "四": 4,
    "五": 5,
    "六": 6,
    "七": 7,
    "八": 8,
    "九": 9,
    "十": 10,
}


def _either(words: tuple[str, ...] | list[str]) -> str:
    return "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))


# A unit ends where a Latin word ends; a Chinese one may be followed by anything.
_END = r"(?![a-z0-9])"
_NUMBER = r"(?<![\d.,a-z])(\d+(?:[.,]\d+)?)"
_LATIN_UNITS = [unit for unit in _UNITS if (unit.isascii() and unit.strip("\"'").isalpha()) or "oz" in unit]
_OTHER_UNITS = [unit for unit in _UNITS if unit not in _LATIN_UNITS]
_UNIT = rf"(?:(?P<unit>{_either(_LATIN_UNITS)}){_END}|(?P<sign>{_either(_OTHER_UNITS)}))"
_TIMES = r"\s*[x×*✕]\s*"
_MEASURE = re.compile(rf"(?:(?<![\d.,a-z])(?P<before>\d+){_TIMES})?(?<![\d.,a-z])(?P<number>\d+(?:[.,]\d+)?)"
                      rf"(?:\s|-)*{_UNIT}(?:{_TIMES}(?P<after>\d+){_END}(?!\s*(?:{_either(list(_UNITS))})))?")  # fmt: skip
_LATIN_PIECES = [word for word in _PIECES if word[0].isascii() or word.startswith("st")]
_HAN_PIECES = [word for word in _PIECES if word not in _LATIN_PIECES]
_PACKS = (
    re.compile(rf"(?<![\d.,a-z])(\d+)(?:\s|-)*(?:{_either(_LATIN_PIECES)}){_END}"),
    re.compile(rf"(?<![\d.,a-z])(\d+|[{''.join(_CHINESE_DIGITS)}])\s*(?:{_either(_HAN_PIECES)})"),
    re.compile(rf"\b(?:pack|set|box|case|lot|bundle)\s+(?:of|mit|de|à)\s+(\d+){_END}"),
    re.compile(rf"(?<![a-z0-9])(?<!\d\s)[x×*✕]\s?(\d+){_END}(?!\s*(?:{_either(list(_UNITS))}))"),
)
_PACK_WORDS = (
    (re.compile(r"\b(?:twin|double|dual|duo|doppel)[- ]?pack\b|\bduo ?pack\b"), 2),
    (re.compile(r"\btriple[- ]?pack\b|\btrio ?pack\b"), 3),
    (re.compile(r"\b(?:two|three|four|five|six|eight|ten|twelve)[- ]packs?\b"), 0),
)
_NUMBER_WORDS = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "eight": 8, "ten": 10, "twelve": 12}

_COLOURS: Mapping[str, tuple[str, ...]] = {
    "black": ("black", "blk", "schwarz", "noir", "negro", "nero", "黑", "黑色"),
    "white": ("white", "wht", "weiss", "weiß", "blanc", "blanco", "bianco", "白色"),
    "silver": ("silver", "slv", "silber", "argent", "银色", "銀色"),
    "grey": ("grey", "gray", "gry", "grau", "gris", "graphite", "charcoal", "灰", "灰色"),
    "red": ("red", "rot", "rouge", "rojo", "rosso", "红色", "紅色"),
    "blue": ("blue", "blu", "blau", "bleu", "azul", "navy", "蓝", "蓝色", "藍色"),
    "green": ("green", "grn", "grün", "gruen", "vert", "verde", "绿色", "綠色"),
    "yellow": ("yellow", "ylw", "gelb", "jaune", "amarillo", "giallo", "黄色", "黃色"),
    "orange": ("orange", "橙色"),
    "pink": ("pink", "pnk", "粉色", "粉红"),
    "purple": ("purple", "violet", "lila", "violett", "紫色", "紫"),
    "brown": ("brown", "braun", "brun", "marron", "棕色", "褐色"),
    "beige": ("beige", "米色"),
    "gold": ("gold", "golden", "金色"),
    "clear": ("transparent", "klar", "透明"),
    "cyan": ("cyan", "青色"),
    "magenta": ("magenta", "品红"),
}
_COLOUR_OF = {word: colour for colour, words in _COLOURS.items() for word in words}
_HAN_COLOURS = [word for word in _COLOUR_OF if word[0] >= "\u3000"]
_LATIN_COLOURS = [word for word in _COLOUR_OF if word not in _HAN_COLOURS]
_COLOUR = re.compile(rf"(?<![a-z])(?:{_either(_LATIN_COLOURS)})(?![a-z])|(?:{_either(_HAN_COLOURS)})")

# Rounding in conversion and on labels: 16.9 fl oz stands for 500 ml, 1 lb for 454 g.
_SAME = 0.025


@dataclass(frozen=True)
class Quantities:
    """What a title names.

    Attributes:
        pack: how many pieces; None where the title does not say.
        measures: dimension (ml, g, mm, gb, w) -> the values of one piece in that unit, ascending.
        colours: canonical colour names.
    """

    pack: int | None = None
    measures: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    colours: frozenset[str] = frozenset()

    @property
    def content(self) -> tuple[str, float] | None:
        """Unit (ml or g) and content of one piece, where the title names exactly one."""
        named = [(unit, values[0]) for unit in _CONTENTS if len(values := self.measures.get(unit, ())) == 1]
        return named[0] if len(named) == 1 else None


def _plain(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(sign for sign in unicodedata.normalize("NFD", folded) if not unicodedata.combining(sign))


@lru_cache(maxsize=262_144)
def quantities(title: str | None) -> Quantities:
    """Read contents, pack and colours from a title.

    '2 × 50 ml', '50ml x2', '50 ml (2-pack)' and '50毫升 2支装' are a pack of 2 of 50 ml.
    """
    if not title:
        return Quantities()
    # A radio standard, "802.11g", is no weight.
    text = _plain(title).replace("802.11", "wlan")
    packs: list[int] = []
    measures: dict[str, set[float]] = {}
    rest = []
    at = 0
    for found in _MEASURE.finditer(text):
        unit, factor = _UNITS[found["unit"] or found["sign"]]
        value = float(found["number"].replace(",", ".")) * factor
        times = found["before"] or found["after"]
        if unit not in _CONTENTS and times is not None and not _is_pack_of(unit):
            times = None
        if value > 0:
            measures.setdefault(unit, set()).add(round(value, 6))
            if times is not None:
                packs.append(int(times))
            rest.append(text[at : found.start()])
            at = found.end()
    remaining = " \n ".join([*rest, text[at:]])
    for pattern in _PACKS:
        packs += [_CHINESE_DIGITS.get(number) or int(number) for number in pattern.findall(remaining)]
    for pattern, count in _PACK_WORDS:
        for found in pattern.finditer(remaining):
            packs.append(count or _NUMBER_WORDS[re.split(r"[- ]", found.group())[0]])
    sensible = [count for count in packs if 0 < count <= 10_000]
    colours = frozenset(_COLOUR_OF[name] for name in _COLOUR.findall(text))
    return Quantities(
        sensible[0] if len(set(sensible)) == 1 else None,
        {unit: tuple(sorted(values)) for unit, values in measures.items()},
        colours,
    )


def _is_pack_of(unit: str) -> bool:
    """Whether "4 × 8 gb" is four pieces: of storage yes, of lengths (a format such as 4 × 6 inch) no."""
    return unit == "gb"


def same_value(left: float, right: float) -> bool:
    """Whether two amounts are one within the rounding of labels."""
    return abs(left - right) <= _SAME * max(left, right)


def contents_differ(left: Quantities, right: Quantities) -> bool:
    """Whether two titles name different contents (volume or weight of one piece) or packs.

    50 ml, 2 × 50 ml and 100 ml are three articles. A title that names a content and no pack means one piece; where neither
    content nor pack can be compared, nothing differs.
    """
    packs = {_pieces(left), _pieces(right)}
    for unit in _CONTENTS:
        ours, theirs = left.measures.get(unit, ()), right.measures.get(unit, ())
        if ours and theirs:
            shared = [mine for mine in ours if any(same_value(mine, other) for other in theirs)]
            return not shared or len(packs) > 1
    return left.pack is not None and right.pack is not None and len(packs) > 1


def _pieces(named: Quantities) -> int:
    """How many pieces; 1 where a title names the whole beside the pieces: "100 g (2 × 50 g)"."""
    pack = named.pack or 1
    values = [value for unit in _CONTENTS for value in named.measures.get(unit, ())]
    return 1 if any(same_value(pack * low, high) for low in values for high in values if high > low) else pack


def measures_agree(left: Quantities, right: Quantities) -> tuple[int, int]:
    """In how many dimensions two titles name a common value, and in how many only different ones."""
    agreed = differed = 0
    for unit in left.measures.keys() & right.measures.keys():
        if any(same_value(mine, other) for mine in left.measures[unit] for other in right.measures[unit]):
            agreed += 1
        else:
            differed += 1
    return agreed, differed


@lru_cache(maxsize=262_144)
def without_quantities(title: str | None) -> str:
    """A title without contents, measures, packs and colours: what the sizes and colours of one product have in common."""
    text = _MEASURE.sub(" ", _plain(title or ""))
    for pattern in (*_PACKS, *(pattern for pattern, _ in _PACK_WORDS), _COLOUR):
        text = pattern.sub(" ", text)
    return " ".join(text.split())
