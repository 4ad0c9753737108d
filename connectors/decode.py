"""JSON as it was meant: exact numbers, and a damaged letter costs one row instead of the page it came in."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from typing import Any

import orjson

# Numbers that a binary float or 64 bits may not hold: sixteen digits in a row, which nothing else begins as a number does.
_DIGITS = bytes(ord("0") if character in b"0123456789." else ord(" ") for character in range(256))
_LONG_RUN = b"0" * 16
_LONG_NUMBER = re.compile(rb"(?:^|[\s:,\[eE+-])[\d.]{16,}")


def decode_json(content: bytes) -> Any:
    """Decode JSON without rounding: integers of any length, and decimals beyond a float's precision as Decimal.

    A lone surrogate (half of an emoji, cut off by the sender) is kept for validation to refuse in its row.

    Raises:
        ValueError: not JSON (NaN and Infinity are not), or nested too deeply.
    """
    if _LONG_RUN not in content.translate(_DIGITS) or not _LONG_NUMBER.search(content):
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError:
            if b"\\u" not in content:
                raise
    try:
        return json.loads(content, parse_float=_exact, parse_constant=_refuse)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def _exact(text: str) -> float | Decimal:
    value = float(text)
    exact = Decimal(text)
    return value if Decimal(repr(value)) == exact else exact


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
