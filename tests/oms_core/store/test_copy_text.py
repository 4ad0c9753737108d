"""Rows as COPY text: what goes in is what stands in PostgreSQL, byte for byte."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from oms_core.store.copy_text import copy_rows, encode_lines, postgres_type, split_lines
from oms_core.store.errors import StoreError, UnsupportedColumnError
from oms_core.store.postgres import Database

_UNESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
words = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.sampled_from(
    ["\\N", "\\", "\t\n\r", ""]
)


def decoded(field: str) -> str | None:
    """A field of COPY text read as PostgreSQL's manual says."""
    if field == "\\N":
        return None
    out, at = "", 0
    while at < len(field):
        step = 2 if field[at] == "\\" else 1
        out += _UNESCAPED.get(field[at : at + step], field[at : at + step])
        at += step
    return out


@given(st.lists(st.tuples(st.none() | words, st.none() | words), max_size=8), st.integers(0, 3))
def test_lines_can_be_read_back(rows: list[tuple[str | None, str | None]], skip: int) -> None:
    batch = pa.record_batch(
        {"a": pa.array([a for a, _ in rows], pa.string()), "b": pa.array([b for _, b in rows], pa.string())}
    )
    lines = [bytes(line).decode() for line in split_lines(encode_lines(batch.slice(skip), ["b", "a"]))]
    assert [tuple(map(decoded, line.split("\t"))) for line in lines] == [(b, a) for a, b in rows[skip:]]


@given(st.lists(st.decimals(-(10**13), 10**13, places=4), min_size=1, max_size=8))
def test_decimals_keep_every_digit(values: list[Decimal]) -> None:
    batch = pa.record_batch({"x": pa.array(values, pa.decimal128(18, 4))})
    assert [Decimal(bytes(line).decode()) for line in split_lines(encode_lines(batch, ["x"]))] == values


def test_copied_rows_are_the_rows(database: Database) -> None:
    schema = pa.schema(
        [
            ("words", pa.string()),
            ("amount", pa.decimal128(38, 4)),
            ("ratio", pa.float64()),
            ("count", pa.int64()),
            ("small", pa.int16()),
            ("yes", pa.bool_()),
            ("on", pa.date32()),
            ("at", pa.timestamp("us")),
            ("there", pa.timestamp("ns", "Asia/Shanghai")),
        ]
    )
    noon = datetime(2026, 3, 29, 1, 30, 0, 1)
    rows = [
        (
            "\\N \t \n \r \\ \\. 王小明 😀 \x01",
            Decimal("-0.0001"),
            1e-7,
            -(2**63),
            -5,
            True,
            date(1, 1, 1),
            noon,
            noon,
        ),
        ("", Decimal("9" * 34 + ".9999"), 0.1 + 0.2, 2**63 - 1, 5, False, date(9999, 12, 31), noon, noon),
        (None,) * 9,
    ]
    utc = [tuple(v.replace(tzinfo=UTC) if isinstance(v, datetime) else v for v in row) for row in rows]
    table = pa.Table.from_pylist(
        [
            dict(zip(schema.names, (*row[:8], aware[8]), strict=True))
            for row, aware in zip(rows, utc, strict=True)
        ],
        schema,
    )
    columns = ", ".join(f'"{field.name}" {postgres_type(field.name, field.type)}' for field in schema)
    with database.begin() as connection:
        connection.execute(text(f"CREATE TABLE orderhub.trial ({columns})"))
        assert copy_rows(connection, ("orderhub", "trial"), table) == 3
        assert [tuple(row) for row in connection.execute(text("SELECT * FROM orderhub.trial"))] == utc


def test_odd_numbers_arrive(database: Database) -> None:
    table = pa.table({"x": [float("nan"), float("inf"), float("-inf"), 5e-324, -0.0]})
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE orderhub.trial (x double precision)"))
        copy_rows(connection, ("orderhub", "trial"), table)
        found = connection.execute(text("SELECT x::text FROM orderhub.trial")).scalars().all()
    assert found == ["NaN", "Infinity", "-Infinity", "5e-324", "-0"]


def test_a_refused_row_is_named_and_undone(database: Database) -> None:
    table = pa.table({"x": ["1", "two", "3"]})
    with database.begin() as connection:
        connection.execute(text("CREATE TABLE orderhub.trial (x int)"))
    with (
        pytest.raises(StoreError, match=r'orderhub.trial are refused .* "two" .*line 2'),
        database.begin() as connection,
    ):
        copy_rows(connection, ("orderhub", "trial"), table)
    with database.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM orderhub.trial")).scalar() == 0


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.string()), pa.struct([("a", pa.int32())]), pa.binary(), pa.time64("us"), pa.duration("s")],
)
def test_types_without_a_place_are_refused(kind: pa.DataType) -> None:
    with pytest.raises(UnsupportedColumnError, match="column tags has type"):
        postgres_type("tags", kind)
