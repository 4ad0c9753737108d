"""What the kit's tests share: a server that answers as it is told, a small declared source, and a landing folder."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import orjson
import pytest

from connectors import client as client_room
from connectors.declare import (
    Amount,
    Ask,
    Bearer,
    Bounds,
    Child,
    ControlTotal,
    Currency,
    Field,
    Instant,
    Kind,
    Quantity,
    Record,
    Source,
    Stream,
    TokenPages,
)
from connectors.extract import PullResult, pull_source
from connectors.landing import Landing


class Line(Record):
    """One line of an order."""

    sku: str = Field(min_length=1)
    qty: Quantity = Field(ge=0)


class Order(Record):
    """One order."""

    order_id: str = Field(validation_alias="id", min_length=1)
    updated_at: Instant
    total_amount: Amount | None = Field(default=None, validation_alias="total")
    currency: Currency = "EUR"
    note: str | None = None
    count: int | None = None


class Item(Record):
    """One article."""

    item_id: str = Field(validation_alias="id", min_length=1)
    title: str | None = None


def _ask_orders(bounds: Bounds) -> Ask:
    return Ask(params={} if bounds.since is None else {"since": bounds.since.isoformat()})


PAGES = TokenPages(read="next", write="params.page")

SHOP = Source(
    name="shop",
    title="A shop",
    kind=Kind.MARKETPLACE,
    owner="tests",
    auth=Bearer(),
    timeout_seconds=0.5,
    streams=(
        Stream(
            name="orders",
            record=Order,
            key=("order_id",),
            path="/orders",
            ask=_ask_orders,
            rows="orders",
            pages=PAGES,
            cursor="updated_at",
            lag=timedelta(minutes=10),
            children=(Child(name="order_lines", path="lines", record=Line, parent={"order_id": "order_id"}),),
            control_totals=(ControlTotal(amount="total_amount", currency="currency"),),
        ),
        Stream(name="items", record=Item, key=("item_id",), path="/items", rows="items", pages=PAGES),
    ),
)


@dataclass
class Reply:
    """One answer: a JSON value or bytes. `cut` closes the connection after so many bytes."""

    body: Any = field(default_factory=dict)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    drip: float = 0.0

    @property
    def content(self) -> bytes:
        """The body as bytes."""
        return self.body if isinstance(self.body, bytes) else orjson.dumps(self.body)


Script = Reply | list[Reply] | Callable[[dict[str, str]], Reply]


class Desk:
    """A scripted HTTP server on loopback. `routes`: path -> a reply, replies in turn (the last one stays), or a function
    of the query. `seen` lists every request: (path, query, headers)."""

    def __init__(self) -> None:
        self.routes: dict[str, Script] = {}
        self.seen: list[tuple[str, dict[str, str], dict[str, str]]] = []
        desk = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                self.rfile.read(length)
                parts = urlsplit(self.path)
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                desk.seen.append(
                    (parts.path, query, {name.lower(): value for name, value in self.headers.items()})
                )
                reply = desk.reply(parts.path, query)
                content = reply.content
                self.send_response(reply.status)
                for name, value in {"Content-Type": "application/json", **reply.headers}.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                if reply.drip:
                    desk.drip(self.wfile, content, reply.drip)
                    self.close_connection = True
                elif reply.cut is not None:
                    self.wfile.write(content[: reply.cut])
                    self.wfile.flush()
                    self.close_connection = True
                    self.connection.shutdown(socket.SHUT_RDWR)
                else:
                    self.wfile.write(content)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Say nothing."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                """A client that hung up is what the test wanted."""

        self._stop = threading.Event()
        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self.env = {"ORDERHUB_SHOP_URL": self.url, "ORDERHUB_SHOP_TOKEN": "right"}

    def reply(self, path: str, query: dict[str, str]) -> Reply:
        """What the script says for a request."""
        try:
            script = self.routes[path]
        except KeyError:
            script = Reply({"error": "not found"}, 404)
        if isinstance(script, Reply):
            return script
        if callable(script):
            return script(query)
        return script.pop(0) if len(script) > 1 else script[0]

    def drip(self, target: Any, content: bytes, pause: float) -> None:
        """Send byte by byte until the server closes."""
        for byte in content:
            if self._stop.wait(pause):
                return
            target.write(bytes([byte]))
            target.flush()

    def close(self) -> None:
        """Stop answering."""
        self._stop.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def order(number: int | str = 1, **changes: Any) -> dict[str, Any]:
    """A valid order as the shop sends it."""
    return {
        "id": f"o{number}",
        "updated_at": "2026-03-01T10:00:00+08:00",
        "total": "19.90",
        "currency": "EUR",
        "lines": [{"sku": "A", "qty": "1"}, {"sku": "B", "qty": "2.5"}],
        **changes,
    }


@pytest.fixture
def kit() -> SimpleNamespace:
    """What test modules build their cases from."""
    return SimpleNamespace(
        SHOP=SHOP, Reply=Reply, order=order, Order=Order, Item=Item, Line=Line, PAGES=PAGES
    )


@pytest.fixture
def desk() -> Iterator[Desk]:
    """A scripted server that has one order and one item."""
    opened = Desk()
    opened.routes = {"/orders": Reply({"orders": [order()]}), "/items": Reply({"items": [{"id": "i1"}]})}
    yield opened
    opened.close()


@pytest.fixture
def landing(tmp_path: Path) -> Iterator[Landing]:
    """An empty landing folder."""
    opened = Landing(tmp_path / "landing")
    yield opened
    opened.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow at once."""
    monkeypatch.setattr(client_room, "_BACKOFF_SECONDS", 0.0001)


@pytest.fixture
def pull_shop(desk: Desk, landing: Landing, quick: None) -> Callable[..., dict[str, PullResult]]:
    """Pull the shop: stream name -> result. `env` adds to the environment."""

    def run(
        env: dict[str, str] | None = None, source: Source = SHOP, **options: Any
    ) -> dict[str, PullResult]:
        results = pull_source(source, landing, {**desk.env, **(env or {})}, **options)
        return {result.stream: result for result in results}

    return run
