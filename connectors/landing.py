"""Landing: the append-only store of what came in.

Layout below the root folder:
    pages/<aa>/<sha256>.zst            every page or file as received, named by its content
    <source>/<stream>/<batch>.parquet  typed rows
    manifest.sqlite                    batches, files, pages, cursors, quarantine

A batch is visible only once its manifest rows are committed. Files come first: written under a temporary name, fsynced
and renamed. Then manifest and cursor are committed in one transaction, so that a kill at any instant loses nothing
and doubles nothing.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from operator import attrgetter
from pathlib import Path
from typing import Any, Literal, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
import zstandard

from connectors.declare import Record, Stream, stream_schemas
from connectors.errors import FatalError

_FLUSH_ROWS = 20_000
_MOST_UNFINISHED = 4  # pages to archive and tables to write that wait while the next page is asked for

_log = logging.getLogger(__name__)

_metadata = sa.MetaData()

BATCHES = sa.Table(
    "batches",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False, index=True),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("gate", sa.Text, nullable=False),  # pending, passed, held, unchanged
    sa.Column("gate_report", sa.Text),
    sa.Column("cursor_before", sa.Text),
    sa.Column("cursor_after", sa.Text),
    sa.Column("window_since", sa.Text),
    sa.Column("window_until", sa.Text),
    sa.Column("page_count", sa.Integer, nullable=False),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("changed", sa.BigInteger, nullable=False),
    sa.Column("started_at", sa.Text, nullable=False),
    sa.Column("committed_at", sa.Text, nullable=False),
)
FILES = sa.Table(
    "batch_files",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("path", sa.Text),  # null when no row landed
    sa.Column("pulled", sa.BigInteger, nullable=False),
    sa.Column("landed", sa.BigInteger, nullable=False),
    sa.Column("control_totals", sa.Text, nullable=False),
    sa.Column("schema_fingerprint", sa.Text, nullable=False),
    sa.Column("seen_fields", sa.Text, nullable=False),
)
PAGES = sa.Table(
    "batch_pages",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("page_index", sa.Integer, primary_key=True),
    sa.Column("page_sha256", sa.Text, nullable=False, index=True),
    sa.Column("byte_count", sa.BigInteger, nullable=False),
    sa.Column("origin", sa.Text, nullable=False),  # method and path, or file name
)
CURSORS = sa.Table(
    "cursors",
    _metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
    sa.Column("batch_id", sa.Text, nullable=False),
)
QUARANTINE = sa.Table(
    "quarantine",
    _metadata,
    sa.Column("quarantine_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("batch_id", sa.Text, nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),  # record, gate
    sa.Column("page_sha256", sa.Text, nullable=False),
    sa.Column("row_index", sa.BigInteger, nullable=False),
    sa.Column("child_index", sa.BigInteger),
    sa.Column("parent", sa.Text),  # JSON of the parent key columns and hash, for child rows
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("error", sa.Text, nullable=False),
    sa.Column("model_version", sa.Text, nullable=False),
    sa.Column("extracted_at", sa.Text, nullable=False),
    sa.Column("replayed_in", sa.Text),
)
# A row that waits in quarantine and comes again unchanged: it waits once, and each coming is noted.
REPEATS = sa.Table(
    "quarantine_repeats",
    _metadata,
    sa.Column("repeat_id", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("quarantine_id", sa.Integer, nullable=False, index=True),
    sa.Column("batch_id", sa.Text, nullable=False, index=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("stage", sa.Text, nullable=False),
    sa.Column("page_sha256", sa.Text, nullable=False),
    sa.Column("row_index", sa.BigInteger, nullable=False),
    sa.Column("child_index", sa.BigInteger),
)


# Batches of records asked for one by one: they say nothing about how far a stream was read.
KEYED = sa.Table("keyed_batches", _metadata, sa.Column("batch_id", sa.Text, primary_key=True))

# Where a source goes on telling what changed since it was last read, and what it told was removed there.
DELTA_LINKS = sa.Table(
    "delta_links",
    _metadata,
    sa.Column("source", sa.Text, primary_key=True),
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("link", sa.Text, nullable=False),
    sa.Column("batch_id", sa.Text, nullable=False),
)
REMOVED = sa.Table(
    "removed_records",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("record_key", sa.Text, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("page_sha256", sa.Text, nullable=False),
    sa.Column("is_noted", sa.Boolean, nullable=False),
)

# Pages from which a person was erased, and what lies there since; null: all of it went.
ERASED_PAGES = sa.Table(
    "erased_pages",
    _metadata,
    sa.Column("page_sha256", sa.Text, primary_key=True),
    sa.Column("now_sha256", sa.Text),
    sa.Column("erased_at", sa.Text, nullable=False),
)

# What a source says how many rows it has, beside what came: of a whole stream, or of a window it was asked for.
CONTROL_COUNTS = sa.Table(
    "control_counts",
    _metadata,
    sa.Column("batch_id", sa.Text, primary_key=True),
    sa.Column("count_index", sa.Integer, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("scope", sa.Text, nullable=False),  # stream, pull, window
    sa.Column("window_since", sa.Text),
    sa.Column("window_until", sa.Text),
    sa.Column("least", sa.BigInteger),  # null: it did not say
    sa.Column("most", sa.BigInteger),
    sa.Column("received", sa.BigInteger),  # of a window
    sa.Column("complaint", sa.Text),
)


@dataclass(frozen=True)
class ControlCount:
    """How many rows a source says it has, beside what came.

    Attributes:
        scope: `stream`, all there is; `pull`, what one pull asked for, window by window; `window`, one of which less came
            than was told.
        since, until: what was asked for; of a stream, None.
        least, most: told, before and after the pull for a stream; None where the source did not say, see `complaint`.
        received: distinct rows that came.
    """

    source: str
    stream: str
    scope: Literal["stream", "pull", "window"]
    least: int | None = None
    most: int | None = None
    received: int | None = None
    since: datetime | None = None
    until: datetime | None = None
    complaint: str | None = None
    batch_id: str = ""


class RowOrigin(NamedTuple):
    """Where a row stands in the bytes received."""

    page_sha256: str
    row_index: int
    record_hash: str
    child_index: int | None = None
    parent_hash: str | None = None
    parent_values: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Rejection:
    """A row that does not land, with the reason."""

    stream: str
    origin: RowOrigin
    payload: str
    error: str
    parent: str | None = None
    stage: str = "record"


@dataclass(frozen=True)
class CommittedBatch:
    """One visible batch as the manifest knows it; `files` maps stream to absolute path."""

    batch_id: str
    source: str
    stream: str
    gate: str
    changed: int
    committed_at: str
    files: dict[str, Path] = field(default_factory=dict)
    started_at: str = ""


@dataclass(frozen=True)
class StreamCount:
    """Rows of one stream over all batches, counted each time they came: pulled = landed + quarantined.

    `pulled` is counted as pages are decoded, `landed` as rows are written. A good row that comes again lands again; a bad
    one that comes again while it waits in quarantine still waits once and counts in `quarantined` each time. So
    `quarantined` is the rows that wait and their repeats; a replay moves a row, not its repeats, to `landed`.
    `passed`: the landed rows that gate 1 let through.
    """

    source: str
    stream: str
    pulled: int
    landed: int
    quarantined: int
    passed: int


def model_version(record: type[Record]) -> str:
    """Fingerprint of a record model: twelve hex digits over its JSON schema."""
    text = json.dumps(record.model_json_schema(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _duckdb() -> duckdb.DuckDBPyConnection:
    """A connection in memory that draws no progress bar on standard output."""
    connection = duckdb.connect()
    connection.execute("set enable_progress_bar = false")
    return connection


def _now() -> datetime:
    return datetime.now(UTC)


def _fsync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Landing:
    """The landing store below one folder. Safe for many writers: a batch is one transaction.

    Args:
        root: folder; made when absent.
        manifest_url: SQLAlchemy URL of the manifest; a SQLite file in the folder by default.
    """

    def __init__(self, root: Path, manifest_url: str | None = None) -> None:
        self.root = root
        (root / "pages").mkdir(parents=True, exist_ok=True)
        self._engine = sa.create_engine(manifest_url or f"sqlite:///{root / 'manifest.sqlite'}")
        if self._engine.dialect.name == "sqlite":
            sa.event.listen(self._engine, "connect", _prepare_sqlite)
        # Not create_all: two processes that start together would both find a table missing and both make it.
        with self._engine.begin() as connection:
            for table in _metadata.sorted_tables:
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
                for index in table.indexes:
                    connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    def close(self) -> None:
        """Give the manifest connection back."""
        self._engine.dispose()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """One manifest transaction."""
        with self._engine.begin() as connection:
            yield connection

    # pages

    def archive(self, content: bytes) -> str:
        """Keep a page as received; return its SHA-256. The same bytes are kept once."""
        digest = _sha256(content)
        self._keep_page(digest, content)
        return digest

    def _keep_page(self, digest: str, content: bytes) -> None:
        path = self.page_path(digest)
        if not path.exists():
            path.parent.mkdir(exist_ok=True)
            _write_durably(path, zstandard.ZstdCompressor(level=3).compress(content))

    def read_page(self, page_sha256: str) -> bytes:
        """The bytes of a page as received.

        Raises:
            FatalError: the page is gone or its bytes no longer give its name.
        """
        path = self.page_path(page_sha256)
        if not path.exists():
            raise FatalError(f"page {page_sha256} is not in the archive {self.root / 'pages'}")
        try:
            content = zstandard.ZstdDecompressor().decompress(path.read_bytes())
        except zstandard.ZstdError as error:
            raise FatalError(f"page {page_sha256} was changed after it was archived: {error}") from error
        if hashlib.sha256(content).hexdigest() != page_sha256:
            erased = sa.select(ERASED_PAGES.c.erased_at).where(ERASED_PAGES.c.page_sha256 == page_sha256)
            with self._engine.connect() as connection:
                erased_at = connection.scalar(erased)
            if erased_at is not None:
                raise FatalError(
                    f"page {page_sha256} is not as received since {erased_at}: a person was erased from it, or retention let it go"
                )
            raise FatalError(f"page {page_sha256} was changed after it was archived: its SHA-256 differs")
        return content

    def page_path(self, digest: str) -> Path:
        """Where a page is kept."""
        return self.root / "pages" / digest[:2] / f"{digest}.zst"

    def has_landed(self, source: str, page_sha256: str) -> bool:
        """Whether a visible batch of the source was read from this page or file."""
        query = (
            sa.select(sa.func.count())
            .select_from(PAGES.join(BATCHES, PAGES.c.batch_id == BATCHES.c.batch_id))
            .where(BATCHES.c.source == source, PAGES.c.page_sha256 == page_sha256)
        )
        with self._engine.connect() as connection:
            return bool(connection.scalar(query))

    # batches

    def open_batch(self, source: str, stream: Stream) -> Batch:
        """Start a batch; nothing is visible before `Batch.commit`."""
        return Batch(self, source, stream)

    def cursor(self, source: str, stream: str) -> datetime | None:
        """Where the last committed pull of a stream ended."""
        query = sa.select(CURSORS.c.value).where(CURSORS.c.source == source, CURSORS.c.stream == stream)
        with self._engine.connect() as connection:
            value = connection.scalar(query)
        return None if value is None else datetime.fromisoformat(value)

    def has_batches(self, source: str, stream: str) -> bool:
        """Whether any batch of a stream is visible."""
        query = sa.select(sa.func.count()).select_from(BATCHES).filter_by(source=source, stream=stream)
        with self._engine.connect() as connection:
            return bool(connection.scalar(query))

    def delta_link(self, source: str, stream: str) -> str | None:
        """Where the source goes on telling what changed since the stream was last read."""
        query = sa.select(DELTA_LINKS.c.link).filter_by(source=source, stream=stream)
        with self._engine.connect() as connection:
            found: str | None = connection.scalar(query)
            return found

    def batches(self, gate: str | None = None, source: str | None = None) -> list[CommittedBatch]:
        """Visible batches, oldest first, optionally of one gate state or source."""
        query = sa.select(BATCHES).order_by(BATCHES.c.committed_at, BATCHES.c.batch_id)
        if gate is not None:
            query = query.where(BATCHES.c.gate == gate)
        if source is not None:
            query = query.where(BATCHES.c.source == source)
        with self._engine.connect() as connection:
            rows = connection.execute(query).mappings().all()
            files: dict[str, dict[str, Path]] = {}
            for item in connection.execute(sa.select(FILES.c.batch_id, FILES.c.stream, FILES.c.path)):
                if item.path is not None:
                    files.setdefault(item.batch_id, {})[item.stream] = self.root / item.path
        return [
            CommittedBatch(
                row["batch_id"],
                row["source"],
                row["stream"],
                row["gate"],
                row["changed"],
                row["committed_at"],
                files.get(row["batch_id"], {}),
                row["started_at"],
            )
            for row in rows
        ]

    def counts(self) -> list[StreamCount]:
        """Rows pulled, landed and quarantined, per source and stream."""
        totals = sa.select(
            FILES.c.source,
            FILES.c.stream,
            sa.func.sum(FILES.c.pulled).label("pulled"),
            sa.func.sum(FILES.c.landed).label("landed"),
            sa.func.sum(sa.case((BATCHES.c.gate == "passed", FILES.c.landed), else_=0)).label("passed"),
        )
        totals = totals.join(BATCHES, BATCHES.c.batch_id == FILES.c.batch_id).group_by(
            FILES.c.source, FILES.c.stream
        )
        held = (
            sa.select(QUARANTINE.c.source, QUARANTINE.c.stream, sa.func.count().label("quarantined"))
            .where(QUARANTINE.c.replayed_in.is_(None))
            .group_by(QUARANTINE.c.source, QUARANTINE.c.stream)
        )
        repeated = sa.select(
            REPEATS.c.source, REPEATS.c.stream, sa.func.count().label("quarantined")
        ).group_by(REPEATS.c.source, REPEATS.c.stream)
        with self._engine.connect() as connection:
            quarantined: Counter[tuple[str, str]] = Counter()
            for query in (held, repeated):
                for row in connection.execute(query):
                    quarantined[row.source, row.stream] += row.quarantined
            return [
                StreamCount(
                    row.source,
                    row.stream,
                    row.pulled,
                    row.landed,
                    quarantined[row.source, row.stream],
                    row.passed,
                )
                for row in connection.execute(totals.order_by(FILES.c.source, FILES.c.stream))
            ]

    def control_totals(self) -> dict[tuple[str, str, str, str], Decimal]:
        """Sums of money as landed: (source, stream, field, currency) -> amount, over all batches."""
        sums: dict[tuple[str, str, str, str], Decimal] = {}
        with self._engine.connect() as connection:
            for row in connection.execute(sa.select(FILES.c.source, FILES.c.stream, FILES.c.control_totals)):
                for name, by_currency in json.loads(row.control_totals).items():
                    for currency, amount in by_currency.items():
                        place = (row.source, row.stream, name, currency)
                        sums[place] = sums.get(place, Decimal(0)) + Decimal(amount)
        return sums

    def control_counts(self) -> list[ControlCount]:
        """What sources said how many rows they have, oldest first."""
        query = (
            sa.select(CONTROL_COUNTS)
            .join(BATCHES, BATCHES.c.batch_id == CONTROL_COUNTS.c.batch_id)
            .order_by(BATCHES.c.committed_at, CONTROL_COUNTS.c.batch_id, CONTROL_COUNTS.c.count_index)
        )
        with self._engine.connect() as connection:
            return [
                ControlCount(
                    row.source,
                    row.stream,
                    row.scope,
                    row.least,
                    row.most,
                    row.received,
                    datetime.fromisoformat(row.window_since) if row.window_since else None,
                    datetime.fromisoformat(row.window_until) if row.window_until else None,
                    row.complaint,
                    row.batch_id,
                )
                for row in connection.execute(query)
            ]

    def whole_streams(self) -> set[tuple[str, str]]:
        """Streams, by source and name, that were pulled from their beginning, and of which no batch waits for gate 1."""
        asked = sa.select(BATCHES.c.source, BATCHES.c.stream)
        begun = asked.where(
            BATCHES.c.window_since.is_(None),
            BATCHES.c.window_until.is_(None),
            BATCHES.c.page_count > 0,
            BATCHES.c.batch_id.not_in(sa.select(KEYED.c.batch_id)),
        )
        waiting = asked.where(BATCHES.c.gate.in_(("pending", "held")))
        with self._engine.connect() as connection:
            return {(row[0], row[1]) for row in connection.execute(begun)} - {
                (row[0], row[1]) for row in connection.execute(waiting)
            }

    def values(self, source: str, stream: str, column: str, unseen_by: str | None = None) -> list[str]:
        """Distinct values of one landed column, sorted; for streams that fan out over another.

        Args:
            source, stream, column: whose values.
            unseen_by: a stream; only what landed since its last batch began is read then.
        """
        batches = self.batches(source=source)
        with self._engine.connect() as connection:
            keyed: set[str] = set(connection.scalars(sa.select(KEYED.c.batch_id)))
        reads = [batch for batch in batches if batch.stream == unseen_by and batch.batch_id not in keyed]
        seen = max((batch.started_at for batch in reads), default="")
        return _distinct([batch for batch in batches if batch.committed_at > seen], stream, column)

    def unasked(self, source: str, stream: str, column: str, by: Stream) -> set[str]:
        """Values of one landed column by which another stream was not asked yet: they first landed after its last pull.

        A back-fill of that stream asked within its bounds alone, so it does not count.

        Args:
            source, stream, column: whose values.
            by: the stream that fans out over them.
        """
        query = sa.select(BATCHES).where(
            BATCHES.c.source == source,
            BATCHES.c.stream == by.name,
            BATCHES.c.window_until.is_(None),
            BATCHES.c.page_count > 0,
            BATCHES.c.batch_id.not_in(sa.select(KEYED.c.batch_id)),
        )
        with self._engine.connect() as connection:
            pulls = connection.execute(query).all()
        last = max((pull.started_at for pull in pulls if _follows_cursor(pull, by.lag)), default="")
        batches = self.batches(source=source)
        before = _distinct([batch for batch in batches if batch.committed_at <= last], stream, column)
        return set(_distinct(batches, stream, column)) - set(before)

    # gate 1

    def pass_gate(self, batch_id: str, report: str, rejections: Sequence[Rejection]) -> None:
        """Open the batch to the warehouse; rows the gate rejected move from landed to quarantined in the same step."""
        with self.transaction() as connection:
            _insert_rejections(connection, batch_id, self._source_of(connection, batch_id), rejections, {})
            for stream in {item.stream for item in rejections}:
                count = sum(item.stream == stream for item in rejections)
                connection.execute(
                    sa.update(FILES)
                    .where(FILES.c.batch_id == batch_id, FILES.c.stream == stream)
                    .values(landed=FILES.c.landed - count)
                )
            connection.execute(
                sa.update(BATCHES)
                .where(BATCHES.c.batch_id == batch_id)
                .values(gate="passed", gate_report=report)
            )

    def hold(self, batch_id: str, report: str) -> None:
        """Keep a batch out of the warehouse: the gate found it unfit as a whole.

        Later batches of the stream that brought nothing new beside this one wait for the gate again: their rows are
        nowhere else.
        """
        with self.transaction() as connection:
            connection.execute(
                sa.update(BATCHES)
                .where(BATCHES.c.batch_id == batch_id)
                .values(gate="held", gate_report=report)
            )
            held = (
                connection.execute(sa.select(BATCHES).where(BATCHES.c.batch_id == batch_id)).mappings().one()
            )
            landed = sa.select(sa.func.sum(FILES.c.landed)).where(FILES.c.batch_id == BATCHES.c.batch_id)
            connection.execute(
                sa.update(BATCHES)
                .where(
                    BATCHES.c.source == held["source"],
                    BATCHES.c.stream == held["stream"],
                    BATCHES.c.gate.in_(("unchanged", "pending")),
                    BATCHES.c.changed == 0,
                    BATCHES.c.committed_at > held["committed_at"],
                )
                .values(gate="pending", gate_report=None, changed=landed.scalar_subquery())
            )

    def pass_unchanged(self) -> int:
        """Settle waiting batches that brought nothing new: their rows were judged when they first came."""
        with self.transaction() as connection:
            done = connection.execute(
                sa.update(BATCHES)
                .where(BATCHES.c.gate == "pending", BATCHES.c.changed == 0)
                .values(gate="unchanged", gate_report="no row is new or changed")
            )
            return int(done.rowcount)

    def gated_rows(self, batch_id: str) -> list[tuple[str, str, int, int | None]]:
        """Rows of a batch the gate rejected: (stream, page SHA-256, row, child)."""
        queries = [
            sa.select(table.c.stream, table.c.page_sha256, table.c.row_index, table.c.child_index).where(
                table.c.batch_id == batch_id, table.c.stage == "gate"
            )
            for table in (QUARANTINE, REPEATS)
        ]
        with self._engine.connect() as connection:
            return [
                (row[0], row[1], row[2], row[3]) for query in queries for row in connection.execute(query)
            ]

    # what killed pulls left

    def sweep(self, untouched_for: timedelta = timedelta(days=1)) -> list[Path]:
        """Delete temporary files, and Parquet files that no committed batch names, once nobody wrote them for a while.

        Pages stay: the archive keeps whatever was received.

        Returns:
            The files deleted.
        """
        before = _now().timestamp() - untouched_for.total_seconds()
        # Found first, then held against the manifest: a file that is committed meanwhile is named there.
        found = [*self.root.glob("*/*/*.tmp"), *self.root.glob("*/*/*.parquet")]
        with self._engine.connect() as connection:
            named = {self.root / row.path for row in connection.execute(sa.select(FILES.c.path)) if row.path}
        swept = []
        for path in found:
            try:
                if path not in named and path.stat().st_mtime < before:
                    path.unlink()
                    swept.append(path)
            except FileNotFoundError:
                continue  # its writer, or another sweep, was quicker
        return swept

    def _source_of(self, connection: sa.Connection, batch_id: str) -> str:
        return str(connection.scalar(sa.select(BATCHES.c.source).where(BATCHES.c.batch_id == batch_id)))


class Batch:
    """Rows and pages of one pull of one stream and its children, on their way to being visible."""

    def __init__(self, landing: Landing, source: str, stream: Stream) -> None:
        self.started_at = _now()
        self.batch_id = (
            f"{self.started_at:%Y%m%dT%H%M%S%f}-{source}-{stream.name}-{secrets.token_hex(3)}".lower()
        )
        self.source, self.stream = source, stream
        self.pulled = dict.fromkeys(stream.tables, 0)
        self.landed = dict.fromkeys(stream.tables, 0)
        self.pages: list[tuple[str, int, str]] = []
        self.rejections: list[Rejection] = []
        self.remarks: list[str] = []
        self.delta_link: str | None = None
        self.removed: dict[str, str] = {}  # key of a record that is deleted -> page that says so
        self.told: list[ControlCount] = []
        self._landing = landing
        self.schemas = stream_schemas(stream)
        self._buffers: dict[str, list[pa.RecordBatch]] = {name: [] for name in stream.tables}
        self._buffered = dict.fromkeys(stream.tables, 0)
        self._writers: dict[str, pq.ParquetWriter] = {}
        # Pages reach the disk in any order, rows in the order they came.
        self._archiving = ThreadPoolExecutor(2, thread_name_prefix="archive")
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="landing")
        self._unfinished: deque[Future[Any]] = deque()
        self._seen_fields: dict[str, set[str]] = {name: set() for name in stream.tables}
        self._totals: dict[str, dict[str, Decimal]] = {total.amount: {} for total in stream.control_totals}

    def archive(self, content: bytes, origin: str) -> str:
        """Archive a page before it is parsed; return its SHA-256. It is on disk before the batch is visible."""
        return self.archive_aside(content, origin).result()

    def archive_aside(self, content: bytes, origin: str) -> Future[str]:
        """Archive a page while the caller goes on with it; its SHA-256 is known soon, and long before it is on disk."""
        digest = self._archiving.submit(_sha256, content)
        self.pages.append(("", len(content), origin))
        self._note(self._archiving.submit(self._archive, len(self.pages) - 1, content, digest))
        return digest

    def _archive(self, place: int, content: bytes, digest: Future[str]) -> None:
        _, size, origin = self.pages[place]
        self.pages[place] = (digest.result(), size, origin)
        self._landing._keep_page(digest.result(), content)

    def _note(self, future: Future[Any]) -> None:
        self._unfinished.append(future)
        self._finish(_MOST_UNFINISHED)

    def _finish(self, most: int = 0) -> None:
        while len(self._unfinished) > most:
            self._unfinished.popleft().result()

    def count(self, name: str, rows: int) -> None:
        """Count rows as a page is decoded, before anything is done with them: the law holds what becomes of them to it."""
        self.pulled[name] += rows

    def see(self, name: str, fields: set[str]) -> None:
        """Note the names that raw rows had, also those that do not land: fields that come or go are drift."""
        self._seen_fields[name] |= fields

    def add(
        self,
        name: str,
        records: Sequence[Record],
        origins: Sequence[RowOrigin],
        extracted_at: datetime | None = None,
    ) -> None:
        """Add validated rows of the stream or one of its children.

        Args:
            name: the stream or child.
            records, origins: (n,) each, in step.
            extracted_at: aware UTC; the batch's start by default (a replay keeps the first one).

        Raises:
            pyarrow.ArrowException, ValueError, TypeError, OverflowError: a value fits no column; no row was added.
        """
        if not records:
            return
        batch = to_arrow(
            self.schemas[name],
            records,
            origins,
            self.source,
            name,
            self.batch_id,
            extracted_at or self.started_at,
        )
        self._keep(name, batch)

    def add_columns(
        self,
        columns: Mapping[str, pa.Array[Any]],
        page_sha256: str,
        row_indices: pa.Array[Any],
        record_hashes: pa.Array[Any],
        seen_fields: set[str],
        extracted_at: datetime | None = None,
        child: str | None = None,
    ) -> None:
        """Add rows that were validated column by column (`connectors.columnar`).

        Args:
            columns: landing column -> (n,) values, companions included; of a child also what ties it to its parent.
            page_sha256: the archived page or file they came in.
            row_indices, record_hashes: (n,) each, in step.
            seen_fields: names the raw rows had, for drift.
            extracted_at: aware UTC; the batch's start by default.
            child: the child stream whose rows they are; of the stream itself by default.
        """
        name = child or self.stream.name
        self.see(name, seen_fields)
        count = len(row_indices)
        if not count:
            return
        found = {
            **columns,
            **_meta_columns(count, self.source, name, self.batch_id, extracted_at or self.started_at),
            "_page_sha256": pa.repeat(page_sha256, count),
            "_row_index": row_indices,
            "_record_hash": record_hashes,
        }
        schema = self.schemas[name]
        self._keep(name, pa.RecordBatch.from_arrays([found[field.name] for field in schema], schema=schema))

    def _keep(self, name: str, batch: pa.RecordBatch) -> None:
        self.landed[name] += batch.num_rows
        self._buffers[name].append(batch)
        self._buffered[name] += batch.num_rows
        if self._buffered[name] >= _FLUSH_ROWS:
            self._flush(name)

    def misfit(self, name: str, record: Record, origin: RowOrigin) -> str | None:
        """Why a validated row fits no column, or None when it does."""
        try:
            to_arrow(
                self.schemas[name], [record], [origin], self.source, name, self.batch_id, self.started_at
            )
        except (pa.ArrowException, ValueError, TypeError, OverflowError) as error:
            return f"row: a value fits no column: {error}"
        return None

    def reject(self, rejection: Rejection) -> None:
        """Put a row into quarantine."""
        self.rejections.append(rejection)

    def abandon(self) -> None:
        """Forget the rows. Archived pages stay."""
        self._archiving.shutdown()
        self._writing.shutdown()
        for work in self._unfinished:
            if (error := work.exception()) is not None:
                _log.error(
                    "%s.%s: what was put off for %s failed, too: %s",
                    self.source,
                    self.stream.name,
                    self._landing.root,
                    error,
                )
        for name, writer in self._writers.items():
            writer.close()
            self._temporary(name).unlink(missing_ok=True)

    def commit(
        self,
        cursor_before: datetime | None = None,
        cursor_after: datetime | None = None,
        window: tuple[datetime | None, datetime | None] = (None, None),
        replayed: tuple[str, Sequence[int]] | None = None,
        is_keyed: bool = False,
    ) -> int:
        """Make the batch visible and move the cursor, in one transaction; return how many rows are new or changed.

        Args:
            cursor_before, cursor_after: aware UTC; the cursor is only written when `cursor_after` is given.
            window: the bounds that were asked for.
            replayed: stream and quarantine ids this batch answers; those rows were counted as pulled before.
            is_keyed: its records were asked for one by one.

        Raises:
            FatalError: another replay landed the rows meanwhile; nothing of this batch is visible.
        """
        for name in self._buffers:
            self._flush(name)
        self._finish()
        self._archiving.shutdown()
        self._writing.shutdown()
        paths: dict[str, Path] = {}
        for name, writer in self._writers.items():
            writer.close()
            temporary, final = self._temporary(name), self._final(name)
            _fsync(temporary)
            temporary.rename(final)
            _fsync(final.parent)
            paths[name] = final
        before_counted = {replayed[0]: len(replayed[1])} if replayed else {}
        for folder in {self._landing.page_path(digest).parent for digest, _, _ in self.pages}:
            _fsync(folder)
        # A replayed row never was in the warehouse, a child's no more than a parent's.
        changed = sum(self.landed.values()) if replayed else self._count_changed(paths.get(self.stream.name))
        versions = {name: model_version(record) for name, record in self.stream.tables.items()}
        with self._landing.transaction() as connection:
            connection.execute(
                sa.insert(BATCHES).values(
                    batch_id=self.batch_id,
                    source=self.source,
                    stream=self.stream.name,
                    gate="pending",
                    cursor_before=_text(cursor_before),
                    cursor_after=_text(cursor_after),
                    window_since=_text(window[0]),
                    window_until=_text(window[1]),
                    page_count=len(self.pages),
                    byte_count=sum(size for _, size, _ in self.pages),
                    changed=changed,
                    started_at=self.started_at.isoformat(),
                    committed_at=_now().isoformat(),
                )
            )
            connection.execute(
                sa.insert(FILES),
                [
                    {
                        "batch_id": self.batch_id,
                        "stream": name,
                        "source": self.source,
                        "path": str(paths[name].relative_to(self._landing.root)) if name in paths else None,
                        "pulled": self.pulled[name] - before_counted.get(name, 0),
                        "landed": self.landed[name],
                        "control_totals": json.dumps(self._totals_text() if name == self.stream.name else {}),
                        "schema_fingerprint": _fingerprint(self.schemas[name]),
                        # A replay says nothing about what the source sends today.
                        "seen_fields": "[]" if replayed else json.dumps(sorted(self._seen_fields[name])),
                    }
                    for name in self.stream.tables
                ],
            )
            if self.delta_link is not None:
                named = {"source": self.source, "stream": self.stream.name}
                connection.execute(sa.delete(DELTA_LINKS).filter_by(**named))
                connection.execute(
                    sa.insert(DELTA_LINKS).values(**named, link=self.delta_link, batch_id=self.batch_id)
                )
            if self.removed:
                connection.execute(
                    sa.insert(REMOVED),
                    [
                        {"batch_id": self.batch_id, "record_key": key, "source": self.source,
                         "stream": self.stream.name, "page_sha256": page, "is_noted": False}
                        for key, page in self.removed.items()
                    ],
                )  # fmt: skip
            if is_keyed:
                connection.execute(sa.insert(KEYED).values(batch_id=self.batch_id))
            if self.pages:
                connection.execute(
                    sa.insert(PAGES),
                    [
                        {
                            "batch_id": self.batch_id,
                            "page_index": index,
                            "page_sha256": digest,
                            "byte_count": size,
                            "origin": origin,
                        }
                        for index, (digest, size, origin) in enumerate(self.pages)
                    ],
                )
            if self.told:
                connection.execute(
                    sa.insert(CONTROL_COUNTS),
                    [
                        {
                            "batch_id": self.batch_id,
                            "count_index": index,
                            "source": self.source,
                            "stream": self.stream.name,
                            "scope": item.scope,
                            "window_since": _text(item.since),
                            "window_until": _text(item.until),
                            "least": item.least,
                            "most": item.most,
                            "received": item.received,
                            "complaint": item.complaint,
                        }
                        for index, item in enumerate(self.told)
                    ],
                )
            _insert_rejections(
                connection, self.batch_id, self.source, self.rejections, versions, self.started_at
            )
            if replayed:
                answered = sum(
                    connection.execute(
                        sa.update(QUARANTINE)
                        .where(QUARANTINE.c.quarantine_id == waiting, QUARANTINE.c.replayed_in.is_(None))
                        .values(replayed_in=self.batch_id)
                    ).rowcount
                    for waiting in replayed[1]
                )
                if answered != len(replayed[1]):
                    raise FatalError(
                        f"{self.source}.{replayed[0]}: {len(replayed[1]) - answered} rows were replayed by somebody else "
                        "meanwhile; list the quarantine again"
                    )
            if cursor_after is not None:
                # Another pull of the stream may have gone further meanwhile; a cursor never goes back.
                stored = connection.scalar(
                    sa.select(CURSORS.c.value).where(
                        CURSORS.c.source == self.source, CURSORS.c.stream == self.stream.name
                    )
                )
                if stored is not None:
                    cursor_after = max(cursor_after, datetime.fromisoformat(stored))
                connection.execute(
                    sa.delete(CURSORS).where(
                        CURSORS.c.source == self.source, CURSORS.c.stream == self.stream.name
                    )
                )
                connection.execute(
                    sa.insert(CURSORS).values(
                        source=self.source,
                        stream=self.stream.name,
                        value=_text(cursor_after),
                        batch_id=self.batch_id,
                    )
                )
        return changed

    def drift(self) -> dict[str, dict[str, list[str]]]:
        """Fields that came or went since the previous batch: stream -> {"added": [...], "removed": [...]}."""
        found = {}
        with self._landing.transaction() as connection:
            for name, fields in self._seen_fields.items():
                if not fields:
                    continue
                query = (
                    sa.select(FILES.c.seen_fields)
                    .where(
                        FILES.c.source == self.source,
                        FILES.c.stream == name,
                        FILES.c.batch_id != self.batch_id,
                        FILES.c.seen_fields != "[]",
                    )
                    .order_by(FILES.c.batch_id.desc())
                    .limit(1)
                )
                before = connection.scalar(query)
                if before is None:
                    continue
                known = set(json.loads(before))
                added, removed = outermost(fields - known), outermost(known - fields)
                if added or removed:
                    found[name] = {"added": added, "removed": removed}
        return found

    def _sum(self, rows: pa.Table) -> None:
        for total in self.stream.control_totals:
            sums = self._totals[total.amount]
            summed = f"{total.amount}_sum"
            for row in rows.group_by(total.currency).aggregate([(total.amount, "sum")]).to_pylist():
                if row[summed] is not None:
                    currency = row[total.currency] or ""
                    sums[currency] = sums.get(currency, Decimal(0)) + row[summed]

    def _totals_text(self) -> dict[str, dict[str, str]]:
        return {
            name: {code: str(amount) for code, amount in sums.items()} for name, sums in self._totals.items()
        }

    def _count_changed(self, path: Path | None) -> int:
        if path is None:
            return 0
        earlier = [
            str(batch.files[self.stream.name])
            for batch in self._landing.batches(source=self.source)
            if self.stream.name in batch.files and batch.gate != "held"
        ]
        if not earlier:
            return self.landed[self.stream.name]
        keys = ", ".join(f'"{key}"' for key in self.stream.key)
        with _duckdb() as connection:
            row = connection.execute(
                f"""
                with earlier as (
                    select {keys}, _record_hash, struct_pack(at := _extracted_at, batch := _batch_id) as version
                    from read_parquet($earlier, union_by_name = true)
                ),
                newest as (select {keys}, max(version) as version from earlier group by all),
                known as (select distinct {keys}, _record_hash from earlier join newest using ({keys}, version))
                select count(*) from read_parquet($incoming) anti join known using ({keys}, _record_hash)
                """,
                {"incoming": str(path), "earlier": earlier},
            ).fetchone()
        assert row is not None
        return int(row[0])

    def _flush(self, name: str) -> None:
        if not self._buffers[name]:
            return
        if name not in self._writers:
            path = self._temporary(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._writers[name] = pq.ParquetWriter(path, self.schemas[name], compression="zstd")
        table = pa.Table.from_batches(self._buffers[name], schema=self.schemas[name])
        if name == self.stream.name:
            self._sum(table)
        self._note(self._writing.submit(self._writers[name].write_table, table))
        self._buffers[name], self._buffered[name] = [], 0

    def _final(self, name: str) -> Path:
        return self._landing.root / self.source / name / f"{self.batch_id}.parquet"

    def _temporary(self, name: str) -> Path:
        return self._final(name).with_suffix(".tmp")


def outermost(names: set[str]) -> list[str]:
    """Sorted names without those of fields in an object that is named itself."""
    return sorted(name for name in names if not any(name.startswith(f"{other}.") for other in names))


def to_arrow(
    schema: pa.Schema,
    records: Sequence[Record],
    origins: Sequence[RowOrigin],
    source: str,
    stream: str,
    batch_id: str,
    extracted_at: datetime,
) -> pa.RecordBatch:
    """Lay validated rows out as Arrow columns.

    Args:
        schema: as `connectors.declare.stream_schemas` gives it.
        records, origins: (n,) each, in step; a child's origin carries its parent's key values.

    Returns:
        (n,) rows with the schema's columns.
    """
    count = len(records)
    columns: dict[str, Any] = {}
    parent_names = schema.names[: len(origins[0].parent_values)]
    for position, name in enumerate(parent_names):
        columns[name] = [origin.parent_values[position] for origin in origins]
    declared = type(records[0]).columns()
    read = attrgetter(*declared)
    rows = map(read, records) if len(declared) > 1 else ((read(record),) for record in records)
    for (name, column), values in zip(declared.items(), map(list, zip(*rows, strict=True)), strict=True):
        for companion in column.companions:
            columns[f"{name}_{companion.suffix}"] = [
                None if value is None else companion.compute(value) for value in values
            ]
        if column.encode is not None:
            values = [None if value is None else column.encode(value) for value in values]
        columns[name] = values
    columns |= _meta_columns(count, source, stream, batch_id, extracted_at)
    columns["_page_sha256"] = [origin.page_sha256 for origin in origins]
    columns["_row_index"] = [origin.row_index for origin in origins]
    columns["_record_hash"] = [origin.record_hash for origin in origins]
    if "_parent_hash" in schema.names:
        columns["_parent_hash"] = [origin.parent_hash for origin in origins]
        columns["_child_index"] = [origin.child_index for origin in origins]
    arrays = [
        columns[field.name]
        if isinstance(columns[field.name], pa.Array)
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _meta_columns(
    count: int, source: str, stream: str, batch_id: str, extracted_at: datetime
) -> dict[str, pa.Array[Any]]:
    """The meta columns that are the same in every row of a batch."""
    return {
        "_source": pa.repeat(source, count),
        "_stream": pa.repeat(stream, count),
        "_batch_id": pa.repeat(batch_id, count),
        "_extracted_at": pa.repeat(pa.scalar(extracted_at, pa.timestamp("us", tz="UTC")), count),
    }


def _insert_rejections(
    connection: sa.Connection,
    batch_id: str,
    source: str,
    rejections: Sequence[Rejection],
    versions: dict[str, str],
    extracted_at: datetime | None = None,
) -> None:
    """Write down rejected rows; those that wait already are noted as repeats."""
    if not rejections:
        return
    waiting = _waiting(connection, source, {item.stream for item in rejections})
    fresh, repeats = [], []
    for item in rejections:
        version = versions.get(item.stream, "gate")
        place = {
            "batch_id": batch_id,
            "source": source,
            "stream": item.stream,
            "stage": item.stage,
            "page_sha256": item.origin.page_sha256,
            "row_index": item.origin.row_index,
            "child_index": item.origin.child_index,
        }
        known = waiting.get(
            (item.stream, item.stage, version, item.payload, item.parent, item.origin.child_index)
        )
        if known is not None:
            repeats.append({**place, "quarantine_id": known})
        else:
            fresh.append(
                {
                    **place,
                    "parent": item.parent,
                    "payload": item.payload,
                    "error": item.error,
                    "model_version": version,
                    "extracted_at": (extracted_at or _now()).isoformat(),
                }
            )
    for table, rows in ((QUARANTINE, fresh), (REPEATS, repeats)):
        if rows:
            connection.execute(sa.insert(table), rows)


def _waiting(connection: sa.Connection, source: str, streams: set[str]) -> dict[tuple[Any, ...], int]:
    """Rows that wait in quarantine, by what makes a row the same: its content and place, judged by the same model."""
    columns = QUARANTINE.c
    query = (
        sa.select(
            columns.stream,
            columns.stage,
            columns.model_version,
            columns.payload,
            columns.parent,
            columns.child_index,
            columns.quarantine_id,
        )
        .where(columns.source == source, columns.stream.in_(sorted(streams)), columns.replayed_in.is_(None))
        .order_by(columns.quarantine_id.desc())
    )
    return {tuple(row[:-1]): row[-1] for row in connection.execute(query)}


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_durably(path: Path, content: bytes) -> None:
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def _prepare_sqlite(connection: Any, record: Any) -> None:
    connection.execute("pragma journal_mode=wal")
    connection.execute("pragma busy_timeout=30000")
    connection.execute("pragma synchronous=full")


def _fingerprint(schema: pa.Schema) -> str:
    text = ";".join(f"{field.name}:{field.type}" for field in schema)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _distinct(batches: Sequence[CommittedBatch], stream: str, column: str) -> list[str]:
    files = [str(batch.files[stream]) for batch in batches if stream in batch.files]
    if not files:
        return []
    with _duckdb() as connection:
        rows = connection.execute(
            f'select distinct cast("{column}" as varchar) from read_parquet(?, union_by_name=true) '
            f'where "{column}" is not null order by 1',
            [files],
        ).fetchall()
    return [row[0] for row in rows]


def _follows_cursor(pull: sa.Row[Any], lag: timedelta) -> bool:
    """Whether a pull began where the one before it ended, or at the very beginning."""
    if pull.window_since is None:
        return True
    if pull.cursor_before is None:
        return False
    since, before = datetime.fromisoformat(pull.window_since), datetime.fromisoformat(pull.cursor_before)
    return since == before - lag


def _text(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
