"""What source tests share: a served twin, a landing folder, and the vendors' machine-readable contracts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from connectors.conformance import Service
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing
from connectors.registry import source
from connectors.sandbox.generate import generate
from connectors.sandbox.server import Sandbox, Served, serving

_CONTRACTS = Path(__file__).resolve().parents[4] / "shared" / "contracts"

Serve = Callable[..., contextlib.AbstractContextManager[Served]]


class Contract:
    """One vendor's OpenAPI or Swagger file, to hold messages against."""

    def __init__(self, path: Path) -> None:
        self.document = _nullable(json.loads(path.read_bytes()))
        resource = Resource.from_contents(self.document, default_specification=DRAFT4)
        self._registry: Registry[Any] = Registry().with_resource("urn:contract", resource)

    def faults(self, schema: str, message: Any) -> list[str]:
        """What is wrong with a message, by the named schema; empty when nothing is."""
        place = "components/schemas" if "components" in self.document else "definitions"
        validator = Draft4Validator({"$ref": f"urn:contract#/{place}/{schema}"}, registry=self._registry)
        return [
            f"{'.'.join(map(str, error.path))}: {error.message}" for error in validator.iter_errors(message)
        ]


def _nullable(node: Any) -> Any:
    """Say OpenAPI 3.0's `nullable` in JSON Schema."""
    if isinstance(node, list):
        return [_nullable(item) for item in node]
    if not isinstance(node, dict):
        return node
    said = {name: _nullable(value) for name, value in node.items()}
    if said.get("nullable") is True and isinstance(said.get("type"), str):
        said["type"] = [said["type"], "null"]
    return said


@pytest.fixture(scope="session")
def contract() -> Callable[[str], Contract]:
    """Read a contract by file name; skip where the folder of contracts is not beside the checkout."""
    read: dict[str, Contract] = {}

    def by_name(name: str) -> Contract:
        if not (_CONTRACTS / name).is_file():
            pytest.skip(f"the vendor's contract {name} is not beside the checkout")
        if name not in read:
            read[name] = Contract(_CONTRACTS / name)
        return read[name]

    return by_name


@pytest.fixture
def serve() -> Serve:
    """Serve one system of a small world: `with serve("square", orders=150) as served`."""

    @contextlib.contextmanager
    def one(name: str, orders: int = 150, seed: int = 7, **options: Any) -> Iterator[Served]:
        with serving(Sandbox(generate(seed, orders), sources=[name], **options)) as served:
            yield served

    return one


@pytest.fixture
def service(request: pytest.FixtureRequest, serve: Serve) -> Iterator[Service]:
    """The twin of the source under conformance test, and the desk to spoil its answers and let time pass."""
    name = request.cls.source.name
    with serve(name, orders=120) as served, httpx.Client(base_url=served.url) as desk:

        def misbehave(fault: str, times: int) -> None:
            kind = int(fault) if fault.isdigit() else fault
            body = {"source": name, "fault": kind, "times": times}
            desk.post("/_sandbox/misbehave", json=body).raise_for_status()

        def advance() -> None:
            desk.post("/_sandbox/advance", json={"orders": 15, "hours": 48}).raise_for_status()

        yield Service(served.env, misbehave, advance)


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    """An empty landing folder."""
    opened = Landing(tmp_path / "landing")
    yield opened
    opened.close()


@pytest.fixture
def landed(landing: Landing) -> Callable[[str], list[dict[str, Any]]]:
    """Read every landed row of a stream."""

    def rows(stream: str) -> list[dict[str, Any]]:
        files = [batch.files[stream] for batch in landing.batches() if stream in batch.files]
        return [row for file in files for row in pq.read_table(file).to_pylist()]

    return rows


@pytest.fixture
def pull(landing: Landing) -> Callable[..., dict[str, PullResult]]:
    """Pull a source into the landing folder: stream name -> result."""

    def run(name: str, values: dict[str, str], **options: Any) -> dict[str, PullResult]:
        results = pull_source(source(name), landing, values, **options)
        return {result.stream: result for result in results}

    return run
