"""What orders are sourced by, as versioned data in the operational store: the policy, and the facts no source tells."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment.errors import RefusedError, RequestError
from oms_core.fulfilment.sourcing import facts, policy
from oms_core.fulfilment.sourcing.facts import Facts
from oms_core.fulfilment.sourcing.policy import Policy

Kind = Literal["policy", "facts"]
NO_FACTS = Facts(version="none")


@dataclass(frozen=True)
class Activation:
    """That a document came into force."""

    kind: str
    version: str
    sha256: str
    activated_at: datetime
    activated_by: str
    reason: str


def activate(
    connection: Connection, kind: Kind, document: str | bytes, *, by: str, reason: str
) -> Activation:
    """Put a policy or facts into force; earlier decisions keep what they were made by.

    Activated again while it is in force, a document changes nothing.

    Raises:
        RequestError: the document is none, or no reason is given; the code and the message say what is wrong.
        RefusedError: "version-reused", another document had the same version.
    """
    read: Policy | Facts = policy.load(document) if kind == "policy" else facts.load(document)
    if not reason.strip():
        raise RequestError("reason-needed", f"say why the {kind} comes into force")
    connection.execute(
        text("SELECT pg_advisory_xact_lock(hashtext(:name))"), {"name": f"orderhub.sourcing_documents.{kind}"}
    )
    other = connection.execute(
        text(
            "SELECT 1 FROM orderhub.sourcing_documents WHERE kind = :kind AND version = :version AND sha256 <> :sha LIMIT 1"
        ),
        {"kind": kind, "version": read.version, "sha": read.sha256},
    ).scalar()
    if other is not None:
        raise RefusedError(
            "version-reused",
            f"another {kind} had the version {read.version!r}: give this one a version of its own",
        )
    standing = history(connection, kind, limit=1)
    if standing and standing[0].sha256 == read.sha256:
        return standing[0]
    connection.execute(
        text(
            "INSERT INTO orderhub.sourcing_documents (kind, version, sha256, document, activated_by, reason) "
            "VALUES (:kind, :version, :sha, :document, :by, :reason)"
        ),
        {
            "kind": kind, "version": read.version, "sha": read.sha256, "document": read.model_dump_json(exclude_unset=True),
            "by": by, "reason": reason,
        },
    )  # fmt: skip
    data = {"version": read.version, "sha256": read.sha256, "reason": reason}
    log.append(connection, [log.Happening(f"sourcing.{kind}_activated", by, f"sourcing/{kind}", data)])
    return history(connection, kind, limit=1)[0]


def in_force(connection: Connection) -> tuple[Policy, Facts]:
    """The policy and the facts in force: the shipped policy before any was activated, and no facts."""
    documents = {
        row.kind: row.document
        for row in connection.execute(
            text(
                "SELECT DISTINCT ON (kind) kind, document FROM orderhub.sourcing_documents ORDER BY kind, id DESC"
            )
        )
    }
    return (
        policy.load(documents["policy"]) if "policy" in documents else policy.default(),
        facts.load(documents["facts"]) if "facts" in documents else NO_FACTS,
    )


def history(connection: Connection, kind: Kind, limit: int = 50, offset: int = 0) -> list[Activation]:
    """What came into force when and why, newest first, without the newest `offset`."""
    rows = connection.execute(
        text(
            "SELECT kind, version, sha256, activated_at, activated_by, reason FROM orderhub.sourcing_documents "
            "WHERE kind = :kind ORDER BY id DESC LIMIT :limit OFFSET :offset"
        ),
        {"kind": kind, "limit": limit, "offset": offset},
    )
    return [Activation(**row._asdict()) for row in rows]
