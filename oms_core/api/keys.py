"""Keys for the API, each of a role: made once, shown once, stored as hashes only, revoked by name."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from sqlalchemy import Connection, insert, select, text, update
from sqlalchemy.dialects.postgresql import insert as upsert

from oms_core.api.scopes import SCOPES, unknown
from oms_core.audit import log
from oms_core.store.tables import API_ROLES, api_keys, token_holders

STEWARD = "steward"
OMS_SERVICE = "oms_service"
DATA_ENGINEER = "data_engineer"
FINANCE = "finance"
AUDITOR = "auditor"
PREFIX = "ohs"
_LOCK = 7_301_006  # advisory lock of keys


class KeyRefusedError(Exception):
    """No such key can be made, or there is none to revoke. The message says why and what to do."""


@dataclass(frozen=True)
class Holder:
    """Whose key it is.

    Attributes:
        name: what is done with the key carries it.
        role: one of `API_ROLES`.
        tenant: whose reservations an OMS service makes and sees; None for every other role.
        scopes: what it opens of all that the role opens; None: all of it.
        number: of the key.
        last_used_on: the UTC day its use was noted last.
    """

    name: str
    role: str
    tenant: str | None = None
    scopes: frozenset[str] | None = None
    number: int = field(default=0, compare=False)
    last_used_on: date | None = field(default=None, compare=False)


def make(
    connection: Connection,
    name: str,
    *,
    role: str,
    by: str,
    tenant: str | None = None,
    scopes: Collection[str] = (),
) -> str:
    """Make a key.

    256 random bits need no slow hash: SHA-256 of it is as hard to turn back as the key is to guess.

    Args:
        connection: a writing transaction.
        name: whose; what is done with the key carries it.
        role: one of `API_ROLES`. A name may hold one key of each.
        by: who made it.
        tenant: needed by `oms_service`, and by no other role.
        scopes: of `SCOPES`, what it opens of all that the role opens; none: all of it.

    Returns:
        The key, `ohs_<number>_<secret>`; it is stored nowhere.

    Raises:
        KeyRefusedError: the name is empty or has a key of the role in force, the role or a scope is unknown, or the tenant
            is missing or has no place.
    """
    name = name.strip()
    tenant = tenant.strip() if tenant else None
    if not name:
        raise KeyRefusedError("a key belongs to somebody: give a name")
    if role not in API_ROLES:
        raise KeyRefusedError(f"{role!r} is no role: there are {', '.join(API_ROLES)}")
    if (role == OMS_SERVICE) != (tenant is not None):
        raise KeyRefusedError(
            f"a key of the role {OMS_SERVICE} names the tenant whose reservations it makes, and only such a key does"
        )
    strange = unknown(scopes)
    if strange:
        raise KeyRefusedError(f"{strange[0]!r} is no scope: there are {', '.join(SCOPES)}")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    held = connection.execute(
        select(api_keys.c.made_at).where(
            api_keys.c.role == role, api_keys.c.name == name, api_keys.c.revoked_at.is_(None)
        )
    ).scalar()
    if held is not None:
        raise KeyRefusedError(
            f"{name} has a key of the role {role} since {held:%Y-%m-%d %H:%M}Z: revoke it first, "
            f"`orderhub key revoke {name} --role {role}`"
        )
    secret = secrets.token_urlsafe(32)
    number: int = connection.execute(
        insert(api_keys)
        .values(
            role=role,
            name=name,
            tenant=tenant,
            scopes=sorted(set(scopes)) or None,
            key_sha256=_hash(secret),
            made_by=by,
        )
        .returning(api_keys.c.id)
    ).scalar_one()
    told: dict[str, Any] = {"key": number} if tenant is None else {"key": number, "tenant": tenant}
    if scopes:
        told["scopes"] = sorted(set(scopes))
    log.append(connection, [log.Happening("key.made", by, f"{role}/{name}", told)])
    return f"{PREFIX}_{number}_{secret}"


def revoke(connection: Connection, name: str, *, role: str, by: str) -> None:
    """End a key.

    Raises:
        KeyRefusedError: the name has none of the role in force.
    """
    ended = connection.execute(
        update(api_keys)
        .where(api_keys.c.role == role, api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC), revoked_by=by)
        .returning(api_keys.c.id)
    ).scalar()
    if ended is None:
        raise KeyRefusedError(f"{name!r} has no key in force for the role {role}")
    log.append(connection, [log.Happening("key.revoked", by, f"{role}/{name}", {"key": ended})])


def holder(connection: Connection, key: str) -> Holder | None:
    """Whose key this is, or None. Takes as long for a wrong secret as for the right one."""
    prefix, _, rest = key.partition("_")
    number, _, secret = rest.partition("_")
    if prefix != PREFIX or not key.isascii() or not number.isdecimal() or len(number) > 18 or not secret:
        return None
    row = connection.execute(
        select(
            api_keys.c.name,
            api_keys.c.role,
            api_keys.c.tenant,
            api_keys.c.scopes,
            api_keys.c.key_sha256,
            api_keys.c.last_used_on,
        ).where(api_keys.c.id == int(number), api_keys.c.revoked_at.is_(None))
    ).one_or_none()
    stored = bytes(32) if row is None else bytes(row.key_sha256)
    is_right = hmac.compare_digest(_hash(secret), stored)
    if row is None or not is_right:
        return None
    scopes = None if row.scopes is None else frozenset(row.scopes)
    return Holder(row.name, row.role, row.tenant, scopes, int(number), row.last_used_on)


def note_use(connection: Connection, held: Holder) -> None:
    """Log the first use of a key on this UTC day; later ones change nothing.

    Args:
        connection: a writing transaction.
    """
    today = datetime.now(UTC).date()
    noted = connection.execute(
        update(api_keys)
        .where(api_keys.c.id == held.number, api_keys.c.last_used_on.is_distinct_from(today))
        .values(last_used_on=today)
    ).rowcount
    if noted:
        told = {"key": held.number, "on": today.isoformat()}
        log.append(connection, [log.Happening("key.used", held.name, f"{held.role}/{held.name}", told)])


def note_token(connection: Connection, held: Holder) -> None:
    """Log the first use of a token of this holder on this UTC day; later ones change nothing.

    Args:
        connection: a writing transaction.
    """
    today = datetime.now(UTC).date()
    adding = upsert(token_holders).values(role=held.role, name=held.name, last_used_on=today)
    is_first = connection.execute(
        adding.on_conflict_do_update(
            index_elements=["role", "name"],
            set_={"last_used_on": today},
            where=token_holders.c.last_used_on != today,
        ).returning(token_holders.c.name)
    ).scalar()
    if is_first is not None:
        told = {"on": today.isoformat()} | ({} if held.tenant is None else {"tenant": held.tenant})
        log.append(connection, [log.Happening("token.used", held.name, f"{held.role}/{held.name}", told)])


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
