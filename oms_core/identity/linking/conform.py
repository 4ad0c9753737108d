"""Bring recognised columns into the form that the scorers read: prices as numbers, article numbers as GTIN-14, one title."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from stdnum import ean

from oms_core.identity.linking.recognise import Column, Entity

_LENGTHS = (8, 12, 13, 14)
_WORD = r"[^\W\d_]{3}|[\x{4e00}-\x{9fff}\x{3040}-\x{30ff}\x{ac00}-\x{d7af}]"
# Of the records without a title so many must have a value in another column before it stands in for the title.
_STANDS_IN = 0.5


def conform(table: pa.Table, columns: Sequence[Column], entity: Entity) -> dict[str, Any]:
    """Columns for the scorer of an entity, by name.

    Args:
        table: text columns of a file.
        columns: what each was taken as.

    Returns:
        Arrow arrays. Of products, text that nobody recognised is part of the description, and where the title is missing
        the column that has a value there stands in. Of others, such columns keep their names.
    """
    found: dict[str, Any] = {}
    others = []
    for column in columns:
        values: Any = table[column.name]
        if column.canonical is None:
            others.append(column.name)
        elif column.canonical == "price":
            found["price"] = _once_per_value(values, price, pa.float64())
        elif column.canonical == "gtin14":
            found["gtin14"] = _once_per_value(values, gtin14, pa.string())
        else:
            found[column.canonical] = values
    if entity != "sku":
        for name in others:
            found[_free(name, found)] = table[name]
        return found
    texts = [name for name in others if _is_text(table[name])]
    if "title" in found and found["title"].null_count:
        stand_in = _stand_in(table, found["title"], texts)
        if stand_in is not None:
            found["title"] = pc.coalesce(found["title"], table[stand_in])
            texts.remove(stand_in)
    if "title" not in found:
        found["title"] = pa.nulls(table.num_rows, pa.string())
    if texts:
        own = [found["description"]] if "description" in found else []
        parts: list[Any] = [
            pc.coalesce(values, pa.scalar("")) for values in (*own, *(table[name] for name in texts))
        ]
        joined: Any = pc.utf8_trim_whitespace(pc.binary_join_element_wise(*parts, pa.scalar(" ")))
        found["description"] = pc.if_else(
            pc.equal(joined, pa.scalar("")), pa.scalar(None, pa.string()), joined
        )
    if "description" in found and found["title"].null_count == table.num_rows:
        found["title"] = pc.coalesce(found["title"], found["description"])
    return found


def price(text: str) -> float | None:
    """The amount of a price in either decimal notation, currency aside: '$1,299.00', '1.299,00 €', '69.71 gbp'."""
    found = re.search(r"\d[\d.,' \u00a0]*", text)
    if found is None:
        return None
    number = re.sub(r"[' \u00a0]", "", found.group()).rstrip(".,")
    last = max(number.rfind("."), number.rfind(","))
    if last < 0:
        return float(number)
    mark = number[last]
    # Three digits after the only kind of mark are thousands, as are all but the last of several marks.
    is_decimal = len(number) - last - 1 != 3 or ("." in number and "," in number) or number.startswith("0")
    if is_decimal and number.count(mark) == 1:
        return float(re.sub(r"[.,]", "", number[:last]) + "." + number[last + 1 :])
    return float(re.sub(r"[.,]", "", number))


def gtin14(text: str) -> str | None:
    """GTIN-14 of a number with a right check digit; leading zeros that a spreadsheet dropped are put back."""
    digits = re.sub(r"[\s-]", "", text.removesuffix(".0"))
    if not digits.isdigit() or not 7 <= len(digits) <= 14 or len(set(digits)) == 1:
        return None
    for size in _LENGTHS:
        if size >= len(digits) and ean.is_valid(digits.zfill(size)):
            return digits.zfill(14)
    return None


def _once_per_value(values: Any, form: Any, kind: pa.DataType) -> Any:
    """Apply a function to each distinct value."""
    coded = values.combine_chunks().dictionary_encode()
    forms = pa.array([form(value) for value in coded.dictionary.to_pylist()], kind)
    return forms.take(coded.indices)


def _is_text(values: Any) -> bool:
    """Whether most values hold a word, rather than numbers and codes."""
    known = values.drop_null()
    return len(known) > 0 and pc.sum(pc.match_substring_regex(known, _WORD)).as_py() >= 0.5 * len(known)


def _stand_in(table: pa.Table, title: Any, texts: Sequence[str]) -> str | None:
    """The text column that has values just where the title has none: films have titles where people have names."""
    missing: Any = pc.is_null(title)
    best: tuple[float, str] | None = None
    for name in texts:
        known: Any = pc.is_valid(table[name])
        filled = pc.sum(pc.and_(missing, known)).as_py() or 0
        both = pc.sum(pc.and_(pc.invert(missing), known)).as_py() or 0
        share = filled / pc.sum(missing).as_py()
        # A description stands beside titles; a stand-in stands instead of them.
        if share >= _STANDS_IN and both <= 0.1 * filled and (best is None or share > best[0]):
            best = (share, name)
    return best[1] if best is not None else None


def _free(name: str, taken: dict[str, Any]) -> str:
    while name in taken or name in ("record_id", "source_system"):
        name += "_"
    return name
