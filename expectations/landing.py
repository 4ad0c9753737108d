"""Gate 1: every landed batch is checked before the warehouse may load it.

A row that fails goes to quarantine with its reason; a table that is unfit as a whole keeps the batch out. The suites
follow from the declarations: what a stream declares as its key, its cursor, a currency, an amount, is expected of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import annotated_types
import pyarrow as pa
import pyarrow.parquet as pq
import sqlalchemy as sa
from pydantic import AfterValidator
from pydantic.fields import FieldInfo

from connectors.column import AMOUNT, INSTANT, QUANTITY, RATIO, known_currency
from connectors.declare import CHILD_META_FIELDS, META_FIELDS, Record, Source, Stream, stream_schemas
from connectors.extract import payload_text
from connectors.landing import FILES, CommittedBatch, Landing, Rejection, RowOrigin
from expectations.context import GateContext
from expectations.frame import to_frame
from expectations.suite import Expect, Finding, GateResult, Given, Severity, Suite, expect_currency

if TYPE_CHECKING:
    import pandas as pd

# Position in the file -> what is wrong with the row: failed expectations, or a sentence.
Faults = dict[int, list[Expect | str]]

FIRST_INSTANT = "2000-01-01T00:00:00+00:00"
CLOCK_SKEW = timedelta(days=2)
# Of one order, line, payment or stock count, in any currency or unit: beyond it, a unit or a separator was mistaken.
LARGEST_AMOUNT = 1e11
LARGEST_QUANTITY = 1e9
MOST_ROWS = 50_000_000
# So many bad rows are not bad rows but a bad batch: half an export in quarantine would pass for a quiet day.
MOST_REJECTED_SHARE = 0.5
FEWEST_ROWS_TO_HOLD = 20

# Instants that may lie ahead: what is promised, planned or going to end.
_AHEAD = ("promised", "planned", "scheduled", "expected", "expires", "expiry", "due", "deadline", "latest", "earliest",
          "pickup", "estimated", "valid", "until", "end", "available", "arrives")  # fmt: skip


def landing_suite(source: Source, name: str) -> Suite:
    """Derive the suite of one landing stream from its declaration.

    Args:
        source: the declaration.
        name: a stream or a child of one.

    Raises:
        KeyError: the source has no such stream.
    """
    stream = source.stream(name)
    expects = list(_key_expects(stream) if name == stream.name else _parent_expects(stream, name))
    record = stream.tables[name]
    for field_name, field in record.model_fields.items():
        expects += _field_expects(field_name, field, record)
    return Suite(f"landing.{source.name}.{name}", (*expects, *EXTRAS.get((source.name, name), ())))


def _key_expects(stream: Stream) -> Iterable[Expect]:
    cursor = () if stream.cursor is None else (stream.cursor,)
    for column in dict.fromkeys((*stream.key, *cursor)):
        yield Expect("expect_column_values_to_not_be_null", "is missing", column)
    # Two versions of a record in one pull are told apart by the cursor. The same row received twice is no fault: the
    # frame holds it once.
    named = tuple(dict.fromkeys((*stream.key, *cursor)))
    fault = "is the key of another row with other content"
    if len(named) == 1:
        yield Expect("expect_column_values_to_be_unique", fault, named[0])
    else:
        yield Expect("expect_compound_columns_to_be_unique", fault, arguments={"column_list": list(named)})


def _parent_expects(stream: Stream, name: str) -> Iterable[Expect]:
    child = next(item for item in stream.children if item.name == name)
    for column in (*child.parent, "_parent_hash"):
        yield Expect("expect_column_values_to_not_be_null", "is missing: the row has lost its parent", column)


def _field_expects(name: str, field: FieldInfo, record: type[Record]) -> Iterable[Expect]:
    column = record.columns()[name]
    if _is_currency(field.annotation, field.metadata):
        yield expect_currency(name)
    elif column.arrow in (AMOUNT, QUANTITY, RATIO):
        largest = LARGEST_AMOUNT if column.arrow == AMOUNT else LARGEST_QUANTITY
        least = _least(field)
        yield Expect(
            "expect_column_values_to_be_between",
            f"is not between {0 if least == 0 else -largest:,.0f} and {largest:,.0f}",
            name,
            {"min_value": float(-largest if least is None else least), "max_value": largest},
        )
    elif column.arrow == INSTANT:
        yield _instant_expect(name)
    elif pa.types.is_date(column.arrow):
        yield Expect(
            "expect_column_values_to_be_between",
            "is not between 1900 and 2200",
            name,
            {"min_value": "1900-01-01T00:00:00+00:00", "max_value": "2200-01-01T00:00:00+00:00"},
        )
    if any(companion.suffix == "gtin14" for companion in column.companions):
        yield Expect(
            "expect_column_values_to_match_regex",
            "is not a GTIN-14",
            f"{name}_gtin14",
            {"regex": r"^\d{14}$"},
        )
        yield Expect(
            "expect_column_values_to_not_be_null",
            "is null: the code received is no valid GTIN",
            f"{name}_gtin14",
            {"mostly": 0.2},
            Severity.WARN,
            where=(name, ()),
        )


def _instant_expect(name: str) -> Expect:
    is_ahead = any(part in _AHEAD for part in name.split("_"))
    return Expect(
        "expect_column_values_to_be_between",
        "is before 2000 or "
        + ("more than ten years ahead" if is_ahead else f"over {CLOCK_SKEW.days} days ahead of the pull"),
        name,
        {"min_value": FIRST_INSTANT, "max_value": Given("far_ahead" if is_ahead else "just_ahead")},
    )


def _is_currency(annotation: Any, metadata: Sequence[Any]) -> bool:
    if any(isinstance(item, AfterValidator) and item.func is known_currency for item in metadata):
        return True
    return any(_is_currency(inner, getattr(inner, "__metadata__", ())) for inner in get_args(annotation))


def _least(field: FieldInfo) -> float | None:
    for item in field.metadata:
        if isinstance(item, annotated_types.Ge | annotated_types.Gt):
            bound: Any = item.ge if isinstance(item, annotated_types.Ge) else item.gt
            return float(bound)
    return None


def gate_landing(
    landing: Landing,
    sources: Mapping[str, Source],
    context: GateContext,
    *,
    state: str = "pending",
    progress: Callable[[GateResult], None] | None = None,
) -> list[GateResult]:
    """Check every batch of one gate state, open or hold each, and build the data docs.

    Args:
        landing: batches come from here, and verdicts and rejected rows go back, batch by batch.
        sources: declarations by name.
        context: where suites run.
        state: pending, or held to check again what was held, after a declaration was put right.
        progress: called after each batch.

    Returns:
        One result per batch, oldest first.
    """
    results = []
    for batch in landing.batches(gate=state):
        result = _judge(landing, batch, sources, context)
        report = json.dumps(result.as_json(), ensure_ascii=False)
        if result.passed:
            landing.pass_gate(batch.batch_id, report, result.rejections)
        else:
            landing.hold(batch.batch_id, report)
        results.append(result)
        if progress is not None:
            progress(result)
    if any(result.findings for result in results):
        context.build_docs()
    return results


def _judge(
    landing: Landing,
    batch: CommittedBatch,
    sources: Mapping[str, Source],
    context: GateContext,
) -> GateResult:
    source = sources.get(batch.source)
    if source is None or all(batch.stream not in stream.tables for stream in source.landed):
        reason = f"{batch.source}.{batch.stream} is not declared any more: declare it again, then check the held batch again"
        return GateResult(
            "landing", batch.batch_id, f"{batch.source}.{batch.stream}", passed=False, reasons=(reason,)
        )
    return check_batch(batch, source, context, _landed_rows(landing, batch))


def _landed_rows(landing: Landing, batch: CommittedBatch) -> dict[str, int]:
    query = sa.select(FILES.c.stream, FILES.c.landed).where(FILES.c.batch_id == batch.batch_id)
    with landing.transaction() as connection:
        return {row[0]: int(row[1]) for row in connection.execute(query)}


def check_batch(
    batch: CommittedBatch, source: Source, context: GateContext, landed: Mapping[str, int] | None = None
) -> GateResult:
    """Check one batch: its stream first, then the children.

    Args:
        batch: as the manifest knows it.
        source: the declaration of its source.
        context: where the suites run.
        landed: rows per stream by the manifest, to find a file that was cut short or exchanged.

    Returns:
        Passed, with the rows to reject; or not passed, with the reasons why the batch is unfit as a whole. A row that
        fails several expectations is rejected once; the children of a rejected row are rejected with it.
    """
    started = time.perf_counter()
    subject = f"{batch.source}.{batch.stream}"
    reasons = _unfit_files(batch, source, landed or {})
    if reasons:
        return GateResult("landing", batch.batch_id, subject, passed=False, reasons=tuple(reasons))
    stream = source.stream(batch.stream)
    just_ahead = datetime.fromisoformat(batch.committed_at) + CLOCK_SKEW
    given = {
        "just_ahead": just_ahead.isoformat(),
        "far_ahead": (just_ahead + timedelta(days=3653)).isoformat(),
    }
    findings: list[Finding] = []
    rejections: list[Rejection] = []
    row_count = repeated_count = 0
    lost_parents: dict[tuple[str, int], str] = {}
    for name in (item for item in stream.tables if item in batch.files):
        is_child = name != stream.name
        suite = landing_suite(source, name)
        frame, hashes = _read_frame(batch.files[name], suite.columns)
        row_count += len(frame)
        # The same content twice is one row: it can only pass or fail twice alike.
        distinct = frame if is_child else frame[~hashes.duplicated().to_numpy()]
        repeated_count += len(frame) - len(distinct)
        found = context.check(suite, distinct, batch.batch_id, given)
        findings += found
        faults = _row_faults(found, distinct)
        table_reasons = [*_table_reasons(found), *_share_reasons(suite, found, len(faults), len(distinct))]
        reasons += table_reasons
        if table_reasons:
            continue
        if is_child:
            if lost_parents:
                faults = _with_orphans(batch.files[name], faults, lost_parents)
        elif len(distinct) < len(frame):
            faults = _with_repeats(faults, hashes)
        rejected = _rejections(batch.files[name], stream, name, faults)
        rejections += rejected
        if not is_child:
            lost_parents = {(item.origin.page_sha256, item.origin.row_index): item.error for item in rejected}
    return GateResult(
        "landing",
        batch.batch_id,
        subject,
        passed=not reasons,
        reasons=tuple(reasons),
        warnings=tuple(
            item.sentence() for item in findings if not item.passed and item.expect.severity is Severity.WARN
        ),
        findings=tuple(findings),
        rejections=tuple(rejections) if not reasons else (),
        row_count=row_count,
        repeated_count=repeated_count,
        seconds=time.perf_counter() - started,
    )


def _unfit_files(batch: CommittedBatch, source: Source, landed: Mapping[str, int]) -> list[str]:
    """Find files that cannot be read, or whose columns or number of rows are not what was declared and committed."""
    reasons = []
    schemas = stream_schemas(source.stream(batch.stream))
    for name, path in batch.files.items():
        place = f"landing.{batch.source}.{name}"
        if name not in schemas:
            reasons.append(f"{place}: the stream is not declared any more")
            continue
        try:
            metadata = pq.read_metadata(path)
        except (pa.ArrowInvalid, OSError) as error:
            reasons.append(
                f"{place}: {path.name} cannot be read as Parquet: {error}; restore it or pull the stream again"
            )
            continue
        if difference := _difference(schemas[name], metadata.schema.to_arrow_schema()):
            reasons.append(
                f"{place}: {path.name} does not have the columns declared: {difference}; pull the stream again"
            )
        if metadata.num_rows > MOST_ROWS:
            reasons.append(
                f"{place}: {path.name} holds {metadata.num_rows} rows, more than {MOST_ROWS}; pull less at a time"
            )
        if name in landed and metadata.num_rows != landed[name]:
            reasons.append(
                f"{place}: {path.name} holds {metadata.num_rows} rows where the manifest has {landed[name]}; "
                "it was changed after it landed: restore it or pull the stream again"
            )
    return reasons


def _difference(declared: pa.Schema, found: pa.Schema) -> str:
    wanted, seen = ({field.name: field.type for field in schema} for schema in (declared, found))
    said = [f"{name} is missing" for name in wanted if name not in seen]
    said += [f"{name} is not declared" for name in seen if name not in wanted]
    said += [
        f"{name} is {seen[name]} instead of {kind}"
        for name, kind in wanted.items()
        if name in seen and seen[name] != kind
    ]
    return ", ".join(said)


def _read_frame(path: Path, columns: Sequence[str]) -> tuple[pd.DataFrame, pd.Series[str]]:
    """Read the columns a suite needs, and the record hashes.

    Rejected rows are read again, exactly.
    """
    texts = [field.name for field in pq.read_schema(path) if pa.types.is_string(field.type)]
    frame = to_frame(pq.read_table(path, columns=list(columns), read_dictionary=texts))
    return frame, pq.read_table(path, columns=["_record_hash"]).column(0).to_pandas()


def _row_faults(findings: Sequence[Finding], frame: pd.DataFrame) -> Faults:
    """Rows to reject and why, by position in the file."""
    faults: Faults = {}
    for finding in findings:
        expect = finding.expect
        if finding.passed or expect.severity is not Severity.FAIL or expect.is_structural:
            continue
        positions: Iterable[int] = finding.positions
        if expect.type.endswith("_be_unique"):
            # Of several rows under one key the last one received stands, as staging would have it.
            among = frame.loc[list(finding.positions), list(expect.columns)]
            positions = among.index[among.duplicated(keep="last")]
        for position in positions:
            faults.setdefault(int(position), []).append(expect)
    return faults


def _table_reasons(findings: Sequence[Finding]) -> list[str]:
    reasons = []
    for finding in findings:
        expect = finding.expect
        if finding.passed or expect.severity is not Severity.FAIL:
            continue
        is_empty_column = (
            expect.type == "expect_column_values_to_not_be_null"
            and 1 < finding.element_count == finding.unexpected_count
        )
        if expect.is_structural or finding.error is not None or is_empty_column:
            reasons.append(finding.sentence())
    return reasons


def _share_reasons(suite: Suite, findings: Sequence[Finding], bad: int, rows: int) -> list[str]:
    if bad < FEWEST_ROWS_TO_HOLD or bad <= MOST_REJECTED_SHARE * rows:
        return []
    worst = max((item for item in findings if not item.passed), key=lambda item: item.unexpected_count)
    return [
        f"{suite.name}: {bad} of {rows} rows fail, more than {MOST_REJECTED_SHARE:.0%}; mostly: {worst.sentence()}"
    ]


def _with_repeats(faults: Faults, hashes: pd.Series[str]) -> Faults:
    """Add the other copies of the rows to reject."""
    by_hash = {hashes.iloc[position]: expects for position, expects in faults.items()}
    return {
        int(position): by_hash[hashes.iloc[position]] for position in hashes.index[hashes.isin(list(by_hash))]
    }


def _with_orphans(path: Path, faults: Faults, lost: Mapping[tuple[str, int], str]) -> Faults:
    """Add the child rows whose parent row is rejected: alone they would belong to nothing."""
    places = pq.read_table(path, columns=["_page_sha256", "_row_index"])
    pairs: Iterable[Any] = zip(places.column(0).to_pylist(), places.column(1).to_pylist(), strict=True)
    orphans = {position: lost[place] for position, place in enumerate(pairs) if place in lost}
    return {
        position: [
            *([f"its parent row is rejected: {orphans[position]}"] if position in orphans else []),
            *faults.get(position, []),
        ]
        for position in sorted({*faults, *orphans})
    }


def _rejections(path: Path, stream: Stream, name: str, faults: Faults) -> list[Rejection]:
    """Read the rejected rows again, whole and exact, and say of each where it stands and what is wrong with it."""
    parent_columns = () if name == stream.name else next(c for c in stream.children if c.name == name).parent
    meta = {field.name for field in (*META_FIELDS, *CHILD_META_FIELDS)}
    found = []
    for position, row in _rows_at(path, sorted(faults)):
        parent_values = tuple(row[column] for column in parent_columns)
        origin = RowOrigin(
            row["_page_sha256"],
            row["_row_index"],
            row["_record_hash"],
            row.get("_child_index"),
            row.get("_parent_hash"),
            parent_values,
        )
        parent = None
        if parent_columns:
            parent = json.dumps(
                {"hash": origin.parent_hash, **dict(zip(parent_columns, parent_values, strict=True))},
                default=str,
            )
        payload = payload_text({column: value for column, value in row.items() if column not in meta})
        error = "; ".join(
            fault if isinstance(fault, str) else _sentence(fault, row) for fault in faults[position]
        )
        found.append(Rejection(name, origin, payload, error, parent, stage="gate"))
    return found


def _rows_at(path: Path, positions: Sequence[int]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Whole rows of a file by ascending position, reading only the row groups they are in."""
    remaining = list(reversed(positions))
    with pq.ParquetFile(path) as file:
        first = 0
        for group in range(file.num_row_groups):
            following = first + file.metadata.row_group(group).num_rows
            chosen = []
            while remaining and remaining[-1] < following:
                chosen.append(remaining.pop())
            if chosen:
                rows = file.read_row_group(group).take([position - first for position in chosen])
                yield from zip(chosen, rows.to_pylist(), strict=True)
            first = following


def _sentence(expect: Expect, row: Mapping[str, Any]) -> str:
    columns = (expect.column,) if expect.column is not None else expect.columns
    seen = ", ".join(
        column if row[column] is None else f"{column} {_shown(row[column])}" for column in columns
    )
    return f"{seen} {expect.fault} ({expect.type})"


def _shown(value: Any) -> str:
    return repr(value[:80]) if isinstance(value, str) else str(value)


# What a declaration cannot say: (source, stream) -> expectations.
EXTRAS: Mapping[tuple[str, str], tuple[Expect, ...]] = {
    ("file_drop", "order_lines"): (
        Expect(
            "expect_column_values_to_be_between",
            "is positive on a return document",
            "qty",
            {"max_value": 0.0, "mostly": 0.99},
            Severity.WARN,
            where=("document_type", ("return",)),
        ),
    ),
}
