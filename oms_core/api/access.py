"""Who may ask what: dependencies that let a request in by what it carries, and tell whose it is.

A caller carries a key of one's own (`orderhub key make`), a token of the company's OIDC issuer, or the one key of the look-ups.
Every dependency made here names the roles it lets in, `roles`, so that the documentation and the tests can tell them of a route.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import math
import time
from collections.abc import Callable, Coroutine, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, TypeVar

from fastapi import HTTPException, Request
from fastapi.concurrency import run_in_threadpool
from sqlalchemy import Connection, text

from oms_core.api import keys, scopes
from oms_core.api.limits import Buckets, Limit
from oms_core.api.oidc import Issuer, TokenError
from oms_core.release.errors import QueryRefusedError
from oms_core.release.read import note_purpose
from oms_core.store.postgres import READ_SECONDS, Database
from oms_core.store.tables import API_ROLES

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
LIMIT = Limit(rate=1000, burst=2000)  # of each caller; an address whose keys are wrong has far less
_REMEMBERED_SECONDS = 5.0  # how long a key revoked elsewhere may still open
_MOST_REMEMBERED = 10_000

_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_SEEING_PERSONS = (keys.OMS_SERVICE, keys.STEWARD)
Dependency = TypeVar("Dependency", bound=Callable[..., Coroutine[Any, Any, Any]])
_PURPOSE = "Orderhub-Purpose"
_LONGEST_PURPOSE = 500
_MOST_NOTED = 32_768  # bytes of a body
# Dependencies read the request themselves, which costs half of what declared parameters would; so they are told of here.
SECURITY_SCHEMES = {
    "Bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key, of one's own or of the look-ups, or a token of the OIDC issuer",
    },
    "Key": {
        "type": "apiKey",
        "in": "header",
        "name": "X-API-Key",
        "description": "A key, of one's own or of the look-ups",
    },
}
PURPOSE = {
    "name": _PURPOSE,
    "in": "header",
    "required": False,
    "description": "What an auditor needs personal data for; it is logged. Without it, it is masked.",
    "schema": {"type": "string", "maxLength": _LONGEST_PURPOSE},
}


@dataclass(frozen=True)
class Reading:
    """How one request reads the released tables: `at(release_id)` opens the transaction."""

    at: Callable[[int | None], AbstractContextManager[Connection]]
    is_masked: bool


class Access:
    """Dependencies of one app.

    Attributes:
        database: where keys are looked up.
        look_up_key: opens every look-up; without one, loopback names do.
        issuer: whose tokens open, too; None: nobody's.
    """

    def __init__(
        self,
        database: Database,
        look_up_key: str | None = None,
        issuer: Issuer | None = None,
        limit: Limit = LIMIT,
    ) -> None:
        self.database = database
        self.look_up_key = look_up_key
        self.issuer = issuer
        self._callers = Buckets(limit)
        self._strangers = Buckets(Limit(limit.rate / 50, limit.burst / 10))
        self._known: dict[bytes, tuple[keys.Holder, float]] = {}
        self._noted: dict[tuple[str, str], date] = {}  # holder of a token -> the day its use was noted last
        self.reading = self._reading()

    def look_up_or(self, *roles: str) -> Callable[..., Coroutine[Any, Any, None]]:
        """A dependency that lets in whoever has the key of the look-ups, and callers of these roles.

        Without a key of the look-ups, who calls by a loopback name has it.
        """

        async def either(request: Request) -> None:
            offered = _offered(request)
            held = await self.holder(request, offered, roles)
            if held is None or held.role not in roles:
                self._look_up(request, offered)

        return _naming(either, roles)

    def of_role(self, *roles: str) -> Callable[..., Coroutine[Any, Any, keys.Holder]]:
        """A dependency that lets in callers of these roles only, and gives who it is."""
        named = " or ".join(roles)

        async def own(request: Request) -> keys.Holder:
            held = await self.holder(request, _offered(request), roles)
            if held is None:
                self._refuse_stranger(request)
                raise HTTPException(
                    401,
                    f"this needs a key of the role {named} as `Authorization: Bearer` or `X-API-Key`: "
                    f"`orderhub key make NAME --role {roles[0]}` makes one",
                    _CHALLENGE,
                )
            if held.role not in roles:
                raise HTTPException(
                    403, f"a key of the role {held.role} does not open this: it needs {named}"
                )
            return held

        return _naming(own, roles)

    def _reading(self) -> Callable[..., Coroutine[Any, Any, Reading]]:
        async def reading(request: Request) -> Reading:
            """How the released tables are read for this request: whole, or with personal data masked.

            Whoever has the key of the look-ups, OMS services and stewards see what they have to ship to and decide about. Finance
            and data engineers see persons masked, and so do auditors until they give a purpose.
            """
            purpose = request.headers.get(_PURPOSE)
            if purpose is not None and len(purpose) > _LONGEST_PURPOSE:
                raise HTTPException(422, f"a purpose has at most {_LONGEST_PURPOSE} characters")
            offered = _offered(request)
            held = await self.holder(request, offered, _SEEING_PERSONS)
            if held is None:
                self._look_up(request, offered)
            if held is None or held.role in _SEEING_PERSONS:
                return Reading(self.database.read, is_masked=False)
            if purpose is None:
                return Reading(self.database.read_masked, is_masked=True)
            if held.role != keys.AUDITOR:
                raise HTTPException(
                    403, f"a key of the role {held.role} sees personal data masked, whatever the purpose"
                )
            try:
                await run_in_threadpool(
                    note_purpose, self.database, actor=held.name, purpose=purpose, query=await _said(request)
                )
            except QueryRefusedError as error:
                raise HTTPException(422, str(error)) from error
            return Reading(self.database.read, is_masked=False)

        return _naming(reading, API_ROLES)

    async def holder(self, request: Request, offered: str, roles: Sequence[str] = ()) -> keys.Holder | None:
        """Who calls; None where nothing of one's own is offered.

        Args:
            roles: which of a token's roles is wanted, where it has several.

        Raises:
            HTTPException: 401 for a token that is not valid; 403 for one whose scopes leave the route out; 429 for one who
                asks too often.
        """
        held = await self._holder(request, offered, roles)
        if held is not None:
            self.admit(f"{held.role}/{held.name}")
            scopes.require(held.scopes, request.method, request.scope["route"].path)
        return held

    def admit(self, caller: str) -> None:
        """Count one request of a caller.

        Raises:
            HTTPException: 429, there were too many.
        """
        _slow_down(self._callers.take(caller), self._callers.limit)

    async def _holder(self, request: Request, offered: str, roles: Sequence[str]) -> keys.Holder | None:
        if self.issuer is not None and offered.count(".") == 2:
            try:
                told = await self.issuer.holder(offered, roles)
            except TokenError as error:
                self._refuse_stranger(request)
                challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
                raise HTTPException(401, f"the token is not accepted: {error}", challenge) from error
            today = datetime.now(UTC).date()
            if self._noted.get((told.role, told.name)) != today:
                await run_in_threadpool(self._note_token, told)
                if len(self._noted) >= _MOST_REMEMBERED:
                    self._noted.clear()
                self._noted[told.role, told.name] = today
            return told
        if not offered.startswith(keys.PREFIX) or not offered.isascii():
            return None
        digest = hashlib.sha256(offered.encode()).digest()
        held, until = self._known.get(digest, (None, 0.0))
        if held is None or until < time.monotonic():
            held = await run_in_threadpool(self._look_key_up, offered)
            if len(self._known) >= _MOST_REMEMBERED:
                self._known.clear()
            if held is not None:
                self._known[digest] = held, time.monotonic() + _REMEMBERED_SECONDS
        return held

    def _look_key_up(self, key: str) -> keys.Holder | None:
        with looking(self.database) as connection:
            held = keys.holder(connection, key)
        if held is not None and held.last_used_on != datetime.now(UTC).date():
            with self.database.begin() as connection:
                keys.note_use(connection, held)
        return held

    def _note_token(self, held: keys.Holder) -> None:
        with self.database.begin() as connection:
            keys.note_token(connection, held)

    def _look_up(self, request: Request, offered: str) -> None:
        """Let in who has the key of the look-ups; without such a key, who calls by a loopback name."""
        if self.look_up_key is None:
            if request.url.hostname not in LOOPBACK_NAMES:
                raise HTTPException(421, "without an API key only loopback addresses are answered")
            return
        if not hmac.compare_digest(offered.encode(), self.look_up_key.encode()):
            self._refuse_stranger(request)
            raise HTTPException(401, "send the API key as `Authorization: Bearer` or `X-API-Key`", _CHALLENGE)
        self.admit("look-ups")

    def _refuse_stranger(self, request: Request) -> None:
        """Whoever tries keys is slowed down by its address."""
        address = request.client.host if request.client else ""
        _slow_down(self._strangers.take(address), self._strangers.limit)


@contextlib.contextmanager
def looking(database: Database) -> Iterator[Connection]:
    """A transaction of the owner that cannot write and does not last."""
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(
            text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(READ_SECONDS * 1000)}
        )
        yield connection


def _slow_down(wait: float, limit: Limit) -> None:
    if wait:
        raise HTTPException(
            429,
            f"more than {limit.rate:g} requests a second: wait as long as Retry-After says, then go on",
            {"Retry-After": str(math.ceil(wait))},
        )


async def _said(request: Request) -> str:
    """What a request asks for: its place with its query, and its body, since that may name what is looked up."""
    query = f"?{request.url.query}" if request.url.query else ""
    body = (await request.body())[:_MOST_NOTED].decode("utf-8", "replace")
    return f"{request.method} {request.url.path}{query}{' ' if body else ''}{body}"


def _naming(dependency: Dependency, roles: Sequence[str]) -> Dependency:
    """The dependency, telling which roles it lets in."""
    dependency.roles = tuple(roles)  # type: ignore[attr-defined]
    return dependency


def _offered(request: Request) -> str:
    """What the request carries to be let in by; of two, the bearer's."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else request.headers.get("x-api-key", "")
