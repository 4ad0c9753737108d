"""What a shared article number proves: much on records that name one thing, nothing where it is a filler."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from oms_core.identity.scoring.identifiers import shared_codes

CREAM = ["Luna Rosehip Face Cream 50 ml", "Rosehip Face Cream, Luna, 50ml", "LUNA Face Cream Rosehip 50 ml"]
GOODS = [
    "Garden hose 20 m",
    "Luna Face Cream",
    "USB cable",
    "Fresh salmon",
    "Desk lamp",
    "Oak shelf",
    "Blue pen",
]


def joined(rows: list[dict[str, Any]], files: list[int] | None = None) -> set[int]:
    left, right, _ = shared_codes(rows, None if files is None else np.asarray(files))
    return set(left.tolist()) | set(right.tolist())


@pytest.mark.parametrize("column", ["gtin14", "mpn", "sku_code"])
def test_a_code_on_many_records_of_one_article_joins_them_all(column: str) -> None:
    rows = [{column: "04012345678901", "title": CREAM[at % 3]} for at in range(14)]
    rows += [{column: "LB01-50", "title": CREAM[at % 3]} for at in range(14)]
    expected = set(range(14, 28)) if column == "sku_code" else set(range(28))
    assert joined(rows) == expected


@pytest.mark.parametrize("column", ["gtin14", "mpn", "sku_code"])
def test_a_filler_joins_nothing(column: str) -> None:
    assert joined([{column: "NA-0000", "title": title} for title in GOODS]) == set()
    assert joined([{column: "NA-0000", "title": None} for _ in range(9)]) == set()
    assert (
        joined([{column: "NA-0000", "title": f"{title} {at}"} for title in GOODS for at in range(200)])
        == set()
    )


def test_signs_of_another_script_say_nothing_against_a_code() -> None:
    rows = [{"sku_code": "LB01-50", "title": title} for title in [*CREAM, "露娜玫瑰果面霜50毫升"] * 3]
    assert joined(rows) == set(range(12))


def test_of_two_files_a_code_may_stand_thrice_in_one() -> None:
    rows = [{"sku_code": "NA-0000", "title": title} for title in GOODS]
    assert joined(rows, [0, 0, 0, 0, 1, 1, 1]) == set()
    assert joined(rows[:4], [0, 0, 1, 1]) == {0, 1, 2, 3}


def test_a_million_records_of_one_article_are_chained() -> None:
    rows = [{"sku_code": "LB01-50", "title": CREAM[0]}] * 1000
    left, right, _ = shared_codes(rows, None)
    assert len(left) == 999 and (right - left == 1).all()
