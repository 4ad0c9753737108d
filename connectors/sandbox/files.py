"""The dealers' order exports: what people send by mail and drop into a folder.

Each dealer reports in one shape, always the same. Every file holds one row per order line of one calendar
month (UTC) and is written anew, whole, when the month's orders change.

    dealer_csv      `dealer_<yyyymm>.csv`, UTF-8 with a byte order mark, comma. Columns: Order No., Order
                    Date, Item Code, Item, Qty, Unit Price, Discount, Currency, Dealer Code, Dealer Name,
                    E-mail, Country. Dates "31/10/2026 14:05" in UTC; prices "1,234.50" and at times
                    full-width digits; country by name.
    dealer_xlsx     `dealer_<yyyymm>.xlsx`, first sheet. Columns: 订单号, 下单时间, 商品编码, 商品名称, 数量,
                    单价, 折扣, 币种, 经销商编码, 经销商名称, 国家. Times in Asia/Shanghai: real date cells,
                    or texts "2026/10/31 22:05" and "2026年10月31日 22:05"; numbers as numbers or texts.
    dealer_parquet  `dealer_<yyyymm>.parquet`: order_number, ordered_at (timestamp, UTC), sku_code,
                    description, quantity (int64), unit_price, discount (decimal128(18, 4)), currency,
                    dealer_code, dealer_name, email, country (ISO 3166-1 alpha-2). Typed and clean but for
                    one file's null item code.

Item codes are the maker's part number or, with some dealers, the bar code. Beside true rows stand a few that
are none: totals, a row without an order number, words for numbers, an unknown currency; and the last CSV
line of one file is cut.
"""

from __future__ import annotations

import csv
import io
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq

from connectors.sandbox.dirt import Dirt, Script, full_width_digits
from connectors.sandbox.truth import Truth
from connectors.sandbox.world import Channel, Customer, Order, OrderLine, World

CSV_HEADERS = ("Order No.", "Order Date", "Item Code", "Item", "Qty", "Unit Price", "Discount", "Currency",
               "Dealer Code", "Dealer Name", "E-mail", "Country")  # fmt: skip
XLSX_HEADERS = (
    "订单号",
    "下单时间",
    "商品编码",
    "商品名称",
    "数量",
    "单价",
    "折扣",
    "币种",
    "经销商编码",
    "经销商名称",
    "国家",
)
_PARQUET_FIELDS: dict[str, pa.DataType] = {
    "order_number": pa.string(),
    "ordered_at": pa.timestamp("us", "UTC"),
    "sku_code": pa.string(),
    "description": pa.string(),
    "quantity": pa.int64(),
    "unit_price": pa.decimal128(18, 4),
    "discount": pa.decimal128(18, 4),
    "currency": pa.string(),
    "dealer_code": pa.string(),
    "dealer_name": pa.string(),
    "email": pa.string(),
    "country": pa.string(),
}
PARQUET_SCHEMA = pa.schema(_PARQUET_FIELDS)
_COUNTRY_NAMES = {
    "CN": "China",
    "GB": "United Kingdom",
    "DE": "Germany",
    "FR": "France",
    "US": "United States",
    "SG": "Singapore",
    "JP": "Japan",
    "ES": "Spain",
}
_COUNTRY_NAMES_ZH = {
    "CN": "中国",
    "GB": "英国",
    "DE": "德国",
    "FR": "法国",
    "US": "美国",
    "SG": "新加坡",
    "JP": "日本",
    "ES": "西班牙",
}
_SHANGHAI = ZoneInfo("Asia/Shanghai")


@dataclass(frozen=True)
class _Row:
    """One order line as its dealer writes it, before the shape of a file."""

    order: Order
    line: OrderLine
    dealer: Customer
    order_number: str
    sku_code: str
    description: str
    dealer_code: str
    dealer_name: str
    key: str


def write_exports(world: World, dirt: Dirt, folder: Path) -> list[Path]:
    """Write every dealer's exports into `folder` (made if absent) and return the files, sorted.

    Same world and dirt, same bytes. Each file appears whole: it is written beside and renamed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    writers: dict[str, tuple[str, Callable[[list[_Row], Dirt, str], bytes]]] = {
        "dealer_csv": ("csv", _csv),
        "dealer_xlsx": ("xlsx", _xlsx),
        "dealer_parquet": ("parquet", _parquet),
    }
    files: dict[tuple[str, str], list[_Row]] = {}
    for row in _rows(world, dirt):
        files.setdefault((_shape(row.dealer, dirt), f"{row.order.placed_at:%Y%m}"), []).append(row)
    for (shape, month), rows in sorted(files.items(), key=lambda item: item[0]):
        suffix, write = writers[shape]
        path = folder / f"dealer_{month}.{suffix}"
        partial = path.with_name(f".{path.name}.partial")
        partial.write_bytes(write(rows, dirt, month))
        partial.replace(path)
        written.append(path)
    return sorted(written)


def export_truths(world: World, dirt: Dirt) -> Iterator[Truth]:
    """Yield which order, dealer and product the keys in the exports stand for."""
    found: dict[Truth, None] = {}
    for row in _rows(world, dirt):
        prefix = f"file_drop:order_lines:{_shape(row.dealer, dirt)}"
        found[Truth("order", f"{prefix}/{row.order_number}", row.order.order_id)] = None
        found[Truth("customer", f"{prefix}/{row.dealer_code}", row.dealer.customer_id)] = None
        found[Truth("sku", f"{prefix}/{row.sku_code}", row.line.product_id)] = None
    yield from found


def _shape(dealer: Customer, dirt: Dirt) -> str:
    if dealer.address.country == "CN":
        return "dealer_xlsx"
    # By number, not by draw: each shape has its dealers in every world.
    return ("dealer_csv", "dealer_parquet")[int(dealer.customer_id[1:]) % 2]


def _rows(world: World, dirt: Dirt) -> Iterator[_Row]:
    for order in world.orders.values():
        if order.channel is not Channel.DEALER or order.customer_id is None:
            continue
        dealer = world.customers[order.customer_id]
        shape = _shape(dealer, dirt)
        script: Script = "han" if shape == "dealer_xlsx" else "latin"
        uses_barcode = dirt.fraction(f"{dealer.customer_id}/barcode") < 0.3
        number = order.number
        if dirt.chance(f"{order.order_id}/number", 0.03):
            number = full_width_digits(number) if shape == "dealer_xlsx" else number.lower()
        for line in order.lines:
            product = world.products[line.product_id]
            code = product.gtin14.lstrip("0") if uses_barcode else product.mpn
            yield _Row(
                order, line, dealer, number, code,
                dirt.title(product, f"{dealer.customer_id}/{product.product_id}", script),
                f"DLR-{int(dealer.customer_id[1:]):04d}",
                dirt.company(dealer, f"{dealer.customer_id}/{order.placed_at:%m}", script),
                f"{order.order_id}/{line.line_number}",
            )  # fmt: skip


def _money(amount: Decimal, dirt: Dirt, key: str) -> str:
    if dirt.chance(f"{key}/plain", 0.3):
        return str(amount)
    text = f"{amount:,}"
    return full_width_digits(text) if dirt.chance(f"{key}/width", 0.03) else text


def _csv(rows: list[_Row], dirt: Dirt, month: str) -> bytes:
    lines: list[tuple[str, ...]] = [CSV_HEADERS]
    for row in rows:
        order, line, key = row.order, row.line, row.key
        quantity = str(line.quantity)
        lines.append(
            (
                row.order_number,
                f"{order.placed_at:%d/%m/%Y %H:%M}",
                row.sku_code,
                row.description,
                full_width_digits(quantity) if dirt.chance(f"{key}/qty", 0.02) else quantity,
                _money(line.unit_price, dirt, f"{key}/price"),
                _money(line.discount_amount, dirt, f"{key}/discount") if line.discount_amount else "",
                order.currency,
                row.dealer_code,
                row.dealer_name,
                dirt.email(row.dealer, f"{row.dealer.customer_id}/{month}") or "",
                _COUNTRY_NAMES[row.dealer.address.country],
            )
        )
    if dirt.level != "none":
        first = lines[1]
        spoilt = (
            ("", "", "", "TOTAL", str(sum(row.line.quantity for row in rows)), "", "", "", "", "", "", ""),
            ("", *first[1:]),
            (*first[:4], "a dozen", *first[5:]),
            (*first[:4], "-3", *first[5:]),
            (*first[:7], "XXZ", *first[8:]),
            (first[0], "31/02/2026 10:00", *first[2:]),
        )
        lines += [
            spoilt[0],
            *(row for n, row in enumerate(spoilt[1:]) if dirt.chance(f"{month}/spoilt/{n}", 0.5)),
        ]
    text = io.StringIO(newline="")
    csv.writer(text).writerows(lines)
    content = text.getvalue()
    if dirt.level != "none" and month.endswith(("08", "11")):
        # The export broke off while it wrote the first line a second time.
        text = io.StringIO(newline="")
        csv.writer(text).writerow(lines[1])
        content += text.getvalue()[: len(text.getvalue()) // 2]
    return content.encode("utf-8-sig")


def _xlsx(rows: list[_Row], dirt: Dirt, month: str) -> bytes:
    book = openpyxl.Workbook()
    sheet = book.worksheets[0]
    sheet.title = "经销商订单"
    sheet.append(XLSX_HEADERS)
    for row in rows:
        order, line, key = row.order, row.line, row.key
        local = order.placed_at.astimezone(_SHANGHAI).replace(tzinfo=None, second=0)
        when: Any = dirt.pick(
            f"{order.order_id}/date", (local, f"{local:%Y/%m/%d %H:%M}", f"{local:%Y年%m月%d日 %H:%M}")
        )
        price: Any = line.unit_price
        if dirt.chance(f"{key}/price", 0.25):
            price = full_width_digits(f"{price:,}") if dirt.chance(f"{key}/width", 0.3) else f"{price:,}"
        sheet.append(
            (
                row.order_number, when, row.sku_code, row.description, line.quantity, price,
                line.discount_amount if line.discount_amount else None, order.currency, row.dealer_code,
                row.dealer_name, _COUNTRY_NAMES_ZH[row.dealer.address.country],
            )
        )  # fmt: skip
    if dirt.level != "none":
        sheet.append(
            (
                "合计",
                None,
                None,
                None,
                sum(row.line.quantity for row in rows),
                None,
                None,
                None,
                None,
                None,
                None,
            )
        )
        if dirt.chance(f"{month}/missing", 0.5):
            sheet.append((rows[0].order_number, None, "", "赠品", "若干", None, None, "CNY", "", "", "中国"))
    return saved_workbook(book)


def saved_workbook(book: openpyxl.Workbook) -> bytes:
    """Save a workbook without the hour it was saved at, so that equal orders give equal bytes."""
    book.properties.created = datetime(2026, 1, 1)
    first = io.BytesIO()
    book.save(first)
    packed = io.BytesIO()
    with zipfile.ZipFile(first) as source, zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as target:
        for item in source.infolist():
            content = source.read(item)
            if item.filename == "docProps/core.xml":
                head, _, rest = content.partition(b"<dcterms:modified")
                content = head + rest.partition(b"</dcterms:modified>")[2]
            target.writestr(
                zipfile.ZipInfo(item.filename, (2026, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED
            )
    return packed.getvalue()


def _parquet(rows: list[_Row], dirt: Dirt, month: str) -> bytes:
    records: list[dict[str, Any]] = [
        {
            "order_number": row.order_number,
            "ordered_at": row.order.placed_at,
            "sku_code": row.sku_code,
            "description": row.description,
            "quantity": row.line.quantity,
            "unit_price": row.line.unit_price,
            "discount": row.line.discount_amount,
            "currency": row.order.currency,
            "dealer_code": row.dealer_code,
            "dealer_name": row.dealer_name,
            "email": dirt.email(row.dealer, f"{row.dealer.customer_id}/{month}"),
            "country": row.dealer.address.country,
        }
        for row in rows
    ]
    if dirt.chance(f"{month}/null", 0.5):
        records.append({**records[0], "sku_code": None, "quantity": 1})
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(records, schema=PARQUET_SCHEMA), sink, compression="zstd")
    return sink.getvalue()
