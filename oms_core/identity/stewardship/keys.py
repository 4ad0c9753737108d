"""Stewards' keys for the API: made once, shown once, stored as hashes only, revoked by name."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime

from sqlalchemy import Connection, insert, select, text, update

from oms_core.audit import log
from oms_core.identity.stewardship.errors import DecisionRefusedError, UnknownNameError
from oms_core.store.tables import api_keys

STEWARD = "steward"
_LOCK = 7_301_006  # advisory lock of keys
PREFIX = "ohs"


def make(connection: Connection, name: str, *, by: str) -> str:
    """Make a steward's key.

    256 random bits need no slow hash: SHA-256 of it is as hard to turn back as the key is to guess.

    Args:
        connection: a writing transaction.
        name: whose; decisions made with the key carry it.
        by: who made it.

    Returns:
        The key, `ohs_<number>_<secret>`; it is stored nowhere.

    Raises:
        DecisionRefusedError: the name is empty, or has a key in force.
    """
    name = name.strip()
    if not name:
        raise DecisionRefusedError("a key belongs to somebody: give a name")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    held = connection.execute(
        select(api_keys.c.made_at).where(
            api_keys.c.role == STEWARD, api_keys.c.name == name, api_keys.c.revoked_at.is_(None)
        )
    ).scalar()
    if held is not None:
        raise DecisionRefusedError(
            f"{name} has a key since {held:%Y-%m-%d %H:%M}Z: revoke it first, `orderhub identity key {name} --revoke`"
        )
    secret = secrets.token_urlsafe(32)
    number: int = connection.execute(
        insert(api_keys)
        .values(role=STEWARD, name=name, key_sha256=_hash(secret), made_by=by)
        .returning(api_keys.c.id)
    ).scalar_one()
    log.append(connection, [log.Happening("key.made", by, f"{STEWARD}/{name}", {"key": number})])
    return f"{PREFIX}_{number}_{secret}"


def revoke(connection: Connection, name: str, *, by: str) -> None:
    """End a steward's key.

    Raises:
        UnknownNameError: the name has none in force.
    """
    ended = connection.execute(
        update(api_keys)
        .where(api_keys.c.role == STEWARD, api_keys.c.name == name, api_keys.c.revoked_at.is_(None))
        .values(revoked_at=datetime.now(UTC), revoked_by=by)
        .returning(api_keys.c.id)
    ).scalar()
    if ended is None:
        raise UnknownNameError(f"{name!r} has no key in force")
    log.append(connection, [log.Happening("key.revoked", by, f"{STEWARD}/{name}", {"key": ended})])


def owner(connection: Connection, key: str) -> str | None:
    """Name of the steward whose key this is, or None. Takes as long for a wrong secret as for the right one."""
    prefix, _, rest = key.partition("_")
    number, _, secret = rest.partition("_")
    if prefix != PREFIX or not number.isascii() or not number.isdecimal() or len(number) > 18 or not secret:
        return None
    row = connection.execute(
        select(api_keys.c.name, api_keys.c.key_sha256).where(
            api_keys.c.id == int(number), api_keys.c.role == STEWARD, api_keys.c.revoked_at.is_(None)
        )
    ).one_or_none()
    stored = bytes(32) if row is None else bytes(row.key_sha256)
    is_right = hmac.compare_digest(_hash(secret), stored)
    return row.name if row is not None and is_right else None


def _hash(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
