"""Compare what a source answers today with its declaration; nothing lands."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import AliasChoices, AliasPath, ValidationError

from connectors.client import Client
from connectors.declare import Bounds, Record, Source, Stream, dig
from connectors.errors import ConnectorError, GoneError
from connectors.extract import explain_error, nested_names
from connectors.landing import outermost

_WINDOWS = 100  # that are looked back through for a first row


@dataclass(frozen=True)
class StreamCheck:
    """What the first page of a stream looked like beside its declaration.

    `missing` are fields that are required and no row had; `absent` are optional ones; `unread` are fields the rows had and the
    declaration does not read. Names of fields within objects are dotted. `unknown`: the source knows no such stream, and a
    company may have none.
    """

    source: str
    stream: str
    rows: int = 0
    valid: int = 0
    missing: tuple[str, ...] = ()
    absent: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    first_fault: str | None = None
    error: str | None = None
    unknown: str | None = None

    @property
    def differs(self) -> bool:
        """Whether the declaration or the source has to be seen to."""
        return bool(self.error or self.first_fault or self.missing)

    @property
    def verdict(self) -> str:
        """One sentence for a person."""
        if self.unknown:
            return self.unknown
        parts = []
        if self.first_fault:
            parts.append(f"{self.rows - self.valid} rows do not fit: {self.first_fault}")
        if self.missing:
            parts.append(f"required but absent: {', '.join(self.missing)}")
        if self.absent:
            parts.append(f"optional and in none of these rows: {', '.join(self.absent)}")
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
                if stream.app and isinstance(error, GoneError):
                    unknown = f"not there: the system seems to have no {stream.app}. {error}"
                    found.append(StreamCheck(source.name, stream.name, unknown=unknown))
                else:
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
        if not keys:
            return []
        if stream.fan_out_field is not None:
            keys = keys[:1]
    rows: Any = []
    for back in range(_WINDOWS if stream.window is not None else 1):
        bounds = Bounds(keys=keys)
        if stream.window is not None:
            until = client.now() - back * stream.window
            bounds = Bounds(keys=keys, since=until - stream.window, until=until)
        answer = client.send(stream, stream.pages.first(stream.ask(bounds)))
        rows = dig(answer.body, stream.rows)
        if rows:
            break
    if not isinstance(rows, list):
        return []
    if stream.fan_out_field is None:
        return rows
    return [{**row, stream.fan_out_field: keys[0]} if isinstance(row, dict) else row for row in rows]


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
            sent.update(nested_names(row))
        try:
            stream.record.model_validate(row)
            valid += 1
        except ValueError as error:
            first_fault = first_fault or explain_error(error)
    required, optional = _names_read(stream.record)
    optional |= {child.path for child in stream.children} - required
    read = required | optional
    gone = {name for name in read if name not in sent and not _is_in_a_list(name, rows)} if rows else set()
    known = {name[: at.start()] for name in read for at in re.finditer(r"\.|$", name)}
    # What an object holds that is read as a whole is read.
    unread = {name for name in sent - known if not any(name.startswith(f"{whole}.") for whole in read)}
    return StreamCheck(
        source.name,
        stream.name,
        len(rows),
        valid,
        # A record that fits all the same puts what it requires together from other fields.
        tuple(outermost(gone & required)) if first_fault else (),
        tuple(outermost(gone - required)),
        tuple(outermost(unread)),
        first_fault,
    )


def _is_in_a_list(name: str, rows: list[Any]) -> bool:
    """Whether a dotted name leads into a list, whose items are not looked into here."""
    steps = name.split(".")
    return any(
        isinstance(dig(row, ".".join(steps[:length])), list)
        for row in rows
        for length in range(1, len(steps))
    )


def _names_read(record: type[Record]) -> tuple[set[str], set[str]]:
    """Dotted names that a record reads: those it cannot do without, and the others."""
    required, optional = set[str](), set[str]()
    for name, field in record.model_fields.items():
        alias = field.validation_alias
        choices: list[str | AliasPath | None] = (
            [*alias.choices] if isinstance(alias, AliasChoices) else [alias]
        )
        # Of several names for one field any may be missing.
        names = required if field.is_required() and len(choices) == 1 else optional
        for choice in choices:
            if isinstance(choice, AliasPath):
                names.add(".".join(step for step in choice.path if isinstance(step, str)))
            else:
                names.add(choice or name)
    return required, optional - required
