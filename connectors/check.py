"""Compare what a source answers today with its declaration; nothing lands."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, AliasPath, ValidationError

from connectors.client import Client
from connectors.declare import Bounds, Record, Source, Stream, dig
from connectors.errors import ConnectorError
from connectors.extract import explain_error


@dataclass(frozen=True)
class StreamCheck:
    """What the first page of a stream looked like beside its declaration.

    `missing` are declared fields no row had; `unread` are fields the rows had and the declaration does not read.
    """

    source: str
    stream: str
    rows: int = 0
    valid: int = 0
    missing: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    first_fault: str | None = None
    error: str | None = None

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        parts = []
        if self.first_fault:
            parts.append(f"{self.rows - self.valid} rows do not fit: {self.first_fault}")
        if self.missing:
            parts.append(f"declared but absent: {', '.join(self.missing)}")
        if self.unread:
            parts.append(f"sent but not read: {', '.join(self.unread)}")
        return "; ".join(parts) or ("fits" if self.rows else "answers, with no rows to compare")


def check_source(source: Source, values: Mapping[str, str]) -> list[StreamCheck]:
    """Ask for the first page of every stream.

    Streams that fan out over another are asked with the keys of that stream's first page.

    Args:
        source: the declaration.
        values: environment with secrets and URL.
    """
    try:
        client = Client(source, values)
    except ConnectorError as error:
        return [StreamCheck(source.name, stream.name, error=str(error)) for stream in source.streams]
    found, first_rows = [], dict[str, list[Any]]()
    with client:
        for stream in source.streams:
            try:
                rows = _first_page(client, source, stream, first_rows)
            except ConnectorError as error:
                found.append(StreamCheck(source.name, stream.name, error=str(error)))
            else:
                first_rows[stream.name] = rows
                found.append(_compare(source, stream, rows))
    return found


def _first_page(client: Client, source: Source, stream: Stream, seen: Mapping[str, list[Any]]) -> list[Any]:
    keys: tuple[str, ...] = ()
    if stream.fan_out is not None:
        other, field = stream.fan_out
        records = (_try(source.stream(other).record, row) for row in seen.get(other, ()))
        keys = tuple(str(getattr(record, field)) for record in records if record is not None)[
            : stream.fan_out_size
        ]
    answer = client.send(stream, stream.pages.first(stream.ask(Bounds(keys=keys))))
    rows = dig(answer.body, stream.rows)
    return rows if isinstance(rows, list) else []


def _try(record: type[Record], row: Any) -> Record | None:
    try:
        return record.model_validate(row)
    except ValidationError:
        return None


def _compare(source: Source, stream: Stream, rows: list[Any]) -> StreamCheck:
    valid, first_fault = 0, None
    sent: set[str] = set()
    for row in rows:
        if isinstance(row, dict):
            sent.update(row)
        try:
            stream.record.model_validate(row)
            valid += 1
        except ValueError as error:
            first_fault = first_fault or explain_error(error)
    read = _names_read(stream.record) | {child.path.split(".")[0] for child in stream.children}
    missing = tuple(sorted(read - sent)) if rows else ()
    return StreamCheck(
        source.name, stream.name, len(rows), valid, missing, tuple(sorted(sent - read)), first_fault
    )


def _names_read(record: type[Record]) -> set[str]:
    names = set()
    for name, field in record.model_fields.items():
        alias = field.validation_alias
        choices: list[str | AliasPath | None] = (
            [*alias.choices] if isinstance(alias, AliasChoices) else [alias]
        )
        for choice in choices:
            if isinstance(choice, AliasPath):
                names.add(str(choice.path[0]))
            else:
                names.add(choice or name)
    return names
