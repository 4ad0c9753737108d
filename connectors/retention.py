"""Retention: what of the landing goes once it is older than a rule allows. What the facts are made from stays.

Three parts of the landing have an age: `pages`, the bytes as received (they go whole; typed rows stay); `versions`, rows that a newer version of
their record has replaced (the texts that tell of a person go, from the rows and from their pages); `quarantine`, rows
that wait or waited there (the same). The newest version of every record is never touched, so no fact and no amount changes. A
fourth, `released`, is said by the same rules and let go by whoever keeps the releases: what past releases tell of persons.
"""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

import pyarrow.parquet as pq
import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from connectors.declare import Source, Stream
from connectors.erasure import (
    LandedFile,
    erase_page,
    landed_files,
    put_page,
    redact,
    replace_file,
    without_texts,
)
from connectors.errors import FatalError
from connectors.landing import BATCHES, ERASED_PAGES, PAGES, QUARANTINE, Landing

Part = Literal["pages", "versions", "quarantine", "released"]
_ANY = "*"


class RetentionError(FatalError):
    """The rules are wrong; nothing was touched."""


class Rule(BaseModel):
    """How long one part of what landed is kept, in days; `*` stands for every source or stream."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    source_system: str = Field(min_length=1)
    stream: str = Field(min_length=1)
    part: Part
    keep_days: int = Field(ge=0)
    reason: str = Field(min_length=1)


@dataclass
class Retained:
    """What a run of the rules touched.

    Attributes:
        rows: superseded rows that lost personal texts, by (source, stream).
        pages: SHA-256 a page is named by -> SHA-256 of what lies there now, None where all of it went.
        quarantined: rows in quarantine that lost them, by (source, stream).
        batches: ids of batches whose files were rewritten.
        by_rule: rule -> what it touched, pages and rows together.
    """

    rows: dict[tuple[str, str], int] = field(default_factory=dict)
    pages: dict[str, str | None] = field(default_factory=dict)
    quarantined: dict[tuple[str, str], int] = field(default_factory=dict)
    batches: list[str] = field(default_factory=list)
    by_rule: dict[Rule, int] = field(default_factory=dict)


def read_rules(path: Path, sources: Mapping[str, Source]) -> list[Rule]:
    """Read rules from CSV: source_system, stream, part, keep_days, reason.

    Raises:
        RetentionError: a line is no rule, names a source or a stream that does not exist, or says the same as another.
    """
    try:
        with path.open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
    except OSError as error:
        raise RetentionError(f"the retention rules {path} cannot be read: {error.strerror}") from error
    rules: dict[tuple[str, str, Part], Rule] = {}
    for number, line in enumerate(lines, 2):
        try:
            rule = Rule.model_validate(line)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise RetentionError(f"{path.name} line {number}: {where}: {fault['msg']}") from error
        if rule.part == "released" and (rule.source_system, rule.stream) != (_ANY, _ANY):
            raise RetentionError(
                f"{path.name} line {number}: a release is made of all sources: give * and * with the part released"
            )
        if rule.source_system != _ANY and rule.source_system not in sources:
            raise RetentionError(f"{path.name} line {number}: there is no source {rule.source_system}")
        if rule.stream != _ANY and (
            rule.source_system == _ANY or rule.stream not in sources[rule.source_system].tables
        ):
            raise RetentionError(
                f"{path.name} line {number}: {rule.source_system} has no stream {rule.stream}"
            )
        if rules.setdefault((rule.source_system, rule.stream, rule.part), rule) is not rule:
            raise RetentionError(f"{path.name} line {number}: says the same as an earlier line")
    return list(rules.values())


def rule_for(rules: Iterable[Rule], source: str, stream: str, part: Part) -> Rule | None:
    """The rule in force: that of the stream, else that of the source, else that of all; None where there is none."""
    known = {(rule.source_system, rule.stream): rule for rule in rules if rule.part == part}
    for place in ((source, stream), (source, _ANY), (_ANY, _ANY)):
        if place in known:
            return known[place]
    return None


def retain(
    landing: Landing,
    sources: Mapping[str, Source],
    rules: Sequence[Rule],
    now: datetime,
    *,
    dry_run: bool = False,
) -> Retained:
    """Apply the rules to everything that landed and passed gate 1; doing it again finds nothing more to do.

    Args:
        landing: where rows and pages lie.
        sources: declarations by name; what is not declared any more is left alone.
        rules: as read.
        now: aware UTC; ages count from it.
        dry_run: say what would be touched, and touch nothing.
    """
    done = Retained()
    _pages(landing, sources, rules, now, done, dry_run)
    _versions(landing, sources, rules, now, done, dry_run)
    _quarantine(landing, sources, rules, now, done, dry_run)
    return done


def _pages(
    landing: Landing, sources: Mapping[str, Source], rules: Sequence[Rule], now: datetime, done: Retained, dry_run: bool
) -> None:  # fmt: skip
    """Pages go once every batch that names one may let it go."""
    query = sa.select(
        PAGES.c.page_sha256, BATCHES.c.source, BATCHES.c.stream, BATCHES.c.gate, BATCHES.c.committed_at
    ).join(BATCHES, BATCHES.c.batch_id == PAGES.c.batch_id)
    with landing.transaction() as connection:
        gone: set[str] = set(
            connection.scalars(
                sa.select(ERASED_PAGES.c.page_sha256).where(ERASED_PAGES.c.now_sha256.is_(None))
            )
        )
        named: dict[str, list[Rule | None]] = defaultdict(list)
        for row in connection.execute(query):
            rule = rule_for(rules, row.source, row.stream, "pages") if row.source in sources else None
            is_old = rule is not None and datetime.fromisoformat(row.committed_at) < now - timedelta(
                days=rule.keep_days
            )
            named[row.page_sha256].append(rule if is_old and row.gate in ("passed", "unchanged") else None)
    for page, held in sorted(named.items()):
        rule = held[0]
        if page not in gone and rule is not None and None not in held:
            done.pages[page] = put_page(landing, page, None, dry_run)
            done.by_rule[rule] = done.by_rule.get(rule, 0) + 1


def _versions(
    landing: Landing, sources: Mapping[str, Source], rules: Sequence[Rule], now: datetime, done: Retained, dry_run: bool
) -> None:  # fmt: skip
    """Superseded rows lose what tells of a person, and so do their places in the pages."""
    with landing.transaction() as connection:
        settled: set[str] = set(
            connection.scalars(
                sa.select(BATCHES.c.batch_id).where(BATCHES.c.gate.in_(("passed", "unchanged")))
            )
        )
        gone: set[str] = set(
            connection.scalars(
                sa.select(ERASED_PAGES.c.page_sha256).where(ERASED_PAGES.c.now_sha256.is_(None))
            )
        )
    files: dict[tuple[str, str], list[LandedFile]] = defaultdict(list)
    for file in landed_files(landing, sources):
        files[file.source, file.stream.name].append(file)
    touched: dict[str, tuple[Stream, set[int]]] = {}
    for (source, name), members in sorted(files.items()):
        rule = rule_for(rules, source, name, "versions")
        if (
            rule is None or members[0].stream.document
        ):  # a document's rows are replaced as a whole, and have no versions
            continue
        current = _current([file for file in members if not file.is_child])
        for file in members:
            if file.batch_id not in settled:
                continue
            table = pq.read_table(file.path)
            hashes = table.column("_parent_hash" if file.is_child else "_record_hash").to_pylist()
            limit = now - timedelta(days=rule.keep_days)
            is_old = [at is not None and at < limit for at in table.column("_extracted_at").to_pylist()]
            rows = [at for at, digest in enumerate(hashes) if is_old[at] and digest not in current]
            changed, count = without_texts(table, rows, set(), file.key_columns, frozenset())
            if not count:
                continue
            done.rows[source, file.table] = done.rows.get((source, file.table), 0) + count
            done.by_rule[rule] = done.by_rule.get(rule, 0) + count
            if file.batch_id not in done.batches:
                done.batches.append(file.batch_id)
            for at in rows:
                page = table.column("_page_sha256")[at].as_py()
                touched.setdefault(page, (file.stream, set()))[1].add(table.column("_row_index")[at].as_py())
            if not dry_run:
                replace_file(file.path, changed)
    for page, (stream, indices) in sorted(touched.items()):
        if page not in gone and page not in done.pages:
            done.pages[page] = erase_page(landing, page, stream, indices, set(), dry_run)


def _current(files: Iterable[LandedFile]) -> set[str]:
    """Hashes of the newest version of each record."""
    newest: dict[tuple[str, ...], tuple[tuple[object, ...], str]] = {}
    for file in files:
        key, cursor = file.stream.key, file.stream.cursor
        columns = [
            *key,
            *([cursor] if cursor else []),
            "_extracted_at",
            "_batch_id",
            "_row_index",
            "_record_hash",
        ]
        for row in pq.read_table(file.path, columns=list(dict.fromkeys(columns))).to_pylist():
            at = row[cursor] if cursor else None
            order = (
                at is not None,
                at or row["_extracted_at"],
                row["_extracted_at"],
                row["_batch_id"],
                row["_row_index"],
            )
            place = tuple(str(row[name]) for name in key)
            if place not in newest or order > newest[place][0]:
                newest[place] = order, row["_record_hash"]
    return {digest for _, digest in newest.values()}


def _quarantine(
    landing: Landing, sources: Mapping[str, Source], rules: Sequence[Rule], now: datetime, done: Retained, dry_run: bool
) -> None:  # fmt: skip
    columns = (
        QUARANTINE.c.quarantine_id,
        QUARANTINE.c.source,
        QUARANTINE.c.stream,
        QUARANTINE.c.payload,
        QUARANTINE.c.extracted_at,
    )
    with landing.transaction() as connection:
        for row in connection.execute(sa.select(*columns)).all():
            rule = rule_for(rules, row.source, row.stream, "quarantine") if row.source in sources else None
            if rule is None or datetime.fromisoformat(row.extracted_at) >= now - timedelta(
                days=rule.keep_days
            ):
                continue
            payload = json.loads(row.payload)
            if isinstance(payload, dict | list):
                redact(payload, ())
            text = json.dumps(payload if isinstance(payload, dict | list) else None)
            if json.loads(row.payload) == json.loads(text):
                continue
            place = (row.source, row.stream)
            done.quarantined[place] = done.quarantined.get(place, 0) + 1
            done.by_rule[rule] = done.by_rule.get(rule, 0) + 1
            if not dry_run:
                connection.execute(
                    sa.update(QUARANTINE)
                    .where(QUARANTINE.c.quarantine_id == row.quarantine_id)
                    .values(payload=text)
                )
