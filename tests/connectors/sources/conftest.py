"""What source tests share: a served twin, a landing folder, and the vendors' machine-readable contracts."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from jsonschema import Draft4Validator
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT4

from connectors import client as client_room
from connectors import files as file_room
from connectors import landing as landing_room
from connectors.conformance import Service
from connectors.extract import PullResult, pull_source
from connectors.file_conformance import Inbox
from connectors.landing import Landing
from connectors.registry import source
from connectors.sandbox import limit
from connectors.sandbox.generate import advance as advance_world
from connectors.sandbox.generate import generate
from connectors.sandbox.inbox import TroubledFolder
from connectors.sandbox.server import Sandbox, Served, serving
from connectors.sandbox.world import Channel, World

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


class CompanyClock:
    """The company's time for both sides, which passes only when somebody waits for it or lets the company go on.

    A little passes with every look at it, so that what comes later is later.
    """

    def __init__(self) -> None:
        self.sandbox: Sandbox
        self._waited = 0.0
        self._looks = 0

    def seconds(self) -> float:
        return self._waited

    def wait(self, seconds: float) -> None:
        self._waited += max(seconds, 0.001)

    def now(self) -> datetime:
        self._looks += 1
        return self.sandbox.world.now + timedelta(microseconds=self._looks)


@pytest.fixture
def service(request: pytest.FixtureRequest) -> Iterator[Service]:
    """The twin of the source under conformance test, and the desk to spoil its answers and let time pass.

    A test class may set `orders`, and `days` that the first pull reaches back.
    """
    name, asked = request.cls.source.name, request.cls
    clock = CompanyClock()
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patched:
        patched.setattr(limit, "clock", clock.seconds)
        patched.setattr(client_room, "_now", clock.now)
        patched.setattr(landing_room, "_now", clock.now)
        clock.sandbox = sandbox = Sandbox(
            generate(7, getattr(asked, "orders", 15)), sources=[name], limits=False
        )
        served = stack.enter_context(serving(sandbox))
        since = sandbox.world.now - timedelta(days=getattr(asked, "days", 5))
        yield Service(
            {**served.env, f"ORDERHUB_{name.upper()}_SINCE": since.isoformat()},
            partial(sandbox.misbehave, name),
            lambda trouble: sandbox.stats()[name].get(f"fault_{trouble}", 0),
            partial(sandbox.advance, 6, timedelta(hours=20)),
            clock.wait,
            clock.seconds,
        )


@pytest.fixture
def inbox(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Inbox:
    """The inbox of the source under conformance test; its class writes the files of a world: `write(world, folder)`."""
    worlds = [generate(7, request.cls.orders)]
    folder = TroubledFolder(tmp_path / "inbox", lambda root: request.cls.write(worlds[-1], root))
    monkeypatch.setattr(file_room, "open_folder", lambda address: (folder, address))
    monkeypatch.setattr(file_room, "READ_SECONDS", 0.3)

    def advance() -> None:
        worlds.append(advance_world(worlds[-1], 40, timedelta(days=30)))
        folder.fill()

    return Inbox(folder.root, folder.fill, folder.misbehave, folder.happened.__getitem__, advance)


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


@pytest.fixture
def paid_and_sent() -> Callable[[World, Channel, datetime], set[str]]:
    """Numbers of the paid orders of a channel whose first parcel left by a time."""

    def numbers(world: World, channel: Channel, left_by: datetime) -> set[str]:
        return {
            order.number
            for order in world.orders.values()
            if order.channel is channel
            and order.cancelled_at is None
            and order.paid_at is not None
            and order.shipments
            and min(one.dispatched_at for one in order.shipments) <= left_by
        }

    return numbers
