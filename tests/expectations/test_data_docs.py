"""The data docs of real suites."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from expectations.context import GateContext
from expectations.suite import Expect, Given, Severity, Suite

_SUITE = Suite(
    "landing.shop.orders",
    (
        Expect("expect_column_values_to_not_be_null", "is missing", "order_id"),
        Expect("expect_column_values_to_be_between", "is too late", "day", {"max_value": Given("last_day")}),
        Expect("expect_column_values_to_not_be_null", "is missing", "note", severity=Severity.WARN),
    ),
)
_FRAME = pd.DataFrame(
    {"order_id": ["a", None, "c"], "day": [1, 2, 9], "note": ["x", "y", "z"]}, index=[10, 20, 30]
)


def _pages(folder: Path, kind: str) -> list[str]:
    return sorted(str(page.relative_to(folder / kind)) for page in (folder / kind).rglob("*.html"))


def test_the_docs_name_each_suite_and_show_its_latest_result(tmp_path: Path, gate: GateContext) -> None:
    context = GateContext(tmp_path / "docs")
    for run in ("first", "second"):
        context.check(_SUITE, _FRAME, run, {"last_day": 5})
        index = context.build_docs()
    assert index == context.index
    assert "landing.shop.orders" in index.read_text("utf-8")
    assert _pages(context.folder, "expectations") == ["landing/shop/orders.html"]
    (page,) = _pages(context.folder, "validations")
    assert page.startswith("landing/shop/orders/second/")
    text = (context.folder / "validations" / page).read_text("utf-8")
    assert "landing.shop.orders" in text
    assert "last_day" not in text


def test_docs_of_several_processes_stand_side_by_side(tmp_path: Path, gate: GateContext) -> None:
    for name in ("landing.shop.orders", "release.fct_orders"):
        context = GateContext(tmp_path / "docs")
        context.check(Suite(name, _SUITE.expects), _FRAME, "run", {"last_day": 5})
        text = context.build_docs().read_text("utf-8")
    assert "landing.shop.orders" in text
    assert "release.fct_orders" in text


def test_findings_come_in_the_suite_s_order_with_the_frame_s_labels(gate: GateContext) -> None:
    missing, late, note = gate.check(_SUITE, _FRAME, "run", {"last_day": 5})
    assert (missing.passed, missing.positions) == (False, (20,))
    assert (late.passed, late.positions, late.observed) == (False, (30,), "9")
    assert (note.passed, note.positions) == (True, ())
    assert missing.sentence() == (
        "landing.shop.orders: order_id: is missing in 1 of 3 rows (expect_column_values_to_not_be_null)"
    )


def test_an_expectation_that_cannot_be_computed_counts_as_failed(gate: GateContext) -> None:
    suite = Suite(
        "landing.shop.broken", (Expect("expect_column_values_to_not_be_null", "is missing", "nowhere"),)
    )
    (finding,) = gate.check(suite, _FRAME, "run")
    assert not finding.passed
    assert "nowhere" in (finding.error or "")
    assert "could not be computed" in finding.sentence()


def test_nothing_is_printed(gate: GateContext, capfd: pytest.CaptureFixture[str]) -> None:
    gate.check(_SUITE, _FRAME, "run", {"last_day": 5})
    gate.build_docs()
    assert capfd.readouterr() == ("", "")
