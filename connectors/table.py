"""CSV and XLSX files as rows of cells by header, for feeds whose values their records read."""

from __future__ import annotations

import csv
import io
from typing import Any

import openpyxl


def read_table(name: str, content: bytes) -> list[dict[str, Any]]:
    """Read a CSV file (UTF-8, with or without a mark) or the first sheet of an XLSX file.

    Returns:
        One row per line: header -> text, number, date or None; empty cells and lines are none.

    Raises:
        ValueError: it has no header, a header twice, or a line that is longer or shorter than the header.
    """
    if name.lower().endswith(".xlsx"):
        sheet = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True).worksheets[0]
        lines: list[list[Any]] = [list(line) for line in sheet.iter_rows(values_only=True)]
    else:
        lines = list(csv.reader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    filled = [(number, [_cell(cell) for cell in line]) for number, line in enumerate(lines, start=1)]
    (_, header), *rest = [line for line in filled if any(cell is not None for cell in line[1])] or [(0, [])]
    names = [str(cell) for cell in header if cell is not None]
    if len(names) != len(header) or len(set(names)) != len(names) or not names:
        raise ValueError(f"the header {header} is empty, has an empty cell or names a column twice")
    rows = []
    for number, line in rest:
        if name.lower().endswith(".xlsx"):
            # A sheet that does not say how wide it is ends each row at its last filled cell.
            line += [None] * (len(names) - len(line))
        if len(line) != len(names):
            raise ValueError(
                f"line {number} has {len(line)} cells where the header has {len(names)}; cut off or badly quoted"
            )
        rows.append(dict(zip(names, line, strict=True)))
    return rows


def _cell(value: Any) -> Any:
    return value.strip() or None if isinstance(value, str) else value
