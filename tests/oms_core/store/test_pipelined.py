"""Statements sent together: what they are given arrives as it is, and what goes wrong is told as elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy.exc import DBAPIError

from oms_core.store.pipelined import together
from oms_core.store.postgres import Database

AWKWARD = [
    "",
    "plain",
    "NULL",
    "null",
    "{}",
    "a,b",
    'quoted "twice"',
    "back\\slash",
    " spaces ",
    "\t\n\r",
    "名",
    "😀",
    "'",
    "%s",
    None,
]


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("text", AWKWARD),
        ("bytea", [b"", b"\x00\xff", bytes(range(256)), None]),
        ("numeric", [Decimal("0.000001"), Decimal("-1E+3"), Decimal("999999999999.999999"), None]),
        ("bigint", [0, -(2**63), 2**63 - 1, None]),
        ("boolean", [True, False, None]),
        ("date", [date(1, 1, 1), date(9999, 12, 31), None]),
        ("timestamptz", [datetime(2026, 3, 29, 1, 30, 0, 123456, tzinfo=UTC), None]),
        ("text", []),
    ],
)
def test_an_array_arrives_as_it_was_sent(database: Database, kind: str, values: Sequence[Any]) -> None:
    asked = (
        f"SELECT value FROM unnest(%(values)s::{kind}[]) WITH ORDINALITY AS v (value, place) ORDER BY place"
    )
    with database.begin() as connection:
        (result,) = together(connection, [(asked, {"values": list(values)})])
    assert [row.value for row in result.rows] == list(values)


def test_what_the_server_refuses_is_told_as_any_other_statement(database: Database) -> None:
    with database.begin() as connection, pytest.raises(DBAPIError, match="division by zero"):
        together(connection, [("SELECT 1", {}), ("SELECT 1 / 0", {})])


def test_an_array_of_what_nobody_said_how_to_write_is_refused(database: Database) -> None:
    with database.begin() as connection, pytest.raises(TypeError, match="an array of float"):
        together(connection, [("SELECT %(values)s::float[]", {"values": [0.5]})])
