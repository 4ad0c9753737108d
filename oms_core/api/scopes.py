"""Scopes: how much of what its role opens a key or a token opens, such as `orders:read reservations:write`.

A scope is the first word of an address and whether something may be changed there. Scopes narrow: what a role does not open, none
of them opens.

Source: RFC 6749, section 3.3 (scopes), RFC 6750, section 3.1 (`insufficient_scope`).
"""

from __future__ import annotations

from collections.abc import Iterable

from starlette.exceptions import HTTPException

SCOPES = (
    "availability:read", "changes:read", "customers:read", "exceptions:read", "exceptions:write", "finance:read",
    "finance:write", "flows:read", "flows:write", "identity:read", "identity:write", "inventory:read", "inventory:write",
    "locations:read", "orders:read", "orders:write", "releases:read", "reservations:read", "reservations:write", "skus:read", "sourcing:read",
    "sourcing:write",
)  # fmt: skip
# They change nothing; they are POST since what they ask is long.
_READING = frozenset({"/orders/lookup", "/sourcing/what-if"})


class ScopeError(HTTPException):
    """The caller's role opens this, and its scopes do not."""


def needed(method: str, path: str) -> str:
    """The scope that a route needs.

    Args:
        path: of the route, such as /reservations/{reservation_id}.
    """
    is_reading = method in ("GET", "HEAD") or path in _READING
    return f"{path.split('/')[1]}:{'read' if is_reading else 'write'}"


def require(held: frozenset[str] | None, method: str, path: str) -> None:
    """Refuse a caller whose scopes leave a route out.

    Args:
        held: None: whatever the role opens.

    Raises:
        ScopeError: they do.
    """
    if held is None:
        return
    scope = needed(method, path)
    if scope not in held:
        raise ScopeError(
            403,
            f"this needs the scope {scope}, and the key or token has {', '.join(sorted(held)) or 'none of ours'}",
            {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{scope}"'},
        )


def unknown(asked: Iterable[str]) -> list[str]:
    """Those that are no scopes."""
    return sorted(set(asked) - set(SCOPES))
