"""Rows that could not land: list them, and replay them once the model or the declaration is mended."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import AliasPath, TypeAdapter, ValidationError

from connectors.declare import Child, Source, Stream, decode_json
from connectors.errors import FatalError
from connectors.extract import explain_error, land_rows, record_hash, validate_row
from connectors.landing import QUARANTINE, REPEATS, Landing, RowOrigin, model_version


@dataclass(frozen=True)
class QuarantinedRow:
    """One row in quarantine; `age_days` since it was first pulled, `seen` times so far."""

    quarantine_id: int
    source: str
    stream: str
    stage: str
    error: str
    page_sha256: str
    row_index: int
    child_index: int | None
    batch_id: str
    model_version: str
    age_days: float
    payload: str
    parent: str | None
    extracted_at: datetime
    seen: int


@dataclass(frozen=True)
class Replay:
    """What a replay did to one stream."""

    source: str
    stream: str
    tried: int
    landed: int
    batch_id: str | None
    still_wrong: dict[str, int]


def list_rows(landing: Landing, source: str | None = None, stream: str | None = None) -> list[QuarantinedRow]:
    """Rows that wait in quarantine, oldest first."""
    repeats = sa.select(sa.func.count()).where(REPEATS.c.quarantine_id == QUARANTINE.c.quarantine_id)
    query = (
        sa.select(QUARANTINE, repeats.scalar_subquery().label("repeats"))
        .where(QUARANTINE.c.replayed_in.is_(None))
        .order_by(QUARANTINE.c.quarantine_id)
    )
    if source is not None:
        query = query.where(QUARANTINE.c.source == source)
    if stream is not None:
        query = query.where(QUARANTINE.c.stream == stream)
    now = datetime.now(UTC)
    with landing.transaction() as connection:
        return [
            QuarantinedRow(
                row["quarantine_id"],
                row["source"],
                row["stream"],
                row["stage"],
                row["error"],
                row["page_sha256"],
                row["row_index"],
                row["child_index"],
                row["batch_id"],
                row["model_version"],
                (now - datetime.fromisoformat(row["extracted_at"])).total_seconds() / 86400,
                row["payload"],
                row["parent"],
                datetime.fromisoformat(row["extracted_at"]),
                1 + row["repeats"],
            )
            for row in connection.execute(query).mappings()
        ]


def replay(
    landing: Landing, source: Source, rows: Sequence[QuarantinedRow], *, dry_run: bool = False
) -> list[Replay]:
    """Validate rows again with today's models and land those that pass; each row lands once, however often this runs.

    A row keeps the instant it first came at, so that it does not outrank a newer version of itself. A parent that was
    rejected brings its children along.

    Args:
        landing: where the rows wait.
        source: the declaration they belong to.
        rows: of that source, from `list_rows`; rows the gate rejected are left to the next pull.
        dry_run: say what would land and change nothing.

    Raises:
        FatalError: a row belongs to another source.
    """
    waiting = {row.quarantine_id for row in list_rows(landing, source.name)}
    by_stream: dict[str, list[QuarantinedRow]] = defaultdict(list)
    for row in rows:
        if row.source != source.name:
            raise FatalError(f"row {row.quarantine_id} belongs to {row.source}, not to {source.name}")
        if row.stage == "record" and row.quarantine_id in waiting:
            by_stream[row.stream].append(row)
    return [
        _replay_stream(landing, source, name, found, dry_run) for name, found in sorted(by_stream.items())
    ]


def _replay_stream(
    landing: Landing, source: Source, name: str, rows: Sequence[QuarantinedRow], dry_run: bool
) -> Replay:
    stream = source.stream(name)
    batch = landing.open_batch(source.name, stream)
    record = stream.tables[name]
    landed, still_wrong = [], dict[str, int]()
    for row in rows:
        raw = decode_json(row.payload.encode())
        origin = _origin(row, raw, stream)
        reason = None
        try:
            value = validate_row(record, raw)
        except ValueError as error:
            reason = explain_error(error)
        else:
            reason = batch.misfit(name, value, origin)
        if reason is not None:
            still_wrong[reason] = still_wrong.get(reason, 0) + 1
            continue
        landed.append(row.quarantine_id)
        batch.count(name, 1)
        if name == stream.name:
            land_rows(
                batch,
                stream,
                [raw],
                row.page_sha256,
                has_nul=True,
                indices=[row.row_index],
                extracted_at=row.extracted_at,
            )
        else:
            batch.add(name, [value], [origin], row.extracted_at)
    if dry_run or not landed:
        batch.abandon()
        return Replay(source.name, name, len(rows), len(landed), None, still_wrong)
    batch.commit(replayed=(name, landed))
    return Replay(source.name, name, len(rows), len(landed), batch.batch_id, still_wrong)


def waiting_records(landing: Landing, source: str, stream: Stream) -> int:
    """How many records of a stream are in quarantine and nowhere else; children apart.

    A row whose key cannot be read is a record of its own.
    """
    rows = [row for row in list_rows(landing, source, stream.name) if row.child_index is None]
    if not rows:
        return 0
    name = stream.key[0]
    landed = set(landing.values(source, stream.name, name))
    field = stream.record.model_fields[name]
    aliases = field.validation_alias or field.alias or name
    path = [str(step) for step in aliases.path] if isinstance(aliases, AliasPath) else [str(aliases)]
    kind: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, *field.metadata])  # type: ignore[arg-type]
    found: set[str] = set()
    for row in rows:
        value = decode_json(row.payload.encode())
        for step in path:
            value = value.get(step) if isinstance(value, dict) else None
        try:
            key = str(kind.validate_python(value))
        except ValidationError:
            key = f"row {row.quarantine_id}"
        found.add(key)
    return len(found - landed)


def _origin(row: QuarantinedRow, raw: object, stream: Stream) -> RowOrigin:
    digest = record_hash(raw)
    if row.stream == stream.name:
        return RowOrigin(row.page_sha256, row.row_index, digest)
    child: Child = next(item for item in stream.children if item.name == row.stream)
    parent = json.loads(row.parent or "{}")
    values = []
    for column, field in child.parent.items():
        # The parent's values were kept as JSON: read times and decimals back as what the parent's fields are.
        kind: TypeAdapter[Any] = TypeAdapter(stream.record.model_fields[field].annotation or Any)
        values.append(kind.validate_python(parent.get(column)))
    return RowOrigin(
        row.page_sha256, row.row_index, digest, row.child_index, parent.get("hash"), tuple(values)
    )


def is_outdated(row: QuarantinedRow, source: Source) -> bool:
    """Whether the model changed since the row was rejected, so that a replay may help."""
    return row.model_version != model_version(source.tables[row.stream])
