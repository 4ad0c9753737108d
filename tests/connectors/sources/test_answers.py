"""Every source's answers as its vendor documents them, beside what we read of them and what our twin answers.

`answers/<source>/<stream>.json`, with variants `<stream>.<case>.json`, is written from the vendor's own contract, never from our
code, which was read from the same documentation by the same eyes:

    documented: where it stands, its version, and the kind of proof. "contract": held name by name against a machine-readable
        contract, the vendor's own client or the real software; "recorded": received from the real software;
        "documentation": prose. `free` lists places below which the names are not the vendor's, such as `data[].metadata`.
    answer: the body; `text` instead where it is no JSON, or `zipped` (name in the archive -> text), in `encoding`. What a source
        reads from an inbox has the name of its `file`, and `table`, a list of rows, instead of the text of a sheet.
    lands: stream or child -> rows: landing columns, as texts, that the answer must give.
    request: `method`, `path` with {parameters}, and the documented `parameters`, or several such; names within a body are
        dotted, lists are `[]`, and a name stands for all that is below it. `limits`: name -> the most that it may be, or hold.
"""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from connectors.declare import Ask, Bounds, Source, Stream, dig
from connectors.extract import land_rows, pull_source
from connectors.files import pull_feeds, pull_files
from connectors.landing import PAGES, Landing
from connectors.registry import source, sources
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, serving
from connectors.table import read_table

_FOLDER = Path(__file__).with_name("answers")
_KINDS = {"recorded", "contract", "documentation"}
_SEED, _ORDERS = 334, 200  # a small company whose every shop has returns

Shape = dict[str, set[str]]  # dotted place -> JSON types that stand there


@dataclass(frozen=True)
class Documented:
    """One file: an answer of one stream as its vendor documents it."""

    source: Source
    stream: Stream
    case: str
    said: Mapping[str, Any]

    def __str__(self) -> str:
        return ".".join(filter(None, (self.source.name, self.stream.name, self.case)))

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        encoding = self.said.get("encoding", "utf-8")
        if "zipped" in self.said:
            packed = io.BytesIO()
            with zipfile.ZipFile(packed, "w") as archive:
                for name, text in self.said["zipped"].items():
                    archive.writestr(name, text.encode(encoding))
            return packed.getvalue()
        if "table" in self.said:
            return _table_bytes(self.said["file"], self.said["table"])
        if "text" in self.said:
            return str(self.said["text"]).encode(encoding)
        return json.dumps(self.said["answer"]).encode()

    @property
    def body(self) -> Any:
        """The body as the source's declaration decodes it."""
        return _decoded(self.source, self.said.get("file", ""), self.content)

    @property
    def rows(self) -> list[Any]:
        """The rows in the body, with what the kit writes into each."""
        rows = dig(self.body, self.stream.rows) or []
        if self.stream.fan_out_field is not None:
            asked_by = self.said["lands"][self.stream.name][0][self.stream.fan_out_field]
            rows = [{**row, self.stream.fan_out_field: asked_by} for row in rows]
        return list(rows)


def _read(path: Path) -> Documented:
    declared = source(path.parent.name)
    stream, _, case = path.stem.partition(".")
    return Documented(declared, declared.stream(stream), case, json.loads(path.read_bytes()))


_DOCUMENTED = [_read(path) for path in sorted(_FOLDER.glob("*/*.json"))]
_STREAMS = [(declared, stream) for declared in sources().values() for stream in declared.streams]


def _files_of(declared: Source, stream: Stream) -> list[Documented]:
    return [item for item in _DOCUMENTED if (item.source, item.stream) == (declared, stream)]


def _name(pair: tuple[Source, Stream]) -> str:
    return f"{pair[0].name}.{pair[1].name}"


@pytest.mark.parametrize("item", _DOCUMENTED, ids=str)
def test_what_the_vendor_documents_lands_as_documented(item: Documented, tmp_path: Path) -> None:
    assert {"where", "version", "kind"} <= set(item.said["documented"])
    assert item.said["documented"]["kind"] in _KINDS
    with closing(Landing(tmp_path / "landing")) as landing:
        rejected = _pull_inbox(item, landing, tmp_path / "inbox") if item.source.reads_files else None
        if rejected is None:
            batch = landing.open_batch(item.source.name, item.stream)
            assert item.source.fault(item.body) is None
            rows = item.rows
            batch.count(item.stream.name, len(rows))
            land_rows(batch, item.stream, rows, batch.archive(item.content, str(item)))
            rejected = [rejection.error for rejection in batch.rejections]
            batch.commit()
        assert rejected == []
        found = {
            name: [
                row for file in landing.batches() if name in file.files for row in _landed(file.files[name])
            ]
            for name in item.stream.tables
        }
    wanted = item.said["lands"]
    assert set(wanted) <= set(found)
    for name, rows in found.items():
        assert len(rows) == len(wanted.get(name, ())), f"{name}: rows"
        for row, documented in zip(rows, wanted.get(name, ()), strict=True):
            columns = _columns(item.stream, name)
            assert columns <= set(documented), f"{name}: not every column is documented"
            assert {column: row[column] for column in documented} == documented


@pytest.mark.parametrize("pair", _STREAMS, ids=_name)
def test_every_column_is_fed_by_what_the_vendor_documents(pair: tuple[Source, Stream]) -> None:
    files = _files_of(*pair)
    assert any(not item.case for item in files), f"answers/{pair[0].name}/{pair[1].name}.json is missing"
    fed = {
        (name, column)
        for item in files
        for name, rows in item.said["lands"].items()
        for row in rows
        for column, value in row.items()
        if value is not None
    }
    wanted = {(name, column) for name in pair[1].tables for column in _columns(pair[1], name)}
    assert wanted - fed == set(), "no documented answer has these"


@pytest.mark.parametrize("pair", _STREAMS, ids=_name)
def test_the_twin_answers_nothing_the_vendor_does_not_document(
    pair: tuple[Source, Stream], twin_shapes: Callable[[str], Mapping[str, Shape]]
) -> None:
    declared, stream = pair
    files = _files_of(*pair)
    free = {place for item in files for place in item.said["documented"].get("free", ())}
    documented = _joined(_shape(item.body) for item in files)
    answered = twin_shapes(declared.name)[stream.name]
    assert answered, "the twin answered nothing"
    assert _unknown(answered, documented, free) == []


@pytest.mark.parametrize(
    "answered",
    [{"id": "1", "total": 5}, {"id": "1", "total": "5", "vat": None}, {"id": "1", "lines": {"sku": "A"}}],
    ids=["type", "name", "list"],
)
def test_an_answer_that_is_not_documented_is_found(answered: Any) -> None:
    documented = _shape({"id": "9", "total": "7", "note": {"a": 1}, "lines": [{"sku": "B", "qty": 1}]})
    assert (
        _unknown(_shape({"id": "3", "total": None, "note": {"x": 1}, "lines": []}), documented, {"note"})
        == []
    )
    assert len(_unknown(_shape(answered), documented, {"note"})) >= 1


@pytest.mark.parametrize("item", [one for one in _DOCUMENTED if "request" in one.said], ids=str)
def test_every_request_uses_documented_parameters_alone(item: Documented) -> None:
    asked = list(_asked(item))
    assert asked
    for kind, method, path, ask in asked:
        assert _undocumented(item.said["request"], method, path, ask) == [], kind


def test_a_request_that_is_not_documented_is_found() -> None:
    known = {"method": "POST", "path": "/v1/{kind}/search", "parameters": ["limit", "filter.at"]}
    right = Ask(params={"limit": 1}, json_body={"filter": {"at": {"from": 1}}})
    assert _undocumented(known, "POST", "/v1/orders/search", right) == []
    assert _undocumented([known], "GET", "/v1/orders/search", right) != []
    assert _undocumented([known], "POST", "/v1/orders/search", right.put("params.page", 2)) != []
    assert _undocumented([known], "POST", "/v1/orders/search", right.put("json.filter.by", 2)) != []
    limited = known | {"limits": {"limit": 50, "filter.at": 2}}
    few = right.put("json.filter.at", [1, 2])
    assert _undocumented(limited, "POST", "/v1/orders/search", few.put("params.limit", 50)) == []
    assert _undocumented(limited, "POST", "/v1/orders/search", few.put("params.limit", 51)) != []
    assert _undocumented(limited, "POST", "/v1/orders/search", few.put("json.filter.at", [1, 2, 3])) != []
    assert _undocumented(limited, "POST", "/v1/orders/search", few.put("json.filter.at", "1,2,3")) != []


# --- what a file says -------------------------------------------------------------------------------------


def _table_bytes(name: str, table: list[list[Any]]) -> bytes:
    packed = io.BytesIO()
    if name.endswith(".parquet"):
        header, *rows = table
        pq.write_table(pa.Table.from_pylist([dict(zip(header, row, strict=True)) for row in rows]), packed)
    else:
        book = openpyxl.Workbook(write_only=True)
        sheet = book.create_sheet()
        for row in table:
            sheet.append(row)
        book.save(packed)
    return packed.getvalue()


def _decoded(declared: Source, name: str, content: bytes) -> Any:
    """An answer as the source decodes it; of a file of an inbox its rows."""
    for feed in declared.feeds:
        if Path(name).match(feed.files):
            return feed.read(name, content)
    if declared.exports:
        if name.endswith(".parquet"):
            return pq.read_table(io.BytesIO(content)).to_pylist()
        return read_table(name, content)
    return declared.decode(content)


def _pull_inbox(item: Documented, landing: Landing, inbox: Path) -> list[str]:
    inbox.mkdir()
    (inbox / item.said["file"]).write_bytes(item.content)
    if "mapping" in item.said:
        (inbox / f"{Path(item.said['file']).stem}.mapping.toml").write_text(item.said["mapping"])
    results = (
        pull_feeds(item.source, str(inbox), landing)
        if item.source.feeds
        else pull_files(item.source, inbox, landing)
    )
    return [item.error for item in results if item.error] + [
        f"{item.quarantined} rows" for item in results if item.quarantined
    ]


def _columns(stream: Stream, name: str) -> set[str]:
    """Landing columns of a stream or child that are read, short of companions and of what the kit adds."""
    parents = next((child.parent for child in stream.children if child.name == name), {})
    return set(stream.tables[name].model_fields) | set(parents)


def _landed(file: Path) -> list[dict[str, Any]]:
    return [{name: _text(value) for name, value in row.items()} for row in pq.read_table(file).to_pylist()]


def _text(value: Any) -> str | None:
    match value:
        case None | str():
            return value
        case bool():
            return str(value).lower()
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case Decimal() | float():
            return f"{Decimal(str(value)).normalize():f}"
        case list() | dict():
            return json.dumps(value, default=_text)
    return str(value)


# --- shapes -----------------------------------------------------------------------------------------------


def _shape(node: Any, place: str = "") -> Shape:
    found: Shape = defaultdict(set)
    if place:
        found[place].add(_kind(node))
    inner: Iterator[tuple[str, Any]] = iter(())
    if isinstance(node, dict):
        inner = ((f"{place}.{name}" if place else str(name), value) for name, value in node.items())
    elif isinstance(node, list):
        inner = ((f"{place}[]", value) for value in node)
    return _joined([found, *(_shape(value, at) for at, value in inner)])


def _joined(shapes: Any) -> Shape:
    found: Shape = defaultdict(set)
    for shape in shapes:
        for place, kinds in shape.items():
            found[place] |= kinds
    return found


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float() | Decimal():
            return "number"
        case dict():
            return "object"
        case list():
            return "list"
    return "text"


def _unknown(answered: Shape, documented: Shape, free: set[str]) -> list[str]:
    """Places and types that are not documented; null fits every type."""
    found = []
    for place, kinds in sorted(answered.items()):
        if any(place.startswith((f"{outer}.", f"{outer}[]")) for outer in free):
            continue
        if place not in documented:
            found.append(f"{place} ({', '.join(sorted(kinds))})")
        elif documented[place] - {"null"} and kinds - {"null"} - documented[place]:
            found.append(f"{place} is {kinds - {'null'}}, documented as {documented[place] - {'null'}}")
    return found


@pytest.fixture(scope="module")
def twin_shapes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Mapping[str, Shape]]:
    """Pull a twin once: stream -> shape of the pages it answered."""
    world = cache(lambda: generate(_SEED, _ORDERS))

    @cache
    def of_source(name: str) -> Mapping[str, Shape]:
        declared, folder = source(name), tmp_path_factory.mktemp(name)
        with closing(Landing(folder / "landing")) as landing:
            if declared.reads_files:
                Sandbox(world(), level="none", sources=[], inbox=folder / "inbox")
                if declared.feeds:
                    pull_feeds(declared, str(folder / "inbox" / name), landing)
                else:
                    pull_files(declared, folder / "inbox", landing)
            else:
                with serving(Sandbox(world(), level="none", sources=[name], limits=False)) as served:
                    results = pull_source(declared.model_copy(update={"limit": None}), landing, served.env)
                assert [result.error for result in results if result.error] == []
            return _pages(declared, landing)

    return of_source


def _pages(declared: Source, landing: Landing) -> Mapping[str, Shape]:
    found: dict[str, Shape] = defaultdict(lambda: defaultdict(set))
    streams = {batch.batch_id: batch.stream for batch in landing.batches()}
    with landing.transaction() as connection:
        pages = connection.execute(sa.select(PAGES)).mappings().all()
    for page in pages:
        body = _decoded(declared, page["origin"], landing.read_page(page["page_sha256"]))
        stream = streams[page["batch_id"]]
        found[stream] = _joined([found[stream], _shape(body)])
    return found


# --- requests ---------------------------------------------------------------------------------------------


def _asked(item: Documented) -> Iterator[tuple[str, str, str, Ask]]:
    """What is sent for a stream: a name, method, path and request."""
    stream, body = item.stream, item.body
    since, until = datetime(2026, 7, 1, tzinfo=UTC), datetime(2026, 7, 1, 0, 20, tzinfo=UTC)
    keys = ("1",) * (stream.fan_out_size if stream.fan_out is not None else 1)
    whole = Bounds(since=since, until=until, keys=keys)
    bounds = {"window": whole, "first window": whole.model_copy(update={"is_first": True})}
    if stream.window is None:
        bounds |= {"all": Bounds(keys=keys, is_first=True), "since": Bounds(since=since, keys=keys)}
    for kind, asked in bounds.items():
        ask = stream.pages.first(stream.ask(asked))
        yield kind, stream.method, ask.path or stream.path, ask
        following = stream.pages.after(ask, body, len(item.rows), {})
        if following is not None:
            yield f"{kind}, next page", stream.method, following.path or stream.path, following
    if stream.lookup is not None:
        ask = stream.lookup.ask(Bounds(keys=("1",) * stream.lookup.size))
        path = ask.path or stream.lookup.path or stream.path
        yield "by key", stream.lookup.method or stream.method, path, ask
    if stream.count is not None:
        yield "count", stream.method, stream.count.ask.path or stream.path, stream.count.ask
    if stream.sweep is not None:
        sweep = stream.sweep
        path = sweep.ask.path or sweep.path or stream.path
        yield "all keys", sweep.method or stream.method, path, sweep.pages.first(sweep.ask)


def _undocumented(known: Any, method: str, path: str, ask: Ask) -> list[str]:
    """What of a request its vendor does not document."""
    path, _, query = path.partition("?")
    for request in known if isinstance(known, list) else [known]:
        place = re.sub(
            r"\{[^}]*\}", "[^/]+", re.escape(request["path"]).replace(r"\{", "{").replace(r"\}", "}")
        )
        if method == request["method"] and re.fullmatch(f"(https?://[^/]+)?{place}", path):
            break
    else:
        return [f"{method} {path}"]
    names = {name.partition("=")[0] for name in query.split("&") if name}
    names |= set(_shape({name: _inner(value) for name, value in ask.params.items()}))
    names |= set(_shape(ask.json_body))
    allowed = request["parameters"]
    return _beyond(request.get("limits", {}), ask) + sorted(
        name
        for name in names
        if not any(name == one or name.startswith((f"{one}.", f"{one}[")) for one in allowed)
        and not any(one.startswith((f"{name}.", f"{name}[")) for one in allowed)
    )


def _beyond(limits: Mapping[str, int], ask: Ask) -> list[str]:
    """Numbers that are larger than documented, and lists that are longer, also those that commas part."""
    found = []
    for name, most in limits.items():
        value = ask.params.get(name, dig(ask.json_body, name))
        if isinstance(value, str) and not value.isdigit():
            value = value.split(",")
        size = len(value) if isinstance(value, list) else int(value or 0)
        if size > most:
            found.append(f"{name} is {size}, at most {most}")
    return found


def _inner(value: Any) -> Any:
    """A parameter that is JSON itself is looked into."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        return json.loads(value)
    return value
