"""Counts that sources tell, beside what is here."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from oms_core.completeness import Comparison, Held, Told, compare
from oms_core.conservation import Conservation, record
from oms_core.store.postgres import Database

AT = datetime(2026, 10, 1, tzinfo=UTC)


def whole(least: int | None, most: int | None = None, **more: Any) -> Told:
    return Told(
        "wms",
        "quants",
        "stream",
        least,
        most if most is not None else least,
        None,
        None,
        None,
        more.get("complaint"),
    )


def asked(scope: Any, told: int, received: int, since: int | None, until: int | None) -> Told:
    begin, end = (None if day is None else AT + timedelta(days=day) for day in (since, until))
    return Told("shop", "orders", scope, told, told, received, begin, end, None)


def one(*told: Told, **here: Any) -> Comparison:
    held = Held(**{"distinct": 100, "waiting": 0, "deleted": 0, "is_whole": True, **here})
    (found,) = compare(told, {("wms", "quants"): held})
    return found


@pytest.mark.parametrize(
    ("told", "here", "state", "difference"),
    [
        (whole(100), {}, "complete", 0),
        (whole(99, 101), {}, "complete", 0),  # something changed while it was read
        (whole(101, 103), {}, "missing", 1),
        (whole(97, 98), {}, "deleted", -2),
        (whole(98), {"deleted": 2}, "complete", 0),
        (whole(103), {"waiting": 3}, "complete", 0),
        (whole(101), {"is_whole": False}, "not_compared", 0),
        (whole(None, complaint="403"), {}, "not_compared", 0),
    ],
)
def test_a_stream_is_complete_if_what_is_here_lies_between_the_counts(
    told: Told, here: dict[str, Any], state: str, difference: int
) -> None:
    found = one(told, **here)
    assert (found.state, found.difference) == (state, difference)
    assert bool(found.sentence) == (state != "complete")


def test_the_last_count_of_a_stream_counts() -> None:
    assert one(whole(120), whole(100)).state == "complete"
    assert "orderhub pull wms --stream quants --full" in one(whole(100), whole(120)).sentence
    assert "orderhub pull wms --stream quants --sweep" in one(whole(90)).sentence


def test_a_window_that_fell_short_is_a_fault_until_all_of_it_came() -> None:
    short, first = asked("window", 9, 8, 3, 4), asked("pull", 30, 29, 0, 9)
    (found,) = compare([short, first], {})
    assert (found.state, found.difference) == ("missing", 1)
    assert "--since 2026-10-04T00:00:00+00:00 --until 2026-10-05T00:00:00+00:00" in found.sentence
    partly, later, again = asked("pull", 5, 5, 3, 3), asked("pull", 5, 5, 8, 12), asked("pull", 9, 9, 3, 4)
    assert [item.state for item in compare([short, first, partly, later], {})] == ["complete", "missing"]
    assert [item.state for item in compare([short, first, again], {})] == ["complete"]
    assert [item.state for item in compare([short, first, asked("pull", 40, 40, None, None)], {})] == [
        "complete"
    ]


def test_rows_that_never_came_break_the_law_and_deleted_ones_are_told(database: Database) -> None:
    missing, deleted = one(whole(101)), one(whole(99))
    found = Conservation([], [], [missing, deleted])
    assert not found.holds
    assert (found.faults, found.warnings) == ([missing.sentence], [deleted.sentence])
    with database.begin() as connection:
        run_id = record(connection, found)
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT run_id, stream, told_count, held_count, difference_count, state FROM ops_control_counts ORDER BY 5 DESC"
        ).all()
        holds = connection.exec_driver_sql("SELECT holds, faults FROM ops_conservation_runs").all()
    assert [tuple(row) for row in rows] == [
        (run_id, "quants", 101, 100, 1, "missing"), (run_id, "quants", 99, 100, -1, "deleted"),
    ]  # fmt: skip
    assert [tuple(row) for row in holds] == [(False, [missing.sentence])]
