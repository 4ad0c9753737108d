"""Accounting periods: calendar months in UTC, such as 2026-10; and the errors of the finance room."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date

_FORM = re.compile(r"(\d{4})-(0[1-9]|1[0-2])")


class FinanceError(Exception):
    """The books refused something; nothing changed."""


class UnknownPeriodError(FinanceError):
    """A period is not spelled as one, or nothing was booked in it."""


@dataclass(frozen=True, order=True)
class Period:
    """One month; `str()` gives it as the marts spell it."""

    year: int
    month: int

    @classmethod
    def parse(cls, text: str) -> Period:
        """Read `2026-10`.

        Raises:
            UnknownPeriodError: it is spelled otherwise.
        """
        found = _FORM.fullmatch(text.strip())
        if found is None:
            raise UnknownPeriodError(f"{text!r} is no period: write year and month, such as 2026-10")
        return cls(int(found[1]), int(found[2]))

    def __str__(self) -> str:
        """`2026-10`."""
        return f"{self.year:04d}-{self.month:02d}"

    @property
    def first(self) -> date:
        """First day."""
        return date(self.year, self.month, 1)

    @property
    def end(self) -> date:
        """First day after it."""
        return date(self.year + self.month // 12, self.month % 12 + 1, 1)


def require_booked(period: Period, booked: Collection[str]) -> None:
    """Refuse a period in which nothing was booked.

    Raises:
        UnknownPeriodError: `booked`, the periods of the ledger, lack it.
    """
    if str(period) in booked:
        return
    span = f"the ledger holds {min(booked)} to {max(booked)}" if booked else "the ledger is empty"
    raise UnknownPeriodError(f"nothing was booked in {period}: {span}")
