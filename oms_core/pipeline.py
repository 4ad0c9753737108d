"""The main job once rows have landed: gate 1, load, build, identify, build, gate 2, conserve, publish.

The command line and the Airflow DAGs call `intake`, then these functions, and nothing below them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import resource
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa

from connectors import quarantine, registry
from connectors.declare import Kind, stream_schemas
from connectors.integrity import batch_digests, faulty_pages
from connectors.landing import Landing
from connectors.tombstone import tombstones
from oms_core.audit import configuration, log
from oms_core.audit.checkpoint import Signer, Verifier, stored
from oms_core.audit.verify import LandingCheck, Verdict, take_checkpoint, verify
from oms_core.builder import DBT_PROJECT, Builder
from oms_core.completeness import Comparison, Held, Told, compare
from oms_core.conservation import Conservation, LandedCount, StreamShape, measure
from oms_core.conservation import record as record_conservation
from oms_core.errors import CallError, PipelineError
from oms_core.exceptions.queue import Detected, detect
from oms_core.flows.follow import follow as follow_release
from oms_core.flows.versions import active
from oms_core.fulfilment.rebase import Rebased, rebase
from oms_core.identification import active_models, identify
from oms_core.identity import state
from oms_core.identity.golden import rules
from oms_core.intake import is_configured, rare_collections, sources_with_rows
from oms_core.kept_erased import erase_again, is_anybody_erased
from oms_core.release.publish import Batch, Publication, publish
from oms_core.release.read import current_release
from oms_core.release.tables import RELEASED_TABLES
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.warehouse import Load, Warehouse, open_warehouse, sole_writer

Say = Callable[[str], None]


@dataclass(frozen=True)
class GateOutcome:
    """What one gate said: what it judged, whether that may pass, why not, and what it only remarks on.

    `judged` counts batches at gate 1 and rows of the mart at gate 2.
    """

    gate: str
    judged: int
    passed: bool
    rejected_rows: int
    complaints: list[str]
    remarks: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class UnifyResult:
    """What `unify` did. `is_new` is false when nothing had changed since the last release."""

    is_new: bool
    release_id: int | None
    orders: int
    orphans: int
    gates: list[GateOutcome]
    conservation: Conservation | None
    warnings: list[str]
    seconds: dict[str, float] = field(default_factory=dict)


def code_version() -> str:
    """Version of this installation, with the commit where it runs from a checkout."""
    try:
        number = version("orderhub")
    except PackageNotFoundError:
        number = "unknown"
    root = Path(__file__).resolve().parent.parent
    if not (root / ".git").exists():
        return number
    found = subprocess.run(
        ["git", "-C", str(root), "rev-parse", "--short=12", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return f"{number}+{found.stdout.strip()}" if found.returncode == 0 else number


def peak_rss_mb() -> float:
    """Peak resident memory of this process so far and that of its largest ended child, added, MB.

    An upper bound: the two need not have peaked together.
    """
    peaks = (resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(peaks) / (1024 if sys.platform != "darwin" else 1024**2)


def open_builder(settings: Settings) -> Builder:
    """dbt for this installation's warehouse; a run that pulls before it unifies gives one to both."""
    return Builder(open_warehouse(settings.home, settings.warehouse_url), settings.home)


def landing_schemas() -> dict[str, pa.Schema]:
    """Arrow schema of every declared landing table, by `<source>__<stream>`."""
    return {
        f"{source.name}__{name}": schema
        for source in registry.sources().values()
        for stream in source.landed
        for name, schema in stream_schemas(stream).items()
    }


def open_gate(landing: Landing, settings: Settings, say: Say, *, recheck_held: bool = False) -> GateOutcome:
    """Gate 1: judge every waiting batch; rejected rows go to quarantine, unfit batches are held.

    Args:
        landing, settings: what to judge, and where the data docs go.
        say: told what was found.
        recheck_held: judge held batches again, after a declaration was put right.
    """
    landing.pass_unchanged()
    states = [state for state in ("pending", "held") if state == "pending" or recheck_held]
    results: list[Any] = []
    if any(landing.batches(gate=state) for state in states):
        # great-expectations takes seconds to import; only a run that has something to judge pays for it.
        from expectations.context import GateContext
        from expectations.landing import gate_landing

        context = GateContext(settings.data_docs)
        for state in reversed(states):
            results += gate_landing(landing, registry.sources(), context, state=state)
    rejected = sum(len(result.rejections) for result in results)
    complaints = [f"{result.subject}: {reason}" for result in results for reason in result.reasons]
    remarks = [f"{result.subject}: {warning}" for result in results for warning in result.warnings]
    held = landing.batches(gate="held")
    if results:
        say(f"gate 1: {len(results)} batches judged, {rejected} rows to quarantine")
    for complaint in complaints[:10]:
        say(f"held: {complaint}")
    if held and not complaints:
        complaints = [
            f"{len(held)} batches of earlier pulls are still held ({', '.join(sorted({b.source for b in held}))}); put "
            "the declaration right, then run orderhub unify --recheck-held"
        ]
    return GateOutcome("landing", len(results), not held, rejected, complaints, remarks)


def load(landing: Landing, warehouse: Warehouse) -> int:
    """Copy every batch that passed gate 1 into the warehouse; return the rows copied."""
    loads = [
        Load(
            batch.batch_id,
            f"{batch.source}__{name}",
            path,
            [
                (page, row, child)
                for stream, page, row, child in landing.gated_rows(batch.batch_id)
                if stream == name
            ],
        )
        for batch in landing.batches(gate="passed")
        for name, path in batch.files.items()
    ]
    schemas = landing_schemas()
    return warehouse.load(schemas, [item for item in loads if item.table in schemas])


class _Marts(Mapping[str, pa.Table]):
    """Some columns of some marts; each is read anew when asked for, so that one at a time is in memory."""

    def __init__(self, warehouse: Warehouse, columns: Mapping[str, Sequence[str]]) -> None:
        self._warehouse = warehouse
        self._columns = columns

    def __getitem__(self, table: str) -> pa.Table:
        return self._warehouse.read(f"select {', '.join(self._columns[table])} from marts.{table}")

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)


def check_marts(
    warehouse: Warehouse, settings: Settings, previous: Mapping[str, int], drop: Mapping[str, Any]
) -> list[GateOutcome]:
    """Gate 2: judge the marts before anybody sees them, against the rows the last release had."""
    from expectations.context import GateContext
    from expectations.release import REQUIRED_COLUMNS, gate_release

    frames = _Marts(warehouse, REQUIRED_COLUMNS)
    return [
        GateOutcome(
            f"release.{result.subject}",
            result.row_count,
            result.passed,
            0,
            list(result.reasons),
            list(result.warnings),
        )
        for result in gate_release(frames, GateContext(settings.data_docs), previous_counts=previous, **drop)
    ]


def balance(landing: Landing, warehouse: Warehouse) -> Conservation:
    """Measure the conservation law over everything pulled so far."""
    shapes = [
        StreamShape(
            source.name,
            stream.name,
            stream.key,
            stream.cursor,
            stream.document,
            {child.name: dict(child.parent) for child in stream.children},
        )
        for source in registry.sources().values()
        for stream in source.landed
    ]
    counts = [
        LandedCount(item.source, item.stream, item.pulled, item.landed, item.quarantined, item.passed)
        for item in landing.counts()
    ]
    found = measure(warehouse, shapes, counts)
    return replace(found, counts=_control_counts(landing, found))


def _control_counts(landing: Landing, found: Conservation) -> list[Comparison]:
    """What sources count themselves, beside what is here."""
    told = landing.control_counts()
    whole, balances = landing.whole_streams(), {(item.source, item.stream): item for item in found.streams}
    held, known = {}, registry.sources()
    for name in {item.source for item in told if item.source in known}:
        # What was noticed after the last count was counted still; a batch's id begins with when it began.
        counted = {
            item.stream: item.batch_id for item in told if item.source == name and item.scope == "stream"
        }
        gone = Counter(
            stream
            for (stream, _), word in tombstones(landing, known[name]).items()
            if stream in counted and f"{word.noticed_at:%Y%m%dt%H%M%S%f}" < counted[stream]
        )
        for stream in known[name].streams:
            balance = balances.get((name, stream.name))
            if stream.count is not None and balance is not None:
                waiting = quarantine.waiting_records(landing, name, stream)
                held[name, stream.name] = Held(
                    balance.distinct, waiting, gone[stream.name], (name, stream.name) in whole
                )
    return compare(
        (
            Told(item.source, item.stream, item.scope, item.least, item.most, item.received, item.since, item.until, item.complaint)
            for item in told
        ),
        held,
    )  # fmt: skip


def release(
    settings: Settings, landing: Landing, warehouse: Warehouse, database: Database, say: Say = lambda _: None
) -> Publication:
    """Publish the built marts as the next release, and sign how the audit log is then.

    Raises:
        AuditError: the log no longer begins with what was signed before; the release stands, unsigned.
    """
    built = set(warehouse.tables("marts"))
    with contextlib.ExitStack() as stack:
        marts = {name: _reader(warehouse, name, stack) for name in RELEASED_TABLES if name in built}
        with database.begin() as connection:
            configuration.note(connection, settings.actor, _configuration(settings))
        passed = landing.batches(gate="passed")
        digests = batch_digests(landing, [item.batch_id for item in passed])
        publication = publish(
            database,
            marts,
            batches=[
                Batch(item.source, item.stream, item.batch_id, digests[item.batch_id]) for item in passed
            ],
            code_version=code_version(),
            actor=settings.actor,
            progress=say,
        )
    sign(settings, database)
    return publication


def _configuration(settings: Settings) -> dict[str, Any]:
    """What this installation runs with, as the audit log may tell it."""
    return {
        "code_version": code_version(),
        "python": ".".join(map(str, sys.version_info[:3])),
        "sources": sorted(
            name for name, source in registry.sources().items() if is_configured(source, settings)
        ),
        "variables": sorted(name for name in settings.values if name.startswith("ORDERHUB_")),
        **configuration.project_digests(DBT_PROJECT),
    }


def _reader(warehouse: Warehouse, name: str, stack: contextlib.ExitStack) -> pa.RecordBatchReader:
    """The rows of a mart, read once somebody wants them: a query that waits for its turn holds memory."""
    schema = stack.enter_context(warehouse.stream(f"select * from marts.{name} where 1 = 0")).schema

    def batches() -> Iterator[pa.RecordBatch]:
        with warehouse.stream(f"select * from marts.{name}") as rows:
            yield from rows

    return pa.RecordBatchReader.from_batches(schema, batches())


# Who is believed for what lies at a node that several systems count: whoever moves the goods there, first.
_STOCK_KINDS = (Kind.WMS, Kind.POS, Kind.ERP, Kind.MARKETPLACE, Kind.FILE)


def put_stock(settings: Settings, database: Database, say: Say = lambda _: None) -> Rebased:
    """Put stock on the current release: what it counted becomes the base of what can be promised."""
    ranks = {
        source.name: _STOCK_KINDS.index(source.kind)
        for source in registry.sources().values()
        if source.kind in _STOCK_KINDS
    }
    done = rebase(database, ranks, by=settings.actor)
    say(f"stock of {done.positions:,} positions is on release {done.release_id}: {done.changed:,} changed")
    return done


def follow_orders(settings: Settings, database: Database, say: Say = lambda _: None) -> Detected:
    """Put orders where the current release says they are in their flows, once one is active, and find those that need a person."""
    with database.begin() as connection:
        has_flows = bool(active(connection))
    if has_flows:
        follow_release(database, by=settings.actor, say=say)
    return detect(database, by=settings.actor, say=say)


def sign(settings: Settings, database: Database) -> Path | None:
    """Sign how the audit log is now; the checkpoint's file, or None while the log is empty.

    Raises:
        AuditError: the log no longer begins with what was signed before.
    """
    with database.begin() as connection:
        signer = Signer.open(settings.signing_key, log.origin(connection))
        return take_checkpoint(connection, signer, settings.checkpoints)


def verify_all(
    settings: Settings, database: Database, folder: Path | None, key: str | None, say: Say = lambda _: None
) -> Verdict:
    """Check log, releases, landing and checkpoints against each other.

    Args:
        settings, database: where things are.
        folder: of checkpoints; the configured one by default.
        key: verifier key the checkpoints must bear; that of this installation by default.
        say: told each step.
    """
    if key is None and not settings.signing_key.exists():
        raise CallError(
            f"there is no signing key at {settings.signing_key}, so nothing says whose checkpoints to trust: name the "
            "verifier key with --key (orderhub audit key prints it where the log is written)"
        )
    with database.begin() as connection:
        name = log.origin(connection)
    verifier = Verifier.read(key) if key else Signer.open(settings.signing_key, name).verifier
    landing = Landing(settings.landing)
    with contextlib.closing(landing):
        check = LandingCheck(
            lambda ids: batch_digests(landing, ids), lambda erased: faulty_pages(landing, erased)
        )
        return verify(database, stored(folder or settings.checkpoints), verifier, check, say)


def unify(
    settings: Settings,
    *,
    force: bool = False,
    recheck_held: bool = False,
    largest_drop: float | None = None,
    builder: Builder | None = None,
    say: Say = lambda _: None,
) -> UnifyResult:
    """From landing to release: gate 1, load, build, identify, build, gate 2, conserve, publish.

    Args:
        settings: where things are.
        force: build even if nothing changed since the last release.
        recheck_held: let gate 1 judge held batches again.
        largest_drop: share of orders or lines a release may lose against the last one, 0 to 1; 0.05 by default.
        builder: dbt, perhaps started already; one of its own by default.
        say: told each step in a short sentence.

    Raises:
        PipelineError: a gate or the conservation law refused; the last release stays current.
        WarehouseError, StoreError: an engine could not do its part.
    """
    seconds: dict[str, float] = {}
    landing = Landing(settings.landing)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(landing))
        stack.enter_context(rare_collections())
        dbt = builder or stack.enter_context(open_builder(settings))
        stack.enter_context(sole_writer(settings.home, say=say))
        # The embedded server, when it is ours to start, starts while the gate judges.
        opening = stack.enter_context(ThreadPoolExecutor(1)).submit(_open_store, settings)
        stack.callback(lambda: None if opening.exception() else opening.result().close())
        with _timed(seconds, "gate 1"):
            if is_anybody_erased(landing):
                erase_again(landing, opening.result(), by=settings.actor, say=say)
            landing.pass_unchanged()
            if landing.batches(gate="pending"):
                dbt.start(sources_with_rows(landing))  # as does dbt
            gates = [open_gate(landing, settings, say, recheck_held=recheck_held)]
        with _timed(seconds, "store"):
            database = opening.result()
            current = current_release(database)
        mark = _mark(landing, settings, database)
        before = _last_run(settings)
        is_current = current is not None and before.get("release_id") == current.release_id
        if not force and is_current and before.get("mark") == mark:
            say(f"nothing is new since release {before['release_id']}")
            return UnifyResult(
                False, before["release_id"], before["orders"], before["orphans"], gates, None, [], seconds
            )
        drop: dict[str, Any] = {} if largest_drop is None else {"largest_drop": largest_drop}
        return _unify(settings, landing, database, dbt, gates, mark, before, seconds, say, drop)


def _open_store(settings: Settings) -> Database:
    database = Database.from_environment(settings.home, settings.values)
    try:
        database.upgrade()
    except BaseException:
        database.close()
        raise
    return database


def _unify(
    settings: Settings,
    landing: Landing,
    database: Database,
    dbt: Builder,
    gates: list[GateOutcome],
    mark: str,
    before: Mapping[str, Any],
    seconds: dict[str, float],
    say: Say,
    drop: Mapping[str, Any],
) -> UnifyResult:
    warehouse = open_warehouse(settings.home, settings.warehouse_url)
    with _timed(seconds, "load"):
        rows = load(landing, warehouse)
    say(f"{rows:,} rows loaded into the warehouse")
    with _timed(seconds, "staging"):
        dbt.start(sources_with_rows(landing))
        first = dbt.build(["resource_type:seed", "staging", "intermediate"])
    _refuse(first.failures, "staging does not pass its tests")
    say(f"staging built: {first.node_count} models and tests")
    with _timed(seconds, "identity"):
        outcome = identify(warehouse, database)
    orphans = len(outcome["order"].orphans)
    say(", ".join(f"{len(set(o.assignment.members.values())):,} {entity}s" for entity, o in outcome.items()))
    with _timed(seconds, "marts"):
        second = dbt.build(["marts"])
    dbt.dismiss()
    _refuse(second.failures, "the marts do not pass their tests")
    say(f"marts built: {second.node_count} models and tests")
    with _timed(seconds, "gate 2"):
        gates += check_marts(warehouse, settings, before.get("row_counts", {}), drop)
    _refuse(
        [f"{g.gate}: {c}" for g in gates[1:] if not g.passed for c in g.complaints],
        "gate 2 refused the marts",
    )
    with _timed(seconds, "conservation"):
        conservation = balance(landing, warehouse)
        with database.begin() as connection:
            record_conservation(connection, conservation)
    for warning in conservation.warnings:
        say(warning)
    _refuse(conservation.faults, "the conservation law is broken")
    with _timed(seconds, "release"):
        publication = release(settings, landing, warehouse, database, say)
    with _timed(seconds, "stock"):
        put_stock(settings, database, say)
    with _timed(seconds, "orders"):
        follow_orders(settings, database, say)
    orders = warehouse.read("select count(*) as n from marts.fct_orders").to_pylist()[0]["n"]
    (settings.home / "last_run.json").write_text(
        json.dumps(
            {
                "mark": mark,
                "release_id": publication.release_id,
                "orders": orders,
                "orphans": orphans,
                "row_counts": {table.seal.table: table.seal.row_count for table in publication.tables}
                or before.get("row_counts", {}),
            }
        )
    )
    warnings = [*first.warnings, *second.warnings, *conservation.warnings]
    return UnifyResult(
        publication.is_new, publication.release_id, orders, orphans, gates, conservation, warnings, seconds
    )


def _refuse(faults: Sequence[str], what: str) -> None:
    if faults:
        shown = "\n  - ".join(faults[:20])
        more = f"\n  … and {len(faults) - 20} more" if len(faults) > 20 else ""
        raise PipelineError(f"{what}; nothing was released:\n  - {shown}{more}")


def _mark(landing: Landing, settings: Settings, database: Database) -> str:
    """Fingerprint of everything a release is made from: batches that passed, decisions, models, code, warehouse."""
    digest = hashlib.sha256()
    with database.begin() as connection:
        digest.update(repr(state.recall_decisions(connection)).encode())
        digest.update(repr(rules.effective(connection)).encode())
        digest.update(
            repr({name: model.sha256 for name, model in active_models(connection).items()}).encode()
        )
    for batch in landing.batches(gate="passed"):
        digest.update(batch.batch_id.encode())
    package = Path(__file__).resolve().parent
    models = [path for ending in ("*.sql", "*.csv", "*.yml") for path in DBT_PROJECT.rglob(ending)]
    for path in sorted([*models, *package.rglob("*.py")]):
        if "target" not in path.parts:
            digest.update(path.read_bytes())
    digest.update((settings.warehouse_url or "").encode())
    return digest.hexdigest()


def _last_run(settings: Settings) -> dict[str, Any]:
    path = settings.home / "last_run.json"
    if not path.exists():
        return {}
    found: dict[str, Any] = json.loads(path.read_text())
    return found


# Steps after which the collector has much to find; looking takes a quarter of a second.
_LEAVE_CYCLES = ("gate 1", "identity")


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[step] = round(time.perf_counter() - started, 3)
        # What a step is done with goes back to the system before the next one asks for its own.
        pa.default_memory_pool().release_unused()
        if step in _LEAVE_CYCLES:
            gc.collect()
        if sys.platform == "linux":  # glibc keeps what Python gave back
            with contextlib.suppress(AttributeError, OSError):  # another C library
                ctypes.CDLL(None).malloc_trim(0)
