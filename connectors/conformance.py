"""Checks every source must pass against a server that speaks its protocol. A source's test inherits them:

    class TestSquare(Conformance):
        source = SOURCE

A test module supplies a fixture `service`, best one per class, that yields a `Service`: where the server answers, how to make
it misbehave and how to let time pass. `TROUBLES` is the table of what every source is put through; where one cannot come
about, the class says why in `spared`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

import duckdb
import pytest

from connectors.bulk import pull_bulk
from connectors.client import Client
from connectors.declare import Bounds, Source, Stream
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing

Rows = dict[str, set[tuple[str, ...]]]  # stream -> key and hash of the newest version of each record


@dataclass(frozen=True)
class Service:
    """A running server of one source.

    Attributes:
        values: environment a client needs.
        misbehave: (trouble, times) spoils the next answers; 0 times ends all trouble.
        happened: trouble -> how many answers it has spoilt.
        advance: lets time pass, so that some records change and some are new.
        sleep, clock: how a client waits, and the seconds that pass; the server goes by the same clock.
    """

    values: Mapping[str, str]
    misbehave: Callable[[str, int], None]
    happened: Callable[[str], int]
    advance: Callable[[], None]
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class Trouble:
    """One row of the table: what one pull is put through.

    Attributes:
        names: troubles as `Service.misbehave` knows them, one answer after another.
        times: how many answers each of them spoils.
        during: what the pull does meanwhile. "passes": it succeeds, with exactly the rows of a calm one. "goes on": it
            succeeds; rows may come twice, and are one record. "stops": a stream may fail, with an error that names it. "drifts":
            what does not fit is quarantined, and the fields that came and went are reported.
        after: what is done once it is over. "pull": an increment. "work": time passes first. "full": everything is
            asked for again.
    """

    names: tuple[str, ...]
    times: int
    during: Literal["passes", "goes on", "stops", "drifts"]
    after: Literal["pull", "work", "full"] = "pull"


ALWAYS = 1_000_000
TROUBLES = (
    Trouble(("429", "500", "hang"), 1, "passes"),
    Trouble(("reset", "half_page", "malformed", "html"), 1, "passes"),
    Trouble(("error_body", "forbidden", "expired_token"), 1, "stops"),
    Trouble(("duplicated_page",), ALWAYS, "goes on", after="full"),
    Trouble(("shifting_page",), 12, "goes on"),
    Trouble(("clock_ahead",), ALWAYS, "goes on", after="work"),
    Trouble(("clock_behind",), ALWAYS, "goes on", after="work"),
    Trouble(("drift",), ALWAYS, "drifts", after="full"),
)
_SHORT_TIMEOUT_SECONDS = 0.5


class Conformance:
    """Inherit, and set `source`.

    Attributes:
        source: the declaration.
        page_size: rows per page to ask for, so that little data makes several pages.
        page_limits: dotted places of the page size in requests, where the paging strategy does not put it there.
        spared: trouble -> why it cannot come about at this source; a test fails where it does.
    """

    source: ClassVar[Source]
    page_size: ClassVar[int] = 20
    page_limits: ClassVar[tuple[str, ...]] = ()
    spared: ClassVar[Mapping[str, str]] = {}

    def test_every_stream_lands_and_every_row_is_accounted_for(
        self, service: Service, tmp_path: Path
    ) -> None:
        with closing(Landing(tmp_path)) as landing:
            results = self._pull(service, landing)
            no_errors(results)
            assert {item.stream for item in results} == {stream.name for stream in self.source.streams}
            assert sum(item.landed for item in results) > 0
            assert law_holds(landing)
            again = self._pull(service, landing)
            no_errors(again)
            changed = {item.stream: item.changed for item in again if item.changed}
            assert not changed, f"asked again at once, streams tell changed rows: {changed}"
        _no_secret_below(tmp_path, self.source, service.values)

    def test_an_increment_ends_where_a_full_pull_ends(self, service: Service, tmp_path: Path) -> None:
        with closing(Landing(tmp_path / "a")) as increments:
            no_errors(self._pull(service, increments))
            # One day of work seldom meets what was late, cancelled or sent back.
            for _ in range(3):
                service.advance()
                no_errors(self._pull(service, increments))
            self._assert_is_truth(increments, service, tmp_path)

    @pytest.mark.parametrize("trouble", TROUBLES, ids=lambda trouble: "+".join(trouble.names))
    def test_after_trouble_landed_equals_the_truth(
        self, trouble: Trouble, service: Service, tmp_path: Path
    ) -> None:
        with closing(Landing(tmp_path / "calm")) as calm, closing(Landing(tmp_path / "troubled")) as troubled:
            if trouble.during in ("passes", "drifts"):
                no_errors(self._pull(service, calm))
            landing = calm if trouble.during == "drifts" else troubled
            before = {name: service.happened(name) for name in trouble.names}
            for name in trouble.names:
                service.misbehave(name, trouble.times)
            try:
                results = self._pull(service, landing, full=trouble.after == "full")
                for _ in trouble.names[1:]:
                    # A source of few streams stops before it met all of it.
                    if trouble.during == "stops" and not self._met(trouble, service, before):
                        results += self._pull(service, landing)
            finally:
                service.misbehave(trouble.names[0], 0)
            for name in trouble.names:
                if service.happened(name) > before[name]:
                    assert name not in self.spared, f"{name} came about, though {self.spared[name]}"
                else:
                    assert name in self.spared, f"{name} did not come about; say why in `spared`"
            assert law_holds(landing)
            if trouble.during == "stops":
                for item in results:
                    assert item.error is None or item.error.startswith(f"{item.source}.{item.stream}"), item
            else:
                no_errors(results)
            if trouble.during == "passes":
                assert troubled.counts() == calm.counts()
                return
            if trouble.during == "drifts" and not self.spared.keys() & set(trouble.names):
                assert any(item.drift for item in results), "no field is reported as new or gone"
            if trouble.after == "work":
                service.advance()
            no_errors(self._pull(service, landing, full=trouble.after == "full"))
            self._assert_is_truth(landing, service, tmp_path)

    def test_a_wrong_credential_is_refused_with_the_remedy(self, service: Service, tmp_path: Path) -> None:
        names = self._secret_names()
        if not names:
            pytest.skip(f"{self.source.name} asks for no credential")
        with closing(Landing(tmp_path)) as landing:
            results = self._pull(service, landing, values=dict.fromkeys(names, "wrong"))
            direct = {
                stream.name
                for stream in self.source.streams
                if stream.fan_out is None and stream.first_by is None
            }
            assert all(item.error is not None for item in results)
            assert all(
                any(name in (item.error or "") for name in (*names, "client id"))
                for item in results
                if item.stream in direct
            ), results
            assert landing.batches() == []

    def test_a_missing_credential_names_the_variable(self, service: Service, tmp_path: Path) -> None:
        names = self._secret_names()
        if not names:
            pytest.skip(f"{self.source.name} asks for no credential")
        with closing(Landing(tmp_path)) as landing:
            results = self._pull(service, landing, values=dict.fromkeys(names, ""))
            assert all(item.error is not None and "is not set" in item.error for item in results)

    def test_an_unreachable_host_is_said_plainly(self, service: Service, tmp_path: Path) -> None:
        nowhere = {f"ORDERHUB_{self.source.name.upper()}_URL": "http://127.0.0.1:9"}
        with closing(Landing(tmp_path)) as landing:
            first, *_ = self._pull(service, landing, values=nowhere)
            assert first.error is not None
            assert "cannot reach http://127.0.0.1:9" in first.error
            assert landing.batches() == []

    def _met(self, trouble: Trouble, service: Service, before: Mapping[str, int]) -> bool:
        return all(service.happened(name) > before[name] for name in trouble.names if name not in self.spared)

    def _secret_names(self) -> list[str]:
        return [f"ORDERHUB_{self.source.name.upper()}_{name}" for name in self.source.auth.secrets]

    def _pull(
        self, service: Service, landing: Landing, values: Mapping[str, str] | None = None, full: bool = False
    ) -> list[PullResult]:
        return pull_source(
            self._quick_source(),
            landing,
            {**service.values, **(values or {})},
            full=full,
            open_client=_by_clock_of(service),
        )

    def _quick_source(self) -> Source:
        # Without our own ceiling on requests: only what the server refuses is waited for.
        small = _with_small_pages(self.source, self.page_size, self.page_limits)
        return small.model_copy(update={"limit": None, "timeout_seconds": _SHORT_TIMEOUT_SECONDS})

    def _assert_is_truth(self, landing: Landing, service: Service, tmp_path: Path) -> None:
        """What is landed by now is what a full pull into an empty landing brings."""
        with closing(Landing(tmp_path / "truth")) as whole:
            no_errors(self._pull(service, whole))
            found, wanted = _newest(landing, self.source), _newest(whole, self.source)
        for stream, rows in wanted.items():
            missing = rows - found[stream]
            assert not missing, f"{stream}: what landed misses {sorted(missing)[:5]}"


class BulkConformance(Conformance):
    """What a source with bulk operations is put through besides."""

    @pytest.mark.parametrize(
        "trouble",
        [trouble for trouble in TROUBLES if trouble.during in ("passes", "stops")],
        ids=lambda trouble: "+".join(trouble.names),
    )
    def test_after_trouble_a_bulk_back_fill_and_an_increment_are_the_truth(
        self, trouble: Trouble, service: Service, tmp_path: Path
    ) -> None:
        with closing(Landing(tmp_path / "bulk")) as landing:
            before = {name: service.happened(name) for name in trouble.names}
            for name in trouble.names:
                service.misbehave(name, trouble.times)
            results = self._pull_bulk(service, landing)
            assert {item.stream for item in results} == {
                stream.name for stream in self.source.streams if stream.bulk is not None
            }
            assert all(service.happened(name) > count for name, count in before.items())
            if trouble.during == "passes":
                no_errors(results)
            else:
                for item in results:
                    assert item.error is None or item.error.startswith(f"{item.source}.{item.stream}"), item
                no_errors(self._pull_bulk(service, landing))
            assert law_holds(landing)
            service.advance()
            no_errors(self._pull(service, landing))
            self._assert_is_truth(landing, service, tmp_path)

    def _pull_bulk(self, service: Service, landing: Landing) -> list[PullResult]:
        return pull_bulk(self._quick_source(), landing, service.values, open_client=_by_clock_of(service))


def _by_clock_of(service: Service) -> Callable[[Source, Mapping[str, str]], Client]:
    return partial(Client, sleep=service.sleep, clock=service.clock)


def _with_small_pages(source: Source, size: int, places: Sequence[str]) -> Source:
    return source.model_copy(
        update={"streams": tuple(_with_small_page(stream, size, places) for stream in source.streams)}
    )


def no_errors(results: Sequence[PullResult]) -> None:
    """Assert that no stream failed."""
    assert [item.error for item in results if item.error] == []


def law_holds(landing: Landing) -> bool:
    """Whether every row that was pulled landed or is quarantined."""
    return all(count.pulled == count.landed + count.quarantined for count in landing.counts())


def landed_files(landing: Landing, source: Source) -> dict[str, list[str]]:
    """Files that landed of a source, by stream."""
    files: dict[str, list[str]] = {}
    for batch in landing.batches(source=source.name):
        for stream, path in batch.files.items():
            files.setdefault(stream, []).append(str(path))
    return files


def _with_small_page(stream: Stream, size: int, places: Sequence[str]) -> Stream:
    pages, ask = stream.pages, stream.ask

    def ask_for_little(bounds: Bounds) -> Any:
        asked = ask(bounds)
        for place in places:
            if asked.at(place) is not None:
                asked = asked.put(place, size)
        return asked

    if hasattr(pages, "size"):
        # One row more than a page counts, so that a page is never mistaken for the counting request.
        others = {"count_size": size + 1} if getattr(pages, "count_size", None) else {}
        if getattr(pages, "overlap", 0):
            others["overlap"] = 1
        pages = pages.model_copy(update={"size": size, **others})
    return stream.model_copy(update={"pages": pages, "ask": ask_for_little if places else ask})


def _no_secret_below(root: Path, source: Source, values: Mapping[str, str]) -> None:
    secrets = [
        values[f"ORDERHUB_{source.name.upper()}_{name}"].encode()
        for name in source.auth.secrets
        if name not in ("USER", "DATABASE", "CLIENT_ID")
    ]
    for folder, _, files in os.walk(root):
        for name in files:
            content = (Path(folder) / name).read_bytes()
            assert not any(secret in content for secret in secrets), f"{folder}/{name} holds a secret"


def _newest(landing: Landing, source: Source) -> Rows:
    """Key and hash of the newest version of every record, and its children's with it."""
    files = landed_files(landing, source)
    found: Rows = {}
    with duckdb.connect() as connection:
        for declared in source.streams:
            paths = files.get(declared.name, [])
            keys = ", ".join(f'cast("{key}" as varchar)' for key in declared.key)
            newest = "arg_max(_record_hash, (_extracted_at, _batch_id, _row_index))"
            query = f"select {keys}, {newest} from read_parquet(?, union_by_name = true) group by all"
            found[declared.name] = set(connection.execute(query, [paths]).fetchall()) if paths else set()
            parents = {row[-1] for row in found[declared.name]}
            for child in declared.children:
                query = "select distinct _parent_hash, _child_index::varchar, _record_hash from read_parquet(?, union_by_name = true)"
                rows = (
                    connection.execute(query, [files[child.name]]).fetchall() if child.name in files else []
                )
                found[child.name] = {row for row in rows if row[0] in parents}
    return found
