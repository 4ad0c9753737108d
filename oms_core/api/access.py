"""Who may ask what: dependencies that let a request in by the key it carries, and tell whose it is."""

from __future__ import annotations

import contextlib
import hmac
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated

from fastapi import Header, HTTPException, Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy import Connection, text

from oms_core.api import keys
from oms_core.release.errors import QueryRefusedError
from oms_core.release.read import note_purpose
from oms_core.store.postgres import READ_SECONDS, Database

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})

_look_up_bearer = HTTPBearer(auto_error=False, description="The value of ORDERHUB_API_KEY")
_look_up_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, description="The value of ORDERHUB_API_KEY"
)
_own_bearer = HTTPBearer(
    auto_error=False, scheme_name="OwnBearer", description="A key of one's own, of a role"
)
_own_header = APIKeyHeader(
    name="X-API-Key", auto_error=False, scheme_name="OwnKey", description="A key of one's own, of a role"
)
_CHALLENGE = {"WWW-Authenticate": "Bearer"}
_SEEING_PERSONS = (keys.OMS_SERVICE, keys.STEWARD)


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
    """

    def __init__(self, database: Database, look_up_key: str | None = None) -> None:
        self.database = database
        self.look_up_key = look_up_key

    def look_up(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_look_up_bearer)] = None,
        header: Annotated[str | None, Security(_look_up_header)] = None,
    ) -> None:
        """Let in who has the key of the look-ups; without such a key, who calls by a loopback name."""
        if self.look_up_key is None:
            if request.url.hostname not in LOOPBACK_NAMES:
                raise HTTPException(421, "without an API key only loopback addresses are answered")
            return
        if not hmac.compare_digest(_offered(bearer, header).encode(), self.look_up_key.encode()):
            raise HTTPException(401, "send the API key as `Authorization: Bearer` or `X-API-Key`", _CHALLENGE)

    def reading(
        self,
        request: Request,
        bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_look_up_bearer)] = None,
        header: Annotated[str | None, Security(_look_up_header)] = None,
        purpose: Annotated[
            str | None,
            Header(
                alias="Orderhub-Purpose",
                max_length=500,
                description="What an auditor needs personal data for; it is logged. Without it, it is masked.",
            ),
        ] = None,
    ) -> Reading:
        """How the released tables are read for this request: whole, or with personal data masked.

        Whoever `look_up` lets in, OMS services and stewards see what they have to ship to and decide about. Keys of finance
        and data engineers see persons masked, and so do auditors' until they give a purpose.
        """
        held = self.holder(_offered(bearer, header))
        if held is None:
            self.look_up(request, bearer, header)
        if held is None or held.role in _SEEING_PERSONS:
            return Reading(self.database.read, is_masked=False)
        if purpose is None:
            return Reading(self.database.read_masked, is_masked=True)
        if held.role != keys.AUDITOR:
            raise HTTPException(
                403, f"a key of the role {held.role} sees personal data masked, whatever the purpose"
            )
        try:
            note_purpose(self.database, actor=held.name, purpose=purpose, query=str(request.url.path))
        except QueryRefusedError as error:
            raise HTTPException(422, str(error)) from error
        return Reading(self.database.read, is_masked=False)

    def look_up_or(self, *roles: str) -> Callable[..., None]:
        """A dependency that lets in whoever `look_up` lets in, and every key of these roles."""

        def either(
            request: Request,
            bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_look_up_bearer)] = None,
            header: Annotated[str | None, Security(_look_up_header)] = None,
        ) -> None:
            held = self.holder(_offered(bearer, header))
            if held is None or held.role not in roles:
                self.look_up(request, bearer, header)

        return either

    def of_role(self, *roles: str) -> Callable[..., keys.Holder]:
        """A dependency that lets in keys of these roles only, and gives whose the key is."""
        named = " or ".join(roles)

        def own(
            bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_own_bearer)] = None,
            header: Annotated[str | None, Security(_own_header)] = None,
        ) -> keys.Holder:
            held = self.holder(_offered(bearer, header))
            if held is None:
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

        return own

    def holder(self, key: str) -> keys.Holder | None:
        """Whose key this is; None where it is nobody's."""
        if not key.startswith(keys.PREFIX) or not key.isascii():
            return None
        with looking(self.database) as connection:
            held = keys.holder(connection, key)
        if held is not None and held.last_used_on != datetime.now(UTC).date():
            with self.database.begin() as connection:
                keys.note_use(connection, held)
        return held


@contextlib.contextmanager
def looking(database: Database) -> Iterator[Connection]:
    """A transaction of the owner that cannot write and does not last."""
    with database.begin() as connection:
        connection.execute(text("SET TRANSACTION READ ONLY"))
        connection.execute(
            text("SELECT set_config('statement_timeout', :limit, true)"), {"limit": str(READ_SECONDS * 1000)}
        )
        yield connection


def _offered(bearer: HTTPAuthorizationCredentials | None, header: str | None) -> str:
    return bearer.credentials if bearer else header or ""
