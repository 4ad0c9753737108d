"""Read exported files (CSV, XLSX, Parquet) from an inbox folder through their declared column mapping.

A file is one page: archived whole before it is read, landed as one batch, and never landed twice.
"""

from __future__ import annotations

import csv
import hashlib
import io
import logging
import math
import queue
import re
import threading
import time
import tomllib
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_HALF_EVEN, Decimal, InvalidOperation
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import fsspec
import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pydantic import ValidationError

from connectors.columnar import Coded, can_check, check, combine
from connectors.declare import Export, Feed, Record, Source, Stream, UnreadDocument, stream_schemas
from connectors.errors import ConnectorError, DeclarationError, SkippableError, UnreachableError, kind_of
from connectors.extract import Progress, PullResult, committed, land_rows, payload_text, record_hash
from connectors.landing import Batch, Landing, Rejection, RowOrigin

_log = logging.getLogger(__name__)

MAX_FILE_BYTES = 2 * 1024**3
READ_SECONDS = 300.0  # for the bytes of one file, or a list of the inbox
# What storages say of a file that is another when it was written anew.
_VERSION = ("size", "mtime", "last_modified", "LastModified", "ETag", "etag", "updated")
_CHUNK_ROWS = 65_536
_SUFFIXES = {".csv", ".xlsx", ".parquet"}
_MAPPING_SUFFIX = ".mapping.toml"
_FOUR_PLACES = Decimal("0.0001")
_MOST_DIGITS = 24
_GROUPED = {
    ",": re.compile(r"[+-]?\d{1,3}(,\d{2,3})*,\d{3}(\.\d*)?"),
    ".": re.compile(r"[+-]?\d{1,3}(\.\d{2,3})*\.\d{3}(,\d*)?"),
}
T = TypeVar("T")


@dataclass
class Chunk:
    """Rows of a file, column by column: `indices` (n,) row numbers, `columns` header -> (n,) values or Arrow array.

    `broken` holds rows that do not have the header's shape: (row number, what there is, what is wrong).
    """

    indices: list[int]
    columns: Mapping[str, Sequence[Any] | pa.Array[Any]]
    broken: list[tuple[int, dict[str, Any], str]]


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
            results.append(PullResult(source.name, stream.name, error=str(error), error_kind=kind_of(error)))
    for path in sorted(item for item in inbox.iterdir() if item.suffix.lower() in _SUFFIXES):
        result = _pull_export(source, stream, exports, path, landing, progress, again)
        if result is not None:
            results.append(result)
    return results


def pull_feeds(
    source: Source, inbox: str, landing: Landing, *, progress: Progress | None = None, again: bool = False
) -> list[PullResult]:
    """Land every document of the files in an inbox that have not landed yet.

    Args:
        source: a source with feeds.
        inbox: a folder, or the URL of one that fsspec opens, such as `s3://bucket/rebates` or `sftp://host/inbox`.
        landing, progress, again: as for `pull_files`.

    Returns:
        One result for what landed together, and one per file that could not be read. Files land together up to one that
        tells again of a document that an earlier one told of.
    """
    stream = source.streams[0]
    try:
        folder, root = open_folder(inbox)
        folder.invalidate_cache()  # fsspec keeps one object for each address, and what it once listed with it
        entries = _within(READ_SECONDS, lambda: folder.ls(root, detail=True))
        places = sorted(entry["name"] for entry in entries if entry["type"] == "file")
    except FileNotFoundError:
        return []
    except Exception as error:  # each kind of storage raises its own errors
        return [
            _failed(
                source,
                stream,
                SkippableError(
                    f"the inbox {inbox} cannot be listed ({type(error).__name__}: {error}); check the address and its "
                    "credentials"
                ),
            )
        ]
    results: list[PullResult] = []
    gathered = _Gathered(source, stream, landing)
    seen: set[str] = set()  # what one pull finds under two names is one file, too
    try:
        for place in places:
            path = PurePosixPath(place)
            if path.name.startswith("."):
                continue
            try:
                content = _fetch(folder, place)
                digest = hashlib.sha256(content).hexdigest()
                if digest in seen or (landing.has_landed(source.name, digest) and not again):
                    continue
                seen.add(digest)
                feed = next((item for item in source.feeds if path.match(item.files)), None)
                if feed is None:
                    raise DeclarationError(
                        f"{path.name}: no feed reads files of this name; rename it, or take it out of the inbox"
                    )
            except ConnectorError as error:
                _log.error("%s.%s: %s", source.name, stream.name, error)
                results.append(_failed(source, stream, error))
                if isinstance(error, _SilentError):
                    break  # whoever does not answer for one file will not for the next; what came lands
                continue
            results += gathered.add(path.name, content, digest, feed)
            if progress is not None:
                progress(source.name, f"{stream.name} {path.name}", gathered.rows)
        results += gathered.commit()
    except ConnectorError as error:
        gathered.abandon()
        results.append(_failed(source, stream, error))
    except Exception as error:
        # Not even what nobody foresaw may stop the other sources; the log has the whole trace.
        gathered.abandon()
        _log.exception("%s.%s: failed in a way nobody foresaw", source.name, stream.name)
        said = f"{source.name}: failed in a way nobody foresaw ({type(error).__name__}: {error}). Report it with the log."
        results.append(PullResult(source.name, stream.name, error=said, error_kind="unknown"))
    except BaseException:
        gathered.abandon()
        raise
    return results


def _failed(source: Source, stream: Stream, error: ConnectorError) -> PullResult:
    return PullResult(source.name, stream.name, error=f"{source.name}: {error}", error_kind=kind_of(error))


def open_folder(address: str) -> tuple[Any, str]:
    """The storage that an address names, as fsspec sees it, and the place in it."""
    storage, place = fsspec.core.url_to_fs(address)
    return storage, str(place)


class _SilentError(UnreachableError):
    """The inbox does not answer."""


def _fetch(folder: Any, place: str) -> bytes:
    """The bytes of a file, whole and of one version.

    Raises:
        UnreachableError: they did not come, or not all of them.
        SkippableError: the file is not fit to be read, or changed meanwhile.
    """
    name = PurePosixPath(place).name
    try:
        before = folder.info(place)
        if (before["size"] or 0) > MAX_FILE_BYTES:
            raise SkippableError(f"{name}: larger than {MAX_FILE_BYTES >> 30} GiB; split it")
        content = _within(READ_SECONDS, lambda: bytes(folder.cat_file(place)))
        folder.invalidate_cache()
        after = folder.info(place)
    except ConnectorError:
        raise
    except TimeoutError as error:
        raise _SilentError(f"{name} cannot be read: {error}; check the connection to the inbox") from error
    except FileNotFoundError as error:
        raise SkippableError(
            f"{name} cannot be read: renamed or taken away since the inbox was listed; the next pull reads what is there then"
        ) from error
    except (PermissionError, IsADirectoryError) as error:
        raise SkippableError(f"{name} cannot be read: {error}; check its permissions") from error
    except Exception as error:  # each kind of storage raises its own errors
        raise UnreachableError(
            f"{name} cannot be read ({type(error).__name__}: {error}); the next pull tries again"
        ) from error
    if before["size"] not in (None, len(content)) or any(before.get(x) != after.get(x) for x in _VERSION):
        raise SkippableError(f"{name} changed while it was read; the next pull reads it again")
    if not content:
        raise SkippableError(f"{name} is empty (0 bytes); ask for it again")
    return content


def _within(seconds: float, call: Callable[[], T]) -> T:
    """The result of a call that may never return.

    Raises:
        TimeoutError: it did not return in time; its thread is left behind.
    """
    done: queue.SimpleQueue[tuple[T | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((call(), None))
        except BaseException as error:  # handed to who asked
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"nothing came within {seconds:g} s") from None
    if error is not None:
        raise error
    return cast("T", result)


class _Gathered:
    """Files that land as one batch, so that many small ones cost no more than a large one."""

    def __init__(self, source: Source, stream: Stream, landing: Landing) -> None:
        self._source, self._stream, self._landing = source, stream, landing
        self._batch: Batch | None = None
        self._keys: set[tuple[Any, ...]] = set()
        self._started = 0.0
        self.rows = 0

    def add(self, name: str, content: bytes, digest: str, feed: Feed) -> list[PullResult]:
        """Read a file into the batch; the batch before is committed first where the file tells of its documents again."""
        rows: dict[int, dict[str, Any]] = {}
        unread: dict[int, UnreadDocument] = {}
        try:
            for place, document in enumerate(feed.read(name, content)):
                if isinstance(document, UnreadDocument):
                    unread[place] = document
                else:
                    rows[place] = document
        except ValueError as error:
            unread = {0: UnreadDocument("file", str(error))}
        except Exception as error:  # readers of damaged files raise zlib, XML, zip and lookup errors alike
            unread = {0: UnreadDocument("file", f"not readable: {error!r}")}
        keys = {tuple(row.get(field) for field in self._stream.key) for row in rows.values()}
        results = self.commit() if self._keys & keys else []
        if self._batch is None:
            self._batch, self._started = (
                self._landing.open_batch(self._source.name, self._stream),
                time.perf_counter(),
            )
        self._keys |= keys
        self._batch.archive(content, name)
        self._batch.count(self._stream.name, len(rows) + len(unread))
        self.rows += len(rows)
        land_rows(self._batch, self._stream, list(rows.values()), digest, has_nul=True, indices=list(rows))
        for place, document in unread.items():
            # Without its rows no replay can land it: the sender must send it again, whole.
            payload = {"file_name": name, "document": document.name, "bytes": len(content)}
            origin = RowOrigin(digest, place, record_hash(payload))
            said = f"{name}: {document.name}: {document.fault}"
            self._batch.reject(Rejection(self._stream.name, origin, payload_text(payload), said))
        return results

    def commit(self) -> list[PullResult]:
        """Make what was gathered visible."""
        if self._batch is None:
            return []
        batch, self._batch = self._batch, None
        self._keys.clear()
        return [committed(batch, batch.commit(), self._started)]

    def abandon(self) -> None:
        """Forget what was gathered."""
        if self._batch is not None:
            self._batch.abandon()


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


def _pull_export(
    source: Source,
    stream: Stream,
    exports: Sequence[Export],
    path: Path,
    landing: Landing,
    progress: Progress | None,
    again: bool,
) -> PullResult | None:
    export = next((item for item in exports if path.match(item.files)), None)

    def fetch() -> bytes:
        if export is None:
            raise DeclarationError(
                f"{path.name}: no mapping matches this file name; put a <name>{_MAPPING_SUFFIX} beside it"
            )
        return _fetch(*open_folder(str(path)))

    def read(batch: Batch, content: bytes, digest: str) -> None:
        assert export is not None  # else nothing was fetched
        _read_into(batch, stream, export, path, content, digest, source.name, progress)

    return _land_file(source, stream, path.name, landing, again, fetch, read)


def _land_file(
    source: Source,
    stream: Stream,
    name: str,
    landing: Landing,
    again: bool,
    fetch: Callable[[], bytes],
    read: Callable[[Batch, bytes, str], None],
) -> PullResult | None:
    """Archive a file and land what `read` makes of it as one batch; None where it has landed before."""
    started = time.perf_counter()
    batch = landing.open_batch(source.name, stream)
    try:
        content = fetch()
        digest = batch.archive(content, name)
        if landing.has_landed(source.name, digest) and not again:
            return None
        read(batch, content, digest)
        changed = batch.commit()
    except ConnectorError as error:
        batch.abandon()
        _log.error("%s.%s: %s", source.name, stream.name, error)
        return PullResult(
            source.name,
            stream.name,
            seconds=time.perf_counter() - started,
            error=f"{source.name}: {error}",
            error_kind=kind_of(error),
        )
    except Exception as error:
        # Not even what nobody foresaw may stop the other files; the log has the whole trace.
        batch.abandon()
        _log.exception("%s: %s failed in a way nobody foresaw", source.name, name)
        return PullResult(
            source.name,
            stream.name,
            seconds=time.perf_counter() - started,
            error=f"{source.name}: {name} failed in a way nobody foresaw ({type(error).__name__}: {error}); nothing "
            "of it landed. Report it with the log.",
            error_kind="unknown",
        )
    except BaseException:
        batch.abandon()
        raise
    return committed(batch, changed, started)


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
    _check_fields(export, stream.record)
    headers, chunks = _open(export, path, content)
    twice = sorted({header for header in export.columns.values() if headers.count(header) > 1})
    if twice:
        raise DeclarationError(
            f"{path.name}: more than one column {', '.join(map(repr, twice))} that mapping {export.name!r} reads; rename "
            "all but one in the export"
        )
    missing = [header for header in export.columns.values() if header not in headers]
    if missing:
        raise DeclarationError(
            f"{path.name}: no column {', '.join(map(repr, missing))} that mapping {export.name!r} reads; the file has "
            f"{', '.join(map(repr, headers))}. Correct the mapping or the export"
        )
    mapping = _Mapping(export, path.name)
    done = 0
    for chunk in chunks:
        batch.count(stream.name, len(chunk.indices) + len(chunk.broken))
        _land_chunk(batch, stream, mapping, chunk, digest)
        done += len(chunk.indices) + len(chunk.broken)
        if progress is not None:
            progress(source, f"{stream.name} {path.name}", done)


def _land_chunk(batch: Batch, stream: Stream, mapping: _Mapping, chunk: Chunk, digest: str) -> None:
    """Land the rows of a chunk: together where their values are fit and usual, else one by one, to say what is wrong."""
    for index, raw, fault in chunk.broken:
        batch.reject(
            Rejection(stream.name, RowOrigin(digest, index, record_hash(raw)), payload_text(raw), fault)
        )
    if not chunk.indices:
        return
    columns = mapping.apply(chunk)
    is_left = np.ones(len(chunk.indices), np.bool_)
    if can_check(stream.record) and not stream.children:
        schema = stream_schemas(stream)[stream.name]
        checked = check(stream.record, schema, columns, mapping.odd(columns))
        indices = pa.array(np.array(chunk.indices, np.int64)[checked.fits])
        batch.add_columns(checked.columns, digest, indices, checked.record_hashes, set(columns))
        is_left = ~checked.fits
    rest: list[dict[str, Any]] = []
    for position in np.flatnonzero(is_left).tolist():
        row = {name: column.at(position) for name, column in columns.items()}
        wrong = mapping.fault(row)
        if wrong is None:
            rest.append(row)
        else:
            # Without its amount the row passes no replay: the mapping must change first, and then the file is read again.
            row["net_amount"] = None
            origin = RowOrigin(digest, row["line_number"], record_hash(row))
            batch.reject(Rejection(stream.name, origin, payload_text(row), wrong))
    land_rows(batch, stream, rest, digest, has_nul=True, indices=[row["line_number"] for row in rest])


def _check_fields(export: Export, record: type[Record]) -> None:
    """Refuse a mapping with fields the record does not have, or without one that every row needs."""
    given = {*export.columns, *export.constants}
    unknown = sorted(given - set(record.model_fields))
    computed = {"export_name", "file_name", "line_number", "document_type", "net_amount"}
    needed = {name for name, field in record.model_fields.items() if field.is_required()} - computed
    absent = sorted((needed - given) | ({"order_number", "qty", "unit_price_amount"} - set(export.columns)))
    if unknown or absent:
        faults = [f"no field {name!r} to map to" for name in unknown]
        faults += [f"no column for the field {name!r}" for name in absent]
        raise DeclarationError(f"mapping {export.name!r}: {'; '.join(faults)}. Correct the mapping")


def _open(export: Export, path: Path, content: bytes) -> tuple[list[str], Iterator[Chunk]]:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return _open_parquet(path, content)
    if suffix == ".xlsx":
        return _open_xlsx(export, path, content)
    return _open_csv(export, path, content)


def _open_parquet(path: Path, content: bytes) -> tuple[list[str], Iterator[Chunk]]:
    try:
        file = pq.ParquetFile(pa.BufferReader(content))
    except (pa.ArrowInvalid, OSError) as error:
        raise SkippableError(f"{path.name} is not a whole Parquet file: {error}; ask for it again") from error

    nested = [field.name for field in file.schema_arrow if pa.types.is_nested(field.type)]
    if nested:
        raise SkippableError(
            f"{path.name}: nested columns ({', '.join(nested)}) cannot be mapped; export them flat"
        )

    def chunks() -> Iterator[Chunk]:
        first = 0
        for table in _whole(file.iter_batches(_CHUNK_ROWS), path, "Parquet"):
            columns = dict(zip(table.schema.names, table.columns, strict=True))
            yield Chunk(list(range(first, first + table.num_rows)), columns, [])
            first += table.num_rows

    return file.schema_arrow.names, chunks()


def _whole(items: Iterable[T], path: Path, kind: str) -> Iterator[T]:
    """Pass items on; whatever a reader raises on damaged bytes becomes one sentence."""
    try:
        yield from items
    except Exception as error:  # readers of damaged files raise zlib, XML, zip, Arrow and lookup errors alike
        raise SkippableError(f"{path.name} is not a whole {kind} file: {error}; ask for it again") from error


def _open_xlsx(export: Export, path: Path, content: bytes) -> tuple[list[str], Iterator[Chunk]]:
    (book,) = _whole(
        (openpyxl.load_workbook(io.BytesIO(opened), read_only=True, data_only=True) for opened in (content,)),
        path,
        "XLSX",
    )
    if export.sheet is not None and export.sheet not in book.sheetnames:
        raise DeclarationError(f"{path.name}: no sheet {export.sheet!r}; it has {', '.join(book.sheetnames)}")
    if not book.worksheets:
        raise SkippableError(f"{path.name} has no sheet with rows; ask for it again")
    sheet = book[export.sheet] if export.sheet is not None else book.worksheets[0]
    lines = _whole(sheet.iter_rows(values_only=True), path, "XLSX")
    headers = [str(cell).strip() if cell is not None else "" for cell in next(lines, ())]
    if not any(headers):
        raise SkippableError(
            f"{path.name}: the first row of sheet {sheet.title!r} is empty; headers are expected there"
        )
    width = len(headers)
    # A sheet that does not say how wide it is ends each row at its last filled cell.
    filled = (
        (index, (*cells, *[None] * (width - len(cells))))
        for index, cells in enumerate(lines)
        if any(cell is not None for cell in cells)
    )
    return headers, _chunked(headers, filled)


def _open_csv(export: Export, path: Path, content: bytes) -> tuple[list[str], Iterator[Chunk]]:
    try:
        text = content.decode(export.encoding)
    except (ValueError, LookupError) as error:
        raise SkippableError(
            f"{path.name}: not in the encoding {export.encoding!r} that mapping {export.name!r} declares: {error}"
        ) from error
    lines = csv.reader(io.StringIO(text, newline=""), delimiter=export.separator)

    def readable() -> Iterator[list[str]]:
        try:
            yield from lines
        except csv.Error as error:
            raise SkippableError(
                f"{path.name}: not readable as CSV near line {lines.line_num}: {error}"
            ) from error

    rows = readable()
    headers = [cell.strip() for cell in next(rows, [])]
    if not any(headers):
        raise SkippableError(f"{path.name}: the first line is empty; headers are expected there")
    return headers, _chunked(headers, ((index, cells) for index, cells in enumerate(rows) if cells))


def _chunked(headers: list[str], rows: Iterable[tuple[int, Sequence[Any]]]) -> Iterator[Chunk]:
    """Gather rows; those that do not have the header's width go to `broken`."""
    indices: list[int] = []
    cells_of: list[Sequence[Any]] = []
    broken: list[tuple[int, dict[str, Any], str]] = []

    def gathered() -> Chunk:
        columns = dict(zip(headers, map(list, zip(*cells_of, strict=True)), strict=True)) if cells_of else {}
        return Chunk(indices, columns, broken)

    for index, cells in rows:
        if len(cells) != len(headers):
            fault = f"row: {len(cells)} cells where the header has {len(headers)}; cut off or badly quoted"
            broken.append((index, dict(zip(headers, cells, strict=False)), fault))
        else:
            indices.append(index)
            cells_of.append(cells)
        if len(indices) + len(broken) == _CHUNK_ROWS:
            yield gathered()
            indices, cells_of, broken = [], [], []
    if indices or broken:
        yield gathered()


class _Mapping:
    """Turns the columns of one file into a record's fields. Values repeat a lot, so each is converted once."""

    def __init__(self, export: Export, file_name: str) -> None:
        self._export = export
        self._fixed = {**export.constants, "export_name": export.name, "file_name": file_name}
        try:
            self._zone = ZoneInfo(export.timezone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise DeclarationError(
                f"mapping {export.name!r}: unknown time zone {export.timezone!r}"
            ) from error

    def apply(self, chunk: Chunk) -> dict[str, Coded]:
        """Map a chunk: field -> (n,) values, ready for validation."""
        count = len(chunk.indices)
        readers = {"ordered_at": self._read_instant, **dict.fromkeys(_NUMBERS, self._read_number)}
        fields = {
            field: Coded.of(chunk.columns[header]).map(readers.get(field, _read_text))
            for field, header in self._export.columns.items()
        }
        for field, value in self._fixed.items():
            fields[field] = Coded.constant(value, count)
        fields["line_number"] = Coded(list(chunk.indices), np.arange(count))
        prefix = self._export.return_prefix
        fields["document_type"] = fields["order_number"].map(
            lambda number: "return" if prefix is not None and (number or "").startswith(prefix) else "order"
        )
        discount = fields.get("discount_amount", Coded.constant(None, count))
        fields["net_amount"] = combine((fields["qty"], fields["unit_price_amount"], discount), _net)
        return fields

    def odd(self, fields: Mapping[str, Coded]) -> NDArray[np.bool_]:
        """Which rows hold something that is judged row by row: a quantity with a fault, a text with a NUL character."""
        odd = np.zeros(len(fields["line_number"].codes), np.bool_)
        for name, column in fields.items():
            is_odd = (
                [
                    (isinstance(value, str) and "\x00" in value)
                    or (name == "qty" and self._is_negative(value))
                    for value in column.values
                ]
                if name != "line_number"
                else []
            )
            if any(is_odd):
                odd |= np.array(is_odd)[column.codes]
        return odd

    def fault(self, row: Mapping[str, Any]) -> str | None:
        """What the mapping itself finds wrong with a row; the record's model judges the rest."""
        if not self._is_negative(row["qty"]):
            return None
        return f"qty: negative quantity {row['qty']}; mapping {self._export.name!r} does not declare signed quantities"

    def _is_negative(self, quantity: Any) -> bool:
        return not self._export.is_signed and isinstance(quantity, Decimal) and quantity < 0

    def _read_number(self, value: Any) -> Any:
        if isinstance(value, str):
            if not value.strip():
                return None
            return self._read_numeral(value)
        if isinstance(value, float):
            if value != value:
                return None
            return Decimal(repr(value)) if math.isfinite(value) else value
        return Decimal(value) if isinstance(value, int) else value

    def _read_numeral(self, value: str) -> Decimal | str:
        text = unicodedata.normalize("NFKC", value).replace(" ", "")
        thousands = "," if self._export.decimal == "." else "."
        if thousands in text:
            # 12,50 in a file whose decimal separator is the point is not 1250.
            if not _GROUPED[thousands].fullmatch(text):
                return value
            text = text.replace(thousands, "")
        try:
            number = Decimal(text.replace(self._export.decimal, "."))
        except InvalidOperation:
            return value
        # NaN cannot be compared, and 1E+999 overflows when it is multiplied.
        return number if number.is_finite() and abs(number.adjusted()) < _MOST_DIGITS else value

    def _read_instant(self, value: Any) -> Any:
        if isinstance(value, datetime):
            return self._in_zone(value)
        if isinstance(value, date):
            return datetime(value.year, value.month, value.day, tzinfo=self._zone)
        if not isinstance(value, str):
            return value
        text = unicodedata.normalize("NFKC", value).strip()
        for pattern in self._export.date_formats:
            try:
                return self._in_zone(datetime.strptime(text, pattern))
            except ValueError:
                continue
        try:
            return self._in_zone(datetime.fromisoformat(text))
        except ValueError:
            return value

    def _in_zone(self, value: datetime) -> datetime:
        return value if value.tzinfo is not None else value.replace(tzinfo=self._zone)


def _read_text(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, float):
        if value != value:
            return None
        # Spreadsheets and data frames turn codes into numbers: 13085.0 is the code 13085.
        return str(int(value)) if value.is_integer() else repr(value)
    return str(value).strip() or None


_NUMBERS = ("qty", "unit_price_amount", "discount_amount", "tax_amount")


def _net(quantity: Any, price: Any, discount: Any) -> Decimal | None:
    """qty x price - discount, half-even at four decimals; None where one of them is no number."""
    if not isinstance(quantity, Decimal) or not isinstance(price, Decimal):
        return None
    net = quantity * price
    if isinstance(discount, Decimal):
        net -= discount
    exponent = net.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -4:
        return net.quantize(_FOUR_PLACES, rounding=ROUND_HALF_EVEN)
    return net
