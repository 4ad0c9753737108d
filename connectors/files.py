"""Read exported files (CSV, XLSX, Parquet) from an inbox folder through their declared column mapping.

A file is one page: archived whole before it is read, landed as one batch, and never landed twice.
"""

from __future__ import annotations

import csv
import io
import logging
import time
import tomllib
import unicodedata
import zipfile
from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from openpyxl.utils.exceptions import InvalidFileException
from pydantic import ValidationError

from connectors.declare import Export, Source, Stream
from connectors.errors import ConnectorError, DeclarationError, SkippableError
from connectors.extract import Progress, PullResult, land_rows, payload_text, record_hash
from connectors.landing import Batch, Landing, Rejection, RowOrigin

_log = logging.getLogger(__name__)

MAX_FILE_BYTES = 2 * 1024**3
_CHUNK_ROWS = 20_000
_SUFFIXES = {".csv", ".xlsx", ".parquet"}
_MAPPING_SUFFIX = ".mapping.toml"
_FOUR_PLACES = Decimal("0.0001")

Rows = Iterator[list[tuple[int, dict[str, Any]]]]  # chunks of (row index, header -> value)


def pull_files(
    source: Source, inbox: Path, landing: Landing, *, progress: Progress | None = None, again: bool = False
) -> list[PullResult]:
    """Land every file of the inbox that has not landed yet.

    Args:
        source: a source with exports.
        inbox: folder with files and, beside them, mappings of your own (`<name>.mapping.toml`).
        landing: where rows and bytes go.
        progress: called after each chunk of rows.
        again: read files that have landed before, too.

    Returns:
        One result per file that was new or could not be read.
    """
    stream = source.streams[0]
    if not inbox.is_dir():
        return []
    results = []
    exports = list(source.exports)
    for path in sorted(inbox.glob(f"*{_MAPPING_SUFFIX}")):
        try:
            exports.insert(0, load_mapping(path))
        except ConnectorError as error:
            results.append(PullResult(source.name, stream.name, error=str(error)))
    for path in sorted(item for item in inbox.iterdir() if item.suffix.lower() in _SUFFIXES):
        result = _pull_file(source, stream, exports, path, landing, progress, again)
        if result is not None:
            results.append(result)
    return results


def load_mapping(path: Path) -> Export:
    """Read an export mapping from TOML.

    Raises:
        DeclarationError: the file is not TOML or a field is wrong.
    """
    try:
        return Export.model_validate(tomllib.loads(path.read_text("utf-8")))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise DeclarationError(f"{path.name}: not a TOML file: {error}") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise DeclarationError(f"{path.name}: {faults}") from error


def _pull_file(
    source: Source,
    stream: Stream,
    exports: Sequence[Export],
    path: Path,
    landing: Landing,
    progress: Progress | None,
    again: bool,
) -> PullResult | None:
    started = time.perf_counter()
    batch = landing.open_batch(source.name, stream)
    try:
        export = next((item for item in exports if path.match(item.files)), None)
        if export is None:
            raise DeclarationError(
                f"{path.name}: no mapping matches this file name; put a <name>{_MAPPING_SUFFIX} beside it"
            )
        if path.stat().st_size > MAX_FILE_BYTES:
            raise SkippableError(f"{path.name}: larger than {MAX_FILE_BYTES >> 30} GiB; split it")
        content = path.read_bytes()
        if not content:
            raise SkippableError(f"{path.name} is empty (0 bytes); ask for it again")
        digest = batch.archive(content, path.name)
        if landing.has_landed(source.name, digest) and not again:
            return None
        _read_into(batch, stream, export, path, content, digest, source.name, progress)
        changed = batch.commit()
    except ConnectorError as error:
        batch.abandon()
        _log.error("%s.%s: %s", source.name, stream.name, error)
        return PullResult(
            source.name, stream.name, seconds=time.perf_counter() - started, error=f"{source.name}: {error}"
        )
    except BaseException:
        batch.abandon()
        raise
    return PullResult(
        source=source.name,
        stream=stream.name,
        batch_id=batch.batch_id,
        pulled=sum(batch.pulled.values()),
        landed=sum(batch.landed.values()),
        quarantined=len(batch.rejections),
        changed=changed,
        pages=1,
        seconds=time.perf_counter() - started,
        drift=batch.drift(),
    )


def _read_into(
    batch: Batch,
    stream: Stream,
    export: Export,
    path: Path,
    content: bytes,
    digest: str,
    source: str,
    progress: Progress | None,
) -> None:
    mapper = _mapper(export, path.name)
    headers, chunks = _open(export, path, content)
    missing = [header for header in export.columns.values() if header not in headers]
    if missing:
        raise DeclarationError(
            f"{path.name}: no column {', '.join(map(repr, missing))} that mapping {export.name!r} reads; the file has "
            f"{', '.join(map(repr, headers))}. Correct the mapping or the export"
        )
    has_nul = b"\x00" in content if path.suffix.lower() == ".csv" else True
    done = 0
    for chunk in chunks:
        rows, first, following = [], None, None
        for index, raw in chunk:
            row, fault = mapper(index, raw)
            if fault is not None:
                origin = RowOrigin(digest, index, record_hash(raw))
                batch.reject(Rejection(stream.name, origin, payload_text(row), fault))
                continue
            if first is not None and index != following:
                land_rows(batch, stream, rows, digest, first_index=first, has_nul=_any_nul(rows, has_nul))
                rows, first = [], None
            if first is None:
                first = index
            following = index + 1
            rows.append(row)
        if first is not None:
            land_rows(batch, stream, rows, digest, first_index=first, has_nul=_any_nul(rows, has_nul))
        done += len(chunk)
        if progress is not None:
            progress(source, f"{stream.name} {path.name}", done)


def _any_nul(rows: Sequence[dict[str, Any]], may_hold: bool) -> bool:
    return may_hold and any(isinstance(value, str) and "\x00" in value for row in rows for value in row.values())


def _open(export: Export, path: Path, content: bytes) -> tuple[list[str], Rows]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path, content)
    if suffix == ".xlsx":
        return _open_xlsx(export, path, content)
    return _open_csv(export, path, content)


def _open_parquet(path: Path, content: bytes) -> tuple[list[str], Rows]:
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise SkippableError(f"{path.name} is not a whole Parquet file: {error}; ask for it again") from error

    def chunks() -> Rows:
        index = 0
        for table in file.iter_batches(_CHUNK_ROWS):
            names = table.schema.names
            columns = [column.to_pylist() for column in table.columns]
            rows = [
                (index + offset, dict(zip(names, values, strict=True)))
                for offset, values in enumerate(zip(*columns, strict=True))
            ]
            index += len(rows)
            yield rows

    return file.schema_arrow.names, chunks()


def _open_xlsx(export: Export, path: Path, content: bytes) -> tuple[list[str], Rows]:
    try:
        book = openpyxl.load_workbook(io.BytesIO(content), read_only=True, data_only=True)
    except (zipfile.BadZipFile, InvalidFileException, KeyError, OSError, EOFError) as error:
        raise SkippableError(f"{path.name} is not a whole XLSX file: {error}; ask for it again") from error
    if export.sheet is not None and export.sheet not in book.sheetnames:
        raise DeclarationError(f"{path.name}: no sheet {export.sheet!r}; it has {', '.join(book.sheetnames)}")
    sheet = book[export.sheet] if export.sheet is not None else book[book.sheetnames[0]]
    lines = sheet.iter_rows(values_only=True)
    headers = [str(cell).strip() if cell is not None else "" for cell in next(lines, ())]
    if not any(headers):
        raise SkippableError(f"{path.name}: the first row of sheet {sheet.title!r} is empty; headers are expected there")
    return headers, _chunked(_numbered(lines, headers))


def _numbered(lines: Iterator[Sequence[Any]], headers: list[str]) -> Iterator[tuple[int, dict[str, Any]]]:
    for index, cells in enumerate(lines):
        if any(cell is not None for cell in cells):
            yield index, dict(zip(headers, cells, strict=False))


def _open_csv(export: Export, path: Path, content: bytes) -> tuple[list[str], Rows]:
    try:
        text = content.decode(export.encoding)
    except (UnicodeDecodeError, LookupError) as error:
        raise SkippableError(
            f"{path.name}: not in the encoding {export.encoding!r} that mapping {export.name!r} declares: {error}"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=export.separator)
    headers = [cell.strip() for cell in next(lines, [])]
    if not any(headers):
        raise SkippableError(f"{path.name}: the first line is empty; headers are expected there")

    def rows() -> Iterator[tuple[int, dict[str, Any]]]:
        try:
            for index, cells in enumerate(lines):
                if not cells:
                    continue
                row: dict[str, Any] = dict(zip(headers, cells, strict=False))
                if len(cells) != len(headers):
                    row[_WRONG_WIDTH] = f"{len(cells)} cells where the header has {len(headers)}; cut off or badly quoted"
                yield index, row
        except csv.Error as error:
            raise SkippableError(f"{path.name}: not readable as CSV near line {lines.line_num}: {error}") from error

    return headers, _chunked(rows())


_WRONG_WIDTH = "\x00width"


def _chunked(rows: Iterator[tuple[int, dict[str, Any]]]) -> Rows:
    chunk: list[tuple[int, dict[str, Any]]] = []
    for row in rows:
        chunk.append(row)
        if len(chunk) == _CHUNK_ROWS:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


Mapper = Callable[[int, dict[str, Any]], tuple[dict[str, Any], str | None]]


def _mapper(export: Export, file_name: str) -> Mapper:
    """Build the function that turns one raw row into a record's fields, or says why it cannot."""
    try:
        zone = ZoneInfo(export.timezone)
    except (ZoneInfoNotFoundError, ValueError) as error:
        raise DeclarationError(f"mapping {export.name!r}: unknown time zone {export.timezone!r}") from error

    @lru_cache(maxsize=65536)
    def number(value: str) -> Decimal | str:
        text = unicodedata.normalize("NFKC", value).strip().replace(" ", "").replace("\u00a0", "")
        text = text.replace("," if export.decimal == "." else ".", "").replace(export.decimal, ".")
        try:
            return Decimal(text)
        except InvalidOperation:
            return value

    @lru_cache(maxsize=65536)
    def instant(value: str) -> datetime | str:
        text = unicodedata.normalize("NFKC", value).strip()
        for pattern in export.date_formats:
            try:
                return _in_zone(datetime.strptime(text, pattern), zone)
            except ValueError:
                continue
        try:
            return _in_zone(datetime.fromisoformat(text), zone)
        except ValueError:
            return value

    def decimal(value: Any) -> Any:
        if isinstance(value, str):
            return number(value) if value.strip() else None
        if isinstance(value, float):
            return Decimal(repr(value)) if value == value else None
        return Decimal(value) if isinstance(value, int) else value

    def when(value: Any) -> Any:
        if isinstance(value, str):
            return instant(value)
        if isinstance(value, datetime):
            return _in_zone(value, zone)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=zone)
        return value

    def text(value: Any) -> str | None:
        if value is None:
            return None
        if isinstance(value, float):
            if value != value:
                return None
            # Spreadsheets and data frames turn codes into numbers: 13085.0 is the code 13085.
            return str(int(value)) if value.is_integer() else repr(value)
        return str(value).strip() or None

    numbers = {"qty", "unit_price_amount", "discount_amount", "tax_amount"}
    readers = [
        (field, header, decimal if field in numbers else when if field == "ordered_at" else text)
        for field, header in export.columns.items()
    ]
    fixed = {**export.constants, "export_name": export.name, "file_name": file_name}
    return_prefix = export.return_prefix

    def convert(index: int, raw: dict[str, Any]) -> tuple[dict[str, Any], str | None]:
        if _WRONG_WIDTH in raw:
            fault = raw.pop(_WRONG_WIDTH)
            return raw, f"row: {fault}"
        row: dict[str, Any] = dict(fixed)
        for field, header, read in readers:
            row[field] = read(raw[header])
        row["line_number"] = index
        order_number = row["order_number"]
        is_return = return_prefix is not None and (order_number or "").startswith(return_prefix)
        row["document_type"] = "return" if is_return else "order"
        quantity, price, discount = row["qty"], row["unit_price_amount"], row.get("discount_amount")
        if isinstance(quantity, Decimal) and isinstance(price, Decimal):
            if quantity < 0 and not export.is_signed:
                return row, f"qty: negative quantity {quantity}; mapping {export.name!r} does not declare signed quantities"
            net = quantity * price - (discount if isinstance(discount, Decimal) else Decimal(0))
            exponent = net.as_tuple().exponent
            if isinstance(exponent, int) and exponent < -4:
                net = net.quantize(_FOUR_PLACES, rounding=ROUND_HALF_EVEN)
            row["net_amount"] = net
        return row, None

    return convert


def _in_zone(value: datetime, zone: ZoneInfo) -> datetime:
    return value if value.tzinfo is not None else value.replace(tzinfo=zone)
