"""Field types: what they accept, what lands beside it, and the standard form of codes."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from connectors.column import column_of, country_iso2, e164, gtin14, minor_unit_digits
from connectors.declare import (
    Amount,
    FloatAmount,
    FloatQuantity,
    Gtin,
    Instant,
    MinorAmount,
    Quantity,
    Record,
    UtcInstant,
    decode_json,
    local_instant,
)

QUICK = settings(max_examples=100, deadline=None, database=None)


class Colour(StrEnum):
    """A text of a closed list."""

    RED = "red"


def read(kind: Any, value: Any) -> Any:
    return TypeAdapter(kind).validate_python(value)


@pytest.mark.parametrize(
    ("code", "normal"),
    [
        ("4006381333931", "04006381333931"), ("036000291452", "00036000291452"), ("96385074", "00000096385074"),
        (" 4 006381-333931 ", "04006381333931"), ("14006381333938", "14006381333938"), ("4006381333930", None),
        ("00000000", None), ("0000000000000", None), ("", None), ("ABC", None), ("4006381333931X", None),
    ],
)  # fmt: skip
def test_gtin(code: str, normal: str | None) -> None:
    assert gtin14(code) == normal


@pytest.mark.parametrize(
    ("number", "normal"),
    [
        ("+86 139 1234 5678", "+8613912345678"),
        ("139 1234 5678", None),
        ("+49 1", None),
        ("call me", None),
        ("", None),
    ],
)
def test_a_phone_without_its_country_is_ambiguous(number: str, normal: str | None) -> None:
    assert e164(number) == normal


@pytest.mark.parametrize(
    ("text", "code"),
    [("de", "DE"), ("DEU", "DE"), (" Germany ", "DE"), ("276", "DE"), ("Deutschland!", None), (" ", None)],
)
def test_country(text: str, code: str | None) -> None:
    assert country_iso2(text) == code


@QUICK
@given(st.text(max_size=30))
def test_standard_forms_take_any_text(text: str) -> None:
    for form in (gtin14, e164, country_iso2):
        found = form(text)
        assert found is None or form(found) == found


@pytest.mark.parametrize(
    ("money", "amount"),
    [
        ({"amount": 1234, "currency": "EUR"}, "12.34"), ({"amount": 1234, "currency": "JPY"}, "1234"),
        ({"amount": 1234, "currency": "jpy"}, "1234"), ({"amount": -1234, "currency": "KWD"}, "-1.234"), ({"amount": "1234", "currency": "CLF"}, "0.1234"), ("5.5", "5.5"),
    ],
)  # fmt: skip
def test_minor_units(money: Any, amount: str) -> None:
    assert read(MinorAmount, money) == Decimal(amount)


@given(
    st.integers(-(10**13), 10**13),
    st.sampled_from([("VND", 0), ("JPY", 0), ("KRW", 0), ("EUR", 2), ("KWD", 3), ("CLF", 4)]),
)
def test_an_amount_lands_at_the_scale_of_its_currency(minor: int, currency: tuple[str, int]) -> None:
    code, digits = currency
    found = read(MinorAmount, {"amount": minor, "currency": code})
    landed = pa.array([found], column_of(MinorAmount).arrow)[0].as_py()
    assert landed == Decimal(minor).scaleb(-digits)
    assert landed.scaleb(digits) == minor, "no hundredth of a dong, yen or won comes about or is lost"


@pytest.mark.parametrize(
    "money",
    [
        {"amount": 1, "currency": "XXL"}, {"amount": 1}, {"amount": None, "currency": "EUR"}, {"amount": 12.5, "currency": "EUR"},
        {"amount": True, "currency": "EUR"}, {"amount": "12.5", "currency": "EUR"}, {"amount": [], "currency": "EUR"}, {}, [], None,
        {"amount": 10**20, "currency": "EUR"},
    ],
)  # fmt: skip
def test_money_that_is_none(money: Any) -> None:
    with pytest.raises(ValidationError):
        read(MinorAmount, money)
    if money is not None:
        with pytest.raises(ValidationError):
            read(MinorAmount | None, money)


def test_every_iso_currency_has_its_digits() -> None:
    assert (minor_unit_digits("EUR"), minor_unit_digits("JPY"), minor_unit_digits("BHD")) == (2, 0, 3)
    assert minor_unit_digits("jpy") == 0, "small letters are the same currency"
    with pytest.raises(ValueError, match="unknown currency '€'"):
        minor_unit_digits("€")


@QUICK
@given(st.floats())
def test_binary_floats_round_or_are_refused(value: float) -> None:
    for kind, places in ((FloatAmount, 4), (FloatQuantity, 6)):
        try:
            found = read(kind, value)
        except ValidationError:
            assert not abs(value) < 10 ** (18 - places) - 1
        else:
            assert abs(found - Decimal(repr(value))) <= Decimal(1).scaleb(-places) / 2
            assert pa.array([found], pa.decimal128(18, places))[0].as_py() == found


def test_a_float_that_means_a_decimal_is_that_decimal() -> None:
    assert read(FloatAmount, 35.199999999999996) == Decimal("35.2000")
    assert read(FloatQuantity, 0.1 + 0.2) == Decimal("0.300000")
    assert read(FloatAmount, "35.2") == Decimal("35.2")


@pytest.mark.parametrize("kind", [Instant, UtcInstant, local_instant("Asia/Shanghai")])
@pytest.mark.parametrize("value", [1772330000, 46082.5, True, Decimal(5), "46082", "soon", "", [], {}, None])
def test_a_bare_number_is_no_time(kind: Any, value: Any) -> None:
    with pytest.raises(ValidationError):
        read(kind, value)


def test_naive_times_belong_to_the_zone_their_field_names() -> None:
    assert read(UtcInstant, "2026-03-01 10:00:00") == datetime(2026, 3, 1, 10, tzinfo=UTC)
    shanghai, berlin = local_instant("Asia/Shanghai"), local_instant("Europe/Berlin")
    assert read(shanghai, "2026-03-01T10:00:00") == datetime(2026, 3, 1, 2, tzinfo=UTC)
    assert read(shanghai, "2026-03-01T10:00:00Z") == datetime(2026, 3, 1, 10, tzinfo=UTC)
    first_pass = read(berlin, "2026-10-25T02:30:00").astimezone(UTC)
    assert first_pass == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    with pytest.raises(ValidationError, match="timezone"):
        read(Instant, "2026-03-01T10:00:00")
    assert read(Instant, "2026-03-01T10:00:00+08:00").utcoffset() == timedelta(hours=8)


def test_times_at_the_edge_of_the_calendar() -> None:
    assert read(Instant, "0001-01-01T00:00:00Z").year == 1
    for beyond in ("0001-01-01T00:00:00+01:00", "9999-12-31T23:30:00-01:00"):
        with pytest.raises(ValidationError, match="outside the calendar"):
            read(Instant, beyond)


class Everything(Record):
    """One of each."""

    text: str
    colour: Colour
    number: int | None
    is_so: bool
    on: date
    at: Instant | None
    amount: Amount
    qty: Quantity | None = None
    barcode: Gtin | None = None
    tags: list[str]


def test_a_record_lands_in_flat_columns() -> None:
    columns = Everything.columns()
    assert {name: str(column.arrow) for name, column in columns.items()} == {
        "text": "string", "colour": "string", "number": "int64", "is_so": "bool", "on": "date32[day]",
        "at": "timestamp[us, tz=UTC]", "amount": "decimal128(18, 4)", "qty": "decimal128(18, 6)", "barcode": "string",
        "tags": "string",
    }  # fmt: skip
    companions = {
        name: [item.suffix for item in column.companions]
        for name, column in columns.items()
        if column.companions
    }
    assert companions == {"at": ["offset_minutes"], "barcode": ["gtin14"]}
    assert columns["tags"].encode is not None
    assert columns["tags"].encode(["a", "ü"]) == '["a","ü"]'
    with pytest.raises(TypeError, match="no landing column"):
        column_of(dict[str, int])


@QUICK
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
        max_leaves=10,
    )
)
def test_json_decodes_to_what_was_meant(value: Any) -> None:
    import json

    assert decode_json(json.dumps(value).encode()) == value
    assert decode_json(json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")) == value


@QUICK
@given(st.decimals(allow_nan=False, allow_infinity=False, places=4, min_value=-(10**14), max_value=10**14))
def test_json_decimals_stay_exact(value: Decimal) -> None:
    (found,) = decode_json(f"[{value}]".encode())
    assert (found if isinstance(found, Decimal) else Decimal(str(found))) == value
