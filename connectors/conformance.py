"""Checks every source must pass against a server that speaks its protocol. A source's test inherits them:

    class TestSquare(Conformance):
        source = SOURCE

A test module supplies a fixture `service` that yields a `Service`: where the server answers and how to make it misbehave.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import duckdb

from connectors.declare import Source
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing


@dataclass(frozen=True)
class Service:
    """A running server of one source.

    `values`: environment a client needs. `misbehave(fault, times)` spoils the next answers; `advance()` lets time pass, so
    that some records change and some are new.
    """

    values: Mapping[str, str]
    misbehave: Callable[[str, int], None]
    advance: Callable[[], None]


class Conformance:
    """Inherit, and set `source`."""

    source: ClassVar[Source]
    faults: ClassVar[tuple[str, ...]] = ("429", "500", "reset", "half_page", "malformed")

    def test_every_stream_lands_and_every_row_is_accounted_for(
        self, service: Service, tmp_path: Path
    ) -> None:
        with _landing(tmp_path) as landing:
            results = pull_source(self.source, landing, service.values)
            _no_errors(results)
            assert {item.stream for item in results} == {stream.name for stream in self.source.streams}
            assert sum(item.landed for item in results) > 0
            for count in landing.counts():
                assert count.pulled == count.landed + count.quarantined, count

    def test_a_second_pull_brings_nothing_new(self, service: Service, tmp_path: Path) -> None:
        with _landing(tmp_path) as landing:
            _no_errors(pull_source(self.source, landing, service.values))
            again = pull_source(self.source, landing, service.values)
            _no_errors(again)
            assert {item.stream: item.changed for item in again} == {item.stream: 0 for item in again}

    def test_an_increment_ends_where_a_full_pull_ends(self, service: Service, tmp_path: Path) -> None:
        with _landing(tmp_path / "a") as increments:
            _no_errors(pull_source(self.source, increments, service.values))
            service.advance()
            _no_errors(pull_source(self.source, increments, service.values))
            with _landing(tmp_path / "b") as whole:
                _no_errors(pull_source(self.source, whole, service.values))
                for stream in self.source.streams:
                    missing = _newest(whole, self.source, stream.name) - _newest(
                        increments, self.source, stream.name
                    )
                    assert not missing, f"{stream.name}: the increments miss {sorted(missing)[:5]}"

    def test_trouble_passes_and_leaves_no_row_lost_or_double(self, service: Service, tmp_path: Path) -> None:
        with _landing(tmp_path / "calm") as calm:
            _no_errors(pull_source(self.source, calm, service.values))
            for fault in self.faults:
                with _landing(tmp_path / fault) as troubled:
                    service.misbehave(fault, 2)
                    _no_errors(pull_source(self.source, troubled, service.values))
                    assert troubled.counts() == calm.counts(), fault

    def test_a_wrong_credential_is_refused_with_the_remedy(self, service: Service, tmp_path: Path) -> None:
        names = [f"ORDERHUB_{self.source.name.upper()}_{name}" for name in self.source.auth.secrets]
        wrong = {**service.values, **dict.fromkeys(names, "wrong")}
        with _landing(tmp_path) as landing:
            results = pull_source(self.source, landing, wrong)
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
        names = [f"ORDERHUB_{self.source.name.upper()}_{name}" for name in self.source.auth.secrets]
        without = {key: value for key, value in service.values.items() if key not in names}
        with _landing(tmp_path) as landing:
            results = pull_source(self.source, landing, without)
            assert all(item.error is not None and "is not set" in item.error for item in results)

    def test_an_unreachable_host_is_said_plainly(self, service: Service, tmp_path: Path) -> None:
        nowhere = {**service.values, f"ORDERHUB_{self.source.name.upper()}_URL": "http://127.0.0.1:9"}
        with _landing(tmp_path) as landing:
            from connectors.client import Client
            from connectors.extract import pull_stream

            with Client(self.source, nowhere, sleep=lambda _: None) as client:
                result = pull_stream(self.source, self.source.streams[0], landing, client)
            assert result.error is not None
            assert "cannot reach http://127.0.0.1:9" in result.error
            assert landing.batches() == []

    def test_no_secret_is_written_anywhere(self, service: Service, tmp_path: Path) -> None:
        with _landing(tmp_path) as landing:
            _no_errors(pull_source(self.source, landing, service.values))
        secrets = [
            service.values[f"ORDERHUB_{self.source.name.upper()}_{name}"].encode()
            for name in self.source.auth.secrets
            if name not in ("USER", "DATABASE", "CLIENT_ID")
        ]
        for folder, _, files in os.walk(tmp_path):
            for name in files:
                content = (Path(folder) / name).read_bytes()
                assert not any(secret in content for secret in secrets), f"{folder}/{name} holds a secret"


def _no_errors(results: list[PullResult]) -> None:
    assert [item.error for item in results if item.error] == []


@contextmanager
def _landing(root: Path) -> Iterator[Landing]:
    landing = Landing(root)
    try:
        yield landing
    finally:
        landing.close()


def _newest(landing: Landing, source: Source, stream: str) -> set[tuple[str, ...]]:
    """Key and hash of the newest version of every record of a stream."""
    files = [
        str(batch.files[stream]) for batch in landing.batches(source=source.name) if stream in batch.files
    ]
    if not files:
        return set()
    keys = ", ".join(f'cast("{key}" as varchar)' for key in source.stream(stream).key)
    with duckdb.connect() as connection:
        rows = connection.execute(
            f"select {keys}, arg_max(_record_hash, (_extracted_at, _batch_id, _row_index)) "
            "from read_parquet(?, union_by_name = true) group by all",
            [files],
        ).fetchall()
    return set(rows)
