"""Where source systems tell that something changed: `POST /hooks/{source}`. What they say is kept; nothing is pulled yet."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool

from oms_core.api import problems

MOST_BODY = 1024 * 1024  # bytes
Kind = Literal["stored", "repeated", "ignored", "forged", "stale", "malformed", "unknown"]
_REFUSED = {
    "unknown": (404, "unknown-source"),
    "forged": (401, "unauthorized"),
    "stale": (401, "stale"),
    "malformed": (422, "invalid-request"),
}
_KINDS = ("application/json", "application/x-www-form-urlencoded", "text/json", "text/plain", "")
Name = Annotated[
    str, Path(max_length=60, description="Name of a source, as `orderhub sources list` shows it")
]


@dataclass(frozen=True)
class Said:
    """A request of a source system: header names in lower case, the body's bytes as received."""

    method: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Heard:
    """What became of it; `reply` is the body that the vendor wants to read."""

    outcome: Kind
    detail: str = ""
    reply: str = ""


class Hear(Protocol):
    """Takes a notification in, or answers a test of the address."""

    def __call__(self, source: str, said: Said) -> Heard:
        """Give what became of it, once it is durable."""


def router(hear: Hear) -> APIRouter:
    """The routes of notifications.

    Args:
        hear: verifies and keeps them. It needs no key of ours: each carries its vendor's signature.
    """
    routes = APIRouter(tags=["notifications"])

    @routes.post("/hooks/{source}", responses=problems.failures(404, 413, 415), status_code=202)
    async def notify(source: Name, request: Request) -> Response:
        """Take a source system's notification in. The vendor's signature is checked; repeating it does no harm."""
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _KINDS:
            return problems.problem(
                request, 415, "invalid-request", f"a notification is JSON or a form, not {kind[:60]!r}"
            )
        return await _answer(request, source)

    @routes.get("/hooks/{source}", responses=problems.failures(404))
    async def test(source: Name, request: Request) -> Response:
        """Answer a vendor's test of the address, where it makes one."""
        return await _answer(request, source)

    async def _answer(request: Request, source: str) -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        said = Said(request.method, headers, dict(request.query_params), await request.body())
        heard = await run_in_threadpool(hear, source, said)
        if heard.outcome in _REFUSED:
            status, code = _REFUSED[heard.outcome]
            return problems.problem(request, status, code, heard.detail)
        if heard.reply:
            media = "application/json" if heard.reply.startswith("{") else "text/plain"
            return Response(heard.reply, 200, media_type=media)
        return Response(status_code=202)

    return routes
