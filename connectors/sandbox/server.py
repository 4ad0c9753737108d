"""The sandbox on HTTP: every twin below its own path, with the vendor's limits, and faults on request.

`/<system>/…` is the system itself. `/_sandbox/…` is the desk of whoever runs a test:

    GET  /_sandbox/truth       JSON lines of `Truth`: for the scorer alone
    GET  /_sandbox/differences JSON lines of `Planted` differences between systems: for the scorer alone
    GET  /_sandbox/stats       requests, statuses, refusals and faults per system
    GET  /_sandbox/world       seed, now, counts
    POST /_sandbox/misbehave   {"source", "fault": one of `trouble.TROUBLES`, "times": 1}; 0 times ends all trouble
    POST /_sandbox/advance     {"orders": 20, "hours": 24}: time passes, things happen
"""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import functools
import importlib
import json
import pkgutil
import socket
import struct
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

import connectors.sandbox
from connectors.sandbox import differences, limit, notify, trouble
from connectors.sandbox.credentials import Credentials
from connectors.sandbox.dealer_rebates import rebate_truths, write_rebates
from connectors.sandbox.differences import Planted
from connectors.sandbox.dirt import Dirt, Level
from connectors.sandbox.files import export_truths, write_exports
from connectors.sandbox.generate import advance
from connectors.sandbox.limit import RateLimit, TokenBucket
from connectors.sandbox.truth import Truth, dump_lines
from connectors.sandbox.world import World

HANG_SECONDS = 300.0
_SHIFT_EVERY = 3  # answers
_SIGN_IN = "<!doctype html><title>Sign in</title><p>We are back at noon."
_CONNECTION = "orderhub.connection"


class Twin(Protocol):
    """One simulated system: a module of this package that defines `class Twin` is served.

    A twin is made anew whenever time passes, so it keeps nothing between requests that a client needs later:
        tokens it
    hands out are derived from `credentials`. It may also have `rate_limit: RateLimit`, enforced before its
    routes.
    """

    name: str

    def __init__(self, world: World, dirt: Dirt, credentials: Credentials) -> None: ...

    def routes(self) -> Sequence[BaseRoute]:
        """Routes relative to the system's base URL, such as `/v2/orders/search`."""
        ...

    def truth(self) -> Iterable[Truth]:
        """Every customer, SKU, location and order record that the system shows."""
        ...

    def env(self, base_url: str) -> dict[str, str]:
        """What a connector needs: `ORDERHUB_<NAME>_URL` and secrets. `base_url` ends in `/<name>`."""
        ...


@runtime_checkable
class Differing(Protocol):
    """A twin whose documents differ from the orders at times."""

    def differences(self) -> Iterable[Planted]:
        """Every difference that its documents show by now."""
        ...


@runtime_checkable
class Deleting(Protocol):
    """A twin of which records can be deleted: it shows none of these keys."""

    deleted: set[str]


class SandboxError(Exception):
    """The sandbox was asked for something it does not have, or a twin breaks its protocol."""


def find_twins() -> dict[str, type[Twin]]:
    """Return the twin classes of this package by name; a module that does not import fails here.

    Raises:
        SandboxError: a twin's name is not its module's.
    """
    found: dict[str, type[Twin]] = {}
    for module_info in pkgutil.iter_modules(connectors.sandbox.__path__):
        if module_info.name.startswith("_") or module_info.name == __name__.rpartition(".")[2]:
            continue
        module = importlib.import_module(f"{connectors.sandbox.__name__}.{module_info.name}")
        twin: Any = vars(module).get("Twin")
        if isinstance(twin, type) and twin.__module__ == module.__name__:
            name = vars(twin).get("name")
            if name != module_info.name:
                raise SandboxError(
                    f"{module.__name__}: Twin.name is {name!r}; it must be {module_info.name!r}"
                )
            found[module_info.name] = twin
    return found


@dataclass
class _Gate:
    """Stands before one twin: counts, misbehaves on request, enforces the rate limit."""

    name: str
    inner: ASGIApp
    now: datetime  # the company's time: the systems' clocks show it
    rate: RateLimit | None
    forgetful: Callable[[], ASGIApp]  # the same system, which no longer knows its tokens
    shift: Callable[[], None]  # lets the company go on
    is_limited: bool
    bucket: TokenBucket | None = field(init=False)
    since_shift: int = 0  # answers
    faults: deque[tuple[str, int]] = field(default_factory=deque)  # each with how often it still comes
    counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.bucket = TokenBucket(self.rate) if self.rate is not None and self.is_limited else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.counts["requests"] += 1
        if self.faults:
            fault, times = self.faults.popleft()
            if times > 1:
                self.faults.appendleft((fault, times - 1))
            # Before it comes about, since whoever it happens to may not wait for its end.
            self.counts[f"fault_{fault}"] += 1
            if not await self._misbehave(fault, scope, receive, send):
                self.counts[f"fault_{fault}"] -= 1
                if fault == "expired_token":
                    # Whoever carries no token has none to lose: the next one does.
                    self.faults.appendleft((fault, 1))
            return
        await self._behave(scope, receive, send)

    async def _behave(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers: list[tuple[bytes, bytes]] = []
        if self.rate is not None and self.bucket is not None:
            wait = self.bucket.take(limit.clock())
            vendor = self.rate.headers(self.rate.limit, self.bucket.remaining)
            headers = [(name.lower().encode(), value.encode()) for name, value in vendor.items()]
            if wait > 0:
                self.counts["refused"] += 1
                await self.rate.refuse(wait)(scope, receive, self._counting(send, headers))
                return
        await self.inner(scope, receive, self._counting(send, headers))

    def _counting(
        self, send: Send, headers: list[tuple[bytes, bytes]], clock_error: timedelta = timedelta(0)
    ) -> Send:
        async def counted(message: Message) -> None:
            if message["type"] == "http.response.start":
                self.counts[f"status_{message['status']}"] += 1
                told = email.utils.format_datetime(self.now + clock_error, usegmt=True).encode()
                message = {**message, "headers": [*message.get("headers", []), *headers, (b"date", told)]}
            await send(message)

        return counted

    async def _misbehave(self, fault: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer one request wrongly; return whether it could be: not every answer has rows."""
        counted = self._counting(send, [])
        match fault:
            case "429":
                refuse = (self.rate or RateLimit(1, 1.0)).refuse
                await refuse(1.0)(scope, receive, counted)
            case "500":
                body = {"error": "Internal Server Error"}
                await JSONResponse(body, status_code=500)(scope, receive, counted)
            case "html":
                await HTMLResponse(_SIGN_IN)(scope, receive, counted)
            case "error_body":
                await JSONResponse({"error": "maintenance until noon"})(scope, receive, counted)
            case "forbidden":
                body = {"error": "this account may not read that"}
                await JSONResponse(body, status_code=403)(scope, receive, counted)
            case "hang":
                try:
                    await asyncio.wait_for(_until_gone(receive), HANG_SECONDS)
                except TimeoutError:
                    _hang_up(scope, reset=True)
            case "reset":
                _hang_up(scope, reset=True)
                await _until_gone(receive)
            case "half_page" | "malformed":
                await self._cut(fault, scope, receive, send)
            case "expired_token":
                again = await _recorded(receive)
                known = await _kept(self.inner, scope, again())
                answer = await _kept(self.forgetful(), scope, again())
                await self._answer(*answer, send)
                return answer != known
            case "clock_ahead" | "clock_behind":
                await self.inner(scope, receive, self._counting(send, [], trouble.CLOCK_ERRORS[fault]))
            case "shifting_page":
                await self._behave(scope, receive, send)
                self.since_shift = (self.since_shift + 1) % _SHIFT_EVERY
                if self.since_shift:
                    return False
                self.shift()
            case "duplicated_page":
                return await self._alter(trouble.double, scope, receive, send)
            case "drift":
                return await self._alter(trouble.drift, scope, receive, send)
        return True

    async def _cut(self, fault: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the first half of the real body; for "half_page" the connection then breaks off."""
        start, body = await _kept(self.inner, scope, receive)
        half = body[: max(1, len(body) // 2)]
        if fault == "malformed":
            await self._answer(start, half, send)
            return
        await self._counting(send, [_length(body)])(start)
        await send({"type": "http.response.body", "body": half, "more_body": True})
        _hang_up(scope, reset=False)
        await _until_gone(receive)

    async def _alter(self, change: Callable[[Any], bool], scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer with the real body after a change to its rows."""
        start, body = await _kept(self.inner, scope, receive)
        try:
            answer = json.loads(body)
        except ValueError:  # a table, say, packed or plain
            is_changed = False
        else:
            is_changed = change(answer)
            body = json.dumps(answer).encode() if is_changed else body
        await self._answer(start, body, send)
        return is_changed

    async def _answer(self, start: Message, body: bytes, send: Send) -> None:
        await self._counting(send, [_length(body)])(start)
        await send({"type": "http.response.body", "body": body})


async def _recorded(receive: Receive) -> Callable[[], Receive]:
    """Take a request's body in, so that it can be read more than once."""
    messages = [await receive()]
    while messages[-1].get("more_body"):
        messages.append(await receive())

    def play() -> Receive:
        left = iter(messages)

        async def replay() -> Message:
            return next(left, {"type": "http.disconnect"})

        return replay

    return play


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", str(len(body)).encode()


async def _kept(system: ASGIApp, scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """What a system would answer: its start without a length, and its whole body."""
    start: Message = {}
    body = b""

    async def keep(message: Message) -> None:
        nonlocal start, body
        if message["type"] == "http.response.start":
            start = message
        elif message["type"] == "http.response.body":
            body += message.get("body", b"")

    await system(dict(scope), receive, keep)
    headers = [(name, value) for name, value in start["headers"] if name.lower() != b"content-length"]
    return {**start, "headers": headers}, body


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _hang_up(scope: Scope, *, reset: bool) -> None:
    """Close the connection under the response. ASGI has no word for it: reach for uvicorn's transport."""
    transport: asyncio.Transport | None = getattr(scope[_CONNECTION], "transport", None)
    if transport is None:
        raise ConnectionResetError(
            "the sandbox hangs up here; only under uvicorn does the client see it as a fault"
        )
    if not reset:
        transport.close()
        return
    connection: socket.socket | None = transport.get_extra_info("socket")
    if connection is not None:
        # Linger of zero seconds: close sends RST instead of FIN.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


class Sandbox:
    """The company's systems over one world.

    Args:
        world: what is true.
        level: how dirty the systems' windows are.
        differences: whether documents of the systems differ from the orders: "none" or "planted".
        sources: names of the systems to serve; all by default.
        twins: twin classes by name instead of those of this package (tests).
        inbox: folder that receives the dealers' export files; none are written without it.
        limits: whether systems refuse more requests than their vendors allow.

    Raises:
        SandboxError: a name in `sources` is not a system.
    """

    def __init__(
        self,
        world: World,
        *,
        level: Level = "normal",
        differences: Literal["none", "planted"] = "none",
        sources: Sequence[str] | None = None,
        twins: dict[str, type[Twin]] | None = None,
        inbox: Path | None = None,
        limits: bool = True,
    ) -> None:
        known = find_twins() if twins is None else twins
        wanted = list(known) if sources is None else list(dict.fromkeys(sources))
        unknown = [name for name in wanted if name not in known]
        if unknown:
            raise SandboxError(
                f"no system {', '.join(unknown)} in the sandbox; there are {', '.join(known) or 'none'}"
            )
        self.world = world
        self.level = level
        self.differences = differences
        self.inbox = inbox
        self.credentials = Credentials(world.seed)
        self._classes = {name: known[name] for name in wanted}
        self._deleted: dict[str, set[str]] = {name: set() for name in wanted}
        self._twins = self._make_twins()
        self._gates = {
            name: _Gate(
                name,
                Starlette(routes=list(twin.routes())),
                world.now,
                getattr(twin, "rate_limit", None),
                functools.partial(self._forgetful, name),
                self._shift,
                limits,
            )
            for name, twin in self._twins.items()
        }
        if inbox is not None:
            self._write_files(inbox)
        desk = [
            Route("/truth", self._get_truth),
            Route("/differences", self._get_differences),
            Route("/stats", self._get_stats),
            Route("/world", self._get_world),
            Route("/misbehave", self._post_misbehave, methods=["POST"]),
            Route("/advance", self._post_advance, methods=["POST"]),
        ]
        systems = [Mount(f"/{name}", app=gate) for name, gate in self._gates.items()]
        self._site = Starlette(routes=[Mount("/_sandbox", routes=desk), *systems])

    def _write_files(self, inbox: Path) -> None:
        write_exports(self.world, Dirt(self.world.seed, "file_drop", self.level), inbox)
        rebates = Dirt(self.world.seed, "dealer_rebates", self.level)
        write_rebates(self.world, rebates, inbox / "dealer_rebates")

    async def app(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (the ASGI application)."""
        # uvicorn's `send` is a method of whatever owns the connection; Starlette hides it from the gates.
        scope[_CONNECTION] = getattr(send, "__self__", None)
        await self._site(scope, receive, send)

    def _make_twins(self) -> dict[str, Twin]:
        return {name: self._make_twin(name, self.credentials) for name in self._classes}

    def _make_twin(self, name: str, credentials: Credentials) -> Twin:
        dirt = Dirt(self.world.seed, name, self.level, self.differences == "planted")
        twin = self._classes[name](self.world, dirt, credentials)
        if isinstance(twin, Deleting):
            twin.deleted = self._deleted[name]
        return twin

    def _forgetful(self, name: str) -> ASGIApp:
        forgotten = replace(self.credentials, tokens_are_known=False)
        return Starlette(routes=list(self._make_twin(name, forgotten).routes()))

    def _shift(self) -> None:
        self.advance(3, timedelta(hours=1))

    def env(self, url: str) -> dict[str, str]:
        """Return the environment of all connectors, for a sandbox that answers at `url`.

        Raises:
            SandboxError: a twin does not say where it is.
        """
        found: dict[str, str] = {}
        for name, twin in self._twins.items():
            base_url = f"{url}/{name}"
            variables = twin.env(base_url)
            key = f"ORDERHUB_{name.upper()}_URL"
            if not variables.get(key, "").startswith(base_url):
                raise SandboxError(f"sandbox twin {name}: env() must give {key} below {base_url}")
            found.update(variables | notify.env(self.credentials, name))
        return found

    def truths(self) -> Iterator[Truth]:
        """Yield the truth about every record that the systems served, and the export files, show."""
        for twin in self._twins.values():
            yield from twin.truth()
        if self.inbox is not None:
            yield from export_truths(self.world, Dirt(self.world.seed, "file_drop", self.level))
            yield from rebate_truths(self.world, Dirt(self.world.seed, "dealer_rebates", self.level))

    def planted(self) -> Iterator[Planted]:
        """Yield every difference between the systems served and the orders."""
        for twin in self._twins.values():
            if isinstance(twin, Differing):
                yield from twin.differences()

    def advance(self, orders: int, by: timedelta) -> None:
        """Let time pass: new orders, old ones move on, every system shows it."""
        self.world = advance(self.world, orders, by)
        self._twins = self._make_twins()
        for name, twin in self._twins.items():
            self._gates[name].inner = Starlette(routes=list(twin.routes()))
            self._gates[name].now = self.world.now
        if self.inbox is not None:
            self._write_files(self.inbox)

    def delete(self, source: str, *keys: str) -> None:
        """Let a system forget records; it shows them no more.

        Raises:
            SandboxError: no such system, or it never deletes.
        """
        if not isinstance(self._twins.get(source), Deleting):
            raise SandboxError(f"{source!r} deletes nothing in the sandbox")
        self._deleted[source].update(keys)

    def notifications(
        self, source: str, address: str, changes: Iterable[notify.Change]
    ) -> Iterator[notify.Notification]:
        """Yield what a system sends to an address about changes, signed as its vendor signs it."""
        variables = self._twins[source].env("http://127.0.0.1/" + source)
        yield from notify.notifications(self.credentials, source, changes, address, variables)

    def changed(self, source: str, since: datetime) -> list[notify.Change]:
        """What a system would tell of what changed since then; nothing where it tells nothing."""
        twin = self._twins[source]
        return list(twin.changed(since)) if isinstance(twin, notify.Telling) else []

    def misbehave(self, source: str, fault: str, times: int = 1) -> None:
        """Make the next `times` answers of a system go wrong; 0 times ends all its trouble.

        Raises:
            SandboxError: no such system or fault, or less than 0 times.
        """
        if source not in self._gates:
            raise SandboxError(f"no system {source!r} to misbehave; there are {', '.join(self._gates)}")
        if fault not in trouble.TROUBLES:
            raise SandboxError(f"no fault {fault!r}; there are {', '.join(trouble.TROUBLES)}")
        if times < 0:
            raise SandboxError(f"{times} times: 0 ends all trouble, more is how often it comes")
        gate = self._gates[source]
        if times == 0:
            gate.faults.clear()
            gate.since_shift = 0
        else:
            gate.faults.append((fault, times))

    @property
    def systems(self) -> list[str]:
        """Names of the systems served."""
        return list(self._gates)

    def stats(self) -> dict[str, dict[str, int]]:
        """Return counters per system: requests, refused, status_<code>, fault_<fault>."""
        return {name: dict(sorted(gate.counts.items())) for name, gate in self._gates.items()}

    async def _get_truth(self, request: Request) -> Response:
        return StreamingResponse(dump_lines(self.truths()), media_type="application/jsonl")

    async def _get_differences(self, request: Request) -> Response:
        return StreamingResponse(differences.dump_lines(self.planted()), media_type="application/jsonl")

    async def _get_stats(self, request: Request) -> Response:
        return JSONResponse(self.stats())

    async def _get_world(self, request: Request) -> Response:
        return JSONResponse(_summary(self.world))

    async def _post_misbehave(self, request: Request) -> Response:
        try:
            asked = await request.json()
            self.misbehave(str(asked["source"]), str(asked["fault"]), int(asked.get("times", 1)))
        except (json.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError) as error:
            return JSONResponse({"error": f'send {{"source", "fault", "times"}}: {error!r}'}, status_code=400)
        except SandboxError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        pending = sum(times for _, times in self._gates[asked["source"]].faults)
        return JSONResponse({"pending": pending})

    async def _post_advance(self, request: Request) -> Response:
        try:
            asked = await request.json()
            self.advance(int(asked.get("orders", 20)), timedelta(hours=float(asked.get("hours", 24))))
        except (json.JSONDecodeError, TypeError, ValueError, AttributeError) as error:
            return JSONResponse({"error": f'send {{"orders", "hours"}}: {error}'}, status_code=400)
        return JSONResponse(_summary(self.world))


def _summary(world: World) -> dict[str, Any]:
    return {
        "seed": world.seed,
        "now": world.now.isoformat(),
        "orders": len(world.orders),
        "customers": len(world.customers),
        "products": len(world.products),
        "locations": len(world.locations),
    }


def listen(port: int = 0) -> socket.socket:
    """Open a listening socket on loopback; port 0 takes a free one.

    Raises:
        OSError: the port is taken.
    """
    opened = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        opened.bind(("127.0.0.1", port))
        opened.listen(128)
    except OSError:
        opened.close()
        raise
    return opened


def http_server(sandbox: Sandbox) -> uvicorn.Server:
    """Return a uvicorn server for the sandbox; run it on a socket of `listen`."""
    config = uvicorn.Config(
        sandbox.app,
        interface="asgi3",
        lifespan="off",
        log_level="warning",
        access_log=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=1,
        date_header=False,  # each system tells the company's time
    )
    return uvicorn.Server(config)


@dataclass(frozen=True)
class Served:
    """A sandbox that answers: its base URL and the environment its connectors need."""

    sandbox: Sandbox
    url: str
    env: dict[str, str]


@contextlib.contextmanager
def serving(sandbox: Sandbox, port: int = 0) -> Iterator[Served]:
    """Serve a sandbox from a thread of this process for the length of a `with` block."""
    with listen(port) as opened:
        url = f"http://127.0.0.1:{opened.getsockname()[1]}"
        server = http_server(sandbox)
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [opened]}, daemon=True, name="sandbox"
        )
        thread.start()
        try:
            yield Served(sandbox, url, sandbox.env(url))
        finally:
            server.should_exit = True
            thread.join(timeout=10)
