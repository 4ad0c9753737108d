"""The dealers' exports: whole, repeatable, odd in the declared ways, and honest against the truth."""

import csv
import io
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import openpyxl
import pyarrow.parquet as pq
import pytest

from connectors.sandbox.dirt import Dirt
from connectors.sandbox.files import CSV_HEADERS, PARQUET_SCHEMA, XLSX_HEADERS, export_truths, write_exports
from connectors.sandbox.generate import advance, generate
from connectors.sandbox.world import Channel, World


@pytest.fixture(scope="module")
def world() -> World:
    return generate(7, 600)


def csv_rows(folder: Path) -> Iterator[list[str]]:
    for path in sorted(folder.glob("*.csv")):
        yield from csv.reader(io.StringIO(path.read_text("utf-8-sig")))


def test_same_world_same_bytes(world: World, tmp_path: Path) -> None:
    dirt = Dirt(7, "file_drop")
    first = {path.name: path.read_bytes() for path in write_exports(world, dirt, tmp_path / "a")}
    second = {path.name: path.read_bytes() for path in write_exports(world, dirt, tmp_path / "b")}
    assert first == second
    assert {name.rpartition(".")[2] for name in first} == {"csv", "xlsx", "parquet"}
    assert sorted(first) == sorted(path.name for path in (tmp_path / "a").iterdir()), (
        "a partial file was left"
    )


def test_headers_are_the_declared_ones(world: World, tmp_path: Path) -> None:
    for path in write_exports(world, Dirt(7, "file_drop"), tmp_path):
        match path.suffix:
            case ".csv":
                assert path.read_bytes().startswith(b"\xef\xbb\xbf")
                assert tuple(next(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))) == CSV_HEADERS
            case ".xlsx":
                sheet = openpyxl.load_workbook(path).worksheets[0]
                assert next(sheet.iter_rows(values_only=True)) == XLSX_HEADERS
            case _:
                assert pq.read_schema(path).equals(PARQUET_SCHEMA)


def test_without_dirt_the_files_hold_exactly_the_dealers_orders(world: World, tmp_path: Path) -> None:
    clean = Dirt(7, "file_drop", "none")
    money: dict[str, Decimal] = {}
    for path in write_exports(world, clean, tmp_path):
        if path.suffix == ".csv":
            for row in list(csv.reader(io.StringIO(path.read_text("utf-8-sig"))))[1:]:
                amount = Decimal(row[4]) * Decimal(row[5].replace(",", "")) - Decimal(
                    row[6].replace(",", "") or 0
                )
                money[row[0]] = money.get(row[0], Decimal(0)) + amount
        elif path.suffix == ".xlsx":
            sheet = openpyxl.load_workbook(path).worksheets[0]
            for cells in list(sheet.iter_rows(values_only=True))[1:]:
                amount = Decimal(str(cells[4])) * Decimal(str(cells[5])) - Decimal(str(cells[6] or 0))
                money[str(cells[0])] = money.get(str(cells[0]), Decimal(0)) + amount
        else:
            for line in pq.read_table(path).to_pylist():
                amount = line["quantity"] * line["unit_price"] - line["discount"]
                money[line["order_number"]] = money.get(line["order_number"], Decimal(0)) + amount
    dealers = [order for order in world.orders.values() if order.channel is Channel.DEALER]
    assert money == {order.number: order.gross_amount - order.discount_amount for order in dealers}


def test_dirt_adds_rows_that_are_none_and_a_cut_line(world: World, tmp_path: Path) -> None:
    write_exports(world, Dirt(7, "file_drop"), tmp_path)
    rows = list(csv_rows(tmp_path))
    assert any(row[3] == "TOTAL" for row in rows if len(row) > 3)
    assert any(len(row) < len(CSV_HEADERS) for row in rows), "no truncated line"


def test_truth_names_every_order_dealer_and_item_as_printed(world: World, tmp_path: Path) -> None:
    dirt = Dirt(7, "file_drop")
    write_exports(world, dirt, tmp_path)
    truths = list(export_truths(world, dirt))
    assert len({(truth.entity, truth.record_id) for truth in truths}) == len(truths), (
        "one key stands for two things"
    )
    told = {truth.record_id for truth in truths}
    for row in csv_rows(tmp_path):
        if row[0].lower().startswith("dl") and len(row) == len(CSV_HEADERS):
            for value in (row[0], row[2], row[8]):
                assert f"file_drop:order_lines:dealer_csv/{value}" in told
    assert {truth.truth_id for truth in truths if truth.entity == "order"} == {
        order.order_id for order in world.orders.values() if order.channel is Channel.DEALER
    }


def test_keys_stay_when_time_passes(world: World) -> None:
    dirt = Dirt(7, "file_drop")
    later = advance(world, 60, timedelta(days=3))
    assert set(export_truths(world, dirt)) <= set(export_truths(later, dirt))
