"""What the gates say: expectations as plain data, and findings. Only `expectations.context` turns them into GX objects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cache
from typing import Any

import pycountry

from connectors.landing import Rejection


class Severity(StrEnum):
    """What a failed expectation does: FAIL rejects the row or stops the table, WARN is only reported."""

    FAIL = "critical"
    WARN = "warning"


@dataclass(frozen=True)
class Expect:
    """One expectation.

    Args:
        type: GX's name of it, such as `expect_column_values_to_not_be_null`.
        fault: what is wrong with a value that fails, to follow the column and the value in a sentence.
        column: the column it reads, for column expectations.
        arguments: GX's arguments; a value `Given("name")` is filled in when the suite runs.
        severity: what a failure does.
        where: only the rows in which the column has one of the values; an empty tuple: in which it is not null.
        is_structural: a failure means that the table is unfit as a whole, not one of its rows.
    """

    type: str
    fault: str
    column: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict)
    severity: Severity = Severity.FAIL
    where: tuple[str, tuple[Any, ...]] | None = None
    is_structural: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column it reads."""
        named = (self.column, self.arguments.get("column_A"), self.arguments.get("column_B"))
        listed = self.arguments.get("column_list", ())
        condition = () if self.where is None else (self.where[0],)
        return tuple(dict.fromkeys(name for name in (*named, *listed, *condition) if name is not None))


def expect_currency(column: str) -> Expect:
    """The column holds ISO 4217 codes. One pattern, since GX copies a set of 180 codes a hundred times a suite."""
    return Expect(
        "expect_column_values_to_match_regex", "is not an ISO 4217 code", column, {"regex": _iso_4217()}
    )


@cache
def _iso_4217() -> str:
    return f"^(?:{'|'.join(sorted(currency.alpha_3 for currency in pycountry.currencies))})$"


@dataclass(frozen=True)
class Given:
    """An argument that is known only when the suite runs."""

    name: str


@dataclass(frozen=True)
class Suite:
    """Expectations of one table. The name is dotted: `landing.square.orders`, `release.fct_orders`."""

    name: str
    expects: tuple[Expect, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Every column the suite reads, once, in order of first use."""
        return tuple(dict.fromkeys(name for expect in self.expects for name in expect.columns))


@dataclass(frozen=True)
class Finding:
    """What came of one expectation on one table.

    Args:
        table: the suite's name.
        element_count: rows looked at; 0 when the expectation looks at the table as a whole.
        unexpected_count: rows that failed, even where so few that the expectation still passed.
        positions: index labels of these rows in the frame that was checked.
        observed: what was seen, in words, for the person who reads the report.
        error: why it could not be computed; it then counts as failed.
    """

    table: str
    expect: Expect
    passed: bool
    element_count: int = 0
    unexpected_count: int = 0
    positions: tuple[int, ...] = ()
    observed: str = ""
    error: str | None = None

    def sentence(self) -> str:
        """Say what failed, in how many rows, with what was seen."""
        what = ", ".join(self.expect.columns) or "table"
        if self.error is not None:
            return f"{self.table}: {self.expect.type} on {what} could not be computed: {self.error}"
        rows = f" in {self.unexpected_count} of {self.element_count} rows" if self.element_count else ""
        seen = f"; seen: {self.observed}" if self.observed else ""
        return f"{self.table}: {what}: {self.expect.fault}{rows}{seen} ({self.expect.type})"


@dataclass(frozen=True)
class GateResult:
    """What one gate said of one batch (gate 1) or one mart (gate 2).

    Args:
        gate: landing or release.
        name: batch id, or table.
        subject: stream of the source, or table.
        passed: whether it may go on; rows may have been rejected all the same.
        reasons: why not, one sentence each; nothing when passed.
        warnings: failed expectations that stop nothing, one sentence each.
        findings: every expectation's outcome.
        rejections: rows that go to quarantine.
        row_count: rows looked at, children included.
        repeated_count: rows received more than once in the batch, word for word the same; staging drops them.
        seconds: wall time.
    """

    gate: str
    name: str
    subject: str
    passed: bool
    reasons: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    rejections: tuple[Rejection, ...] = ()
    row_count: int = 0
    repeated_count: int = 0
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The result as JSON values, for the manifest and the run report."""
        failed = [finding for finding in self.findings if not finding.passed or finding.unexpected_count]
        return {
            "gate": self.gate,
            "name": self.name,
            "subject": self.subject,
            "passed": self.passed,
            "reasons": list(self.reasons),
            "warnings": list(self.warnings),
            "expectations": len(self.findings),
            "rows": self.row_count,
            "rejected": len(self.rejections),
            "repeated": self.repeated_count,
            "failed": [
                {
                    "table": finding.table,
                    "expectation": finding.expect.type,
                    "columns": list(finding.expect.columns),
                    "severity": finding.expect.severity.name.lower(),
                    "passed": finding.passed,
                    "rows": finding.unexpected_count,
                    "error": finding.error,
                }
                for finding in failed
            ],
            "seconds": round(self.seconds, 3),
        }
