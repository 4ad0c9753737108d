"""Read anybody's CSV or Parquet file as a table of text, and write tables as either.

Delimiter, encoding, quoting and header are found out, and everything that had to be assumed, repaired or left out is
said in `Records.notes`. Nothing here needs a declared mapping; `connectors.files` lands declared exports.
"""

from __future__ import annotations

import csv
import gzip
import io
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

DELIMITERS = (",", ";", "\t", "|")
# Seen in published data sets where the usual four stand inside values.
_RARE_DELIMITERS = ("#", "%", ">", "^", "~", "\x01", "\x1f")
_SAMPLE_BYTES = 1 << 18
_SAMPLE_ROWS = 200
_BLOCK_BYTES = 1 << 24
_EXAMPLES = 3
# What exports write where there is nothing. Not "NA" (Namibia) and not "Null" or "None" in mixed case, which are names.
_NOTHING = pa.array(
    ["", "NULL", "null", "NaN", "nan", "N/A", "n/a", "#N/A", "<NA>", "\\N", "-", "--", "?", "."]
)
# A value of this many lines is not a value: a quotation mark was opened and never closed.
_MOST_LINES = 1000


class FileError(Exception):
    """A file cannot be read or written; the message says which, why, and what to do.

    `is_call`: another file name or option is wanted, rather than another file.
    """

    def __init__(self, message: str, *, is_call: bool = False) -> None:
        super().__init__(message)
        self.is_call = is_call


@dataclass(frozen=True)
class Records:
    """A file as read.

    `table` has text columns only, in the file's order, spaces at both ends removed, and null where there is nothing.
    `format` says what the file was found to be, `notes` what had to be assumed, repaired or left out.
    """

    path: Path
    table: pa.Table
    format: str
    notes: tuple[str, ...] = ()


def read(path: Path, encoding: str | None = None) -> Records:
    """Read a CSV or Parquet file, gzipped or not; what it is, is found out from its bytes, not from its name.

    Args:
        path: the file.
        encoding: of a CSV file, by its Python name, such as "shift_jis"; found out where None.

    Raises:
        FileError: the file is missing, empty, damaged, of another kind, or not in `encoding`.
    """
    try:
        raw = path.read_bytes()
    except IsADirectoryError as error:
        raise FileError(f"{path} is a folder; name a CSV or Parquet file", is_call=True) from error
    except OSError as error:
        raise FileError(
            f"{path} cannot be read: {error.strerror}; check the name and its permissions", is_call=True
        ) from error
    packed = raw[:2] == b"\x1f\x8b"
    if packed:
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError, zlib.error) as error:
            raise FileError(f"{path} is not a whole gzip file: {error}; ask for it again") from error
    suffix = ", gzip" if packed else ""
    if raw[:4] == b"PAR1":
        table, notes = _read_parquet(path, raw)
        return Records(path, _cleaned(table), f"Parquet{suffix}", tuple(notes))
    if raw[:4] == b"PK\x03\x04" or raw[:8] == b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1":
        raise FileError(f"{path} is a spreadsheet or an archive; save it as CSV or Parquet first")
    if not raw.strip(b"\x00 \t\r\n\xef\xbb\xbf\xff\xfe"):
        raise FileError(f"{path} is empty: not even a header; ask for it again")
    notes = []
    text, name = _decode(path, raw, encoding, notes)
    table, delimiter = _read_csv(path, text, notes)
    shown = {"\t": "tab", "\x01": "\\x01", "\x1f": "\\x1f"}.get(delimiter, delimiter)
    return Records(path, _cleaned(table), f"CSV, {name}, delimiter {shown}{suffix}", tuple(notes))


def write(table: pa.Table, path: Path) -> None:
    """Write a table as Parquet where the name ends in .parquet, as CSV otherwise (gzipped where it ends in .gz).

    Raises:
        FileError: the file cannot be written.
    """
    try:
        if path.name.lower().endswith(".parquet"):
            pq.write_table(table, path)
        elif path.name.lower().endswith(".gz"):
            with pa.output_stream(path, compression="gzip") as packed:
                pacsv.write_csv(table, packed)
        else:
            pacsv.write_csv(table, path)
    except OSError as error:
        raise FileError(f"{path} cannot be written: {error.strerror or error}; check the folder") from error


def _cleaned(table: pa.Table) -> pa.Table:
    """Spaces at both ends removed; null where nothing, or only a mark for nothing, is left."""
    columns = []
    for column in table.columns:
        text = pc.utf8_trim_whitespace(column)
        empty = pc.is_in(text, value_set=_NOTHING)
        columns.append(pc.if_else(empty, pa.scalar(None, pa.string()), text))
    return pa.table(columns, names=table.column_names)


# Parquet


def _read_parquet(path: Path, raw: bytes) -> tuple[pa.Table, list[str]]:
    try:
        table = pq.read_table(pa.BufferReader(raw))
    except (pa.ArrowException, OSError) as error:
        raise FileError(f"{path} is not a whole Parquet file: {error}; ask for it again") from error
    notes: list[str] = []
    names, columns = [], []
    left_out = []
    for name, column in zip(_names(table.column_names, notes), table.columns, strict=True):
        text = _as_text(column)
        if text is None:
            left_out.append(name)
        else:
            names.append(name)
            columns.append(text)
    if left_out:
        notes.append(f"nested or binary columns left out: {', '.join(left_out)}")
    if not names:
        raise FileError(f"{path} has no column of text, numbers or dates; export it flat")
    return pa.table(columns, names=names), notes


def _as_text(column: Any) -> Any:
    """A column as text; None where its values are none."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _as_text(column.cast(kind.value_type))
    if pa.types.is_nested(kind):
        return None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        try:
            return column.cast(pa.binary()).cast(pa.string())
        except pa.ArrowInvalid:
            return None
    if pa.types.is_floating(kind):
        # Whole numbers become floating ones where a value is missing: 1024.0 means 1024.
        try:
            return column.cast(pa.int64(), safe=True).cast(pa.string())
        except pa.ArrowInvalid:
            return column.cast(pa.string())
    if pa.types.is_timestamp(kind):
        midnight = pc.equal(pc.cast(pc.cast(column, pa.date32(), safe=False), kind), column)
        if pc.all(midnight).as_py():
            column = pc.cast(column, pa.date32(), safe=False)
    return column.cast(pa.string())


# Encodings


def _decode(path: Path, raw: bytes, encoding: str | None, notes: list[str]) -> tuple[str | bytes, str]:
    """The text of a file (UTF-8 bytes where it is that already), and the name of its encoding."""
    if encoding is not None:
        try:
            return raw.decode(encoding).removeprefix("\ufeff"), encoding
        except LookupError as error:
            raise FileError(
                f"--encoding {encoding!r} is unknown; try utf-8, gb18030, cp1252 or shift_jis", is_call=True
            ) from error
        except UnicodeDecodeError as error:
            raise FileError(
                f"{path} is not {encoding}: byte {error.start} does not fit; leave --encoding out",
                is_call=True,
            ) from error
    for mark, name in ((b"\xef\xbb\xbf", "UTF-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")):
        if raw.startswith(mark) and name == "UTF-16":
            return _wide(raw, "utf-16", notes), name
        if raw.startswith(mark):
            raw = raw[len(mark) :]
    head = raw[:4096]
    for place, name in ((1, "utf-16-le"), (0, "utf-16-be")):
        if (
            len(head) >= 4
            and head[place::2].count(0) > len(head) * 0.2
            and head[1 - place :: 2].count(0) == 0
        ):
            return _wide(raw, name, notes), "UTF-16"
    if b"\x00" in raw:
        notes.append(f"{raw.count(0):,} NUL bytes removed")
        raw = raw.replace(b"\x00", b"")
    if raw.isascii():
        return raw, "ASCII"
    try:
        raw.decode("utf-8")
        return raw, "UTF-8"
    except UnicodeDecodeError:
        return _legacy(raw, notes)


def _wide(raw: bytes, name: str, notes: list[str]) -> str:
    text = raw.decode(name, errors="replace")
    if "\ufffd" in text:
        notes.append(f"{text.count(chr(0xFFFD)):,} characters were not whole UTF-16 and stand as \ufffd")
    return text.removeprefix("\ufeff").replace("\x00", "")


def _legacy(raw: bytes, notes: list[str]) -> tuple[str, str]:
    """Decode line by line what is not UTF-8 as a whole: lines that are UTF-8 as such, the others as one older encoding."""
    lines = raw.split(b"\n")
    fit: list[int] = []
    unfit: list[int] = []
    for place, line in enumerate(lines):
        if not line.isascii():
            (fit if _is_utf8(line) else unfit).append(place)
    older = _older_encoding(b"\n".join(lines[place] for place in unfit[:20_000]))
    if older == "gb18030":
        # Two-byte sequences are both Chinese in GB 18030 and, by chance, letters in UTF-8; Chinese in UTF-8 takes three.
        fit = [place for place in fit if max(lines[place].decode("utf-8")) >= "\u0800"]
    as_utf8 = set(fit)
    damaged = 0
    read = []
    counts: Counter[str] = Counter()
    for place, line in enumerate(lines):
        if line.isascii():
            read.append(line.decode("ascii"))
            continue
        if place in as_utf8:
            name = "utf-8"
        elif _is_damaged_utf8(line):
            name, damaged = "utf-8", damaged + 1
        else:
            name = older
        counts[name] += 1
        try:
            read.append(line.decode(name))
        except UnicodeDecodeError:
            damaged += name != "utf-8"
            read.append(line.decode(name, errors="replace"))
    shown = {"utf-8": "UTF-8", "gb18030": "GB18030", "cp1252": "CP1252", "latin-1": "Latin-1"}
    if len(counts) > 1:
        parts = " and ".join(f"{count:,} as {shown[name]}" for name, count in sorted(counts.items()))
        notes.append(f"mixed encodings: of the lines beyond ASCII, {parts} (each line read as what it is)")
    if damaged:
        notes.append(f"{damaged:,} lines hold bytes of no encoding; those characters stand as \ufffd")
    return "\n".join(read), " and ".join(shown[name] for name in sorted(counts))


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_damaged_utf8(line: bytes) -> bool:
    """Whether a line is UTF-8 but for a few bytes: most of what is beyond ASCII decodes."""
    text = line.decode("utf-8", errors="replace")
    lost = text.count("\ufffd")
    return sum(sign > "\x7f" for sign in text) - lost > 2 * lost


def _older_encoding(sample: bytes) -> str:
    """GB 18030 where the text reads as everyday Chinese, otherwise Windows' Western code page or, with its gaps, Latin-1."""
    try:
        wide = [sign for sign in sample.decode("gb18030") if sign > "\x7f"][:20_000]
    except UnicodeDecodeError:
        wide = []
        for line in sample.split(b"\n"):
            try:
                wide += [sign for sign in line.decode("gb18030") if sign > "\x7f"]
            except UnicodeDecodeError:
                wide += "\ufffd" * (sum(byte > 0x7F for byte in line) // 2)
    common = sum(_is_everyday_chinese(sign) for sign in wide)
    if wide and common >= 0.8 * len(wide):
        return "gb18030"
    try:
        sample.decode("cp1252")
    except UnicodeDecodeError:
        return "latin-1"
    return "cp1252"


def _is_everyday_chinese(sign: str) -> bool:
    """Whether a sign is in the first level of GB 2312 (3,755 everyday characters) or its punctuation and wide Latin."""
    code = sign.encode("gb2312", errors="ignore")
    return len(code) == 2 and (0xB0 <= code[0] <= 0xD7 or 0xA1 <= code[0] <= 0xA3)


# CSV


def _read_csv(path: Path, text: str | bytes, notes: list[str]) -> tuple[pa.Table, str]:
    encoded = text.encode("utf-8") if isinstance(text, str) else text
    start = len(encoded) - len(encoded.lstrip(b"\r\n \t"))
    encoded = encoded[encoded.rfind(b"\n", 0, start) + 1 if b"\n" in encoded[:start] else 0 :]
    declared = re.match(rb'\s*"?sep=(.)"?\r?\n', encoded)
    if declared:
        encoded = encoded[declared.end() :]
    sample = encoded[:_SAMPLE_BYTES].decode("utf-8", errors="ignore")
    if len(encoded) > _SAMPLE_BYTES:
        sample = sample[: sample.rfind("\n") + 1] or sample
    delimiter = declared.group(1).decode() if declared else _sniff(sample)
    escape = "\\" if _escapes_quotes(sample, delimiter) else None
    header_end, header = _header(encoded, delimiter, escape)
    if _is_data(header):
        notes.append("no header: the first row holds data; columns are named column_1, column_2, …")
        header, header_end = [f"column_{place}" for place in range(1, len(header) + 1)], 0
    names = _names(header, notes)
    body = memoryview(encoded)[header_end:]
    if not bytes(body[:4096]).strip() and not bytes(body).strip():
        return pa.table({name: pa.array([], pa.string()) for name in names}), delimiter
    table = _parse(body, names, delimiter, escape)
    if table is not None and not _has_open_quote(table):
        return table, delimiter
    rows = encoded[header_end:].decode("utf-8", errors="replace")
    quoted = table is None and _longest_value(rows, delimiter, escape) <= _MOST_LINES
    if not quoted:
        notes.append(
            "a quotation mark is opened and never closed: quotation marks are read as any other sign"
        )
    return _parse_slowly(path, rows, names, delimiter, escape, quoted, notes), delimiter


def _parse(body: memoryview, names: Sequence[str], delimiter: str, escape: str | None) -> pa.Table | None:
    """Parse in parallel; None where a row has not as many fields as the header or the parser loses its way."""
    uneven = False

    def note(_: object) -> Literal["skip"]:
        nonlocal uneven
        uneven = True
        return "skip"

    try:
        table = pacsv.read_csv(
            io.BytesIO(body),
            read_options=pacsv.ReadOptions(column_names=list(names), block_size=_BLOCK_BYTES),
            parse_options=pacsv.ParseOptions(
                delimiter=delimiter,
                escape_char=escape or False,
                newlines_in_values=True,
                invalid_row_handler=note,
            ),
            convert_options=pacsv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowInvalid:
        return None
    return None if uneven else table


def _has_open_quote(table: pa.Table) -> bool:
    for column in table.columns:
        longest = pc.max(pc.binary_length(column)).as_py() or 0
        if longest > _MOST_LINES and (pc.max(pc.count_substring(column, "\n")).as_py() or 0) > _MOST_LINES:
            return True
    return False


def _rows(text: str, delimiter: str, escape: str | None, quoted: bool = True) -> Iterator[list[str]]:
    before = csv.field_size_limit(1 << 30)
    try:
        yield from csv.reader(
            io.StringIO(text, newline=""),
            delimiter=delimiter,
            escapechar=escape,
            doublequote=escape is None,
            quoting=csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE,
        )
    finally:
        csv.field_size_limit(
            before
        )  # the limit is the whole process's; others read untrusted files under theirs


def _longest_value(text: str, delimiter: str, escape: str | None) -> int:
    return max((value.count("\n") for row in _rows(text, delimiter, escape) for value in row), default=0)


def _parse_slowly(
    path: Path,
    text: str,
    names: Sequence[str],
    delimiter: str,
    escape: str | None,
    quoted: bool,
    notes: list[str],
) -> pa.Table:
    """Parse row by row: short rows are filled up, rows with more values than columns are left out and reported."""
    width = len(names)
    kept: list[list[str | None]] = []
    short = 0
    long: list[tuple[int, int]] = []
    reader = _rows(text, delimiter, escape if quoted else None, quoted)
    for place, row in enumerate(reader, start=1):
        if not row or (len(row) < width and not any(row)):
            continue
        if len(row) > width:
            if any(value.strip() for value in row[width:]):
                long.append((place, len(row)))
                continue
            row = row[:width]
        if len(row) < width:
            short += 1
        kept.append([*row, *[None] * (width - len(row))])
    if len(long) > len(kept):
        raise FileError(
            f"{path}: {len(long):,} of {len(long) + len(kept):,} rows have more values than the {width} columns of the "
            f"header ({', '.join(names[:6])}{'…' if width > 6 else ''}); check the delimiter and the header"
        )
    if short:
        notes.append(f"{short:,} rows have fewer values than the header; the missing ones are empty")
    if long:
        shown = ", ".join(f"row {place} has {count}" for place, count in long[:_EXAMPLES])
        notes.append(f"{len(long):,} rows left out: more values than the {width} columns ({shown})")
    columns = [pa.array([row[place] for row in kept], pa.string()) for place in range(width)]
    return pa.table(columns, names=list(names))


def _sniff(sample: str) -> str:
    """The delimiter under which most rows of a sample have as many fields as its header."""
    found = [(*_evenness(sample, delimiter), delimiter) for delimiter in DELIMITERS]
    best = max(found, key=lambda item: (item[0] * min(item[1] - 1, 3), item[1]))
    if best[1] >= 2 and best[0] >= 0.5:
        return best[2]
    rare = [(*_evenness(sample, delimiter), delimiter) for delimiter in _RARE_DELIMITERS]
    best_rare = max(rare, key=lambda item: (item[0], item[1]))
    if best_rare[1] >= 2 and best_rare[0] >= 0.8:
        return best_rare[2]
    return best[2] if best[1] >= 2 else ","


def _escapes_quotes(sample: str, delimiter: str) -> bool:
    """Whether quotation marks inside values stand after a backslash, rather than twice."""
    mark = re.escape(delimiter)
    inside = re.search(rf'\\"(?!{mark}|[\r\n]|$)', sample)
    doubled = re.search(rf'[^{mark}\r\n"]""|""[^{mark}\r\n"]', sample)
    return inside is not None and doubled is None


def _evenness(sample: str, delimiter: str) -> tuple[float, int]:
    """Share of rows with as many fields as the header, and that number."""
    rows = []
    for row in _rows(sample, delimiter, None):
        if row:
            rows.append(len(row))
        if len(rows) > _SAMPLE_ROWS:
            break
    if not rows or rows[0] < 2:
        return 0.0, 1
    return (sum(count == rows[0] for count in rows[1:]) + 1) / len(rows), rows[0]


def _header(encoded: bytes, delimiter: str, escape: str | None) -> tuple[int, list[str]]:
    """Where the header ends, and its names; a quoted name may hold a line break."""
    end = 0
    while True:
        breaks = [place for place in (encoded.find(b"\n", end), encoded.find(b"\r", end)) if place >= 0]
        if not breaks:
            end = len(encoded)
        else:
            place = min(breaks)
            end = place + (2 if encoded[place : place + 2] == b"\r\n" else 1)
        text = encoded[:end].decode("utf-8", errors="replace")
        if text.count('"') % 2 == 0 or not breaks or end > _SAMPLE_BYTES:
            break
    return end, next(iter(_rows(text.rstrip("\r\n"), delimiter, escape)), [])


_DATA = re.compile(
    r"[+-]?\d+([.,]\d+)?|\d{4}-\d\d?-\d\d?.*|\d\d?[./]\d\d?[./]\d{2,4}|[^@\s]+@[^@\s]+\.[a-z]+", re.IGNORECASE
)


def _is_data(header: Sequence[str]) -> bool:
    """Whether what stands where the header should be is data: half of it numbers, dates or e-mail addresses."""
    values = [value.strip() for value in header if value.strip()]
    return bool(values) and sum(_DATA.fullmatch(value) is not None for value in values) * 2 >= len(values)


def _names(header: Iterable[str], notes: list[str]) -> list[str]:
    """Column names: spaces at both ends and marks nobody sees removed, none empty, none twice."""
    names: list[str] = []
    twice = []
    for place, raw in enumerate(header, start=1):
        visible = "".join(
            sign for sign in raw if unicodedata.category(sign) not in ("Cf", "Cc") or sign in "\t\n"
        )
        name = " ".join(visible.split()) or f"column_{place}"
        if name in names:
            twice.append(name)
            number = 2
            while f"{name} ({number})" in names:
                number += 1
            name = f"{name} ({number})"
        names.append(name)
    if twice:
        notes.append(f"more than one column is called {', '.join(sorted(set(twice)))}; numbers were added")
    return names
