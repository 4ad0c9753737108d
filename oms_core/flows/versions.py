"""Versions of flows, kept: a version is one document for good, and the last one put in force is what new orders follow."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.flows.definition import Flow
from oms_core.flows.errors import ConflictError, UnknownError
from oms_core.flows.lint import Finding, check


@dataclass(frozen=True)
class Active:
    """A version in force."""

    flow: Flow
    activated_at: datetime
    activated_by: str
    reason: str


def activate(connection: Connection, flow: Flow, *, by: str, reason: str) -> list[Finding]:
    """Put a version in force: new orders follow it, those under way stay on theirs. One in force already stays so.

    Returns:
        What the lint warns of.

    Raises:
        DocumentError: the lint refuses it.
        ConflictError: the version is another document's already, or its precedence another active flow's.
    """
    warnings = check(flow)
    connection.execute(text("SELECT pg_advisory_xact_lock(7301012)"))  # activations come one after the other
    kept = connection.execute(
        text("SELECT sha256 FROM orderhub.flow_versions WHERE flow = :flow AND version = :version"),
        {"flow": flow.flow, "version": flow.version},
    ).scalar()
    if kept is not None and kept != flow.sha256:
        raise ConflictError(
            "version-reused",
            f"flow {flow.flow} {flow.version} is another document already ({kept[:12]}…): give this one another version",
        )
    in_force = active(connection)
    if flow.flow in in_force and in_force[flow.flow].flow.sha256 == flow.sha256:
        return warnings
    for other in in_force.values():
        if other.flow.flow != flow.flow and other.flow.precedence == flow.precedence:
            raise ConflictError(
                "precedence-taken",
                f"flow {other.flow.flow} has the precedence {flow.precedence}, too: which of both an order follows "
                "would not be said; choose another",
            )
    if kept is None:
        connection.execute(
            text("INSERT INTO orderhub.flow_versions VALUES (:flow, :version, :document, :sha256)"),
            {
                "flow": flow.flow,
                "version": flow.version,
                "document": flow.document,
                "sha256": flow.sha256,
            },
        )
    connection.execute(
        text(
            "INSERT INTO orderhub.flow_activations (flow, version, activated_by, reason) "
            "VALUES (:flow, :version, :by, :reason)"
        ),
        {"flow": flow.flow, "version": flow.version, "by": by, "reason": reason},
    )
    told = {"sha256": flow.sha256, "reason": reason}
    log.append(connection, [log.Happening("flow.activated", by, f"flow/{flow.flow}/{flow.version}", told)])
    return warnings


def active(connection: Connection) -> dict[str, Active]:
    """The flows in force by name, those that are asked first in front."""
    rows = connection.execute(
        text(
            "SELECT DISTINCT ON (a.flow) v.document, a.activated_at, a.activated_by, a.reason "
            "FROM orderhub.flow_activations AS a JOIN orderhub.flow_versions AS v USING (flow, version) "
            "ORDER BY a.flow, a.id DESC"
        )
    )
    found = [Active(_parsed(row.document), row.activated_at, row.activated_by, row.reason) for row in rows]
    return {item.flow.flow: item for item in sorted(found, key=lambda item: item.flow.precedence)}


def known(connection: Connection, flow: str) -> dict[str, Flow]:
    """Every version of a flow that was ever activated, by version.

    Raises:
        UnknownError: there is none.
    """
    found = of(connection, [flow])
    if not found:
        raise UnknownError(
            "unknown-flow", f"no flow {flow!r} was ever activated: `orderhub flow list` says which"
        )
    return found[flow]


def of(connection: Connection, flows: Iterable[str]) -> dict[str, dict[str, Flow]]:
    """Every version of several flows, by flow and version; a flow that was never activated is left out."""
    rows = connection.execute(
        text(
            "SELECT flow, version, sha256 FROM orderhub.flow_versions WHERE flow = ANY (:flows) ORDER BY flow, version"
        ),
        {"flows": sorted(set(flows))},
    )
    return documents(connection, rows.all())


def documents(connection: Connection, rows: Sequence[Any]) -> dict[str, dict[str, Flow]]:
    """The flows of rows of flow, version and hash, by flow and version; what is known of a hash is not read again."""
    missing = [row.sha256 for row in rows if row.sha256 not in _BY_HASH]
    if missing:
        read = connection.execute(
            text("SELECT sha256, document FROM orderhub.flow_versions WHERE sha256 = ANY (:missing)"),
            {"missing": missing},
        )
        _BY_HASH.update({row.sha256: _parsed(row.document) for row in read})
    found: dict[str, dict[str, Flow]] = {}
    for row in rows:
        found.setdefault(row.flow, {})[row.version] = _BY_HASH[row.sha256]
    return found


def one(connection: Connection, flow: str, version: str | None = None) -> Flow:
    """A version of a flow; without one named, the one in force.

    Raises:
        UnknownError: it was never activated.
    """
    if version is None:
        found = active(connection).get(flow)
        if found is not None:
            return found.flow
    flows = known(connection, flow)  # refuses a flow that never was
    if version not in flows:
        raise UnknownError(
            "unknown-flow", f"flow {flow!r} has no version {version!r}: there are {', '.join(flows)}"
        )
    return flows[version]


def standing(connection: Connection, flow: str, version: str) -> dict[str, int]:
    """How many orders of a version are in each state."""
    rows = connection.execute(
        text(
            "SELECT state, count(*) AS orders FROM orderhub.flow_orders "
            "WHERE flow = :flow AND version = :version AND merged_into IS NULL GROUP BY state ORDER BY state"
        ),
        {"flow": flow, "version": version},
    )
    return {row.state: row.orders for row in rows}


_BY_HASH: dict[str, Flow] = {}


@lru_cache(maxsize=64)
def _parsed(document: str) -> Flow:
    return Flow.model_validate_json(document)
