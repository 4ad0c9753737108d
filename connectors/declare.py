"""The language a source is declared in: typed, frozen objects, so that mypy is the loader.

A source module builds one `SOURCE` from what this module exports and imports nothing else of ours.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

import pyarrow as pa
from pydantic import AliasPath, BaseModel, ConfigDict, Field, model_validator

from connectors.auth import (
    AppToken,
    Auth,
    Basic,
    Bearer,
    ClientCredentials,
    HeaderToken,
    NoAuth,
    OAuthRefresh,
    Outgoing,
    Secrets,
    Signed,
    pair_text,
)
from connectors.column import (
    BLANK_IS_NULL,
    Amount,
    CentAmount,
    ChinaInstant,
    Column,
    Country,
    Currency,
    FloatAmount,
    FloatQuantity,
    Gtin,
    Instant,
    MilliInstant,
    MinorAmount,
    Phone,
    Quantity,
    Ratio,
    Text,
    UnixInstant,
    UtcInstant,
    column_of,
    local_instant,
)
from connectors.decode import decode_json
from connectors.edifact import BrokenMessage, EdifactMessage, EdifactSegment, read_edifact
from connectors.errors import (
    BrokenAnswerError,
    ConnectorError,
    FatalError,
    MissingSecretError,
    ProtocolError,
    RefusedError,
    ThrottledError,
)
from connectors.pagination import (
    Ask,
    KeysetPages,
    LinkHeader,
    NextLink,
    NumberedPages,
    OffsetPages,
    Pages,
    SinglePage,
    TokenPages,
    dig,
)
from connectors.rsa import read_rsa_key, sign_rsa2, verify_rsa2
from connectors.table import read_table
from connectors.webhook import (
    DigestSignature,
    EncryptedSignature,
    FormSignature,
    Notice,
    QuerySignature,
    TimedSignature,
    TokenSignature,
    Webhook,
    read_form,
    read_messages,
)
from connectors.x12 import TransactionSet, read_x12

__all__ = [
    "BLANK_IS_NULL",
    "CHILD_META_FIELDS",
    "META_FIELDS",
    "AliasPath",
    "Amount",
    "AppToken",
    "Ask",
    "Auth",
    "Basic",
    "Bearer",
    "Bounds",
    "BrokenAnswerError",
    "BrokenMessage",
    "Bulk",
    "CentAmount",
    "Child",
    "ChinaInstant",
    "ClientCredentials",
    "ConnectorError",
    "ControlTotal",
    "Count",
    "Country",
    "Currency",
    "Delta",
    "DigestSignature",
    "EdifactMessage",
    "EdifactSegment",
    "EncryptedSignature",
    "Export",
    "FatalError",
    "Feed",
    "Field",
    "FloatAmount",
    "FloatQuantity",
    "FormSignature",
    "Gtin",
    "HeaderToken",
    "Instant",
    "KeysetPages",
    "Kind",
    "LinkHeader",
    "Lookup",
    "MilliInstant",
    "MinorAmount",
    "MissingSecretError",
    "NextLink",
    "NoAuth",
    "Notice",
    "NumberedPages",
    "OAuthRefresh",
    "OffsetPages",
    "Outgoing",
    "Pages",
    "Phone",
    "ProtocolError",
    "Quantity",
    "QuerySignature",
    "RateLimit",
    "Ratio",
    "Record",
    "RefusedError",
    "Secrets",
    "Signed",
    "SinglePage",
    "Source",
    "Stream",
    "Sweep",
    "Text",
    "ThrottledError",
    "TimedSignature",
    "TokenPages",
    "TokenSignature",
    "TransactionSet",
    "UnixInstant",
    "UnreadDocument",
    "UtcInstant",
    "Webhook",
    "ask_everything",
    "decode_json",
    "dig",
    "local_instant",
    "pair_text",
    "read_edifact",
    "read_form",
    "read_messages",
    "read_rsa_key",
    "read_table",
    "read_x12",
    "sign_rsa2",
    "verify_rsa2",
]


class Kind(StrEnum):
    """What a source system is for; survivorship ranks by it."""

    POS = "pos"
    MARKETPLACE = "marketplace"
    ERP = "erp"
    CRM = "crm"
    WMS = "wms"
    TMS = "tms"
    SERVICE = "service"
    PAYMENT = "payment"
    TRACEABILITY = "traceability"
    RATES = "rates"
    FILE = "file"


class Record(BaseModel):
    """One row as a source sends it, validated. Fields it does not name stay in the page archive and count as drift."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, coerce_numbers_to_str=True)

    @classmethod
    def columns(cls) -> dict[str, Column]:
        """Landing column of each field, in declaration order."""
        return {name: column_of(field.annotation, field.metadata) for name, field in cls.model_fields.items()}


class Bounds(BaseModel):
    """What a request should ask for: half-open change window, and keys when the stream fans out over another.

    `is_first`: nothing was pulled before, so that the window may be one of creation instead of change.
    """

    model_config = ConfigDict(frozen=True)
    since: datetime | None = None
    until: datetime | None = None
    keys: tuple[str, ...] = ()
    is_first: bool = False


def ask_everything(bounds: Bounds) -> Ask:
    """A request without bounds, for streams that are small and have no change filter."""
    return Ask()


class ControlTotal(BaseModel):
    """A money field whose sum per currency is kept with every batch."""

    model_config = ConfigDict(frozen=True)
    amount: str
    currency: str


class Count(BaseModel):
    """How a source says how many rows of a stream it holds in all.

    Args:
        ask: the request that counts.
        read: names to follow to the number, from the outermost; a name may hold dots. Without names it is the answer.
    """

    model_config = ConfigDict(frozen=True)
    ask: Ask
    read: tuple[str, ...] = ()


class Lookup(BaseModel):
    """How records of a stream are asked for by key.

    Args:
        ask: builds the request; `bounds.keys` are the keys wanted.
        rows: dotted path of the record or the list of them in an answer; a null in a list is a record that is not there.
        size: keys that one request may name.
        key: dotted path of the key in a raw record: a key that was asked for and not answered is gone at the source. None
            where the keys are another stream's, so that nothing follows from silence.
        gone: dotted path of a flag in a raw record that is true where it was deleted.
        path, method: as a stream's; the stream's own by default.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    ask: Callable[[Bounds], Ask]
    rows: str = ""
    size: int = 1
    key: str | None = "id"
    gone: str | None = None
    path: str | None = None
    method: str | None = None


class Bulk(BaseModel):
    """How a source hands a whole stream out as one file of JSON lines, prepared on its side.

    Args:
        start: builds the request that begins the operation, for what changed within the bounds.
        begun: dotted path of the operation's id in the answer.
        complaints: dotted path of what the source complains of instead.
        ask: builds the request that asks how far an operation is.
        told: dotted path of the operation in the answer; `state`, `address` and `count` are names in it: how far it is, where
            the file lies (null where it would be empty), how many lines it has.
        running, done: states.
        assemble: lines -> raw rows as the stream has them, and keys of records that the file cannot hold whole, which are
            asked for one by one.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    start: Callable[[Bounds], Ask]
    begun: str
    complaints: str
    ask: Callable[[str], Ask]
    told: str
    state: str
    address: str
    count: str
    running: tuple[str, ...]
    done: tuple[str, ...]
    assemble: Callable[[list[Any]], tuple[list[Any], list[str]]]


class Delta(BaseModel):
    """How a source goes on telling what changed since an answer, deletions included: OData's delta links.

    Whoever reads a stream whole gets a link with the last page; following it brings what changed since, and the next link.
    A link that has run out is answered 404 or 410: the stream is read whole again then.

    Args:
        link: name of the link in the last page.
        base: path that a relative link continues; it ends in a slash.
        key: name of the key in a removed entity, where its id does not stand in `id` or `@id`, as `Entity('key')`.
        headers: sent with every request.

    Source: OData JSON Format 4.01, sections 15 and 16
    """

    model_config = ConfigDict(frozen=True)
    link: str = "@odata.deltaLink"
    base: str = "/"
    key: str
    headers: dict[str, str] = Field(default_factory=dict)

    def removed(self, row: Any) -> str | None:
        """The key of a record that a row says is deleted; empty where it only left what was asked for; else None."""
        if not isinstance(row, dict):
            return None
        context = str(row.get("@odata.context") or row.get("@context") or "")
        told = row.get("@removed") or row.get("@odata.removed") or ("$deletedEntity" in context and row)
        if not isinstance(told, dict):
            return None
        if told.get("reason") != "deleted":
            return ""
        if self.key in row:
            return str(row[self.key])
        named = re.search(
            r"\('?((?:[^']|'')*?)'?\)$", str(row.get("@id") or row.get("@odata.id") or row.get("id") or "")
        )
        return named.group(1).replace("''", "'") if named else ""


class Sweep(BaseModel):
    """How the keys of everything a stream holds are listed, to find what was deleted.

    Args:
        ask: the request; as little as the source can be asked for beside the key.
        rows: dotted path of the list.
        pages: how the next page is asked for; by key or by token, since what an offset passes over would seem deleted.
        key: dotted path of the key in a row.
        path, method: as a stream's; the stream's own by default.
    """

    model_config = ConfigDict(frozen=True)
    ask: Ask
    rows: str = ""
    pages: Any = SinglePage()
    key: str = "id"
    path: str | None = None
    method: str | None = None


class Child(BaseModel):
    """A nested list that becomes a stream of its own.

    Args:
        name: the stream's name.
        path: dotted path of the list inside the parent's JSON; lists on the way are flattened.
        record: model of one item.
        parent: child column -> parent field copied into it; the parent's key travels this way.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    path: str
    record: type[Record]
    parent: dict[str, str]
    description: str = ""


class Stream(BaseModel):
    """One kind of record a source hands out.

    Args:
        name: plural noun; the landing table is `<source>__<name>`.
        record: model of one row.
        key: fields that identify a row at the source.
        path: below the source's base URL.
        ask: builds the first request from the change window.
        rows: dotted path of the list of rows in an answer.
        pages: how the next page is asked for.
        cursor: field that moves forward with every change; None reads everything every time.
        lag: how far before the last cursor the next pull starts, for late commits and skewed clocks.
        window: the longest change window the source answers; a longer pull is cut into such windows.
        first_window: the longest window of a pull without a start, where the source answers longer ones then (by
            creation, say).
        first_by: (stream, field) whose landed values a pull without a start asks by, instead of windows.
        window_is_cursor: an answered window is complete: the cursor moves with it, even where nothing changed or no row has
            a time.
        history: how far back a pull without a start reaches, for streams that need one; ORDERHUB_<SOURCE>_SINCE, an
            ISO 8601 time, overrides it.
        children: nested lists that become streams.
        fan_out: (stream, field) whose landed values are passed as `bounds.keys`, `fan_out_size` at a time.
        fan_out_changes: only the values that landed since this stream was last pulled.
        fan_out_field: where rows do not say which value they were asked by, the field that it is written into; one value
            is asked by at a time.
        control_totals: money sums kept with every batch.
        count: asked around a pull, and compared with what is here; for streams that are read whole and without windows.
        app: the part of the system that hands it out, where a company may have none. Where the source knows no such thing
            (404), and nothing of it ever landed, the pull says so and does not fail.
        without: what to ask for instead where our credential may not see a part of it: what is left out stays unknown, and
            the pull says so.
        lookup: how single records are asked for, by the key of a notification; a stream that fans out is asked as always.
        sweep: how all keys are listed.
        delta: how it tells what changed since.
        kept: why no record of it goes unnoticed, where neither sweep nor delta nor notification tells that one is gone.
        bulk: how it is handed out whole, as a file.
        document: fields that name the document a row is part of, where a document arrives whole: its newest batch
            replaces all its rows.
        freshness: data older than this is stale.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    name: str
    record: type[Record]
    key: tuple[str, ...]
    path: str
    method: str = "GET"
    ask: Callable[[Bounds], Ask] = ask_everything
    rows: str = ""
    pages: Any = SinglePage()
    cursor: str | None = None
    lag: timedelta = timedelta(minutes=10)
    window: timedelta | None = None
    first_window: timedelta | None = None
    first_by: tuple[str, str] | None = None
    window_is_cursor: bool = False
    history: timedelta = timedelta(days=730)
    children: tuple[Child, ...] = ()
    fan_out: tuple[str, str] | None = None
    fan_out_size: int = 10
    fan_out_changes: bool = False
    fan_out_field: str | None = None
    control_totals: tuple[ControlTotal, ...] = ()
    count: Count | None = None
    app: str = ""
    without: Callable[[Ask], Ask] | None = None
    lookup: Lookup | None = None
    sweep: Sweep | None = None
    delta: Delta | None = None
    kept: str = ""
    bulk: Bulk | None = None
    document: tuple[str, ...] = ()
    freshness: timedelta = timedelta(days=1)
    description: str = ""

    @model_validator(mode="after")
    def _fields_exist(self) -> Stream:
        named = {*self.key, *self.document, *([self.cursor] if self.cursor else [])}
        for total in self.control_totals:
            named |= {total.amount, total.currency}
        for child in self.children:
            named |= set(child.parent.values())
        if self.count is not None and (self.window or self.fan_out or self.first_by or self.document):
            raise ValueError(f"stream {self.name}: what is pulled in parts has no count of its whole")
        if self.fan_out_field is not None and (self.fan_out is None or self.fan_out_size != 1):
            raise ValueError(f"stream {self.name}: fan_out_field needs a fan_out, one value at a time")
        missing = named - set(self.record.model_fields)
        if missing:
            raise ValueError(
                f"stream {self.name}: {sorted(missing)} are not fields of {self.record.__name__}"
            )
        return self

    @property
    def by_key(self) -> Lookup | None:
        """How its records are asked for by key, if they can be."""
        if self.lookup is None and self.fan_out is not None and self.fan_out_field is None:
            return Lookup(ask=self.ask, rows=self.rows, size=self.fan_out_size, key=None)
        return self.lookup

    @property
    def tables(self) -> dict[str, type[Record]]:
        """Every landing stream this stream feeds: itself and its children."""
        return {self.name: self.record, **{child.name: child.record for child in self.children}}


class Export(BaseModel):
    """How one kind of exported file maps to the fields of a record.

    Args:
        name: what the files are; part of every key made from them.
        files: glob inside the inbox folder, such as `dealer_*.csv`.
        columns: record field -> header as the file prints it.
        constants: record field -> value the file does not carry, such as the currency.
        timezone: IANA zone of naive times.
        date_formats: strptime formats tried in turn; ISO 8601 always.
        encoding: of CSV; `utf-8-sig` also reads files without a mark.
        separator: of CSV.
        decimal: decimal separator in texts; the other one of `.` and `,` is taken as a thousands separator.
        sheet: of XLSX; the first one by default.
        return_prefix: order numbers that start so are return documents.
        is_signed: negative quantities are legitimate (returns, stock adjustments).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    files: str = Field(min_length=1)
    columns: dict[str, str]
    constants: dict[str, str] = Field(default_factory=dict)
    timezone: str = "UTC"
    date_formats: tuple[str, ...] = ()
    encoding: str = "utf-8-sig"
    separator: str = Field(default=",", pattern=r'^[^"\r\n]$')
    decimal: str = Field(default=".", pattern=r"^[.,]$")
    sheet: str | None = None
    return_prefix: str | None = None
    is_signed: bool = False


@dataclass(frozen=True)
class UnreadDocument:
    """A document that nothing can be made of, beside others of its file that can be read; `fault` says why."""

    name: str
    fault: str


class Feed(BaseModel):
    """One kind of file that a source's own reader understands; a file is a document or several.

    Args:
        name: what the files are.
        files: glob inside the source's inbox folder, such as `claims_*.csv`.
        read: (file name, bytes) -> documents: raw rows of the source's one stream, their nested lists its children.
            A `ValueError` puts the whole file into quarantine, with its message; an `UnreadDocument` itself alone.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    files: str = Field(min_length=1)
    read: Callable[[str, bytes], Sequence[dict[str, Any] | UnreadDocument]]


class RateLimit(BaseModel):
    """The budget all streams of a source share: `requests` per `seconds`."""

    model_config = ConfigDict(frozen=True)
    requests: int
    seconds: float


def _no_fault(body: Any) -> ConnectorError | None:
    return None


class Source(BaseModel):
    """One source system.

    Args:
        name: lower case; ORDERHUB_<NAME>_URL overrides `base_url`.
        auth: how it knows us.
        limit: our own ceiling; the vendor's headers can only slow it further.
        decode: bytes of an answer -> Python values.
        fault: finds an error inside a 200 answer; returns the error to raise or None.
        hosts: other hosts of the vendor that an answer may point to for a download.
        exports: for a source that reads files instead of answering requests, through column mappings.
        feeds: for one that reads files in forms of its own; it has one stream.
        webhook: the notifications it sends.
        unheard: why none of them is taken in, where there is no webhook.
    """

    model_config = ConfigDict(frozen=True, arbitrary_types_allowed=True)
    name: str = Field(pattern=r"^[a-z][a-z0-9_]*$")
    title: str
    kind: Kind
    owner: str
    base_url: str = ""
    auth: Any = NoAuth()
    streams: tuple[Stream, ...]
    limit: RateLimit | None = None
    timeout_seconds: float = 30.0
    headers: dict[str, str] = Field(default_factory=dict)
    decode: Callable[[bytes], Any] = decode_json
    fault: Callable[[Any], ConnectorError | None] = _no_fault
    hosts: tuple[str, ...] = ()
    exports: tuple[Export, ...] = ()
    feeds: tuple[Feed, ...] = ()
    webhook: Webhook | None = None
    unheard: str = ""
    documentation: str = ""

    @model_validator(mode="after")
    def _names_are_unique(self) -> Source:
        names = [name for stream in self.landed for name in stream.tables]
        if len(names) != len(set(names)):
            raise ValueError(f"source {self.name}: two streams share a name")
        for notice in self.webhook.notices if self.webhook is not None else ():
            unknown = sorted(set(notice.streams) - {stream.name for stream in self.streams})
            if unknown:
                raise ValueError(
                    f"source {self.name}: notice {notice.topic} names no stream {', '.join(unknown)}"
                )
        return self

    @property
    def notices_deletions(self) -> bool:
        """Whether it can be learnt that one of its records was deleted or merged away."""
        notices = self.webhook.notices if self.webhook is not None else ()
        return any(stream.sweep is not None or stream.delta is not None for stream in self.streams) or any(
            notice.is_deletion or notice.merged_into is not None for notice in notices
        )

    @property
    def landed(self) -> tuple[Stream, ...]:
        """Every stream that rows of it land in: those it hands out, and what is known to be gone."""
        return (*self.streams, TOMBSTONES) if self.notices_deletions else self.streams

    @property
    def reads_files(self) -> bool:
        """Whether it reads an inbox instead of asking a server."""
        return bool(self.exports or self.feeds)

    @property
    def tables(self) -> dict[str, type[Record]]:
        """Every landing stream of the source, children included."""
        return {name: record for stream in self.landed for name, record in stream.tables.items()}

    def stream(self, name: str) -> Stream:
        """Find a stream by its name or a child's name.

        Raises:
            KeyError: there is none; the message lists what there is.
        """
        for stream in self.landed:
            if name in stream.tables:
                return stream
        raise KeyError(f"{self.name} has no stream {name!r}; it has {', '.join(self.tables)}")


class Tombstone(Record):
    """What is known of a record that its source no longer holds, or holds again; the newest word counts."""

    stream: str = Field(min_length=1, description="whose record it is")
    record_key: str = Field(min_length=1)
    is_deleted: bool = Field(description="false: it came back")
    merged_into_key: str | None = Field(None, description="key of the record that took its place")
    evidence: str = Field(description="notification, lookup, sweep, delta or record: what said so")
    noticed_at: Instant


TOMBSTONES = Stream(
    name="tombstones",
    record=Tombstone,
    key=("stream", "record_key"),
    path="",
    rows="tombstones",
    cursor="noticed_at",
    # Nothing says when the next record will be deleted.
    freshness=timedelta(days=3650),
    description="Records that the source deleted, merged away or took back, with what said so.",
)

META_FIELDS = (
    pa.field("_source", pa.string()),
    pa.field("_stream", pa.string()),
    pa.field("_batch_id", pa.string()),
    pa.field("_page_sha256", pa.string()),
    pa.field("_row_index", pa.int64()),
    pa.field("_extracted_at", pa.timestamp("us", tz="UTC")),
    pa.field("_record_hash", pa.string()),
)
# A child row is found in its page by the parent's row and its own place below that row.
CHILD_META_FIELDS = (pa.field("_parent_hash", pa.string()), pa.field("_child_index", pa.int64()))


def arrow_schema(record: type[Record], parent: dict[str, pa.DataType] | None = None) -> pa.Schema:
    """Arrow schema a record lands in: parent key columns, fields with companions, then the meta columns.

    Args:
        record: the record model.
        parent: for a child stream, column name -> Arrow type of each column copied from the parent.
    """
    fields = [pa.field(name, kind) for name, kind in (parent or {}).items()]
    for name, column in record.columns().items():
        fields.append(pa.field(name, column.arrow))
        fields += [pa.field(f"{name}_{item.suffix}", item.arrow) for item in column.companions]
    fields += META_FIELDS
    if parent is not None:
        fields += CHILD_META_FIELDS
    return pa.schema(fields)


def stream_schemas(stream: Stream) -> dict[str, pa.Schema]:
    """Arrow schema of a stream and of each of its children."""
    columns = stream.record.columns()
    schemas = {stream.name: arrow_schema(stream.record)}
    for child in stream.children:
        schemas[child.name] = arrow_schema(
            child.record, {name: columns[field].arrow for name, field in child.parent.items()}
        )
    return schemas
