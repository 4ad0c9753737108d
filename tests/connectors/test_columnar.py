"""Column by column or row by row: the same rows land with the same hashes, the same rows are refused for the same reasons."""

from __future__ import annotations

import json
import tempfile
from contextlib import closing
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from pydantic import field_validator

from connectors import extract, quarantine, registry
from connectors import files as room
from connectors.columnar import Coded, can_check, check, check_rows, combine
from connectors.declare import (
    AliasPath,
    Amount,
    Child,
    ControlTotal,
    Country,
    Currency,
    Field,
    Gtin,
    Instant,
    Phone,
    Quantity,
    Record,
    Stream,
    UtcInstant,
    stream_schemas,
)
from connectors.extract import land_rows
from connectors.files import pull_files
from connectors.landing import Landing

SOURCE = registry.source("file_drop")
MAPPING = """
name = "till"
files = "till.*"
timezone = "Europe/London"
is_signed = {signed}
return_prefix = "C"
[columns]
order_number = "no"
ordered_at = "at"
sku_code = "sku"
qty = "qty"
unit_price_amount = "price"
discount_amount = "off"
currency = "cur"
customer_country = "land"
customer_name = "name"
"""

# The first of each is what usually stands there.
_TEXTS = ["A1", "C2", " A1 ", "", "  ", "é😀", 'a\\b"c', "x\x00y", "１２", "85123A", "tab\tline", None]
_NUMBERS = [
    "1", "-2", "0", "-0.0", "1,234.5", "12,50", "1.12345", "1.1234567", "NaN", "inf", "1e9", "1e30", "", "x", "１２", None,
]  # fmt: skip
_TIMES = [
    "2026-03-01T10:00:00", "2026-07-01 10:00", "2026-03-01T10:00:00+09:00", "2026-03-29T01:30:00", "46112.5", "x", "", None,
]  # fmt: skip
_CURRENCIES = ["GBP", "gbp", "XXQ", "", None]
_COUNTRIES = ["United Kingdom", "GB", "EIRE", "", None]
_CELLS = {
    "no": _TEXTS, "at": _TIMES, "sku": _TEXTS, "qty": _NUMBERS, "price": _NUMBERS, "off": _NUMBERS,
    "cur": _CURRENCIES, "land": _COUNTRIES, "name": _TEXTS,
}  # fmt: skip
# Columns as other systems type them; a Parquet file says what a value is.
_TYPED: dict[str, tuple[pa.DataType, list[Any]]] = {
    "no": (pa.int64(), [1, 2, -3, 10**18, None]),
    "at": (
        pa.timestamp("us", tz="Asia/Shanghai"),
        [datetime(2026, 3, 1, 10, tzinfo=UTC), datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=-9))), None],
    ),
    "sku": (pa.float64(), [13085.0, 0.5, -0.0, 0.0, float("nan"), None]),
    "qty": (pa.float64(), [1.0, -2.0, 0.1, -0.0, float("nan"), float("inf"), 1e300, None]),
    "price": (pa.decimal128(30, 6), [Decimal("1.5"), Decimal("0.000001"), Decimal(10) ** 20, None]),
    "off": (pa.int32(), [0, 1, -1, None]),
    "cur": (pa.dictionary(pa.int8(), pa.string()), _CURRENCIES),
    "land": (pa.bool_(), [True, False, None]),
    "name": (pa.date32(), [date(2026, 3, 1), None]),
}  # fmt: skip


def _pulled(folder: Path, table: pa.Table, signed: bool) -> dict[str, Any]:
    inbox = folder / "inbox"
    inbox.mkdir(parents=True)
    (inbox / "till.mapping.toml").write_text(MAPPING.format(signed=json.dumps(signed)))
    pq.write_table(table, inbox / "till.parquet")
    with closing(Landing(folder / "landing")) as landing:
        (result,) = pull_files(SOURCE, inbox, landing)
        assert result.error is None, result.error
        assert result.pulled == table.num_rows == result.landed + result.quarantined
        landed: list[dict[str, Any]] = []
        for batch in landing.batches():
            for path in batch.files.values():
                landed += pq.read_table(path).drop_columns(["_batch_id", "_extracted_at"]).to_pylist()
        refused = [(row.row_index, row.error, row.payload) for row in quarantine.list_rows(landing)]
        totals = landing.control_totals()
    return {
        "landed": sorted(landed, key=lambda row: row["_row_index"]),
        "refused": sorted(refused),
        "totals": {place: amount for place, amount in totals.items() if amount},
    }


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), signed=st.booleans())
def test_both_ways_of_validating_agree(
    monkeypatch: pytest.MonkeyPatch, data: st.DataObject, signed: bool
) -> None:
    count = data.draw(st.integers(1, 12))
    typed = data.draw(st.sets(st.sampled_from(sorted(_TYPED))))
    columns = {}
    for name, texts in _CELLS.items():
        kind, values = _TYPED[name] if name in typed else (pa.string(), texts)
        # Mostly what lands, or no row would ever get through all its columns.
        cells = st.sampled_from([*[values[0]] * 20, *values])
        columns[name] = pa.array(data.draw(st.lists(cells, min_size=count, max_size=count)), kind)
    table = pa.table(columns)
    with tempfile.TemporaryDirectory() as folder:
        together = _pulled(Path(folder) / "together", table, signed)
        with monkeypatch.context() as patch:
            patch.setattr(room, "can_check", lambda record: False)
            assert _pulled(Path(folder) / "one by one", table, signed) == together
        event("some landed" if together["landed"] else "all refused")


class _Line(Record):
    line_id: str = Field(validation_alias="id")
    sku: str = Field(min_length=2)
    qty: Quantity = Field(ge=0)
    barcode: Gtin | None = None
    tags: list[str] = Field(default_factory=list)


class _Order(Record):
    order_id: str = Field(validation_alias="id")
    created_at: Instant
    updated_at: Instant | None = None
    paid_at: UtcInstant | None = None
    total: Amount
    currency: Currency = "EUR"
    phone: Phone | None = Field(None, validation_alias=AliasPath("customer", "phone"))
    country: Country = Field("CN", validation_alias=AliasPath("customer", "country"))
    lines_count: int | None = None
    is_paid: bool = False


_ORDERS = Stream(
    name="orders", record=_Order, key=("order_id",), path="/orders", cursor="updated_at",
    children=(
        Child(name="lines", path="lines", record=_Line, parent={"order_id": "order_id", "at": "created_at"}),
    ),
    control_totals=(ControlTotal(amount="total", currency="currency"),),
)  # fmt: skip
_MISSING = object()
_INSTANTS = [
    "2026-03-01T10:00:00Z", "2026-03-01T10:00:00.25+05:30", "2026-03-01T10:00:00.1234567Z", "2026-02-30T10:00:00Z",
    "2026-03-01T24:00:00Z", "2026-03-01T10:00:00-23:59", "2026-03-01T10:00:00", "9999-12-31T23:00:00-09:00", "0001-01-01T00:00:00+09:00",
    "1767225600", 1767225600, "x", "", None, _MISSING, True, [1], {}, "2026-03-01 10:00:00+00:00", "2026-03-01T10:00Z",
]  # fmt: skip
_KEYS = [
    "a1",
    "a2",
    7,
    7.5,
    2**70,
    True,
    "",
    "é😀",
    "\ud83d",
    None,
    _MISSING,
    ["a"],
    {"a": 1},
    Decimal("1.10"),
    "x" * 3000,
]
_MONEY = [
    "1.5",
    "0.90",
    3,
    -2,
    2.5,
    "1.23456",
    "1.10000",
    "x",
    "NaN",
    10**20,
    True,
    None,
    _MISSING,
    Decimal("1.10"),
    {},
]
_PLACES = ["DE", "Germany", "", "Nowhere", 5, None, _MISSING, ["DE"]]
_PHONES = ["+4930901820", "030 901820", 4930901820, None, _MISSING, False]


def _cell(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from([*[values[0]] * 80, *values])


def _object(**cells: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(cells).map(
        lambda row: {name: value for name, value in row.items() if value is not _MISSING}
    )


_RAW_LINES = st.lists(
    st.one_of(
        *[_object(id=_cell(*_KEYS), sku=_cell("S-1", "S", *_KEYS), qty=_cell(*_MONEY), barcode=_cell("4006381333931", *_KEYS),
                  tags=_cell(_MISSING, ["a"], [], [1], None, "a"))] * 9,
        st.sampled_from([None, 5, "x", []]),
    ),
    max_size=3,
)  # fmt: skip
_CUSTOMERS = st.one_of(
    *[_object(phone=_cell(*_PHONES), country=_cell(*_PLACES))] * 9,
    st.sampled_from([None, 5, "x", [], _MISSING]),
)
_RAW_ORDERS = st.lists(
    st.one_of(
        *[_object(
            id=_cell(*_KEYS), order_id=_cell(_MISSING, "by name"), created_at=_cell(*_INSTANTS), updated_at=_cell(*_INSTANTS),
            paid_at=_cell(*_INSTANTS), total=_cell(*_MONEY), currency=_cell("EUR", "usd", "XXQ", None, _MISSING, 5),
            customer=_CUSTOMERS, lines_count=_cell(1, "2", 2.0, 2.5, 2**63, True, None, _MISSING, "x"),
            is_paid=_cell(True, False, 1, "yes", 2, None, _MISSING), lines=st.one_of(_RAW_LINES, _RAW_LINES, _cell(None, _MISSING, 5)),
        )] * 19,
        st.sampled_from([None, 5, "x", []]),
    ),
    max_size=8,
)  # fmt: skip


def _landed(landing: Landing, rows: list[Any]) -> dict[str, Any]:
    batch = landing.open_batch("shop", _ORDERS)
    found: dict[str, Any] = {
        "latest": land_rows(batch, _ORDERS, rows, "0" * 64, extracted_at=datetime(2026, 3, 1, tzinfo=UTC))
    }
    for name, kept in batch._buffers.items():
        table = pa.Table.from_batches(kept, batch.schemas[name]).drop_columns(["_batch_id"])
        found[name] = sorted(table.to_pylist(), key=lambda row: (row["_row_index"], row.get("_child_index")))
    found["refused"] = sorted(map(repr, batch.rejections))
    return found | {"pulled": batch.pulled, "landed": batch.landed, "drift": batch._seen_fields}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=_RAW_ORDERS)
def test_a_page_lands_by_column_as_it_does_row_by_row(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, rows: list[Any]
) -> None:
    with closing(Landing(tmp_path)) as landing:
        with monkeypatch.context() as patch:
            patch.setattr(extract, "FEWEST_BY_COLUMN", 1)
            together = _landed(landing, rows)
        assert _landed(landing, rows) == together
    event("some landed" if together["orders"] else "none landed")
    event("some refused" if together["refused"] else "none refused")


class _Memo(Record):
    memo_id: str
    code: str | None = None


@pytest.mark.parametrize(
    "codes", [[7, _MISSING], [7, None], ["7", _MISSING], [_MISSING, "\ud83d"], [7, "\ud83d"]]
)
def test_an_optional_text_that_is_left_out_lands_as_unknown(codes: list[Any]) -> None:
    stream = Stream(name="memos", record=_Memo, key=("memo_id",), path="")
    rows = [{"memo_id": "a", "code": code} for code in codes if code is not _MISSING]
    rows += [{"memo_id": "b"}] * codes.count(_MISSING)
    checked = check_rows(_Memo, stream_schemas(stream)["memos"], rows, pa.array(["0"] * len(rows)))
    expected = [None if row.get("code") is None else str(row["code"]) for row in rows]
    fitting = [code for code, fits in zip(expected, checked.fits, strict=True) if fits]
    assert checked.columns["code"].to_pylist() == fitting
    assert [code for code, fits in zip(expected, checked.fits, strict=True) if not fits] == [
        code for code in codes if code == "\ud83d"
    ]


def test_values_of_two_types_stay_two_values() -> None:
    column = [1, 1.0, True, "1", 0.0, -0.0, None, 1]
    coded = Coded.of(column)
    assert [coded.at(row) for row in range(8)] == column
    assert [type(coded.at(row)) for row in range(8)] == [type(value) for value in column]
    assert [str(coded.at(row)) for row in (4, 5)] == ["0.0", "-0.0"]
    assert len(coded.values) == 7


def test_a_computed_column_is_computed_once_per_combination() -> None:
    asked = []

    def join(left: str, right: str) -> str:
        asked.append((left, right))
        return left + right

    joined = combine([Coded.of(["a", "b", "a", "a"]), Coded.of(["x", "x", "y", "x"])], join)
    assert [joined.at(row) for row in range(4)] == ["ax", "bx", "ay", "ax"]
    assert sorted(asked) == [("a", "x"), ("a", "y"), ("b", "x")]


class _Free(Record):
    code: str


class _Bound(Record):
    code: str

    @field_validator("code")
    @classmethod
    def _looks_at_its_neighbours(cls, value: str) -> str:
        return value


def test_a_record_that_looks_at_a_row_as_a_whole_is_not_checked_by_column() -> None:
    assert can_check(_Free)
    assert not can_check(_Bound)


def test_every_source_that_reads_files_may_be_checked_by_column() -> None:
    assert all(
        can_check(stream.record)
        for source in registry.sources().values()
        if source.exports
        for stream in source.streams
    )


def test_no_rows_are_no_rows() -> None:
    stream = Stream(name="things", record=_Free, key=("code",), path="")
    import numpy as np

    checked = check(_Free, stream_schemas(stream)["things"], {"code": Coded.of([])}, np.zeros(0, np.bool_))
    assert (len(checked.fits), len(checked.record_hashes), len(checked.columns["code"])) == (0, 0, 0)
