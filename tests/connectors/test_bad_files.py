"""Bad input in the inbox: a damaged file is one clear sentence, a bad row waits in quarantine, the other files land."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from connectors import files as files_room
from connectors import quarantine, registry
from connectors.extract import PullResult
from connectors.files import pull_files
from connectors.landing import Landing
from oms_core.cli.main import app

SOURCE = registry.source("file_drop")
HEADER = "no,at,sku,qty,price,currency"
MAPPING = """
name = "till"
files = "till_*.*"
timezone = "Europe/London"
[columns]
order_number = "no"
ordered_at = "at"
sku_code = "sku"
qty = "qty"
unit_price_amount = "price"
currency = "currency"
"""
GOOD = ["1001,2026-03-01T10:00:00,A,2,9.95,GBP", '1002,2026-07-01T10:00:00,B,1,"1,234.50",GBP']

Pull = Callable[..., dict[str, PullResult]]


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """An inbox with one mapping and one good file."""
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "till.mapping.toml").write_text(MAPPING)
    (folder / "till_good.csv").write_text("\n".join([HEADER, *GOOD]))
    return folder


@pytest.fixture
def pull(inbox: Path, landing: Landing) -> Callable[..., list[PullResult]]:
    """Pull the inbox; the conservation law holds after every pull."""

    def run(**options: Any) -> list[PullResult]:
        results = pull_files(SOURCE, inbox, landing, **options)
        assert all(count.pulled == count.landed + count.quarantined for count in landing.counts())
        assert "nobody foresaw" not in " ".join(item.error or "" for item in results)
        return results

    return run


def landed(landing: Landing) -> list[dict[str, Any]]:
    """Rows in all visible batches."""
    paths = [path for batch in landing.batches() for path in batch.files.values()]
    return [row for path in paths for row in pq.read_table(path).to_pylist()]


def csv_of(*lines: str) -> str:
    return "\n".join([HEADER, *lines]) + "\n"


def good_lands(landing: Landing) -> bool:
    return sum(row["file_name"] == "till_good.csv" for row in landed(landing)) == 2


def test_a_good_file_lands_once(pull: Pull, landing: Landing, inbox: Path) -> None:
    (result,) = pull()
    assert (result.error, result.pulled, result.landed) == (None, 2, 2)
    first, second = landed(landing)
    assert first["net_amount"] == Decimal("19.9000")
    assert first["ordered_at"] == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert second["ordered_at"] == datetime(2026, 7, 1, 9, tzinfo=UTC), "London is an hour ahead in July"
    assert second["unit_price_amount"] == Decimal("1234.5000")
    assert pull() == [], "never twice"
    (inbox / "till_copy.csv").write_bytes((inbox / "till_good.csv").read_bytes())
    assert pull() == [], "nor under another name"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("till_x.csv", b"", "is empty (0 bytes)"),
        ("till_x.xlsx", b"", "is empty (0 bytes)"),
        ("till_x.parquet", b"", "is empty (0 bytes)"),
        ("till_x.csv", b"\n\n", "the first line is empty"),
        ("till_x.csv", b"no,at,sku,qty,price\n", "no column 'currency'"),
        ("till_x.csv", csv_of(GOOD[0]).replace("sku", "article").encode(), "no column 'sku'"),
        ("till_x.csv", b"no,at,sku,qty,price,currency,qty\n", "more than one column 'qty'"),
        (
            "till_x.csv",
            csv_of("1,2026-03-01,caf\xe9,1,1,GBP").encode("latin-1"),
            "not in the encoding 'utf-8-sig'",
        ),
        ("till_x.csv", csv_of(*GOOD).encode("utf-16"), "not in the encoding 'utf-8-sig'"),
        (
            "till_x.csv",
            csv_of("1,2026-03-01," + "x" * 200_000 + ",1,1,GBP").encode(),
            "not readable as CSV near line 2",
        ),
        ("till_x.xlsx", b"<html>not a workbook</html>", "is not a whole XLSX file"),
        ("till_x.parquet", b"PAR1 and then nothing", "is not a whole Parquet file"),
        ("unknown.csv", b"a,b\n1,2\n", "no mapping matches this file name"),
    ],
)
def test_a_file_that_cannot_be_read_is_said_plainly(
    pull: Pull, landing: Landing, inbox: Path, name: str, content: bytes, why: str
) -> None:
    (inbox / name).write_bytes(content)
    errors = [item.error for item in pull() if item.error]
    assert len(errors) == 1
    assert why in errors[0]
    assert name in errors[0]
    assert good_lands(landing)


def test_a_file_that_may_not_be_read_is_said_plainly(pull: Pull, landing: Landing, inbox: Path) -> None:
    (inbox / "till_x.csv").mkdir()
    os.symlink(inbox / "gone", inbox / "till_y.csv")
    errors = [item.error or "" for item in pull() if item.error]
    assert [("cannot be read" in error) for error in errors] == [True, True]
    assert good_lands(landing)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ('timezone = "Mars/Olympus"', "unknown time zone 'Mars/Olympus'"),
        ('encoding = "klingon"', "not in the encoding 'klingon'"),
        ('separator = ";;"', "separator"),
        ('decimal = "x"', "decimal"),
        ('files = ""', "files"),
        ("surprise = 1", "surprise"),
        ("[", "not a TOML file"),
    ],
)
def test_a_wrong_mapping_is_said_plainly(pull: Pull, inbox: Path, change: str, why: str) -> None:
    text = MAPPING.replace('timezone = "Europe/London"', change if change != "[" else "[")
    if change.startswith("files"):
        text = text.replace('files = "till_*.*"\n', "")
    (inbox / "till.mapping.toml").write_text(text)
    errors = [item.error or "" for item in pull() if item.error]
    assert any(why in error for error in errors), errors


def test_a_mapping_to_no_field_or_without_a_needed_one_is_refused(pull: Pull, inbox: Path) -> None:
    (inbox / "till.mapping.toml").write_text(MAPPING.replace("qty = ", "quantity = "))
    (error,) = [item.error or "" for item in pull()]
    assert "no field 'quantity' to map to" in error
    assert "no column for the field 'qty'" in error


def workbook(path: Path, rows: list[list[Any]]) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    book.save(path)
    return path.read_bytes()


def table() -> pa.Table:
    count = 5_000
    return pa.table(
        {
            "no": [f"n{number}" for number in range(count)],
            "at": pa.array([datetime(2026, 3, 1, 10)] * count, pa.timestamp("us")),
            "sku": [f"sku {random.Random(number).random()}" for number in range(count)],
            "qty": [1.0] * count,
            "price": [2.5] * count,
            "currency": ["GBP"] * count,
        }
    )


@pytest.mark.parametrize("suffix", ["xlsx", "parquet"])
def test_a_truncated_or_damaged_file_lands_nothing_and_stops_nothing(
    pull: Pull, landing: Landing, inbox: Path, suffix: str
) -> None:
    path = inbox / f"till_x.{suffix}"
    if suffix == "xlsx":
        rows = [
            HEADER.split(","),
            *([str(n), "2026-03-01T10:00", f"s{n * 7919}", 1, 2.5, "GBP"] for n in range(300)),
        ]
        whole = workbook(path, rows)
    else:
        pq.write_table(table(), path, write_page_checksum=False)
        whole = path.read_bytes()
    dice = random.Random(5)
    damaged = [whole[: len(whole) * part // 10] for part in (1, 5, 9)] + [
        whole[:-1],
        whole[len(whole) // 2 :],
    ]
    for _ in range(12):
        at = dice.randrange(4, len(whole) - 400)
        damaged.append(whole[:at] + dice.randbytes(200) + whole[at + 200 :])
    for content in damaged:
        path.write_bytes(content)
        results = pull()  # never raises; a flipped byte in a text may still read
        assert all(item.error is None or path.name in item.error for item in results)
    assert good_lands(landing)
    path.write_bytes(whole[: len(whole) // 2])
    (result,) = pull()
    assert "is not a whole" in (result.error or "")
    path.write_bytes(whole)
    (result,) = pull()
    assert (result.error, result.quarantined) == (None, 0), "the file that came again whole lands"


def test_a_truncated_csv_keeps_its_whole_rows_and_shows_the_cut_one(
    pull: Pull, landing: Landing, inbox: Path
) -> None:
    (inbox / "till_x.csv").write_text(csv_of(*GOOD)[:-22])
    (inbox / "till_y.csv").write_text(csv_of(GOOD[0], '1003,2026-03-01,"open quote,1,1,GBP', *GOOD))
    results = {item.batch_id: item for item in pull()}
    assert [(item.landed, item.quarantined, item.error) for item in results.values()] == [
        (2, 0, None),
        (1, 1, None),
        (1, 1, None),
    ]
    cut, quoted = quarantine.list_rows(landing)
    assert "cut off or badly quoted" in cut.error
    assert "1002" in quoted.payload, "what the open quote swallowed is kept"


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("1,2026-03-01,A,-1,9.95,GBP", "negative quantity -1"),
        ("1,2026-03-01,A,nan,9.95,GBP", "qty:"),
        ("1,2026-03-01,A,inf,9.95,GBP", "qty:"),
        ("1,2026-03-01,A,1e999999,1e999999,GBP", "qty:"),
        ("1,2026-03-01,A,1e-999999,1,GBP", "qty:"),
        ("1,2026-03-01,A,,9.95,GBP", "qty:"),
        ("1,2026-03-01,A,two,9.95,GBP", "qty:"),
        ('1,2026-03-01,A,1,"12,50",GBP', "unit_price_amount:"),
        ('1,2026-03-01,A,1,"1.234,50",GBP', "unit_price_amount:"),
        ("1,2026-03-01,A,1,£5,GBP", "unit_price_amount:"),
        ("1,2026-03-01,A,1,1.23456,GBP", "unit_price_amount:"),
        ("1,2026-03-01,A,1,9.95,", "currency:"),
        ("1,2026-03-01,A,1,9.95,Pounds", "unknown currency 'Pounds'"),
        ("1,31/12/2026,A,1,9.95,GBP", "ordered_at:"),
        ("1,46082,A,1,9.95,GBP", "a bare number is not a time"),
        ("1,46082.5,A,1,9.95,GBP", "a bare number is not a time"),
        ("1,,A,1,9.95,GBP", "ordered_at:"),
        (",2026-03-01,A,1,9.95,GBP", "order_number:"),
        ("1,2026-03-01,,1,9.95,GBP", "sku_code:"),
        ("1,2026-03-01,A\x00B,1,9.95,GBP", "NUL"),
        ("1,2026-03-01,A,1,9.95", "5 cells where the header has 6"),
        ("1,2026-03-01,A,1,9.95,GBP,,", "8 cells where the header has 6"),
    ],
)
def test_a_bad_row_waits_in_quarantine_with_its_reason(
    pull: Pull, landing: Landing, inbox: Path, line: str, why: str
) -> None:
    (inbox / "till_x.csv").write_text(csv_of(GOOD[0], line, GOOD[1]))
    results = pull()
    assert [(item.error, item.landed, item.quarantined) for item in results] == [(None, 2, 0), (None, 2, 1)]
    (row,) = quarantine.list_rows(landing)
    assert why in row.error
    assert row.row_index == 1
    assert line.encode() in landing.read_page(row.page_sha256)
    (again,) = quarantine.replay(landing, SOURCE, [row])
    assert (again.landed, again.tried) == (0, 1), "no replay lets it in while nothing was mended"


@pytest.mark.parametrize(
    ("quantity", "price", "net"),
    [
        ("１２", "9.95", "119.4"), (" 2 ", "1,000", "2000"), ("2", "12,34,567.8", "2469135.6"), ("1 000", "+1", "1000"),
        ("1\u00a0000", "1e2", "100000"), ("3", "0.33335", None), ("0.333333", "3", "1"),
    ],
)  # fmt: skip
def test_numbers_written_as_people_write_them(
    pull: Pull, landing: Landing, inbox: Path, quantity: str, price: str, net: str | None
) -> None:
    (inbox / "till_good.csv").write_text(csv_of(f'1,2026-03-01,A,"{quantity}","{price}",GBP'))
    (result,) = pull()
    assert result.landed == (net is not None)
    if net is not None:
        assert landed(landing)[0]["net_amount"] == Decimal(net).quantize(Decimal("0.0001"))


def test_a_workbook_row_may_end_early_and_dates_keep_their_zone(
    pull: Pull, landing: Landing, inbox: Path
) -> None:
    rows: list[list[Any]] = [
        [*HEADER.split(","), "note"],
        [1001, datetime(2026, 7, 1, 10), 123.0, 2, 9.95, "GBP", "x"],
        [1002, datetime(2026, 3, 1, 10), "B", 1, 1.5, "GBP"],
        [],
        [1003, 46082.4, "B", 1, 1.5, "GBP"],
        [1004, datetime(2026, 3, 1, 10), "B", "#REF!", True, "GBP"],
    ]
    workbook(inbox / "till_x.xlsx", rows)
    (inbox / "till_good.csv").unlink()
    (result,) = pull()
    assert (result.landed, result.quarantined) == (2, 2)
    first, second = landed(landing)
    assert (first["order_number"], first["sku_code"]) == ("1001", "123")
    assert first["ordered_at"] == datetime(2026, 7, 1, 9, tzinfo=UTC)
    assert second["order_number"] == "1002"


def test_a_table_of_strange_types_is_said_or_quarantined(pull: Pull, landing: Landing, inbox: Path) -> None:
    pq.write_table(pa.table({name: [[1]] for name in HEADER.split(",")}), inbox / "till_a.parquet")
    columns = [
        pa.array([b"1", None]),
        pa.array([None, 5]),
        pa.array([b"\xff", b"a"]),
        pa.array([float("nan"), float("inf")]),
        pa.array([Decimal(2**70), Decimal(1)], pa.decimal256(40, 2)),
        pa.array(["GBP", "GBP"]),
    ]
    pq.write_table(pa.Table.from_arrays(columns, HEADER.split(",")), inbox / "till_b.parquet")
    results = pull()
    assert "nested columns" in (results[0].error or "")
    assert (results[1].landed, results[1].quarantined) == (0, 2)
    assert good_lands(landing)


def test_a_file_that_is_too_large_is_said(
    pull: Pull, landing: Landing, inbox: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files_room, "MAX_FILE_BYTES", 100)
    (inbox / "till_x.csv").write_text(csv_of(*[GOOD[0]] * 10))
    assert sum("split it" in (item.error or "") for item in pull()) == 2


# The command line over such an inbox


def orderhub(*arguments: str) -> tuple[int, str]:
    """Exit code and everything said."""
    result = CliRunner().invoke(app, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


@pytest.fixture
def home(inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """State folder whose inbox is the one above."""
    monkeypatch.setenv("ORDERHUB_FILE_DROP_INBOX", str(inbox))
    for name in list(os.environ):
        if name.startswith("ORDERHUB_") and name != "ORDERHUB_FILE_DROP_INBOX":
            monkeypatch.delenv(name)
    return str(tmp_path / "home")


def test_the_command_line_says_it_in_a_sentence_and_by_exit_code(home: str, inbox: Path) -> None:
    assert orderhub("pull", "file_drop", "--home", home)[0] == 0
    code, said = orderhub("pull", "--home", home)
    assert (code, said.strip()) == (0, "nothing new in the inbox")
    (inbox / "till_empty.csv").write_bytes(b"")
    (inbox / "till_x.csv").write_text(csv_of("1,2026-03-01,A,1,9.95,XXL"))
    code, said = orderhub("pull", "--home", home)
    assert code == 1
    assert "till_empty.csv is empty (0 bytes); ask for it again" in " ".join(said.split())
    code, said = orderhub("quarantine", "list", "--json", "--home", home)
    assert code == 0
    assert [row["error"] for row in json.loads(said)] == [
        "currency: Value error, unknown currency 'XXL': not an ISO 4217 code (received 'XXL')"
    ]
    code, said = orderhub("quarantine", "replay", "file_drop", "--home", home)
    assert code == 0
    assert "0 of 1 landed" in said


def test_the_command_line_tells_a_wrong_call_from_a_failure(
    home: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for arguments in (
        ["pull", "--since", "yesterday"],
        ["pull", "--nonsense"],
        ["quarantine", "replay"],
        ["nothing"],
    ):
        code, said = orderhub(*arguments, *(["--home", home] if arguments[0] == "pull" else []))
        assert code == 2, arguments
        assert "Traceback" not in said
    code, said = orderhub("pull", "nobody", "--home", home)
    assert code in (1, 2)
    assert "no source nobody; there are" in said
    monkeypatch.setenv("ORDERHUB_SQUARE_URL", "http://127.0.0.1:9")
    code, said = orderhub("pull", "square", "--home", home, "--json")
    assert code == 1
    assert all("ORDERHUB_SQUARE_TOKEN is not set" in item["error"] for item in json.loads(said))
    code, said = orderhub("pull", "square", "--stream", "nothing", "--home", home)
    assert code in (1, 2)
    assert "has no stream nothing; it has" in " ".join(said.split())
