"""The ECB's reference rates: the files as the ECB lays them out, and what becomes of each cell."""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import httpx
import pytest
from pydantic import ValidationError

from connectors.conformance import Conformance
from connectors.declare import Bounds
from connectors.sandbox.ecb_fx import is_business_day, reference_rates
from connectors.sources.ecb_fx import SOURCE, decode

RATES = SOURCE.streams[0]


class TestEcbFx(Conformance):
    source = SOURCE
    spared = dict.fromkeys(("duplicated_page", "drift"), "the rates are one packed table") | {
        "expired_token": "it asks for no credential",
        "shifting_page": "the rates come in one answer",
    }
    # The ECB asks for no credential.
    test_a_wrong_credential_is_refused_with_the_remedy = None  # type: ignore[assignment]
    test_a_missing_credential_names_the_variable = None  # type: ignore[assignment]


def packed(text: str, name: str = "eurofxref.csv") -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr(name, text)
    return content.getvalue()


def test_every_rate_that_was_published_lands_and_no_other(serve: Any, pull: Any, landed: Any) -> None:
    with serve("ecb_fx") as served:
        results = pull("ecb_fx", served.env)
        truth = reference_rates(served.sandbox.world)
    assert [item.error for item in results.values()] == [None]
    found = {(row["rate_on"], row["currency"]): row["rate"] for row in landed("reference_rates")}
    assert found == {(day, code): rate for day, rates in truth.items() for code, rate in rates.items()}
    assert all(day.weekday() < 5 for day, _ in found)


def test_the_history_has_the_vendors_layout(serve: Any) -> None:
    with serve("ecb_fx") as served:
        content = httpx.get(f"{served.url}/ecb_fx/stats/eurofxref/eurofxref-hist.zip").content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["eurofxref-hist.csv"]
        lines = list(csv.reader(io.StringIO(archive.read("eurofxref-hist.csv").decode())))
    assert lines[0][:4] == ["Date", "USD", "JPY", "BGN"]
    assert lines[0][-1] == ""
    days = [date.fromisoformat(line[0]) for line in lines[1:]]
    assert days == sorted(days, reverse=True)
    assert {line[3] for line in lines[1:]} == {"N/A"}


def test_the_daily_file_gives_the_same_rows_as_the_history(serve: Any) -> None:
    with serve("ecb_fx") as served:
        base = f"{served.url}/ecb_fx/stats/eurofxref"
        daily = decode(httpx.get(f"{base}/eurofxref.zip").content)["rates"]
        history = decode(httpx.get(f"{base}/eurofxref-hist.zip").content)["rates"]
    assert daily
    assert daily == [row for row in history if row["rate_on"] == daily[0]["rate_on"]]


@pytest.mark.parametrize(
    ("days_ago", "path"), [(None, None), (0, "daily"), (30, None)], ids=["first", "fresh", "after a pause"]
)
def test_the_daily_file_is_read_only_where_it_leaves_no_gap(days_ago: int | None, path: str | None) -> None:
    since = None if days_ago is None else datetime.now(UTC) - timedelta(days=days_ago)
    asked = RATES.ask(Bounds(since=since)).path
    assert (asked is None) == (path is None)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"<html>", "not a zip"),
        (packed("Date, USD, \n", "readme.txt"), "one CSV file is expected"),
        (packed("Datum,USD,\n"), "should begin with Date"),
        (packed("Date,USD,JPY,\n2026-10-30,1.1,\n"), "3 cells where the header has 4"),
    ],
    ids=["html", "no csv", "other table", "cut line"],
)
def test_another_file_is_refused_with_what_is_wrong(content: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        decode(content)


@pytest.mark.parametrize("cell", ["-4", "0", "abc", "1,15"])
def test_a_cell_that_is_no_rate_is_refused_alone(cell: str) -> None:
    first, second = decode(packed(f'Date,USD,JPY,\n2026-10-30,1.1563,"{cell}",\n'))["rates"]
    assert RATES.record.model_validate(first).model_dump()["rate"] == Decimal("1.1563")
    with pytest.raises(ValidationError, match="rate"):
        RATES.record.model_validate(second)


def test_target_holidays_are_no_business_days() -> None:
    holidays = (date(2026, 4, 3), date(2026, 4, 6), date(2026, 5, 1), date(2026, 12, 25), date(2027, 1, 1))
    assert not any(is_business_day(day) for day in holidays)
    assert is_business_day(date(2026, 4, 7))
