"""Decisions as they are kept: with all they rest on, so that each can be read, replayed and looked at again."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sqlalchemy import Connection, text

from oms_core.fulfilment.assignment.live import Inputs
from oms_core.fulfilment.errors import ForeignError, RefusedError, UnknownError
from oms_core.fulfilment.sourcing import policy
from oms_core.fulfilment.sourcing.decide import Decision, source_order
from oms_core.fulfilment.sourcing.document import Day, dump_day, load_day
from oms_core.fulfilment.sourcing.policy import Policy

_COLUMNS = (
    "decision_id, order_id, tenant, key, body_sha256, decided_at, decided_by, release_id, policy_version, policy_sha256, "
    "facts_version, inputs, decision, unknown, reservation_id, replaces"
)


@dataclass(frozen=True)
class Stored:
    """A decision as it was kept.

    Attributes:
        inputs: {"policy": …, "day": …} as JSON: all that the decision rests on.
        decision: as `Decision.document` gives it.
        reservation_id: that carries it out; None: a dry run, or the order cannot be sent.
        replaces: the decision it took the place of.
        unknown: in words, what nobody knew.
    """

    decision_id: str
    order_id: str
    tenant: str | None
    key: str | None
    body_sha256: bytes | None
    decided_at: datetime
    decided_by: str
    release_id: int
    policy_version: str
    policy_sha256: str
    facts_version: str | None
    inputs: str
    decision: Mapping[str, Any]
    unknown: tuple[str, ...]
    reservation_id: str | None
    replaces: str | None

    @property
    def day(self) -> Day:
        """Order, nodes and shelves as they were."""
        return load_day(json.dumps(json.loads(self.inputs)["day"]))

    @property
    def policy(self) -> Policy:
        """By which it was decided."""
        return policy.load(json.dumps(json.loads(self.inputs)["policy"]))

    def replay(self) -> Decision:
        """Decide once more from the same inputs."""
        day = self.day
        return source_order(day.orders[0], day.network(), self.policy)

    def is_same(self, decided: Decision) -> bool:
        """Whether a decision is this one, in every figure and word."""
        return bool(json.loads(json.dumps(decided.document())) == self.decision)


def new_id() -> str:
    """Begins with the time, so that new rows stand together in the index."""
    return f"src_{time.time_ns() // 1000:014x}{secrets.token_hex(6)}"


def save(
    connection: Connection,
    decision_id: str,
    decided: Decision,
    inputs: Inputs,
    rules: Policy,
    *,
    at: datetime,
    by: str,
    release_id: int,
    facts_version: str | None,
    tenant: str | None = None,
    request: tuple[str, bytes] | None = None,
    reservation_id: str | None = None,
    replaces: str | None = None,
) -> Stored:
    """Keep a decision.

    Args:
        request: the tenant's own name for it and the hash of what was asked; None: a dry run.
    """
    connection.execute(
        text(
            f"INSERT INTO orderhub.sourcing_decisions ({_COLUMNS}) VALUES (:id, :order, :tenant, :key, :body, :at, :by, "
            ":release, :version, :sha, :facts, :inputs, :decision, :unknown, :reservation, :replaces)"
        ),
        {
            "id": decision_id, "order": decided.order.order_id, "tenant": tenant, "key": request and request[0],
            "body": request and request[1], "at": at, "by": by, "release": release_id, "version": rules.version,
            "sha": rules.sha256, "facts": facts_version,
            "inputs": f'{{"policy": {rules.model_dump_json()}, "day": {dump_day(inputs.day)}}}',
            "decision": json.dumps(decided.document(), allow_nan=False), "unknown": list(inputs.unknown),
            "reservation": reservation_id, "replaces": replaces,
        },
    )  # fmt: skip
    return read(connection, decision_id)


def read(connection: Connection, decision_id: str) -> Stored:
    """A decision by its id.

    Raises:
        UnknownError: "unknown-decision".
    """
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM orderhub.sourcing_decisions WHERE decision_id = :id"),
        {"id": decision_id},
    ).one_or_none()
    if row is None:
        raise UnknownError("unknown-decision", f"there is no decision {decision_id!r}")
    return _stored(row)


def of_request(connection: Connection, tenant: str, key: str, body_sha256: bytes) -> Stored | None:
    """What the same request decided before; None: it was never made.

    Raises:
        RefusedError: "key-reused", it was another request under the same key.
    """
    row = connection.execute(
        text(f"SELECT {_COLUMNS} FROM orderhub.sourcing_decisions WHERE tenant = :tenant AND key = :key"),
        {"tenant": tenant, "key": key},
    ).one_or_none()
    if row is None:
        return None
    found = _stored(row)
    if found.body_sha256 != body_sha256:
        raise RefusedError(
            "key-reused",
            f"the idempotency key {key!r} was used for another request, which made {found.decision_id}",
        )
    return found


def of_order(
    connection: Connection, order_id: str, limit: int = 50, before: str | None = None
) -> list[Stored]:
    """Decisions about an order, newest first.

    Args:
        before: only older ones than this decision.
    """
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM orderhub.sourcing_decisions WHERE order_id = :order AND (CAST(:before AS text) IS NULL "
            "OR (decided_at, decision_id) < (SELECT decided_at, decision_id FROM orderhub.sourcing_decisions "
            "WHERE decision_id = :before)) ORDER BY decided_at DESC, decision_id DESC LIMIT :limit"
        ),
        {"order": order_id, "limit": limit, "before": before},
    )
    return [_stored(row) for row in rows]


def of_day(connection: Connection, day: date) -> list[Stored]:
    """The last decision of each order that was decided about on a day (UTC), in the order of their times."""
    rows = connection.execute(
        text(
            f"SELECT {_COLUMNS} FROM (SELECT DISTINCT ON (order_id) * FROM orderhub.sourcing_decisions "
            "WHERE (decided_at AT TIME ZONE 'UTC')::date = :day ORDER BY order_id, decided_at DESC, decision_id DESC) AS d "
            "ORDER BY decided_at, decision_id"
        ),
        {"day": day},
    )
    return [_stored(row) for row in rows]


def standing(connection: Connection, order_id: str) -> Stored | None:
    """The decision that is being carried out: its reservation holds goods for the order now."""
    row = connection.execute(
        text(
            f"SELECT {', '.join('d.' + name for name in _COLUMNS.split(', '))} FROM orderhub.sourcing_decisions AS d "
            "JOIN orderhub.reservations AS r ON r.reservation_id = d.reservation_id "
            "WHERE d.order_id = :order AND (r.state IN ('allocated', 'fulfilled') "
            "OR (r.state = 'held' AND r.expires_at > clock_timestamp())) ORDER BY d.decided_at DESC LIMIT 1"
        ),
        {"order": order_id},
    ).one_or_none()
    return None if row is None else _stored(row)


def check_tenant(stored: Stored, tenant: str) -> None:
    """Refuse another tenant's decision.

    Raises:
        ForeignError: "other-tenant".
    """
    if stored.tenant != tenant:
        raise ForeignError("other-tenant", f"{stored.decision_id} was made by another tenant")


def _stored(row: Any) -> Stored:
    values = row._asdict()
    body = values["body_sha256"]
    return Stored(
        **{
            **values,
            "body_sha256": None if body is None else bytes(body),
            "decision": json.loads(values["decision"]),
            "unknown": tuple(values["unknown"]),
        }
    )
