"""Erase a person from the landing: typed rows, archived pages and what waits in quarantine.

A row is the person's when it is one of the records named, another version or a nested row of one, or when it holds a value
that nobody else has (an e-mail address, a telephone number). In such a row every text goes that is one of the person's
values, or stands in a field whose name says that it tells of a person. Amounts, quantities, times, codes and keys stay.
What an erased page's name was of is no longer there to recompute; the audit log tells what lies there since.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
import zstandard

from connectors.declare import Source, Stream, dig
from connectors.landing import ERASED_PAGES, FILES, PAGES, QUARANTINE, Landing

Key = tuple[str, ...]
# Field names that tell of a person, in snake case; things have names, too.
_TELLS = re.compile(
    r"(^|_)(full_?name|given_?name|family_?name|first_?name|last_?name|middle_?name|person_?name|nick(name)?|buyer_nick|contact|"
    r"recipient|receiver|consignee|attention|e?mail|phone|mobile|tel|telephone|fax|street|address_?line|address_?[1-3]|"
    r"line_?[1-3]|house|postcode|postal_?code|zip|tax_number|tax_id|vat_number|birth|gender|note|comment|message|signature)"
    r"(_|$|\d)"
)
_BELONGS_TO_THINGS = re.compile(
    r"(^|_)(carrier|product|item|sku|brand|warehouse|location|store|channel|shop|status|type|kind)_"
)
_ERASED = "erased"
# What points at a record of a person, and what such a record calls itself.
_POINTS = re.compile(
    r"(^|_)(party|customer|contact|partner|buyer|requester|user|person|member|guest)(_id|_key)?$"
)
_OWN_NAMES = frozenset(("name", "display_name", "label"))
_SHORTEST = (
    3  # letters; shorter values are too common to be looked for, but names of two signs in other scripts
)


def canonical(value: str) -> str:
    """How values are compared: width, case and white space do not matter, and of a telephone number only its digits do."""
    folded = unicodedata.normalize("NFKC", value).casefold()
    digits = re.sub(r"[\s()./+-]", "", folded)
    return digits if len(digits) >= 6 and digits.isdecimal() else " ".join(folded.split())


def tells_of_a_person(name: str) -> bool:
    """Whether a field's name says that it tells who somebody is or how to reach them; camel case is understood."""
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
    return bool(_TELLS.search(snake)) and not _BELONGS_TO_THINGS.search(snake)


@dataclass(frozen=True)
class Person:
    """Whom to erase.

    Attributes:
        records: (source, page SHA-256, row index) of records that are the person.
        documents: the same of orders, shipments and tickets of theirs.
        values: what is known of the person, as systems wrote it.
        own: those of the values that nobody else has.
        keys: (source, stream) -> keys of records erased before; for rows that come again.
    """

    records: Collection[tuple[str, str, int]] = ()
    documents: Collection[tuple[str, str, int]] = ()
    values: Collection[str] = ()
    own: Collection[str] = ()
    keys: Mapping[tuple[str, str], Collection[Key]] = field(default_factory=dict)


@dataclass
class Erased:
    """What an erasure touched.

    Attributes:
        rows: typed rows by (source, stream).
        batches: ids of batches whose files were rewritten.
        pages: SHA-256 a page is named by -> SHA-256 of what lies there now, None where all of it went.
        quarantined: rows in quarantine.
        keys: (source, stream, key) of records that must stay erased when they come again.
    """

    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    pages: dict[str, str | None] = field(default_factory=dict)
    quarantined: int = 0
    keys: set[tuple[str, str, Key]] = field(default_factory=set)


def erase(
    landing: Landing,
    sources: Mapping[str, Source],
    person: Person,
    *,
    only_batches: Collection[str] | None = None,
    dry_run: bool = False,
) -> Erased:
    """Erase a person from every batch, or from some.

    Each file is replaced in one step; doing it again finds nothing more to do.

    Args:
        landing: where the rows lie.
        sources: declarations by name; files of sources that are not declared any more are left alone.
        person: whom.
        only_batches: look into these batches alone.
        dry_run: say what would be touched, and touch nothing.
    """
    values = {canonical(value) for value in person.values if _is_telling(value)}
    own = {canonical(value) for value in person.own if _is_telling(value)}
    files = landed_files(landing, sources, only_batches)
    theirs = _keys(files, person.records)
    keys = _keys(files, person.documents)
    for place, found in (*theirs.items(), *person.keys.items()):
        keys[place] |= set(found)
    erased = Erased(keys={(source, stream, key) for (source, stream), found in keys.items() for key in found})
    touched_pages: dict[str, tuple[Stream, set[int]]] = {}
    for file in files:
        table = pq.read_table(file.path)
        rows = _rows_of(table, file, keys, theirs, own)
        named = (file.source, file.table) in {*theirs, *person.keys}
        changed, count = without_texts(
            table, rows, values, file.key_columns, _OWN_NAMES if named else frozenset()
        )
        if count == 0:
            continue
        place = (file.source, file.table)
        erased.rows[place] = erased.rows.get(place, 0) + count
        if file.batch_id not in erased.batches:
            erased.batches.append(file.batch_id)
        for at in rows:
            page = table.column("_page_sha256")[at].as_py()
            touched_pages.setdefault(page, (file.stream, set()))[1].add(
                table.column("_row_index")[at].as_py()
            )
        if not dry_run:
            replace_file(file.path, changed)
    for page, (stream, indices) in sorted(touched_pages.items()):
        erased.pages[page] = erase_page(landing, page, stream, indices, values, dry_run)
    for page in _told_by(landing, erased.batches) - set(erased.pages):
        erased.pages[page] = put_page(landing, page, None, dry_run)
    erased.quarantined = _erase_quarantined(landing, values, own, dry_run)
    return erased


def _told_by(landing: Landing, batches: Collection[str]) -> set[str]:
    """Notifications that led to some batches. They go whole: what they tell stands in the rows that were pulled for them."""
    query = sa.select(PAGES.c.batch_id, PAGES.c.page_sha256).where(PAGES.c.origin.startswith("POST /hooks/"))
    with landing.transaction() as connection:
        return {row.page_sha256 for row in connection.execute(query) if row.batch_id in batches}


def _is_telling(value: str) -> bool:
    bare = value.strip()
    return len(bare) >= _SHORTEST or (len(bare) == 2 and not bare.isascii())


@dataclass(frozen=True)
class LandedFile:
    """One Parquet file of a batch: the rows of a stream or of one of its children."""

    batch_id: str
    source: str
    table: str
    stream: Stream
    path: Path

    @property
    def is_child(self) -> bool:
        return self.table != self.stream.name

    @property
    def key_columns(self) -> list[str]:
        """Columns that hold the key of the row, or of its parent."""
        if not self.is_child:
            return list(self.stream.key)
        child = next(item for item in self.stream.children if item.name == self.table)
        return [
            column for wanted in self.stream.key for column, named in child.parent.items() if named == wanted
        ]


def landed_files(
    landing: Landing, sources: Mapping[str, Source], only: Collection[str] | None = None
) -> list[LandedFile]:
    """Files of declared streams, oldest batch first; of some batches alone."""
    found = []
    with landing.transaction() as connection:
        rows = connection.execute(
            sa.select(FILES.c.batch_id, FILES.c.source, FILES.c.stream, FILES.c.path)
            .where(FILES.c.path.is_not(None))
            .order_by(FILES.c.batch_id, FILES.c.stream)
        ).all()
    for row in rows:
        if row.source not in sources or (only is not None and row.batch_id not in only):
            continue
        for stream in sources[row.source].landed:
            if row.stream in stream.tables and (landing.root / row.path).exists():
                found.append(
                    LandedFile(row.batch_id, row.source, row.stream, stream, landing.root / row.path)
                )
    return found


def _keys(
    files: Iterable[LandedFile], records: Iterable[tuple[str, str, int]]
) -> dict[tuple[str, str], set[Key]]:
    """Keys of the records named, by (source, stream)."""
    keys: dict[tuple[str, str], set[Key]] = defaultdict(set)
    wanted: dict[str, set[tuple[str, int]]] = defaultdict(set)
    for source, page, index in records:
        wanted[source].add((page, index))
    for file in files:
        # A page holds rows of one stream, so the page and the row tell which record is meant.
        places = wanted.get(file.source)
        if not places or file.is_child:
            continue
        table = pq.read_table(file.path, columns=["_page_sha256", "_row_index", *file.stream.key])
        for row in table.to_pylist():
            if (row["_page_sha256"], row["_row_index"]) in places:
                key = tuple(str(row[name]) for name in file.stream.key)
                keys[file.source, file.table].add(key)
    return keys


def _rows_of(
    table: pa.Table,
    file: LandedFile,
    keys: Mapping[tuple[str, str], set[Key]],
    theirs: Mapping[tuple[str, str], set[Key]],
    own: set[str],
) -> list[int]:
    """Places of the person's rows: by key, by what points at one of their records, by a value nobody else has."""
    found = set()
    named = keys.get((file.source, file.stream.name), set())
    columns = file.key_columns
    if named and columns and all(name in table.schema.names for name in columns):
        held = zip(*(table.column(name).to_pylist() for name in columns), strict=True)
        found = {at for at, key in enumerate(held) if tuple(map(str, key)) in named}
    ids = {
        key[0]
        for (source, _), held in theirs.items()
        if source == file.source
        for key in held
        if len(key) == 1
    }
    for name in table.schema.names if ids else ():
        if _POINTS.search(name):
            values = table.column(name).to_pylist()
            found |= {at for at, value in enumerate(values) if value is not None and str(value) in ids}
    for name in _texts(table) if own else ():
        for at, value in enumerate(table.column(name).to_pylist()):
            if value is not None and canonical(value) in own:
                found.add(at)
    return sorted(found)


def _texts(table: pa.Table) -> list[str]:
    return [
        field.name
        for field in table.schema
        if not field.name.startswith("_")
        and (pa.types.is_string(field.type) or pa.types.is_large_string(field.type))
    ]


def without_texts(
    table: pa.Table, rows: Sequence[int], values: set[str], keep: Collection[str], names: Collection[str]
) -> tuple[pa.Table, int]:
    """The table without the personal texts of some rows, and how many rows that changed."""
    changed: set[int] = set()
    for name in _texts(table) if rows else ():
        if name in keep:
            continue
        cells = table.column(name).to_pylist()
        tells = name in names or tells_of_a_person(name)
        for at in rows:
            cell = cells[at]
            if cell is not None and cell != _ERASED and (tells or canonical(cell) in values):
                cells[at] = None if table.schema.field(name).nullable else _ERASED
                changed.add(at)
        position = table.schema.get_field_index(name)
        table = table.set_column(
            position, table.schema.field(name), pa.array(cells, table.schema.field(name).type)
        )
    return table, len(changed)


def replace_file(path: Path, table: pa.Table) -> None:
    """Put a table in the place of a file, in one step."""
    temporary = path.with_suffix(".erasing")
    pq.write_table(table, temporary, compression="zstd")
    _put(temporary, path)


def _put(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as file:
        os.fsync(file.fileno())
    temporary.replace(path)


def erase_page(
    landing: Landing, page: str, stream: Stream, rows: set[int], values: set[str], dry_run: bool
) -> str | None:
    """Erase rows from an archived page; a page that is no JSON goes whole. Gives what lies there now."""
    path = landing.page_path(page)
    content = zstandard.ZstdDecompressor().decompress(path.read_bytes())
    return put_page(landing, page, _redacted(content, stream, rows, values), dry_run)


def put_page(landing: Landing, page: str, redacted: bytes | None, dry_run: bool) -> str | None:
    """Leave what is left of a page in its place, and note it; gives its SHA-256, None where nothing is left."""
    path = landing.page_path(page)
    now = None if redacted is None else hashlib.sha256(redacted).hexdigest()
    if not dry_run:
        with landing.transaction() as connection:
            connection.execute(sa.delete(ERASED_PAGES).where(ERASED_PAGES.c.page_sha256 == page))
            connection.execute(
                sa.insert(ERASED_PAGES).values(
                    page_sha256=page, now_sha256=now, erased_at=datetime.now(UTC).isoformat()
                )
            )
        temporary = path.with_suffix(".erasing")
        temporary.write_bytes(zstandard.ZstdCompressor(level=3).compress(redacted or b""))
        _put(temporary, path)
    return now


# Numbers keep every digit: they pass through as marked text.
_NUMBER = "\x00number:"
_MARKED = re.compile(r'"\\u0000number:([^"]*)"')


def _redacted(content: bytes, stream: Stream, rows: set[int], values: set[str]) -> bytes | None:
    try:
        body = json.loads(content, parse_float=lambda digits: _NUMBER + digits)
        found = dig(body, stream.rows) if stream.rows else body
    except ValueError:
        return None
    records = list(found.values()) if isinstance(found, dict) else found
    if not isinstance(records, list):
        return None
    for at in rows:
        if at < len(records):
            redact(records[at], values)
    return _MARKED.sub(r"\1", json.dumps(body, ensure_ascii=True)).encode()


def redact(node: Any, values: Collection[str]) -> None:
    """Take out of a decoded row the texts that are among some values, or whose name tells of a person."""
    items: Iterable[tuple[Any, Any]] = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in list(items):
        if isinstance(value, dict | list):
            redact(value, values)
        elif isinstance(value, str) and not value.startswith(_NUMBER):
            told = isinstance(name, str) and tells_of_a_person(name)
            if value and (told or canonical(value) in values):
                node[name] = _ERASED


def _erase_quarantined(landing: Landing, values: set[str], own: set[str], dry_run: bool) -> int:
    count = 0
    with landing.transaction() as connection:
        rows = connection.execute(sa.select(QUARANTINE.c.quarantine_id, QUARANTINE.c.payload)).all()
        for row in rows:
            payload = json.loads(row.payload, parse_float=lambda digits: _NUMBER + digits)
            if not isinstance(payload, dict | list) or not own & set(map(canonical, _leaves(payload))):
                continue
            count += 1
            if not dry_run:
                redact(payload, values)
                text = _MARKED.sub(r"\1", json.dumps(payload))
                connection.execute(
                    sa.update(QUARANTINE)
                    .where(QUARANTINE.c.quarantine_id == row.quarantine_id)
                    .values(payload=text)
                )
    return count


def _leaves(node: Any) -> Iterable[str]:
    for value in node.values() if isinstance(node, dict) else node:
        if isinstance(value, dict | list):
            yield from _leaves(value)
        elif isinstance(value, str):
            yield value
