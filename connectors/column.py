"""Field types a record model may use, and the Arrow columns each one lands in.

A value that has a standard form lands twice: as received, and normalised in a companion column
(`barcode` and `barcode_gtin14`). An invalid code is kept as received, with a null companion.
"""

from __future__ import annotations

import re
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from typing import Annotated, Any, Union, get_args, get_origin
from zoneinfo import ZoneInfo

import orjson
import phonenumbers
import pyarrow as pa
import pycountry
from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field
from stdnum import ean

AMOUNT = pa.decimal128(18, 4)
QUANTITY = pa.decimal128(18, 6)
RATIO = pa.decimal128(18, 9)
INSTANT = pa.timestamp("us", tz="UTC")

_BARE_NUMBER = re.compile(r"\s*[+-]?[\d.]+\s*")

# ISO 4217 minor units other than two.
_MINOR_UNITS = {
    **dict.fromkeys(
        [
            "BIF",
            "CLP",
            "DJF",
            "GNF",
            "ISK",
            "JPY",
            "KMF",
            "KRW",
            "PYG",
            "RWF",
            "UGX",
            "UYI",
            "VND",
            "VUV",
            "XAF",
            "XOF",
            "XPF",
        ],
        0,
    ),
    **dict.fromkeys(["BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"], 3),
    **dict.fromkeys(["CLF", "UYW"], 4),
}


@lru_cache(maxsize=512)
def _currency(code: str) -> str | None:
    found = pycountry.currencies.get(alpha_3=code.upper())
    return None if found is None else str(found.alpha_3)


def known_currency(code: str) -> str:
    """Return the ISO 4217 alphabetic code in capitals, since some services write `eur`; raise ValueError for others."""
    found = _currency(code)
    if found is None:
        raise ValueError(f"unknown currency {code!r}: not an ISO 4217 code")
    return found


def minor_unit_digits(currency: str) -> int:
    """Digits after the decimal point of a currency's minor unit. Source: ISO 4217."""
    return _MINOR_UNITS.get(known_currency(currency), 2)


def from_minor_units(value: Any) -> Any:
    """Turn `{"amount": 1234, "currency": "EUR"}` into Decimal("12.34"); leave anything else to validation.

    Raises:
        ValueError: the amount is no whole number of minor units, or the currency is unknown.
    """
    if isinstance(value, dict) and "amount" in value:
        amount = value["amount"]
        if isinstance(amount, bool) or not isinstance(amount, int | str):
            raise ValueError(f"amount {amount!r} is not a whole number of minor units")
        return Decimal(int(amount)).scaleb(-minor_unit_digits(str(value.get("currency"))))
    return value


def from_binary_float(value: Any) -> Any:
    """Round a binary float to four decimals, half-even, so that 35.199999999999996 is 35.2000."""
    return _rounded(value, Decimal("0.0001"))


def from_binary_float_quantity(value: Any) -> Any:
    """Round a binary float to six decimals, half-even, so that 0.30000000000000004 is 0.300000."""
    return _rounded(value, Decimal("0.000001"))


def _rounded(value: Any, places: Decimal) -> Any:
    if not isinstance(value, float):
        return value
    try:
        return Decimal(repr(value)).quantize(places, rounding=ROUND_HALF_EVEN)
    except InvalidOperation as error:  # infinite, not a number, or beyond 28 digits
        raise ValueError(f"{value!r} does not fit a decimal column") from error


def _no_bare_number(value: Any) -> Any:
    """Refuse what pydantic would read as seconds since 1970: a spreadsheet's serial day, a number in a wrong field."""
    if (
        type(value) is datetime
    ):  # what most values are where files are read; asked first, since it is asked so often
        return value
    if isinstance(value, int | float | Decimal) or (isinstance(value, str) and _BARE_NUMBER.fullmatch(value)):
        raise ValueError("a bare number is not a time; ISO 8601 is expected")
    return value


def _within_calendar(value: datetime) -> datetime:
    """Refuse an instant that falls outside the years 1 to 9999 once it is written in UTC."""
    if value.year in (1, 9999):
        try:
            value.astimezone(UTC)
        except OverflowError as error:
            raise ValueError("the time is outside the calendar in UTC") from error
    return value


def _naive_as_utc(value: Any) -> Any:
    value = datetime.fromisoformat(value) if isinstance(value, str) else _no_bare_number(value)
    if isinstance(value, datetime) and value.tzinfo is None:
        return value.replace(tzinfo=UTC)
    return value


def _from_unix(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("whole seconds since 1970 are expected")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (OverflowError, OSError, ValueError) as error:
        raise ValueError(f"{value} seconds since 1970 are outside the calendar") from error


def _in_zone(timezone: str) -> Callable[[Any], Any]:
    zone = ZoneInfo(timezone)

    def attach(value: Any) -> Any:
        value = datetime.fromisoformat(value) if isinstance(value, str) else _no_bare_number(value)
        if isinstance(value, datetime) and value.tzinfo is None:
            return value.replace(tzinfo=zone)
        return value

    return attach


def local_instant(timezone: str) -> Any:
    """Annotated type for naive local times of one zone, such as `local_instant("Asia/Shanghai")`.

    A time that falls into the repeated hour of a daylight-saving change is read as its first pass.
    """
    return Annotated[
        datetime,
        BeforeValidator(_in_zone(timezone)),
        AfterValidator(_within_calendar),
        Column(INSTANT, (_OFFSET,)),
    ]


def _from_milliseconds(value: Any) -> Any:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError("whole milliseconds since 1970 are expected")
    try:
        return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=value)
    except OverflowError as error:
        raise ValueError(f"{value} milliseconds since 1970 are outside the calendar") from error


def from_cents(value: Any) -> Any:
    """Turn whole hundredths of a currency unit into the amount: 1234 -> Decimal("12.34").

    Raises:
        ValueError: it is no whole number.
    """
    if isinstance(value, Decimal):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"amount {value!r} is not a whole number of hundredths")
    return Decimal(int(value)).scaleb(-2)


def _blank_is_null(value: Any) -> Any:
    return None if value in ("", 0, "0") else value


@lru_cache(maxsize=65536)
def gtin14(code: str) -> str | None:
    """Normalise an EAN-8/UPC-12/EAN-13/GTIN-14 with a right check digit to 14 digits, else None."""
    digits = ean.compact(code)
    if len(digits) == 12:
        digits = "0" + digits
    # All zeros pass the check digit and mean that somebody had to fill a field.
    return digits.zfill(14) if ean.is_valid(digits) and digits.strip("0") else None


@lru_cache(maxsize=65536)
def e164(number: str) -> str | None:
    """E.164 of an internationally written number, else None: a bare national number is ambiguous here."""
    try:
        parsed = phonenumbers.parse(number, None)
    except phonenumbers.NumberParseException:
        return None
    if not phonenumbers.is_valid_number(parsed):
        return None
    return phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)


@lru_cache(maxsize=4096)
def country_iso2(name_or_code: str) -> str | None:
    """ISO 3166-1 alpha-2 of a code or an English name, else None."""
    text = name_or_code.strip()
    if not text:
        return None
    try:
        return str(pycountry.countries.lookup(text).alpha_2)
    except LookupError:
        return None


def _offset_minutes(value: datetime) -> int | None:
    offset = value.utcoffset()
    return None if offset is None else int(offset.total_seconds() // 60)


@dataclass(frozen=True)
class Companion:
    """A second column computed from a value: `<field>_<suffix>`."""

    suffix: str
    arrow: pa.DataType
    compute: Callable[[Any], Any]


@dataclass(frozen=True)
class Column:
    """How one field lands: its Arrow type and its companion columns."""

    arrow: pa.DataType
    companions: tuple[Companion, ...] = ()
    encode: Callable[[Any], Any] | None = None


_OFFSET = Companion("offset_minutes", pa.int16(), _offset_minutes)

Amount = Annotated[Decimal, Field(max_digits=18, decimal_places=4), Column(AMOUNT)]
FloatAmount = Annotated[
    Decimal, BeforeValidator(from_binary_float), Field(max_digits=18, decimal_places=4), Column(AMOUNT)
]
MinorAmount = Annotated[
    Decimal, BeforeValidator(from_minor_units), Field(max_digits=18, decimal_places=4), Column(AMOUNT)
]
Quantity = Annotated[Decimal, Field(max_digits=18, decimal_places=6), Column(QUANTITY)]
FloatQuantity = Annotated[
    Decimal,
    BeforeValidator(from_binary_float_quantity),
    Field(max_digits=18, decimal_places=6),
    Column(QUANTITY),
]
Ratio = Annotated[Decimal, Field(max_digits=18, decimal_places=9), Column(RATIO)]
Currency = Annotated[str, AfterValidator(known_currency), Column(pa.string())]
Instant = Annotated[
    AwareDatetime,
    BeforeValidator(_no_bare_number),
    AfterValidator(_within_calendar),
    Column(INSTANT, (_OFFSET,)),
]
UnixInstant = Annotated[
    AwareDatetime, BeforeValidator(_from_unix), AfterValidator(_within_calendar), Column(INSTANT, (_OFFSET,))
]
UtcInstant = Annotated[
    datetime, BeforeValidator(_naive_as_utc), AfterValidator(_within_calendar), Column(INSTANT, (_OFFSET,))
]
MilliInstant = Annotated[
    datetime,
    BeforeValidator(_from_milliseconds),
    AfterValidator(_within_calendar),
    Column(INSTANT, (_OFFSET,)),
]
ChinaInstant = Annotated[
    datetime,
    BeforeValidator(_in_zone("Asia/Shanghai")),
    AfterValidator(_within_calendar),
    Column(INSTANT, (_OFFSET,)),
]
CentAmount = Annotated[
    Decimal, BeforeValidator(from_cents), Field(max_digits=18, decimal_places=4), Column(AMOUNT)
]
# For systems that write an empty text or a nought where there is nothing: `Annotated[UnixInstant | None, BLANK_IS_NULL]`.
BLANK_IS_NULL = BeforeValidator(_blank_is_null)
Text = Annotated[str | None, BLANK_IS_NULL]
Gtin = Annotated[str, Column(pa.string(), (Companion("gtin14", pa.string(), gtin14),))]
Phone = Annotated[str, Column(pa.string(), (Companion("e164", pa.string(), e164),))]
Country = Annotated[str, Column(pa.string(), (Companion("iso2", pa.string(), country_iso2),))]

_PLAIN: dict[Any, Column] = {
    str: Column(pa.string()),
    int: Column(pa.int64()),
    bool: Column(pa.bool_()),
    float: Column(pa.float64()),
    date: Column(pa.date32()),
    Decimal: Column(AMOUNT),
    datetime: Column(INSTANT, (_OFFSET,)),
}


def column_of(annotation: Any, metadata: Sequence[Any] = ()) -> Column:
    """Find the column a field lands in.

    Args:
        annotation: a field's annotation; `X | None` counts as X. Lists land as JSON array text.
        metadata: pydantic's metadata for the field.

    Raises:
        TypeError: the type has no column.
    """
    for item in metadata:
        if isinstance(item, Column):
            return item
    origin = get_origin(annotation)
    if origin is Annotated:
        inner, *extra = get_args(annotation)
        return column_of(inner, extra)
    if origin in (Union, types.UnionType):
        arms = [arm for arm in get_args(annotation) if arm is not type(None)]
        if len(arms) == 1:
            return column_of(arms[0])
    if origin in (list, tuple):
        return Column(pa.string(), encode=lambda value: orjson.dumps(value).decode())
    if isinstance(annotation, type):
        for base in annotation.__mro__:
            if base in _PLAIN:
                return _PLAIN[base]
    raise TypeError(f"no landing column for {annotation!r}: use a type from connectors.declare")
