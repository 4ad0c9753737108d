"""The European Central Bank's euro reference rates: what one euro was worth in each currency on each business day.

Protocol: two zipped CSV files and nothing else. The history has a line per business day since 1999, newest first; the
daily file has the last line alone. No rate is published on weekends and TARGET holidays; `N/A` stands where a currency
has no rate. Rates are fixed at 14:15 and published around 16:00 CET.

Source: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates
"""

from __future__ import annotations

import csv
import io
import zipfile
from datetime import UTC, date, datetime, timedelta
from typing import Any

from connectors.declare import (
    Ask,
    Bounds,
    Field,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
    local_instant,
)

_HISTORY, _DAILY = "/stats/eurofxref/eurofxref-hist.zip", "/stats/eurofxref/eurofxref.zip"
_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_LARGEST_FILE = 64 * 1024 * 1024


class ReferenceRate(Record):
    """Units of one currency for one euro on one business day."""

    rate_on: date
    published_at: local_instant("Europe/Berlin") = Field(description="16:00 of that day in Frankfurt")  # type: ignore[valid-type]
    # No `Currency`: the history holds codes that ISO 4217 has withdrawn since.
    currency: str = Field(pattern=r"^[A-Z]{3}$", description="ISO 4217 code, then or now in force")
    rate: Quantity = Field(gt=0, description="units of the currency for one EUR")


def decode(content: bytes) -> Any:
    """Unzip a file and turn its table into rows, one per day and currency; cells without a rate are no rows.

    Raises:
        ValueError: not a zip with one CSV file, or not the table the ECB documents.
    """
    if not content.startswith(b"PK"):
        raise ValueError("not a zip archive")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = [name for name in archive.namelist() if name.endswith(".csv")]
        if len(names) != 1:
            raise ValueError(f"a zip with one CSV file is expected; it holds {archive.namelist()}")
        if archive.getinfo(names[0]).file_size > _LARGEST_FILE:
            raise ValueError(f"{names[0]} unpacks to more than {_LARGEST_FILE >> 20} MiB")
        text = archive.read(names[0]).decode("utf-8-sig")
    lines = csv.reader(io.StringIO(text, newline=""))
    # Every line ends in a comma; the daily file has a space behind each.
    header = [cell.strip() for cell in next(lines, [])]
    if header[:1] != ["Date"]:
        raise ValueError(f"{names[0]}: the first line should begin with Date, not {header[:3]}")
    rows = []
    for number, line in enumerate(lines, start=2):
        cells = [cell.strip() for cell in line]
        if len(cells) != len(header):
            raise ValueError(
                f"{names[0]} line {number}: {len(cells)} cells where the header has {len(header)}"
            )
        day = _iso_date(cells[0])
        rows += [
            {"rate_on": day, "published_at": f"{day}T16:00:00", "currency": currency, "rate": cell}
            for currency, cell in zip(header[1:], cells[1:], strict=True)
            if currency and cell not in ("", "N/A")
        ]
    return {"rates": rows}


def _iso_date(text: str) -> str:
    """The daily file writes "30 October 2026"; what is no such date is left for validation to refuse."""
    day, _, rest = text.partition(" ")
    month, _, year = rest.partition(" ")
    return f"{year}-{_MONTHS.index(month) + 1:02d}-{int(day):02d}" if month in _MONTHS else text


def _ask_rates(bounds: Bounds) -> Ask:
    """The daily file where it cannot leave a gap: at most one business day has passed since the last rate we have."""
    if bounds.since is None:
        return Ask()
    last, today = bounds.since.date(), datetime.now(UTC).date()
    missed = sum(
        (last + timedelta(days=step)).weekday() < 5 for step in range(1, min((today - last).days, 9) + 1)
    )
    return Ask(path=_DAILY) if missed <= 1 else Ask()


SOURCE = Source(
    name="ecb_fx",
    title="European Central Bank",
    kind=Kind.RATES,
    owner="finance",
    unheard="The ECB publishes once a day and calls nobody.",
    base_url="https://www.ecb.europa.eu",
    headers={"Accept": "application/zip"},
    decode=decode,
    documentation="https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates",
    streams=(
        Stream(
            name="reference_rates",
            kept="A rate that was published stays; a correction replaces it.",
            record=ReferenceRate,
            key=("rate_on", "currency"),
            path=_HISTORY,
            ask=_ask_rates,
            rows="rates",
            cursor="published_at",
            # A day's rates appear at once and are not added to later.
            lag=timedelta(0),
            freshness=timedelta(days=5),
            description="Euro reference rates, one row per business day and currency.",
        ),
    ),
)
