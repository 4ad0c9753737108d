"""Pull streams from a source into landing.

A pull never raises for what a source did: its result carries the error, so that the other streams go on.
"""

from __future__ import annotations

import gc
import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from itertools import chain
from typing import Any, Literal
from urllib.parse import urljoin

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from connectors.client import Answer, Client
from connectors.columnar import Checked, can_check, check_rows, hex_texts
from connectors.declare import Bounds, Child, Record, Source, Stream, dig
from connectors.errors import (
    ConnectorError,
    ErrorKind,
    FatalError,
    GoneError,
    ProtocolError,
    RefusedError,
    kind_of,
)
from connectors.landing import Batch, ControlCount, Landing, Rejection, RowOrigin
from connectors.pagination import Ask, NumberedPages, OffsetPages

_log = logging.getLogger(__name__)
pc: Any = pyarrow.compute  # the stubs know fewer argument types than these functions take

MAX_PAGES = 100_000
_OBJECTS_BETWEEN_COLLECTIONS = 50_000
_ROWS_LOOKED_INTO = 5  # of each page, for the names within objects
FEWEST_BY_COLUMN = 50  # rows of a page; fewer are validated sooner one by one
MAX_REPEATS = 3  # pages in a row that bring the same rows
# Fields by which services say in an answer 200 that something went wrong.
_COMPLAINTS = ("error", "errors", "message", "detail", "fault", "exception")
Progress = Callable[[str, str, int], None]  # source, stream, rows so far


@dataclass(frozen=True)
class PullResult:
    """What one pull of one stream did. Counts are rows, children included.

    `quarantined` counts the rows of this pull that are in quarantine now, also those that waited there before. `error`
    is a sentence or None, `error_kind` what to do about it: nothing before a person acted ("fatal"), ask again
    ("retryable"), or go on without the file ("skippable"); what nobody foresaw is "unknown". `remarks` say what came less
    than whole.
    """

    source: str
    stream: str
    batch_id: str | None = None
    pulled: int = 0
    landed: int = 0
    quarantined: int = 0
    changed: int = 0
    pages: int = 0
    seconds: float = 0.0
    error: str | None = None
    drift: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    error_kind: ErrorKind | None = None
    remarks: tuple[str, ...] = ()

    @property
    def is_retryable(self) -> bool:
        """Whether the same pull may succeed without a person's help."""
        return self.error_kind in ("retryable", "unknown")


def pull_source(
    source: Source,
    landing: Landing,
    values: Mapping[str, str],
    *,
    streams: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    full: bool = False,
    progress: Progress | None = None,
    open_client: Callable[[Source, Mapping[str, str]], Client] = Client,
) -> list[PullResult]:
    """Pull the streams of one source, one after another, over one client.

    Args:
        source: the declaration; not one that reads files (see `connectors.files.pull_files`).
        landing: where rows and pages go.
        values: environment with secrets and URL.
        streams: names; all by default.
        since, until: aware UTC bounds of a back-fill; by default from the last cursor less the lag.
        full: ignore cursors.
        progress: called after each page.
        open_client: makes the client; tests that do not want to wait put another one here.

    Returns:
        One result per stream. Errors are in the results.
    """
    chosen = [stream for stream in source.streams if streams is None or set(stream.tables) & set(streams)]
    _collect_less_often()
    try:
        client = open_client(source, values)
    except ConnectorError as error:
        return [
            PullResult(source.name, stream.name, error=str(error), error_kind=kind_of(error))
            for stream in chosen
        ]
    with client:
        return [
            pull_stream(source, stream, landing, client, since, until, full, progress) for stream in chosen
        ]


def _collect_less_often() -> None:
    # Decoded rows come and go by the thousand and hold no cycles: looking for some every 700 costs a twelfth of a pull.
    often, *others = gc.get_threshold()
    if 0 < often < _OBJECTS_BETWEEN_COLLECTIONS:
        gc.set_threshold(_OBJECTS_BETWEEN_COLLECTIONS, *others)


def pull_stream(
    source: Source,
    stream: Stream,
    landing: Landing,
    client: Client,
    since: datetime | None = None,
    until: datetime | None = None,
    full: bool = False,
    progress: Progress | None = None,
) -> PullResult:
    """Pull one stream and commit it as one batch; on an error nothing of it becomes visible."""
    started = time.perf_counter()
    before = landing.cursor(source.name, stream.name)
    start = since
    is_incremental = stream.cursor is not None or stream.window_is_cursor
    if start is None and before is not None and not full and is_incremental:
        start = _resumed(stream, before, client)
    batch = landing.open_batch(source.name, stream)
    is_optional = bool(stream.app) and not landing.has_batches(source.name, stream.name)

    def read() -> int:
        bounds = Bounds(since=start, until=until)
        before_reading = _count(source, stream, client)
        link = None if full or since or until else landing.delta_link(source.name, stream.name)
        if link is not None:
            try:
                seen = _read_run(source, stream, client, batch, bounds, progress, link)[0]
            except GoneError:
                _log.info(
                    "%s.%s: its delta link has run out; it is read whole again", source.name, stream.name
                )
                link, bounds = None, Bounds()
        if link is None:
            seen = _read_pages(source, stream, landing, client, batch, bounds, progress)
            if bounds.since is not None or bounds.until is not None:
                batch.delta_link = None  # of what was asked for alone
        batch.told += _whole(source, stream, before_reading, _count(source, stream, client))
        after = _next_cursor(before, seen, start, _began(batch, client))
        return batch.commit(before, after, (bounds.since, bounds.until), is_keyed=link is not None)

    return attempt(batch, read, started, is_optional)


def attempt(batch: Batch, read: Callable[[], int], started: float, is_optional: bool = False) -> PullResult:
    """Fill a batch and commit it; whatever goes wrong is in the result, and nothing of the batch is visible then.

    Args:
        batch: the open batch.
        read: fills and commits it; gives how many rows are new or changed.
        started: `time.perf_counter` when the pull began.
        is_optional: whether the source may know nothing of the stream.
    """
    source, stream = batch.source, batch.stream.name
    try:
        changed = read()
    except ConnectorError as error:
        batch.abandon()
        # What breaks off after a page is there, and broken.
        if is_optional and not batch.pages and isinstance(error, GoneError):
            remark = (
                f"{source}.{stream}: left out, since the system seems to have no {batch.stream.app}. {error}"
            )
            return PullResult(source, stream, seconds=time.perf_counter() - started, remarks=(remark,))
        _log.error("%s", error)
        return PullResult(
            source,
            stream,
            seconds=time.perf_counter() - started,
            error=_placed(batch.source, batch.stream.name, error),
            error_kind=kind_of(error),
            pages=len(batch.pages),
        )
    except Exception as error:
        # Not even what nobody foresaw may stop the other streams; the log has the whole trace.
        batch.abandon()
        _log.exception("%s.%s: failed in a way nobody foresaw", source, stream)
        return PullResult(
            source,
            stream,
            seconds=time.perf_counter() - started,
            error=f"{source}.{stream}: failed in a way nobody foresaw ({type(error).__name__}: {error}); "
            "nothing of it landed. Report it with the log.",
            error_kind="unknown",
            pages=len(batch.pages),
        )
    except BaseException:
        batch.abandon()
        raise
    return committed(batch, changed, started)


def _placed(source: str, stream: str, error: ConnectorError) -> str:
    """What went wrong, beginning with where; a source's own faults know no stream. What to do is said at the end."""
    text = str(error)
    if not text.startswith(f"{source}.{stream}"):
        text = f"{source}.{stream}: {text.removeprefix(f'{source}: ')}"
    if isinstance(error, ProtocolError):
        text += f" (orderhub sources check {source} compares its answers with the declaration)"
    return text


def committed(batch: Batch, changed: int, started: float) -> PullResult:
    """What a committed batch did; `started` is the pull's `time.perf_counter`."""
    return PullResult(
        source=batch.source,
        stream=batch.stream.name,
        batch_id=batch.batch_id,
        pulled=sum(batch.pulled.values()),
        landed=sum(batch.landed.values()),
        quarantined=len(batch.rejections),
        changed=changed,
        pages=len(batch.pages),
        seconds=time.perf_counter() - started,
        drift=batch.drift(),
        remarks=tuple(batch.remarks),
    )


def _count(source: Source, stream: Stream, client: Client) -> int | str | None:
    """How many rows the source says the stream has; a sentence where it would not say, None where it has no count.

    A source that hands out its rows and refuses to count them is no reason to leave them there.
    """
    if stream.count is None:
        return None
    try:
        found = client.send(stream, stream.count.ask).body
    except ConnectorError as error:
        return str(error)
    for name in stream.count.read:
        found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | str) or not str(found).isdigit():
        return f"{source.name}.{stream.name}: asked to count, the source said {str(found)[:80]!r}"
    return int(found)


def _whole(
    source: Source, stream: Stream, before: int | str | None, after: int | str | None
) -> list[ControlCount]:
    if before is None or after is None:
        return []
    if isinstance(before, int) and isinstance(after, int):
        return [ControlCount(source.name, stream.name, "stream", min(before, after), max(before, after))]
    complaint = before if isinstance(before, str) else str(after)
    return [ControlCount(source.name, stream.name, "stream", complaint=complaint)]


def _read_pages(
    source: Source,
    stream: Stream,
    landing: Landing,
    client: Client,
    batch: Batch,
    bounds: Bounds,
    progress: Progress | None,
) -> datetime | None:
    seen: datetime | None = None
    told = received = 0
    for run in _runs(source, stream, landing, bounds, client):
        pieces, again = [run], False
        while pieces:
            piece = pieces.pop()
            latest, ending, counted = _read_run(source, stream, client, batch, piece, progress)
            seen = max(filter(None, (seen, latest)), default=None)
            if counted is not None and counted[0] > counted[1] and not again:
                pieces, again = [*pieces, piece], True  # a row may have left the window meanwhile
                continue
            again = False
            if counted is not None:
                told, received = told + counted[0], received + min(counted)
                if counted[0] > counted[1]:
                    batch.told.append(_asked("window", source, stream, piece, *counted))
            if ending == "overflow":
                pieces += reversed(_halves(source, stream, piece))
            elif ending == "cut":
                if latest is None or latest == piece.since:
                    raise ProtocolError(
                        f"{source.name}.{stream.name}: more than {stream.pages.ceiling} rows share the change time "
                        f"{latest}; the source will not hand out the rest"
                    )
                pieces.append(piece.model_copy(update={"since": latest}))
    if isinstance(stream.pages, NumberedPages | OffsetPages) and (told or received):
        batch.told.append(_asked("pull", source, stream, bounds, told, received))
    if stream.window_is_cursor:
        # What changed while we read may lie in a window that was read before.
        began = _began(batch, client)
        return began if bounds.until is None else min(began, bounds.until)
    return seen


def _asked(
    scope: Literal["pull", "window"], source: Source, stream: Stream, bounds: Bounds, told: int, received: int
) -> ControlCount:
    return ControlCount(
        source.name, stream.name, scope, told, told, received, since=bounds.since, until=bounds.until
    )


def _began(batch: Batch, client: Client) -> datetime:
    """When a pull began: by the source's clock or by ours, whichever lags. A cursor ahead of either would skip changes."""
    return batch.started_at + min(client.clock_offset, timedelta(0))


def _halves(source: Source, stream: Stream, window: Bounds) -> list[Bounds]:
    """Cut a window that holds more rows than the source hands out into two, at a whole second."""
    where = f"{source.name}.{stream.name}"
    if window.since is None or window.until is None:
        raise ProtocolError(f"{where}: more than {stream.pages.ceiling} rows, and no window to narrow")
    middle = (window.since + (window.until - window.since) / 2).replace(microsecond=0)
    if not window.since < middle < window.until:
        raise ProtocolError(
            f"{where}: more than {stream.pages.ceiling} rows within one second of {window.since}; the source will not "
            "hand out the rest"
        )
    return [window.model_copy(update={"until": middle}), window.model_copy(update={"since": middle})]


def _read_run(
    source: Source,
    stream: Stream,
    client: Client,
    batch: Batch,
    bounds: Bounds,
    progress: Progress | None,
    delta_link: str | None = None,
) -> tuple[datetime | None, Literal["end", "cut", "overflow"], tuple[int, int] | None]:
    """Read page after page; return the latest cursor, how it ended, and rows (told, received) where the source tells.

    "cut": after some pages the source's ceiling was reached. "overflow": the source said beforehand that there is more
    than it hands out, and nothing was read. Received are distinct rows.
    """
    numbered = stream.pages if isinstance(stream.pages, NumberedPages) else None
    telling = stream.pages if isinstance(stream.pages, NumberedPages | OffsetPages) else None
    told: int | None = None
    distinct: set[str] = set()
    latest: datetime | None = None
    rows_read = 0
    landing: Callable[[], None] | None = None  # of the page before, while the source makes the next

    def land(rows: list[Any], digest: Future[str], has_nul: bool, so_far: int) -> None:
        nonlocal latest
        landed_to = land_rows(batch, stream, rows, digest.result(), has_nul=has_nul)
        latest = max(filter(None, (latest, landed_to)), default=None)
        if told is not None:
            distinct.update(map(record_hash, rows))
        if progress is not None:
            progress(source.name, stream.name, so_far)

    ask = stream.pages.first(stream.ask(bounds))
    if stream.delta is not None and delta_link is not None:
        ask = Ask(path=urljoin(stream.delta.base, delta_link), headers=stream.delta.headers)
    asked: set[str] = set()
    before: list[Any] = []
    repeats = 0
    for _ in range(MAX_PAGES):
        mark = record_hash(ask.model_dump())
        if mark in asked:
            raise ProtocolError(
                f"{source.name}.{stream.name}: page {len(asked) + 1} is a page that came before; paging does not advance"
            )
        asked.add(mark)
        answer, ask = _permitted(source, stream, client, batch, ask, landing)
        landing = None
        if numbered is not None and numbered.overflows(answer.body):
            return latest, "overflow", None
        if telling is not None and len(asked) == 1:
            told = telling.told(answer.body)
        if numbered is not None and numbered.only_counts(ask, answer.body):
            ask = numbered.after(ask, answer.body, 0, answer.headers) or ask
            continue
        origin = f"{stream.method} {ask.path or stream.path}"
        digest = batch.archive_aside(answer.content, origin)
        rows = _rows_in(source, stream, answer.body)
        if rows and rows == before:
            # A cache in between may have answered the request before this one; the source itself is asked again.
            answer = client.send(stream, ask)
            digest = batch.archive_aside(answer.content, origin)
            rows = _rows_in(source, stream, answer.body)
            repeats = repeats + 1 if rows == before else 0
            if repeats == MAX_REPEATS:
                raise ProtocolError(
                    f"{source.name}.{stream.name}: pages {len(asked) - repeats} to {len(asked)} bring the same rows; paging "
                    "does not advance"
                )
        before = rows
        rows = _without_removed(stream, batch, rows, digest)
        if stream.fan_out_field is not None:
            asked_by = {stream.fan_out_field: bounds.keys[0]}
            rows = [{**row, **asked_by} if isinstance(row, dict) else row for row in rows]
        batch.count(stream.name, len(rows))
        rows_read += len(rows)
        following = stream.pages.after(ask, answer.body, len(rows), answer.headers)
        is_cut = numbered is None and stream.pages.ceiling is not None and rows_read >= stream.pages.ceiling
        landing = partial(land, rows, digest, _may_hold_nul(answer.content), rows_read)
        if following is None or is_cut:
            landing()
        if following is None:
            if stream.delta is not None and isinstance(answer.body, dict):
                batch.delta_link = answer.body.get(stream.delta.link)
            return latest, "end", None if told is None else (told, len(distinct))
        if is_cut:
            return latest, "cut", None
        ask = following
    raise ProtocolError(f"{source.name}.{stream.name}: more than {MAX_PAGES} pages; paging does not end")


def _permitted(
    source: Source,
    stream: Stream,
    client: Client,
    batch: Batch,
    ask: Ask,
    meanwhile: Callable[[], None] | None,
) -> tuple[Answer, Ask]:
    """Send a request, or what there is to ask for instead where it is not permitted; return what was asked."""
    try:
        return client.send(stream, ask, meanwhile), ask
    except RefusedError as error:
        less = ask if stream.without is None else stream.without(ask)
        if less == ask:
            raise
        answer = client.send(stream, less)
        batch.remarks.append(
            f"{source.name}.{stream.name}: a part is unknown, since our credential may not see it. {error}"
        )
        return answer, less


def _without_removed(stream: Stream, batch: Batch, rows: list[Any], page_sha256: Future[str]) -> list[Any]:
    """The rows that are records; those that say that one is deleted are noted with the batch."""
    if stream.delta is None:
        return rows
    kept = []
    for row in rows:
        key = stream.delta.removed(row)
        if key is None:
            kept.append(row)
        elif key:
            batch.removed[key] = page_sha256.result()
    return kept


def _rows_in(source: Source, stream: Stream, body: Any) -> list[Any]:
    is_shaped = isinstance(body, dict) or not stream.rows
    rows = dig(body, stream.rows) if is_shaped else None
    if rows is None:
        return _no_rows(source, stream, body)
    if not isinstance(rows, list):
        raise ProtocolError(
            f"{source.name}.{stream.name}: expected a list at {stream.rows!r} of the answer, got {type(rows).__name__}"
        )
    return rows


def _no_rows(source: Source, stream: Stream, body: Any) -> list[Any]:
    """Some vendors leave an empty list out. An answer that complains, or is no object at all, is not that."""
    if not isinstance(body, dict) or any(body.get(name) for name in _COMPLAINTS):
        raise ProtocolError(
            f"{source.name}.{stream.name}: no list at {stream.rows!r} of the answer; it says {payload_text(body)[:200]}"
        )
    return []


def _runs(
    source: Source, stream: Stream, landing: Landing, bounds: Bounds, client: Client
) -> Iterator[Bounds]:
    """What to ask for, in order: key by key, window by window."""
    if stream.first_by is not None and bounds.since is None:
        yield from _keyed(source, stream, landing, bounds, stream.first_by)
    elif stream.fan_out is None:
        yield from _windows(stream, bounds, client)
    else:
        unasked = _unasked(source, stream, landing, bounds, client, stream.fan_out)
        for keyed in _keyed(source, stream, landing, bounds, stream.fan_out, unasked):
            if not unasked.isdisjoint(keyed.keys):
                keyed = keyed.model_copy(update={"since": None})
            yield from _windows(stream, keyed, client)


def _unasked(
    source: Source, stream: Stream, landing: Landing, bounds: Bounds, client: Client, by: tuple[str, str]
) -> set[str]:
    """Keys that an increment must ask for from the beginning: no pull of the stream knew them."""
    before = landing.cursor(source.name, stream.name)
    if before is None or bounds.until is not None or bounds.since != _resumed(stream, before, client):
        return set()
    return landing.unasked(source.name, *by, stream)


def _keyed(
    source: Source,
    stream: Stream,
    landing: Landing,
    bounds: Bounds,
    by: tuple[str, str],
    apart: Set[str] = frozenset(),
) -> Iterator[Bounds]:
    other, column = by
    unseen_by = stream.name if stream.fan_out_changes else None
    keys = landing.values(source.name, other, column, unseen_by)
    parent = source.stream(other).name
    if not keys and all(batch.stream != parent for batch in landing.batches(source=source.name)):
        raise FatalError(
            f"{source.name}.{stream.name} asks by {column} of {other}, which never came; pull {parent} first"
        )
    for group in ([key for key in keys if key not in apart], [key for key in keys if key in apart]):
        for start in range(0, len(group), stream.fan_out_size):
            yield bounds.model_copy(update={"keys": tuple(group[start : start + stream.fan_out_size])})


def _windows(stream: Stream, bounds: Bounds, client: Client) -> Iterator[Bounds]:
    """Cut the change window where the source refuses longer ones; the last piece keeps the end that was asked for.

    Whose clock ends it: the source's own, read anew for each window, since the first answer tells it.
    """
    if stream.window is None:
        yield bounds
        return
    is_first = bounds.since is None
    width = stream.first_window if is_first and stream.first_window else stream.window
    first = bounds.since or client.since or client.now() - stream.history
    start = first
    while True:
        end = bounds.until or client.now()
        if start >= end and start > first:
            return
        if end - start <= width:
            last = end if stream.window_is_cursor else bounds.until
            yield bounds.model_copy(update={"since": start, "until": last, "is_first": is_first})
            return
        yield bounds.model_copy(update={"since": start, "until": start + width, "is_first": is_first})
        start += width


def _resumed(stream: Stream, before: datetime, client: Client) -> datetime:
    """Where an increment begins: the lag before its cursor, yet not before where the first pull began."""
    start = before - stream.lag
    if stream.window is None or client.since is None:
        return start
    return max(start, min(client.since, before))


def _next_cursor(
    before: datetime | None, seen: datetime | None, start: datetime | None, now: datetime
) -> datetime | None:
    if seen is None:
        return None
    # A change time in the future (a wrong clock, a typing error) must not make us skip what comes until then.
    seen = min(seen, now)
    # A back-fill that begins after the cursor would leave a gap behind it.
    if start is not None and before is not None and start > before:
        return None
    if start is not None and before is None:
        return None
    return max(seen, before) if before is not None else seen


def land_rows(
    batch: Batch,
    stream: Stream,
    rows: Sequence[Any],
    page_sha256: str,
    *,
    has_nul: bool = False,
    indices: Sequence[int] | None = None,
    extracted_at: datetime | None = None,
) -> datetime | None:
    """Validate raw rows and put them, and their children, into the batch or into quarantine.

    Args:
        batch: the open batch.
        stream: the declaration.
        rows: (n,) raw rows as decoded.
        page_sha256: the archived page they came in.
        has_nul: whether the page holds NUL characters, which no database text can keep.
        indices: (n,) positions of the rows in their page or file; 0, 1, 2 ... by default.
        extracted_at: aware UTC; the batch's start by default (a replay keeps the first one).

    Returns:
        Latest cursor value among the rows that landed, aware UTC, or None.
    """
    places = range(len(rows)) if indices is None else indices
    if (
        has_nul
        or len(rows) < FEWEST_BY_COLUMN
        or not all(map(can_check, stream.tables.values()))
        or set(map(type, rows)) != {dict}
    ):
        return _land_one_by_one(batch, stream, rows, page_sha256, has_nul, places, extracted_at)
    fits, latest = _land_by_column(batch, stream, rows, page_sha256, places, extracted_at)
    if fits.all():
        return latest
    odd = np.flatnonzero(~fits).tolist()
    later = _land_one_by_one(
        batch, stream, [rows[at] for at in odd], page_sha256, False, [places[at] for at in odd], extracted_at
    )
    return max(filter(None, (latest, later)), default=None)


def _land_by_column(
    batch: Batch,
    stream: Stream,
    rows: Sequence[dict[str, Any]],
    page_sha256: str,
    places: Sequence[int],
    extracted_at: datetime | None,
) -> tuple[NDArray[np.bool_], datetime | None]:
    """Land the rows that can be validated column by column; return which they are, and their latest cursor."""
    checked = check_rows(stream.record, batch.schemas[stream.name], rows, _record_hashes(rows))
    landed = np.flatnonzero(checked.fits)
    indices = pa.array(np.array(places, np.int64)[landed])
    batch.add_columns(
        checked.columns, page_sha256, indices, checked.record_hashes, _field_names(rows), extracted_at
    )
    parents = rows if len(landed) == len(rows) else [rows[at] for at in landed.tolist()]
    for child in stream.children:
        _land_children_by_column(batch, stream, child, parents, indices, checked, page_sha256, extracted_at)
    latest = None if stream.cursor is None else pc.max(checked.columns[stream.cursor]).as_py()
    return checked.fits, None if latest is None else latest.astimezone(UTC)


def _land_children_by_column(
    batch: Batch,
    stream: Stream,
    child: Child,
    parents: Sequence[dict[str, Any]],
    places: pa.Array[Any],
    checked: Checked,
    page_sha256: str,
    extracted_at: datetime | None,
) -> None:
    """Land one kind of children of rows that landed.

    Args:
        parents: (p,) raw rows, in step with their `places` and with `checked.columns`.
    """
    is_nested = not child.path or "." in child.path
    lists = [_listed(dig(raw, child.path) if is_nested else raw.get(child.path)) for raw in parents]
    rows = list(chain.from_iterable(lists))
    counts = np.fromiter(map(len, lists), np.int64, len(lists))
    owners = np.repeat(np.arange(len(lists)), counts)
    positions = np.arange(len(rows)) - np.repeat(counts.cumsum() - counts, counts)
    batch.count(child.name, len(rows))
    odd = list(range(len(rows)))
    if set(map(type, rows)) == {dict}:
        fitting = check_rows(child.record, batch.schemas[child.name], rows, _record_hashes(rows))
        owned = pa.array(owners[fitting.fits])
        ties = {column: pc.take(checked.columns[field], owned) for column, field in child.parent.items()}
        ties["_parent_hash"] = pc.take(checked.record_hashes, owned)
        ties["_child_index"] = pa.array(positions[fitting.fits])
        batch.add_columns(
            {**fitting.columns, **ties}, page_sha256, pc.take(places, owned), fitting.record_hashes,
            _field_names(rows), extracted_at, child.name,
        )  # fmt: skip
        odd = np.flatnonzero(~fitting.fits).tolist()
    if not odd:
        return
    owner_of = owners.tolist()
    records = {at: stream.record.model_validate(parents[at]) for at in {owner_of[at] for at in odd}}
    origins = {
        at: RowOrigin(page_sha256, places[at].as_py(), checked.record_hashes[at].as_py()) for at in records
    }
    _land_children_one_by_one(
        batch, child,
        [(rows[at], int(positions[at]), records[owner_of[at]], origins[owner_of[at]]) for at in odd],
        False, extracted_at,
    )  # fmt: skip


def _land_one_by_one(
    batch: Batch,
    stream: Stream,
    rows: Sequence[Any],
    page_sha256: str,
    has_nul: bool,
    places: Sequence[int],
    extracted_at: datetime | None,
) -> datetime | None:
    """Land rows that are unusual in some way, or of a record that is validated as a whole; return their latest cursor."""
    batch.see(stream.name, _field_names(rows))
    records, origins, raws = _validate(batch, stream.name, stream.record, rows, page_sha256, has_nul, places)
    records, origins, raws = _add(batch, stream.name, records, origins, raws, extracted_at)
    for child in stream.children:
        found = [
            (item, position, record, origin)
            for record, origin, raw in zip(records, origins, raws, strict=True)
            for position, item in enumerate(_listed(dig(raw, child.path)))
        ]
        batch.count(child.name, len(found))
        _land_children_one_by_one(batch, child, found, has_nul, extracted_at)
    if stream.cursor is None or not records:
        return None
    values = [value for record in records if (value := getattr(record, stream.cursor)) is not None]
    return max(values).astimezone(UTC) if values else None


def _land_children_one_by_one(
    batch: Batch,
    child: Child,
    found: Sequence[tuple[Any, int, Record, RowOrigin]],
    has_nul: bool,
    extracted_at: datetime | None,
) -> None:
    """Land one kind of children; each comes with its place below its parent, and with the parent and its origin."""
    if not found:
        return
    rows = [item for item, *_ in found]
    batch.see(child.name, _field_names(rows))
    links = [
        (position, origin.record_hash, tuple(getattr(parent, name) for name in child.parent.values()))
        for _, position, parent, origin in found
    ]
    records, origins, kept = _validate(
        batch,
        child.name,
        child.record,
        rows,
        found[0][3].page_sha256,
        has_nul,
        [origin.row_index for *_, origin in found],
        links,
        tuple(child.parent),
    )
    _add(batch, child.name, records, origins, kept, extracted_at, tuple(child.parent))


def _listed(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [] if found is None else [found]


def _add(
    batch: Batch,
    name: str,
    records: list[Record],
    origins: list[RowOrigin],
    raws: list[Any],
    extracted_at: datetime | None,
    parent_columns: tuple[str, ...] = (),
) -> tuple[list[Record], list[RowOrigin], list[Any]]:
    """Add rows that passed their model; one that fits no column all the same (an integer over 64 bits) is rejected."""
    try:
        batch.add(name, records, origins, extracted_at)
    except (pa.ArrowException, ValueError, TypeError, OverflowError):
        faults = [batch.misfit(name, record, origin) for record, origin in zip(records, origins, strict=True)]
        if not any(faults):
            raise
        for raw, origin, fault in zip(raws, origins, faults, strict=True):
            if fault is not None:
                batch.reject(
                    Rejection(name, origin, payload_text(raw), fault, _parent_text(origin, parent_columns))
                )
        fitting = [position for position, fault in enumerate(faults) if fault is None]
        records, origins = [records[at] for at in fitting], [origins[at] for at in fitting]
        raws = [raws[at] for at in fitting]
        batch.add(name, records, origins, extracted_at)
    return records, origins, raws


def _parent_text(origin: RowOrigin, parent_columns: tuple[str, ...]) -> str | None:
    """What ties a child row to its parent's version, as JSON; None for a row that has no parent."""
    if origin.child_index is None:
        return None
    values = dict(zip(parent_columns, origin.parent_values, strict=True))
    return json.dumps({"hash": origin.parent_hash, **values}, default=str)


def _validate(
    batch: Batch,
    name: str,
    record: type[Record],
    rows: Sequence[Any],
    page_sha256: str,
    has_nul: bool,
    indices: Sequence[int],
    links: Sequence[tuple[int, str, tuple[Any, ...]]] | None = None,
    parent_columns: tuple[str, ...] = (),
) -> tuple[list[Record], list[RowOrigin], list[Any]]:
    def origin(position: int) -> RowOrigin:
        digest = record_hash(rows[position])
        if links is None:
            return RowOrigin(page_sha256, indices[position], digest)
        child_index, parent_hash, values = links[position]
        return RowOrigin(page_sha256, indices[position], digest, child_index, parent_hash, values)

    if not has_nul:
        try:
            records = _adapter(record).validate_python(rows)
        except ValidationError:
            pass
        else:
            return records, [origin(position) for position in range(len(rows))], list(rows)
    good, origins, kept = [], [], []
    for position, raw in enumerate(rows):
        place = origin(position)
        try:
            good.append(validate_row(record, raw))
        except ValueError as error:
            parent = _parent_text(place, parent_columns)
            batch.reject(Rejection(name, place, payload_text(raw), explain_error(error), parent))
        else:
            origins.append(place)
            kept.append(raw)
    return good, origins, kept


def validate_row(record: type[Record], raw: Any) -> Record:
    """Validate one raw row.

    Raises:
        ValueError: it does not fit its model, or holds a NUL character.
    """
    if _holds_nul(raw):
        raise ValueError("text with a NUL character, which no database can keep")
    return record.model_validate(raw)


@lru_cache(maxsize=512)
def _adapter(record: type[Record]) -> TypeAdapter[list[Record]]:
    return TypeAdapter(list[record])  # type: ignore[valid-type]


def explain_error(error: ValueError) -> str:
    """One line per fault: the field, what is wrong, what was sent."""
    if not isinstance(error, ValidationError):
        return str(error)
    faults = []
    for item in error.errors(include_url=False, include_context=False):
        place = ".".join(str(step) for step in item["loc"]) or "row"
        faults.append(f"{place}: {item['msg']} (received {str(item.get('input'))[:80]!r})")
    return "; ".join(faults)


def record_hash(raw: Any) -> str:
    """Hash of a raw row that does not depend on the order of its fields: 32 hex digits, BLAKE2b."""
    return hashlib.blake2b(_payload(raw), digest_size=16).hexdigest()


def _record_hashes(rows: Sequence[dict[str, Any]]) -> pa.Array[Any]:
    try:
        return hex_texts(
            [
                hashlib.blake2b(orjson.dumps(row, str, orjson.OPT_SORT_KEYS), digest_size=16).digest()
                for row in rows
            ]
        )
    except TypeError:
        return pa.array([record_hash(row) for row in rows], pa.string())


def payload_text(raw: Any) -> str:
    """A raw row as JSON text with sorted names."""
    return _payload(raw).decode("utf-8", "surrogatepass")


def _payload(raw: Any) -> bytes:
    try:
        return orjson.dumps(raw, str, orjson.OPT_SORT_KEYS)
    except TypeError:  # names that are no texts, integers over 64 bits, lone surrogates
        pass
    try:
        return orjson.dumps(raw, str, orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        return json.dumps(raw, default=str, sort_keys=True).encode("utf-8", "surrogatepass")


def _field_names(raws: Sequence[Any]) -> set[str]:
    """Names of all rows' fields; of the objects in them only the first rows', dotted."""
    names: set[str] = set()
    names.update(*(raw for raw in raws if isinstance(raw, dict)))
    for raw in raws[:_ROWS_LOOKED_INTO]:
        names.update(nested_names(raw))
    return names


def nested_names(raw: Any) -> set[str]:
    """Dotted names of the fields of objects within a raw row; lists are streams of their own, or values."""
    found: set[str] = set()
    if isinstance(raw, dict):
        for name, value in raw.items():
            if isinstance(value, dict):
                found.update(f"{name}.{inner}" for inner in value)
                found.update(f"{name}.{inner}" for inner in nested_names(value))
    return found


def _may_hold_nul(content: bytes) -> bool:
    # Most pages have no backslash at all, and one letter is found much sooner than six.
    return b"\x00" in content or (b"\\" in content and b"\\u0000" in content)


def _holds_nul(raw: Any) -> bool:
    if isinstance(raw, str):
        return "\x00" in raw
    if isinstance(raw, dict):
        return any(_holds_nul(value) for value in raw.values())
    if isinstance(raw, list):
        return any(_holds_nul(value) for value in raw)
    return False


def require_stream(source: Source, names: Sequence[str]) -> None:
    """Check stream names a person typed.

    Raises:
        FatalError: one is not declared; the message lists what is.
    """
    unknown = sorted(set(names) - set(source.tables))
    if unknown:
        raise FatalError(
            f"{source.name} has no stream {', '.join(unknown)}; it has {', '.join(source.tables)}"
        )
