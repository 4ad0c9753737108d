"""Tokens of an OpenID Connect issuer: who it is and which roles it has, by the issuer's own keys.

The issuer's configuration names its keys (JWKS). They are kept, and fetched again when they are old or a token names one that is
not among them, so that a rotation needs no restart.

Source: OpenID Connect Discovery 1.0; RFC 7517 (JWK), RFC 7519 (JWT), RFC 8725 (best current practices), RFC 9068 (access tokens).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import jwt

from oms_core.api.keys import OMS_SERVICE, Holder
from oms_core.api.scopes import SCOPES
from oms_core.store.errors import StoreError
from oms_core.store.tables import API_ROLES

ALGORITHMS = (
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
)  # none with a shared secret
LEEWAY_SECONDS = 30
_KEYS_LAST_SECONDS = 600
_ASK_AGAIN_SECONDS = 10  # at most so often for a key nobody knows
_LONGEST_SUBJECT = 255  # OpenID Connect Core 1.0, section 2
_TIMEOUT = httpx.Timeout(5)


class TokenError(Exception):
    """The token is not accepted; the message says why, without what it holds."""


class IssuerRefusedError(StoreError):
    """The settings of the issuer make no sense."""


@dataclass(frozen=True)
class Trust:
    """Whose tokens are accepted, and what they allow.

    Attributes:
        issuer: its address, exactly as its tokens name it (`iss`).
        audience: what we are called there (`aud`).
        roles: value of the claim -> our role.
        claim: name of the claim that holds roles, groups or scopes: a list, or words in one text. Dots lead inwards.
        tenant_claim: claim that holds the tenant of an OMS service.
        scope_claim: claim that holds scopes, a list or words in one text: a token opens what they say of all that its role
            opens. None: scopes of tokens are not looked at.
        algorithms: signatures accepted.
    """

    issuer: str
    audience: str
    roles: Mapping[str, str]
    claim: str = "roles"
    tenant_claim: str = "tenant"
    scope_claim: str | None = None
    algorithms: tuple[str, ...] = ALGORITHMS

    def __post_init__(self) -> None:
        unknown = sorted(set(self.roles.values()) - set(API_ROLES))
        if unknown or not self.roles:
            raise IssuerRefusedError(
                f"ORDERHUB_OIDC_ROLES leads to {unknown[0] if unknown else 'no role'}: lead its values to {', '.join(API_ROLES)}"
            )
        if not self.audience:
            raise IssuerRefusedError(
                "ORDERHUB_OIDC_AUDIENCE is not set: tokens made for others would open this, too"
            )
        if set(self.algorithms) - set(ALGORITHMS):
            raise IssuerRefusedError(f"only signatures by a key pair are accepted: {', '.join(ALGORITHMS)}")
        address = httpx.URL(self.issuer)
        if address.scheme != "https" and address.host not in ("127.0.0.1", "localhost", "::1"):
            raise IssuerRefusedError(f"the issuer {self.issuer} is not https: its keys could be anybody's")

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> Trust | None:
        """What ORDERHUB_OIDC_ISSUER, _AUDIENCE, _ROLES (`value=role,value=role`), _CLAIM, _TENANT_CLAIM and _SCOPE_CLAIM say.

        None without an issuer.

        Raises:
            IssuerRefusedError: they make no sense.
        """
        issuer = values.get("ORDERHUB_OIDC_ISSUER")
        if not issuer:
            return None
        said = values.get("ORDERHUB_OIDC_ROLES") or ",".join(f"{role}={role}" for role in API_ROLES)
        pairs = [item.rpartition("=") for item in said.split(",") if item.strip()]
        return cls(
            issuer,
            values.get("ORDERHUB_OIDC_AUDIENCE", ""),
            {value.strip(): role.strip() for value, _, role in pairs},
            values.get("ORDERHUB_OIDC_CLAIM") or "roles",
            values.get("ORDERHUB_OIDC_TENANT_CLAIM") or "tenant",
            values.get("ORDERHUB_OIDC_SCOPE_CLAIM") or None,
        )


@dataclass
class Issuer:
    """Verifies tokens of one issuer, for the coroutines of one event loop."""

    trust: Trust
    _keys: dict[str, jwt.PyJWK] = field(default_factory=dict)
    _asked_at: float = -_KEYS_LAST_SECONDS
    _asking: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def holder(self, token: str, wanted: Sequence[str] = ()) -> Holder:
        """Who carries a token: the subject, with the first role of its that is wanted, or else its first.

        Raises:
            TokenError: signature, issuer, audience, time or roles are not as they must be, or the issuer does not answer.
        """
        trust = self.trust
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid", "")))
            claims: dict[str, Any] = jwt.decode(
                token, key, algorithms=list(trust.algorithms), audience=trust.audience, issuer=trust.issuer,
                leeway=LEEWAY_SECONDS, options={"require": ["exp", "iss", "aud", "sub"]},
            )  # fmt: skip
        except jwt.PyJWTError as error:
            raise TokenError(str(error)) from error
        subject = claims["sub"]
        if not 0 < len(subject) <= _LONGEST_SUBJECT or not subject.isprintable():
            raise TokenError(
                f"its subject is none: 1 to {_LONGEST_SUBJECT} printable characters name whose it is"
            )
        values = _values(claims, trust.claim)
        held = [role for role in API_ROLES if role in {trust.roles.get(value) for value in values}]
        if not held:
            raise TokenError(f"its claim {trust.claim} leads to none of our roles")
        role = next((item for item in held if item in wanted), held[0])
        tenant = claims.get(trust.tenant_claim)
        if role == OMS_SERVICE and not (isinstance(tenant, str) and tenant):
            raise TokenError(
                f"an OMS service acts for a tenant, and its claim {trust.tenant_claim} names none"
            )
        scopes = None
        if trust.scope_claim is not None:
            scopes = frozenset(_values(claims, trust.scope_claim)) & frozenset(SCOPES)
        return Holder(f"oidc:{subject}", role, tenant if role == OMS_SERVICE else None, scopes)

    async def _key(self, number: str) -> jwt.PyJWK:
        is_old = time.monotonic() - self._asked_at > _KEYS_LAST_SECONDS
        if is_old or number not in self._keys:
            async with self._asking:
                since = time.monotonic() - self._asked_at
                if since > _KEYS_LAST_SECONDS or (number not in self._keys and since > _ASK_AGAIN_SECONDS):
                    await self._fetch()
        key = self._keys.get(number)
        if key is None:
            raise TokenError("the issuer has no such key, or did not answer a moment ago")
        return key

    async def _fetch(self) -> None:
        """Ask the issuer for its keys; those known go on while it does not answer."""
        self._asked_at = time.monotonic()
        try:
            async with httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
                place = f"{self.trust.issuer.rstrip('/')}/.well-known/openid-configuration"
                told = (await client.get(place)).raise_for_status().json()
                if told["issuer"] != self.trust.issuer:
                    raise TokenError(f"{place} speaks for {told['issuer']}, not for {self.trust.issuer}")
                found = (await client.get(told["jwks_uri"])).raise_for_status().json()
            usable = [
                item for item in found["keys"] if item.get("use", "sig") == "sig" and item.get("kty") != "oct"
            ]
            self._keys = {item["kid"]: jwt.PyJWK(item) for item in usable if "kid" in item}
        except (httpx.HTTPError, ValueError, KeyError, TypeError, jwt.PyJWTError) as error:
            if not self._keys:
                raise TokenError("the issuer's keys cannot be had at the moment") from error


def _values(claims: Mapping[str, Any], path: str) -> list[str]:
    found: Any = claims
    for part in path.split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, str):
        return found.split()
    return [item for item in found if isinstance(item, str)] if isinstance(found, list) else []
