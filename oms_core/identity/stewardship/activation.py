"""Which model is active, and how another becomes it: first a report of what it would change, then a decision to use it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, insert, select, text

from oms_core.audit import log
from oms_core.identity.scoring.model import Model, ModelError, load, shipped
from oms_core.identity.stewardship.errors import (
    ActivationRefusedError,
    DecisionRefusedError,
    UnknownNameError,
)
from oms_core.identity.weigh import SCORED_BY_MODEL
from oms_core.store.tables import STATE_SCHEMA, identity_model_reports, identity_models

_LOCK = 7_301_003  # advisory lock of activations
_PARTS = 64  # members are hashed in parts, so that no text grows past what PostgreSQL holds


@dataclass(frozen=True)
class Activation:
    """One activation: from then on the model scores every run, until the next one."""

    id: int
    entity: str
    version: str
    sha256: str
    at: datetime
    by: str
    reason: str


@dataclass(frozen=True)
class Report:
    """What a model would change, as reported against one state of identity."""

    id: int
    entity: str
    model_version: str
    model_sha256: str
    state_sha256: str
    report: Mapping[str, Any]
    at: datetime
    by: str


def active_model(connection: Connection, entity: str) -> Model:
    """The model that scores runs now: the one activated last, or else the one that comes with the package.

    Raises:
        ModelError: none was activated and none comes for this entity.
    """
    table = identity_models
    artefact = connection.execute(
        select(table.c.artefact).where(table.c.entity == entity).order_by(table.c.id.desc()).limit(1)
    ).scalar()
    return shipped(entity) if artefact is None else Model.model_validate_json(artefact)


def activations(connection: Connection, entity: str | None = None) -> list[Activation]:
    """Every activation there ever was, oldest first; the last of an entity is in force."""
    table = identity_models
    query = select(table).order_by(table.c.id)
    if entity is not None:
        query = query.where(table.c.entity == entity)
    return [
        Activation(
            row.id, row.entity, row.version, row.sha256, row.activated_at, row.activated_by, row.reason
        )
        for row in connection.execute(query)
    ]


def state_sha256(connection: Connection, entity: str) -> str:
    """Hash of what a model is compared with: every link in force, every decision ever, and the model active now."""
    digest = hashlib.sha256()
    parts: Iterable[str] = connection.execute(
        text(
            "SELECT encode(sha256(convert_to(string_agg(record_id || chr(31) || golden_id, chr(30) "
            "ORDER BY record_id COLLATE \"C\"), 'UTF8')), 'hex') AS part "
            f"FROM {STATE_SCHEMA}.identity_members WHERE entity = :entity AND valid_to IS NULL "
            "GROUP BY abs(hashtext(record_id)) % :parts ORDER BY abs(hashtext(record_id)) % :parts"
        ),
        {"entity": entity, "parts": _PARTS},
    ).scalars()
    for part in parts:
        digest.update(part.encode())
    decisions = connection.execute(
        text(
            f"SELECT count(*), count(withdrawn_at) FROM {STATE_SCHEMA}.identity_decisions WHERE entity = :entity"
        ),
        {"entity": entity},
    ).one()
    try:
        model = active_model(connection, entity).sha256
    except ModelError:  # nothing scores this entity yet, which is a state too
        model = "none"
    digest.update(f"|{tuple(decisions)}|{model}".encode())
    return digest.hexdigest()


def keep_report(
    connection: Connection, entity: str, model: Model, report: Mapping[str, Any], *, by: str
) -> Report:
    """Keep what a model would change, against the state of identity as it is in this transaction."""
    table = identity_model_reports
    state = state_sha256(connection, entity)
    row = connection.execute(
        insert(table)
        .values(
            entity=entity,
            model_version=model.version,
            model_sha256=model.sha256,
            artefact=model.canonical(),
            state_sha256=state,
            report=dict(report),
            made_by=by,
        )
        .returning(table)
    ).one()
    said = {"report": row.id, "version": model.version, "sha256": model.sha256, "state_sha256": state}
    log.append(connection, [log.Happening("model.reported", by, entity, said)])
    return _report(row)


def find_model(connection: Connection, entity: str | None, name: str) -> Model:
    """A model by the path of its file, or by the version of one that was shipped, reported on or activated.

    Args:
        entity: whose; found out from the model where it can be.

    Raises:
        UnknownNameError: there is none, or models of several entities have that version.
        ModelError: the file is no model, or one of another entity.
    """
    scored = ", ".join(SCORED_BY_MODEL)
    if entity is not None and entity not in SCORED_BY_MODEL:
        raise ModelError(f"a model scores {scored} records; nothing scores {entity} records by one")
    path = Path(name)
    if path.suffix == ".json" or path.exists():
        model = load(path)
        if model.entity not in ((entity,) if entity else SCORED_BY_MODEL):
            raise ModelError(f"{name} is a model of {model.entity} records; {entity or scored} is asked for")
        return model
    found = {}
    for kind in SCORED_BY_MODEL if entity is None else (entity,):
        named = _by_version(connection, kind, name)
        if named is not None:
            found[kind] = named
    if not found:
        raise UnknownNameError(
            f"no model {name!r} was shipped, reported on or activated: give the path of its JSON file"
        )
    if len(found) > 1:
        raise UnknownNameError(f"{name!r} is a model of {' and '.join(found)}: say which with --entity")
    return next(iter(found.values()))


def reported_model(connection: Connection, entity: str, version: str, sha256: str) -> Model:
    """A model that was reported on, named by version and hash.

    Raises:
        UnknownNameError: nobody reported on such a model.
    """
    table = identity_model_reports
    artefact = connection.execute(
        select(table.c.artefact)
        .where(table.c.entity == entity, table.c.model_version == version, table.c.model_sha256 == sha256)
        .limit(1)
    ).scalar()
    if artefact is None:
        raise UnknownNameError(
            f"no report on {entity} model {version!r} ({sha256[:12]}): `orderhub identity diff --model FILE` makes one"
        )
    return Model.model_validate_json(artefact)


def known_model(connection: Connection, entity: str, version: str) -> Model:
    """A model that was shipped, reported on or activated, by its version; no file is read.

    Raises:
        UnknownNameError: there is none.
    """
    model = _by_version(connection, entity, version)
    if model is None:
        raise UnknownNameError(
            f"no {entity} model {version!r} was shipped, reported on or activated: report on its file first, by "
            "`orderhub identity diff --model FILE`"
        )
    return model


def _by_version(connection: Connection, entity: str, version: str) -> Model | None:
    for table, column in (
        (identity_models, identity_models.c.version),
        (identity_model_reports, identity_model_reports.c.model_version),
    ):
        artefact = connection.execute(
            select(table.c.artefact)
            .where(table.c.entity == entity, column == version)
            .order_by(table.c.id.desc())
            .limit(1)
        ).scalar()
        if artefact is not None:
            return Model.model_validate_json(artefact)
    try:
        known = shipped(entity)
    except ModelError:  # none comes for this entity
        return None
    return known if known.version == version else None


def activate(connection: Connection, entity: str, model: Model, *, by: str, reason: str) -> Activation:
    """Make a model the one that scores runs from now on. The one activated last stays as it is.

    Args:
        connection: a writing transaction.
        model: exactly as it was reported on.
        by, reason: who and why; not empty.

    Raises:
        ActivationRefusedError: no report says what this model would change against identity as it is now.
        DecisionRefusedError: no name or no reason.
    """
    reason, by = reason.strip(), by.strip()
    if not reason or not by:
        raise DecisionRefusedError("an activation says who made it and why: neither may be empty")
    connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    standing = activations(connection, entity)
    if standing and standing[-1].sha256 == model.sha256:
        return standing[-1]
    state = state_sha256(connection, entity)
    seen = reports(connection, entity, model.sha256)
    if not any(report.state_sha256 == state for report in seen):
        told = (
            f"the report of {seen[-1].at:%Y-%m-%d %H:%M}Z is out of date: identity has changed since"
            if seen
            else "nobody has seen yet what it would change"
        )
        raise ActivationRefusedError(
            f"{entity} model {model.version} ({model.sha256[:12]}) is not activated: {told}. Run "
            f"`orderhub identity diff --entity {entity} --model FILE`, read the report, then activate"
        )
    table = identity_models
    row = connection.execute(
        insert(table)
        .values(
            entity=entity,
            version=model.version,
            sha256=model.sha256,
            artefact=model.canonical(),
            activated_by=by,
            reason=reason,
        )
        .returning(table)
    ).one()
    said = {"version": model.version, "sha256": model.sha256, "reason": reason}
    log.append(connection, [log.Happening("model.activated", by, entity, said)])
    return Activation(
        row.id, row.entity, row.version, row.sha256, row.activated_at, row.activated_by, row.reason
    )


def reports(connection: Connection, entity: str, model_sha256: str | None = None) -> list[Report]:
    """Reports on an entity's models, oldest first; only those on exactly one model if asked."""
    table = identity_model_reports
    query = select(table).where(table.c.entity == entity).order_by(table.c.id)
    if model_sha256 is not None:
        query = query.where(table.c.model_sha256 == model_sha256)
    return [_report(row) for row in connection.execute(query)]


def _report(row: Any) -> Report:
    return Report(
        row.id,
        row.entity,
        row.model_version,
        row.model_sha256,
        row.state_sha256,
        row.report,
        row.made_at,
        row.made_by,
    )
