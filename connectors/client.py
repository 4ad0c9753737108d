"""One HTTP client per source: shared budget, time-outs, retries with jittered back-off, no secret in a log."""

from __future__ import annotations

import contextlib
import email.utils
import logging
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx

from connectors.auth import Secrets
from connectors.declare import RateLimit, Source, Stream
from connectors.errors import (
    BrokenAnswerError,
    FatalError,
    GoneError,
    ProtocolError,
    RefusedError,
    RetryableError,
    ThrottledError,
    UnreachableError,
)
from connectors.pagination import Ask

# httpx logs whole URLs at INFO, and some vendors carry signatures in the query.
logging.getLogger("httpx").setLevel(logging.WARNING)
logging.getLogger("httpcore").setLevel(logging.WARNING)

_log = logging.getLogger(__name__)

MAX_ANSWER_BYTES = 64 * 1024 * 1024
MAX_ANSWER_SECONDS = 600.0
MAX_ATTEMPTS = 6
LONGEST_WAIT_SECONDS = 120.0
_BACKOFF_SECONDS = 0.25


def _now() -> datetime:
    return datetime.now(UTC)


def _check_address(source: str, base_url: str) -> None:
    try:
        url = httpx.URL(base_url)
    except httpx.InvalidURL as error:
        raise FatalError(f"ORDERHUB_{source.upper()}_URL {base_url!r} is not an address: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise FatalError(
            f"ORDERHUB_{source.upper()}_URL {base_url!r} is not an address that begins with http(s)://"
        )


def _since(source: str, values: Mapping[str, str]) -> datetime | None:
    name = f"ORDERHUB_{source.upper()}_SINCE"
    text = values.get(name)
    if not text:
        return None
    try:
        since = datetime.fromisoformat(text)
    except ValueError:
        since = None
    if since is None or since.tzinfo is None:
        raise FatalError(f"{name} {text!r} is not a time with its offset, such as 2026-09-01T00:00:00+08:00")
    return since.astimezone(UTC)


class Budget:
    """Token bucket shared by all streams of one source. `slow_to` only ever lowers the rate."""

    def __init__(self, limit: RateLimit | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._capacity = float(limit.requests) if limit else float("inf")
        self._rate = limit.requests / limit.seconds if limit else float("inf")
        self._tokens = self._capacity
        self._at = clock()
        self._not_before = 0.0

    def take(self, sleep: Callable[[float], None]) -> None:
        """Wait for one request's worth of budget."""
        while True:
            with self._lock:
                now = self._clock()
                if self._rate != float("inf"):
                    self._tokens = min(self._capacity, self._tokens + (now - self._at) * self._rate)
                self._at = now
                wait = self._not_before - now
                if wait <= 0 and self._tokens >= 1:
                    self._tokens -= 1
                    return
                if wait <= 0:
                    wait = (1 - self._tokens) / self._rate
            sleep(wait)

    def pause(self, seconds: float) -> None:
        """Let nobody send before `seconds` have passed."""
        with self._lock:
            self._not_before = max(self._not_before, self._clock() + seconds)


class _TimedTransport(httpx.HTTPTransport):
    """Gives requests that a login makes by itself a time-out, too: httpx leaves them without one."""

    def __init__(self, timeout: httpx.Timeout) -> None:
        super().__init__(limits=httpx.Limits(max_connections=8), trust_env=False)
        self._timeout = timeout

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        request.extensions = {"timeout": self._timeout.as_dict(), **request.extensions}
        return super().handle_request(request)


class _Meanwhile:
    """Calls what it is given, once: when httpx tells that a request is sent and its answer is waited for.

    A second thread would win the same time, and lose more of it to handing the interpreter's lock over.
    """

    def __init__(self, call: Callable[[], None] | None) -> None:
        self._call = call
        self.extensions = {} if call is None else {"trace": self._trace}

    def __call__(self) -> None:
        call, self._call = self._call, None
        if call is not None:
            call()

    def _trace(self, event: str, _: object) -> None:
        if event == "http11.receive_response_headers.started":
            self()


@dataclass(frozen=True)
class Answer:
    """One answer: the bytes as received, the decoded body and lower-case headers."""

    content: bytes
    body: Any
    headers: dict[str, str]


class Client:
    """HTTP client of one source.

    Args:
        source: the declaration.
        values: where secrets and the URL override are looked up, such as `os.environ`.
        sleep, clock: how to wait, and seconds that pass; tests that do not want to wait put others here.

    Raises:
        MissingSecretError: a secret is not set.
        FatalError: the source has no base URL.
    """

    def __init__(
        self,
        source: Source,
        values: Mapping[str, str],
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        base_url = values.get(f"ORDERHUB_{source.name.upper()}_URL", source.base_url)
        if not base_url:
            raise FatalError(f"{source.name} has no address: set ORDERHUB_{source.name.upper()}_URL")
        self.base_url = base_url.rstrip("/")
        _check_address(source.name, self.base_url)
        self.since = _since(source.name, values)
        self.clock_offset = timedelta(0)  # how far the source's clock is ahead of ours
        self._source = source
        self._sleep = sleep
        self._budget = Budget(source.limit, clock)
        timeout = httpx.Timeout(source.timeout_seconds, connect=min(10.0, source.timeout_seconds))
        self._http = httpx.Client(
            auth=source.auth.open(Secrets(source.name, values), self.base_url),
            timeout=timeout,
            headers={"Accept": "application/json", "User-Agent": "orderhub", **source.headers},
            transport=_TimedTransport(timeout),
            trust_env=False,
        )

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def now(self) -> datetime:
        """The time by the source's own clock, as its last answer told it; by ours before the first."""
        return _now() + self.clock_offset

    def send(self, stream: Stream, ask: Ask, meanwhile: Callable[[], None] | None = None) -> Answer:
        """Send one request; retry what may pass.

        Args:
            stream, ask: what to ask for.
            meanwhile: called once, when the request is on its way and the source is at work on it.

        Raises:
            FatalError: a person has to act (credentials, protocol).
            RetryableError: still failing after the last attempt.
        """
        work = _Meanwhile(meanwhile)
        answer = self._patiently(stream, lambda: self._once(stream, ask, work))
        work()
        return answer

    def download(self, stream: Stream, url: str) -> bytes:
        """Fetch a file that an answer points to, at one of the vendor's own hosts; no credential travels there.

        Raises:
            FatalError, RetryableError: as for `send`.
        """
        where = f"{self._source.name}.{stream.name}"
        if _origin(url) != _origin(self.base_url) and not self._is_known(url):
            raise ProtocolError(f"{where}: the answer points to another host for its file; refused")

        def once() -> Answer:
            try:
                with self._http.stream("GET", url, auth=None) as response:
                    content = _read(response, where)
            except httpx.TransportError as error:
                raise UnreachableError(f"{where}: cannot fetch its file ({type(error).__name__}).") from error
            headers = {name.lower(): value for name, value in response.headers.items()}
            self._judge(where, response.status_code, content, headers)
            return Answer(content, None, headers)

        return self._patiently(stream, once).content

    def wait(self, seconds: float) -> None:
        """Let time pass before the source is asked again."""
        self._sleep(seconds)

    def _patiently(self, stream: Stream, once: Callable[[], Answer]) -> Answer:
        attempt = 0
        while True:
            attempt += 1
            self._budget.take(self._sleep)
            try:
                return once()
            except RetryableError as error:
                if attempt >= MAX_ATTEMPTS:
                    raise type(error)(
                        f"{error} (gave up after {attempt} attempts; pull again later)"
                    ) from error
                backoff = random.uniform(0.5, 1.0) * _BACKOFF_SECONDS * 2**attempt
                wait = max(backoff, error.wait_seconds or 0.0)
                if wait > LONGEST_WAIT_SECONDS:
                    raise type(error)(
                        f"{error} It asks us to wait {wait:.0f} s, longer than {LONGEST_WAIT_SECONDS:.0f} s; "
                        "pull again then."
                    ) from error
                _log.info(
                    "%s.%s: %s; attempt %d follows in %.1f s", *self._place(stream), error, attempt + 1, wait
                )
                if isinstance(error, ThrottledError):
                    self._budget.pause(wait)
                else:
                    self._sleep(wait)

    def _place(self, stream: Stream) -> tuple[str, str]:
        return self._source.name, stream.name

    def _once(self, stream: Stream, ask: Ask, meanwhile: _Meanwhile) -> Answer:
        where = f"{self._source.name}.{stream.name}"
        path = ask.path or stream.path
        url = path if "://" in path.partition("?")[0] else self.base_url + path
        if _origin(url) != _origin(self.base_url) and not self._is_known(url):
            raise ProtocolError(f"{where}: the answer points to another host for its next page; refused")
        try:
            with self._http.stream(
                stream.method,
                url,
                params=ask.params or None,
                json=ask.json_body,
                headers=ask.headers,
                extensions=meanwhile.extensions,
            ) as response:
                content = _read(response, where)
        except httpx.TimeoutException as error:
            raise UnreachableError(
                f"{where}: no answer within {self._source.timeout_seconds:g} s from {self.base_url}."
            ) from error
        except httpx.TransportError as error:
            raise UnreachableError(
                f"{where}: cannot reach {self.base_url} ({type(error).__name__}). Check the address and the network."
            ) from error
        except httpx.DecodingError as error:
            raise BrokenAnswerError(f"{where}: the answer's compression is damaged: {error}.") from error
        headers = {name.lower(): value for name, value in response.headers.items()}
        self._heed(headers)
        self._judge(where, response.status_code, content, headers)
        try:
            body = self._source.decode(content)
        except Exception as error:  # a source's own decoder may raise anything on bytes nobody foresaw
            kind = headers.get("content-type", "an unnamed type")
            raise BrokenAnswerError(
                f"{where}: the answer of {len(content)} bytes ({kind}) is not what it should be: "
                f"{error if isinstance(error, ValueError) else repr(error)}."
            ) from error
        try:
            fault = self._source.fault(body)
        except Exception as error:  # what finds the vendor's errors met a shape the vendor does not document
            said = content[:200].decode("utf-8", "replace")
            raise ProtocolError(
                f"{where}: an answer of a shape nobody documents ({error!r}): {said}"
            ) from error
        if fault is not None:
            raise fault
        return Answer(content, body, headers)

    def _is_known(self, url: str) -> bool:
        origin = _origin(url)
        return origin is not None and origin[0] == "https" and origin[1] in self._source.hosts

    def _heed(self, headers: dict[str, str]) -> None:
        """Note the source's clock, and wait before the next request when it says that the budget is used up."""
        with contextlib.suppress(KeyError, ValueError):  # RFC 9110, 6.6.1: not every server has a clock
            told = email.utils.parsedate_to_datetime(headers["date"])
            self.clock_offset = told.astimezone(UTC) - _now()
        remaining, reset = headers.get("ratelimit-remaining"), headers.get("ratelimit-reset")
        if remaining == "0" and reset is not None and reset.isdigit():
            self._budget.pause(min(float(reset), LONGEST_WAIT_SECONDS))
        interval = headers.get("x-hubspot-ratelimit-interval-milliseconds", "")
        if headers.get("x-hubspot-ratelimit-remaining") == "0" and interval.isdigit():
            self._budget.pause(min(float(interval) / 1000, LONGEST_WAIT_SECONDS))

    def _judge(self, where: str, status: int, content: bytes, headers: dict[str, str]) -> None:
        if status < 300:
            return
        said = content[:300].decode("utf-8", "replace").replace("\n", " ").strip()
        prefix = f"ORDERHUB_{self._source.name.upper()}_"
        if status == 401:
            names = ", ".join(prefix + name for name in self._source.auth.secrets)
            raise RefusedError(f"{where}: the credential was refused (401). Check {names}. It said: {said}")
        if status == 403:
            raise RefusedError(
                f"{where}: not permitted (403). Give our credential access to {where}. It said: {said}"
            )
        if status == 429:
            raise ThrottledError(
                f"{where}: too many requests (429).", _retry_after(headers) or _next_token(headers)
            )
        if status >= 500:
            raise BrokenAnswerError(
                f"{where}: the server failed ({status}). It said: {said}", _retry_after(headers)
            )
        if status < 400:
            raise ProtocolError(
                f"{where}: redirected ({status}) to {headers.get('location', 'nowhere')}; set {prefix}URL to the final address"
            )
        kind = GoneError if status in (404, 410) else ProtocolError
        raise kind(f"{where}: the request was rejected ({status}). It said: {said}")


def _origin(url: str) -> tuple[str, str, int | None] | None:
    """Scheme, host and port; None for what is no address."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    return parts.scheme, parts.hostname or "", port or {"http": 80, "https": 443}.get(parts.scheme)


def _read(response: httpx.Response, where: str) -> bytes:
    chunks, size = [], 0
    # The read time-out is per chunk: a server that drips single bytes would never meet it.
    deadline = time.monotonic() + MAX_ANSWER_SECONDS
    for chunk in response.iter_bytes():
        if time.monotonic() > deadline:
            raise BrokenAnswerError(f"{where}: the answer has not ended after {MAX_ANSWER_SECONDS:.0f} s.")
        size += len(chunk)
        if size > MAX_ANSWER_BYTES:
            raise ProtocolError(
                f"{where}: an answer larger than {MAX_ANSWER_BYTES >> 20} MiB; ask for smaller pages in the declaration"
            )
        chunks.append(chunk)
    return b"".join(chunks)


def _next_token(headers: dict[str, str]) -> float | None:
    """Seconds until a bucket that refills at `x-amzn-RateLimit-Limit` requests per second holds one again."""
    try:
        return 1.0 / float(headers["x-amzn-ratelimit-limit"])
    except (KeyError, ValueError, ZeroDivisionError):
        return None


def _retry_after(headers: dict[str, str]) -> float | None:
    """Seconds of a Retry-After header, in either of its forms. Source: RFC 9110, 10.2.3."""
    value = headers.get("retry-after")
    if value is None:
        return None
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(email.utils.parsedate_to_datetime(value).timestamp() - time.time(), 0.0)
    except ValueError:
        return None
