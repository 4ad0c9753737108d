"""The outermost layer: a name for each request, one line of log, and no request larger than any route takes."""

from __future__ import annotations

import logging
import re
import secrets
import time
from collections.abc import Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from oms_core.api import problems
from oms_core.audit.log import request_id

LONGEST_PATH = 8192  # bytes; a name of 300 signs may take 3600
MOST_BODY = 262_144  # bytes
_GIVEN = re.compile(r"[A-Za-z0-9._:-]{1,64}", re.ASCII)
_log = logging.getLogger("oms_core.api.requests")


class Edge:
    """ASGI middleware around the whole app.

    A request keeps the X-Request-Id it comes with, where that is plain, or gets one; the answer, problems, log lines and audit
    entries carry it.
    """

    def __init__(self, app: ASGIApp, bodies: Mapping[str, int] | None = None) -> None:
        """Wrap an app; `bodies` maps the beginning of a path to the bytes allowed there instead of `MOST_BODY`."""
        self._app = app
        self._bodies = bodies or {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Carry one request out."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        name = given if _GIVEN.fullmatch(given) else secrets.token_hex(12)
        token = request_id.set(name)
        begun, status = time.perf_counter(), 500

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = name
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is None:
                await self._app(scope, receive, answer)
            else:
                await problems.problem(Request(scope), refusal[0], "invalid-request", refusal[1])(
                    scope, receive, answer
                )
        finally:
            request_id.reset(token)
            if _log.isEnabledFor(logging.INFO):
                took = (time.perf_counter() - begun) * 1000
                _log.info("%s %s %d %.1f ms %s", scope["method"], scope["path"], status, took, name)

    def _refusal(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if len(scope["path"]) + len(scope["query_string"]) > LONGEST_PATH:
            return 414, f"the address is longer than {LONGEST_PATH} bytes"
        length = headers.get("content-length", "0")
        if length == "0" and "transfer-encoding" not in headers:
            return None
        starts = (allowed for start, allowed in self._bodies.items() if scope["path"].startswith(start))
        most = next(starts, MOST_BODY)
        if "transfer-encoding" in headers or not length.isdecimal() or int(length) > most:
            return 413, f"a body has a length and at most {most:,} bytes"
        return None
