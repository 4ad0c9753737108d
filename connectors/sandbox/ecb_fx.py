"""The European Central Bank's reference rates beside the sandbox company: zipped CSV as the ECB lays it out.

Rates are a random walk around what the currencies were worth in 2026. As with the ECB: nothing on weekends and TARGET
holidays, nothing of today before 16:00 in Frankfurt, `N/A` for currencies that are gone or suspended, another date
format and a space after each comma in the daily file. No credential, no limit.

Source: https://www.ecb.europa.eu/stats/policy_and_exchange_rates/euro_reference_exchange_rates
"""

from __future__ import annotations

import io
import math
import random
import zipfile
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from decimal import Decimal
from functools import cached_property
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dirt import Dirt
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import World

# Columns of the history, in the ECB's order: units for one euro and digits after the point, None where no rate is published.
_CURRENCIES: dict[str, tuple[float, int] | None] = {
    "USD": (1.1563, 4), "JPY": (176.2, 2), "BGN": None, "CYP": None, "CZK": (24.31, 3), "DKK": (7.468, 4), "EEK": None,
    "GBP": (0.8712, 5), "HUF": (388.2, 2), "LTL": None, "LVL": None, "MTL": None, "PLN": (4.245, 4), "ROL": None,
    "RON": (5.084, 4), "SEK": (10.93, 4), "SIT": None, "SKK": None, "CHF": (0.9287, 4), "ISK": (143.6, 1),
    "NOK": (11.66, 4), "HRK": None, "RUB": None, "TRL": None, "TRY": (48.6, 4), "AUD": (1.766, 4), "BRL": (6.22, 4),
    "CAD": (1.617, 4), "CNY": (8.232, 4), "HKD": (8.985, 4), "IDR": (19240.0, 2), "ILS": (3.77, 4), "INR": (102.4, 4),
    "KRW": (1652.0, 2), "MXN": (21.4, 4), "MYR": (4.86, 4), "NZD": (2.01, 4), "PHP": (67.9, 3), "SGD": (1.503, 4),
    "THB": (37.5, 3), "ZAR": (20.1, 4),
}  # fmt: skip
_BEFORE = timedelta(days=40)
_FRANKFURT = ZoneInfo("Europe/Berlin")


def is_business_day(day: date) -> bool:
    """Whether TARGET is open: no weekend, New Year, Good Friday, Easter Monday, 1 May, 25 or 26 December."""
    if day.weekday() >= 5 or (day.month, day.day) in ((1, 1), (5, 1), (12, 25), (12, 26)):
        return False
    return day - _easter(day.year) not in (timedelta(days=-2), timedelta(days=1))


def _easter(year: int) -> date:
    """Gregorian Easter Sunday. Source: Meeus, Astronomical Algorithms, chapter 8."""
    a, b, c = year % 19, year // 100, year % 100
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - b // 4 - g + 15) % 30
    weekday = (32 + 2 * (b % 4) + 2 * (c // 4) - h - c % 4) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return date(year, month, day + 1)


def reference_rates(world: World) -> dict[date, dict[str, Decimal]]:
    """Rates published until the world's now: business day -> currency -> units for one euro, oldest day first."""
    first = min((order.placed_at for order in world.orders.values()), default=world.now).date() - _BEFORE
    local = world.now.astimezone(_FRANKFURT)
    last = local.date() if local.hour >= 16 else local.date() - timedelta(days=1)
    found: dict[date, dict[str, Decimal]] = {}
    level = {code: 0.0 for code, known in _CURRENCIES.items() if known}
    for day in (first + timedelta(days=step) for step in range((last - first).days + 1)):
        if not is_business_day(day):
            continue
        rng = random.Random(f"{world.seed}/ecb_fx/{day}")
        found[day] = {}
        for code, known in _CURRENCIES.items():
            if known is None:
                continue
            middle, digits = known
            # Pulled back to the middle, so that a long history does not run away.
            level[code] = level[code] * 0.99 + rng.gauss(0, 0.0035)
            found[day][code] = Decimal(f"{middle * math.exp(level[code]):.{digits}f}")
    return found


class Twin:
    """The ECB's two files over one world."""

    name = "ecb_fx"

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None:
        self._world = world

    def env(self, base_url: str) -> dict[str, str]:
        return {"ORDERHUB_ECB_FX_URL": base_url}

    def routes(self) -> Sequence[BaseRoute]:
        return [
            Route("/stats/eurofxref/eurofxref-hist.zip", self._history),
            Route("/stats/eurofxref/eurofxref.zip", self._daily),
        ]

    def truth(self) -> Iterable[Truth]:
        return ()

    @cached_property
    def _rates(self) -> dict[date, dict[str, Decimal]]:
        return reference_rates(self._world)

    async def _history(self, request: Request) -> Response:
        lines = [",".join(("Date", *_CURRENCIES)) + ","]
        for day, rates in sorted(self._rates.items(), reverse=True):
            cells = (str(rates[code]) if code in rates else "N/A" for code in _CURRENCIES)
            lines.append(",".join((f"{day}", *cells)) + ",")
        return _zipped("eurofxref-hist.csv", lines)

    async def _daily(self, request: Request) -> Response:
        day, rates = next(reversed(self._rates.items()))
        return _zipped(
            "eurofxref.csv",
            [
                ", ".join(("Date", *rates)) + ", ",
                ", ".join((f"{day:%d %B %Y}", *map(str, rates.values()))) + ", ",
            ],
        )


def _zipped(name: str, lines: list[str]) -> Response:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), "\n".join(lines) + "\n")
    return Response(packed.getvalue(), media_type="application/zip")
