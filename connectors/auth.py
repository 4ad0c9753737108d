"""How a source knows us. Declarations name secrets; values are read when a client is opened, and never logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

import httpx
import orjson
from pydantic import BaseModel, ConfigDict

from connectors.errors import BrokenAnswerError, ConnectorError, FatalError, MissingSecretError, RefusedError

_LONGEST_FAULT = 1024


class Secrets:
    """Credentials of one source: `ORDERHUB_<SOURCE>_<NAME>` in `values` (by default the environment)."""

    def __init__(self, source: str, values: Mapping[str, str]) -> None:
        self._prefix = f"ORDERHUB_{source.upper()}_"
        self._values = values
        self._source = source

    def get(self, name: str) -> str:
        """Return a secret.

        Raises:
            MissingSecretError: it is not set or empty.
        """
        value = self._values.get(self._prefix + name)
        if not value:
            raise MissingSecretError(
                f"{self._source}: {self._prefix}{name} is not set. Set it in the environment, or add it to the Airflow "
                f"connection orderhub_{self._source}."
            )
        return value

    def __repr__(self) -> str:
        return f"Secrets({self._source!r})"


class Auth(Protocol):
    """A declared way to authenticate."""

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names of the secrets it reads."""

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        """Build the httpx flow for one client."""


class _HeaderFlow(httpx.Auth):
    def __init__(self, header: str, value: str) -> None:
        if not value.isascii() or not value.isprintable():
            # Never show the value: it is a secret.
            raise FatalError(
                f"the secret for header {header} holds a line break or a sign outside ASCII; copy it again"
            )
        self._header, self._value = header, value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers[self._header] = self._value
        yield request


class HeaderToken(BaseModel):
    """A fixed token in one header: `HeaderToken(secret="TOKEN", header="X-Shopify-Access-Token")`."""

    model_config = ConfigDict(frozen=True)
    secret: str = "TOKEN"  # noqa: S105 - the name of a variable, not its value
    header: str = "Authorization"
    prefix: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.secret,)

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return _HeaderFlow(self.header, self.prefix + secrets.get(self.secret))


class Bearer(HeaderToken):
    """`Authorization: Bearer <token>`."""

    prefix: str = "Bearer "


class Basic(BaseModel):
    """`Authorization: Basic`, from two secrets.

    Args:
        user, password: names of the secrets; an empty `password` sends none.
        suffix: what the source wants behind the user's name, such as Zendesk's `/token`.
    """

    model_config = ConfigDict(frozen=True)
    user: str = "USER"
    password: str = "TOKEN"  # noqa: S105 - the name of a variable, not its value
    suffix: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        return (self.user, self.password) if self.password else (self.user,)

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return httpx.BasicAuth(
            secrets.get(self.user) + self.suffix, secrets.get(self.password) if self.password else ""
        )


class NoAuth(BaseModel):
    """The source asks for nothing."""

    model_config = ConfigDict(frozen=True)

    @property
    def secrets(self) -> tuple[str, ...]:
        return ()

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        return httpx.Auth()


class _RefreshFlow(httpx.Auth):
    requires_response_body = True

    def __init__(
        self,
        url: str,
        form: dict[str, str],
        header: str,
        prefix: str,
        source_hint: str,
        basic: tuple[str, str] | None = None,
    ) -> None:
        self._url, self._form, self._header, self._prefix, self._hint = url, form, header, prefix, source_hint
        self._basic = basic
        self._token: str | None = None
        self._expires = 0.0
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            fresh = self._token is not None and time.monotonic() < self._expires
        if not fresh:
            yield from self._refresh()
        request.headers[self._header] = f"{self._prefix}{self._token}"
        response = yield request
        if response.status_code == 403:
            response.read()
        if response.status_code == 401 or (response.status_code == 403 and b"expired" in response.content):
            yield from self._refresh()
            request.headers[self._header] = f"{self._prefix}{self._token}"
            yield request

    def _refresh(self) -> Generator[httpx.Request, httpx.Response, None]:
        asked = httpx.Request("POST", self._url, data=self._form)
        if self._basic is not None:
            asked = next(httpx.BasicAuth(*self._basic).auth_flow(asked))
        response = yield asked
        response.read()
        if response.status_code == 429 or response.status_code >= 500:
            raise BrokenAnswerError(f"{self._hint}: the token endpoint failed ({response.status_code}).")
        if response.status_code >= 300:
            raise RefusedError(
                f"{self._hint}: the token endpoint answered {response.status_code}. Check the client id, client secret "
                "and, where one is needed, the refresh token."
            )
        try:
            answer = orjson.loads(response.content)
            token, seconds = str(answer["access_token"]), float(answer.get("expires_in", 3600))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise BrokenAnswerError(
                f"{self._hint}: the token endpoint's answer holds no token ({error!r})."
            ) from error
        with self._lock:
            self._token = token
            # A minute early, so that no request travels with a token that expires on the way.
            self._expires = time.monotonic() + max(seconds - 60.0, 1.0)


class OAuthRefresh(BaseModel):
    """OAuth 2 refresh-token grant; secrets CLIENT_ID, CLIENT_SECRET, REFRESH_TOKEN.

    Args:
        token_url: absolute, or a path below the source's base URL; ORDERHUB_<SOURCE>_TOKEN_URL overrides it.
    """

    model_config = ConfigDict(frozen=True)
    token_url: str
    header: str = "Authorization"
    prefix: str = "Bearer "
    hint: str = "oauth"

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("CLIENT_ID", "CLIENT_SECRET", "REFRESH_TOKEN")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        url = _token_url(self.token_url, secrets, base_url)
        form = {
            "grant_type": "refresh_token",
            "client_id": secrets.get("CLIENT_ID"),
            "client_secret": secrets.get("CLIENT_SECRET"),
            "refresh_token": secrets.get("REFRESH_TOKEN"),
        }
        return _RefreshFlow(url, form, self.header, self.prefix, self.hint)


class ClientCredentials(BaseModel):
    """OAuth 2 client-credentials grant, the client known by HTTP Basic; secrets CLIENT_ID, CLIENT_SECRET.

    Args:
        token_url: absolute, or a path below the source's base URL; ORDERHUB_<SOURCE>_TOKEN_URL overrides it.

    Source: RFC 6749, 4.4 and 2.3.1
    """

    model_config = ConfigDict(frozen=True)
    token_url: str
    hint: str = "oauth"

    @property
    def secrets(self) -> tuple[str, ...]:
        return ("CLIENT_ID", "CLIENT_SECRET")

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        client = (secrets.get("CLIENT_ID"), secrets.get("CLIENT_SECRET"))
        form = {"grant_type": "client_credentials"}
        url = _token_url(self.token_url, secrets, base_url)
        return _RefreshFlow(url, form, "Authorization", "Bearer ", self.hint, client)


def _token_url(declared: str, secrets: Secrets, base_url: str) -> str:
    try:
        return secrets.get("TOKEN_URL")
    except MissingSecretError:
        return declared if "://" in declared else base_url.rstrip("/") + declared


class _AppTokenFlow(httpx.Auth):
    def __init__(self, declared: AppToken, url: str, secrets: Mapping[str, str]) -> None:
        self._declared, self._url, self._secrets = declared, url, secrets
        self._token = ""
        self._expires = 0.0
        self._lock = threading.Lock()

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        with self._lock:
            is_fresh = time.monotonic() < self._expires
        if not is_fresh:
            yield from self._renew()
        response = yield self._marked(request)
        if self._is_outdated(response):
            yield from self._renew()
            yield self._marked(request)

    def _marked(self, request: httpx.Request) -> httpx.Request:
        with self._lock:
            request.url = request.url.copy_set_param(self._declared.param, self._token)
        return request

    def _is_outdated(self, response: httpx.Response) -> bool:
        # An answer that only says what is wrong is short; longer ones are left to who asked.
        if int(response.headers.get("content-length", _LONGEST_FAULT + 1)) > _LONGEST_FAULT:
            return False
        response.read()
        try:
            return self._declared.is_outdated(orjson.loads(response.content))
        except orjson.JSONDecodeError:
            return False

    def _renew(self) -> Generator[httpx.Request, httpx.Response, None]:
        response = yield httpx.Request("POST", self._url, json=self._declared.grant(self._secrets))
        response.read()
        if response.status_code != 200:
            raise BrokenAnswerError(f"the token endpoint {self._url} failed ({response.status_code}).")
        try:
            answer = orjson.loads(response.content)
            if (fault := self._declared.fault(answer)) is not None:
                raise fault
            token, seconds = str(answer["access_token"]), float(answer["expires_in"])
        except (ValueError, KeyError, TypeError) as error:
            raise BrokenAnswerError(f"the answer of {self._url} holds no token ({error!r}).") from error
        with self._lock:
            self._token = token
            # A minute early, so that no request travels with a token that expires on the way.
            self._expires = time.monotonic() + max(seconds - 60.0, 1.0)


class AppToken(BaseModel):
    """A token that an app gets for its own id and secret, carried in the query; whatever fails is answered 200.

    Args:
        token_path: below the source's base URL.
        secrets: names of the secrets that `grant` reads.
        grant: pure: secrets by name -> the JSON body that asks for a token.
        fault: finds an error in the answer to it; returns the error to raise or None.
        is_outdated: whether an answer says that the token is no longer good; a new one is asked for once then.
        param: name of the token in the query.
    """

    model_config = ConfigDict(frozen=True)
    token_path: str
    secrets: tuple[str, ...]
    grant: Callable[[Mapping[str, str]], Any]
    fault: Callable[[Any], ConnectorError | None]
    is_outdated: Callable[[Any], bool]
    param: str = "access_token"

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        values = {name: secrets.get(name) for name in self.secrets}
        return _AppTokenFlow(self, base_url.rstrip("/") + self.token_path, values)


@dataclass(frozen=True)
class Outgoing:
    """A request as a signing function sees and changes it.

    Attributes:
        method: `GET` or `POST`.
        path: below the source's base URL, such as `/orders/get`; empty for the base URL itself.
        params: query parameters.
        form: body as form fields, unless empty.
        body: body as JSON, unless None; keys are written in the order given, without spaces.
    """

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)
    body: Any = None


Sign = Callable[[Outgoing, Mapping[str, str], datetime], Outgoing]


def pair_text(values: Mapping[str, str]) -> str:
    """Names with their values in ASCII order, nothing in between: what many marketplaces sign."""
    return "".join(f"{name}{values[name]}" for name in sorted(values))


class _SignedFlow(httpx.Auth):
    requires_request_body = True

    def __init__(self, sign: Sign, secrets: Mapping[str, str], base_path: str) -> None:
        self._sign, self._secrets, self._base_path = sign, secrets, base_path

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        # Signed here rather than by who asks, so that every further attempt carries a time of its own.
        yield self._signed(request, datetime.now(UTC))

    def _signed(self, request: httpx.Request, now: datetime) -> httpx.Request:
        signed = self._sign(
            Outgoing(
                request.method,
                request.url.path.removeprefix(self._base_path),
                dict(request.url.params),
                body=orjson.loads(request.content) if request.content else None,
            ),
            self._secrets,
            now,
        )
        content, kind = b"", None
        if signed.form:
            content, kind = urlencode(signed.form).encode(), "application/x-www-form-urlencoded;charset=utf-8"
        elif signed.body is not None:
            content, kind = orjson.dumps(signed.body), "application/json;charset=utf-8"
        kept = ("content-length", "content-type", "transfer-encoding")
        headers = [(name, value) for name, value in request.headers.items() if name not in kept]
        return httpx.Request(
            signed.method,
            request.url.copy_with(query=urlencode(signed.params).encode() or None),
            headers=headers + ([("content-type", kind)] if kind else []),
            content=content or None,
            extensions=request.extensions,
        )


class Signed(BaseModel):
    """Every request carries a signature of itself, made anew for each attempt.

    Args:
        secrets: names of the secrets that `sign` reads.
        sign: pure: (request, secrets by name, aware UTC time) -> the request as it is sent.
    """

    model_config = ConfigDict(frozen=True)
    secrets: tuple[str, ...]
    sign: Sign

    def open(self, secrets: Secrets, base_url: str) -> httpx.Auth:
        values = {name: secrets.get(name) for name in self.secrets}
        return _SignedFlow(self.sign, values, urlsplit(base_url).path.rstrip("/"))
