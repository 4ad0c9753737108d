"""The steps of the main job, in order: pull, gate 1, load, build, identify, build, gate 2, conserve, publish.

The command line and the Airflow DAGs call these functions and nothing below them.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import hashlib
import json
import resource
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Connection

from connectors import quarantine, registry
from connectors.backfill import backfill
from connectors.bulk import pull_bulk
from connectors.declare import Kind, Source, stream_schemas
from connectors.errors import ConnectorError
from connectors.extract import Progress, PullResult, pull_source, require_stream
from connectors.files import pull_feeds, pull_files
from connectors.follow import follow
from connectors.integrity import batch_digests, faulty_pages
from connectors.landing import Landing
from connectors.notification import Receiver
from connectors.tombstone import LARGEST_LOSS, note_returned, tombstones
from connectors.webhook import Incoming
from oms_core.audit import configuration, log
from oms_core.audit.checkpoint import Signer, Verifier, stored
from oms_core.audit.verify import LandingCheck, Verdict, take_checkpoint, verify
from oms_core.builder import DBT_PROJECT, Builder
from oms_core.completeness import Comparison, Held, Told, compare
from oms_core.conservation import Conservation, LandedCount, StreamShape, measure
from oms_core.conservation import record as record_conservation
from oms_core.exceptions.queue import Detected, detect
from oms_core.flows.follow import follow as follow_release
from oms_core.flows.versions import active
from oms_core.fulfilment.rebase import Rebased, rebase
from oms_core.identity import state
from oms_core.identity.golden import conflicts, rules
from oms_core.identity.resolve import Known, Resolved, resolve
from oms_core.identity.scoring.model import Model
from oms_core.identity.sku_relations import kept_apart, relate, relation_table
from oms_core.identity.stewardship import evidence, steward
from oms_core.identity.stewardship.activation import active_model
from oms_core.identity.stewardship.compare import compare as compare_ids
from oms_core.identity.stewardship.errors import ActivationRefusedError
from oms_core.identity.stewardship.queue import links, pair_tasks
from oms_core.identity.stewardship.worth import WORTH_SQL, Worth, worth_by_record
from oms_core.identity.vanished import with_vanished
from oms_core.identity.weigh import SCORED_BY_MODEL, comparable_customers, weigh
from oms_core.kept_erased import erase_again, is_anybody_erased
from oms_core.release.publish import Batch, Publication, publish
from oms_core.release.read import current_release
from oms_core.release.tables import RELEASED_TABLES
from oms_core.settings import Settings
from oms_core.store.postgres import Database
from oms_core.warehouse import Load, Warehouse, WarehouseError, open_warehouse, sole_writer

if TYPE_CHECKING:
    # The web framework is imported by whoever serves.
    from oms_core.api.hooks import Hear, Heard, Said

Say = Callable[[str], None]


class PipelineError(Exception):
    """A step refused to go on; nothing after it happened. The message says which, why and what to do."""


class CallError(PipelineError):
    """A name that was given does not exist, or options contradict each other."""


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


# pull


def is_configured(source: Source, settings: Settings) -> bool:
    """Whether a source has what it needs: its secrets, its address where it asks for none, or files in its inbox."""
    if source.feeds:
        place = inbox_of(source, settings)
        return "://" in place or Path(place).is_dir()
    if source.exports:
        return settings.inbox.is_dir() and any(settings.inbox.iterdir())
    prefix = f"ORDERHUB_{source.name.upper()}_"
    if not source.auth.secrets:
        # Nobody is asked over the internet unless somebody wanted it.
        return bool(settings.values.get(prefix + "URL"))
    return all(settings.values.get(prefix + name) for name in source.auth.secrets)


def inbox_of(source: Source, settings: Settings) -> str:
    """Folder, or URL of one, that a source reads its files from; ORDERHUB_<SOURCE>_URL names it for a source with feeds."""
    if not source.feeds:
        return str(settings.inbox)
    named = settings.values.get(f"ORDERHUB_{source.name.upper()}_URL")
    return named or str(settings.inbox / source.name)


def choose_sources(settings: Settings, names: Sequence[str]) -> list[Source]:
    """Sources by name; without names, every one that is configured.

    Raises:
        PipelineError: a name is unknown, or nothing is configured.
    """
    known = registry.sources()
    unknown = [name for name in names if name not in known]
    if unknown:
        raise CallError(f"no source {', '.join(unknown)}; there are {', '.join(known)}")
    if names:
        return [known[name] for name in dict.fromkeys(names)]
    chosen = [source for source in known.values() if is_configured(source, settings)]
    if not chosen:
        raise PipelineError(
            f"no source is configured: set the secrets of one (orderhub sources list shows them), or put files into "
            f"{settings.inbox}"
        )
    return chosen


def drop(settings: Settings, path: Path) -> Path:
    """Put a copy of an exported file, or of a mapping, into the inbox.

    Raises:
        PipelineError: another file of that name is there already.
    """
    settings.inbox.mkdir(parents=True, exist_ok=True)
    target = settings.inbox / path.name
    if target.exists() and target.read_bytes() != path.read_bytes():
        raise PipelineError(f"{target} holds another file of that name; rename {path} or remove the old one")
    if not target.exists():
        shutil.copyfile(path, target)
    return target


def pull(
    settings: Settings,
    sources: Sequence[str] = (),
    *,
    streams: Sequence[str] | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    full: bool = False,
    every: timedelta | None = None,
    parallel: int = 4,
    in_bulk: bool = False,
    notified: bool = False,
    sweeps: bool = False,
    largest_loss: float = LARGEST_LOSS,
    progress: Progress | None = None,
    builder: Builder | None = None,
) -> list[PullResult]:
    """Pull sources side by side, each source's streams one after another.

    Args:
        settings: where things are.
        sources: names; every configured one by default.
        streams: names of streams, of one source.
        since, until: aware UTC bounds of a back-fill.
        full: ignore cursors and read everything again.
        every: cut a back-fill into intervals of this length, each a batch of its own.
        parallel: intervals of one source at a time.
        in_bulk: read streams by their source's bulk operation, those that have one alone.
        notified: pull nothing but what notifications name; they are drained by any pull.
        sweeps: look for what was deleted at the sources.
        largest_loss: share of a stream's records that may be gone at once.
        progress: called after each page, from several threads.
        builder: started once rows come, at the first pull at once, so that dbt is ready when they have landed.

    Returns:
        One result per stream or file. What failed carries its error; the others went on.

    Raises:
        PipelineError: a name is unknown.
    """
    if every is not None and (since is None or until is None or since >= until or every <= timedelta(0)):
        raise CallError("a back-fill by intervals needs a span, --since before --until, and a length")
    chosen = choose_sources(settings, sources)
    if streams is not None:
        if len(chosen) != 1:
            raise CallError("streams can be named for one source at a time")
        try:
            require_stream(chosen[0], streams)
        except ConnectorError as error:
            raise CallError(str(error)) from error
    landing = Landing(settings.landing)
    landing.sweep()
    earlier = sources_with_rows(landing)
    expected = earlier | {source.name for source in chosen}
    if builder is not None and not earlier:
        builder.start(expected)

    def seen(source: str, stream: str, rows: int) -> None:
        if builder is not None and rows:
            builder.start(expected)
        if progress is not None:
            progress(source, stream, rows)

    def one(source: Source) -> list[PullResult]:
        if source.reads_files and (notified or in_bulk):
            return []
        if source.feeds:
            return pull_feeds(source, inbox_of(source, settings), landing, progress=seen, again=full)
        if source.exports:
            return pull_files(source, settings.inbox, landing, progress=seen, again=full)
        results: list[PullResult] = []
        if in_bulk:
            results = pull_bulk(
                source, landing, settings.values, streams=streams, since=since, until=until, progress=seen
            )
            results += note_returned(source, landing, results)
        elif every is not None and since is not None and until is not None:
            results = backfill(
                source,
                landing,
                settings.values,
                since,
                until,
                every,
                streams=streams,
                parallel=parallel,
                progress=seen,
            )
            results += note_returned(source, landing, results)
        elif not notified:
            results = pull_source(
                source,
                landing,
                settings.values,
                streams=streams,
                since=since,
                until=until,
                full=full,
                progress=seen,
            )
            results += note_returned(source, landing, results)
        return results + follow(
            source,
            landing,
            settings.values,
            sweeps=sweeps,
            streams=streams,
            largest_loss=largest_loss,
            progress=seen,
        )

    try:
        with (
            _rare_collections(),
            ThreadPoolExecutor(max_workers=min(8, len(chosen)), thread_name_prefix="pull") as pool,
        ):
            return [result for results in pool.map(one, chosen) for result in results]
    finally:
        landing.close()


@contextlib.contextmanager
def receiving(settings: Settings) -> Iterator[Hear]:
    """What takes notifications of sources in; `pull` drains them."""
    from oms_core.api.hooks import Heard

    receiver = Receiver(Landing(settings.landing), registry.sources(), settings.values)

    def hear(source: str, said: Said) -> Heard:
        incoming = Incoming(said.headers, said.body, said.query, said.method)
        take = receiver.receive if said.method == "POST" else receiver.challenge
        receipt = take(source, incoming)
        return Heard(receipt.outcome, receipt.detail, receipt.reply)

    try:
        yield hear
    finally:
        receiver.close()


def sources_with_rows(landing: Landing) -> set[str]:
    """Names of the sources of which anything has landed so far."""
    return {count.source for count in landing.counts() if count.landed}


@contextlib.contextmanager
def _rare_collections() -> Iterator[None]:
    """Rows by the ten thousand hold no cycles, and the collector would look through all of them again and again."""
    before = gc.get_threshold()
    gc.set_threshold(200_000, 20, 20)
    try:
        yield
    finally:
        gc.set_threshold(*before)


# unify


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


_IDENTITY_COLUMNS = {
    "int_customer_records": "record_id, source_system, customer_type, full_name, company_name, email, phone, phone_e164, "
    "tax_number, street, city, region, postcode, country, marketplace_buyer_id, parent_key, _first_seen_at",
    "int_sku_records": "record_id, source_system, sku_code, title, brand, mpn, gtin14, size_qty, size_uom, pack_qty, "
    "parent_key, _first_seen_at",
    "int_sku_recipes": "kit_record_id, component_record_id, qty, uom",
    "int_location_records": "record_id, source_system, location_name, location_type, gln, location_code, street, postcode, "
    "country, latitude, longitude, _first_seen_at",
    "int_order_records": "record_id, source_system, source_key, document_role, order_number, channel, customer_key, "
    "ordered_at, currency, net_amount, ship_to_street, ship_to_postcode, _first_seen_at",
    "int_order_references": "order_record_id, reference_type, reference_value, target_system",
    "int_shipments": "order_record_id, tracking_number",
}


def identify(warehouse: Warehouse, database: Database) -> dict[str, Resolved]:
    """Resolve identities over the staged records, write the crosswalks to store and warehouse, fill the stewards' queue."""
    rows = _identity_rows(warehouse)
    at = state.now()
    with database.begin() as connection:
        state.lock(connection)
        known, changes = _recall(connection, rows)
        models = _models(connection)
        outcome = _resolve(warehouse, rows, known, models)
        state.remember(connection, outcome, known, at, changes)
        tables = {f"{entity}_xref": state.crosswalk(connection, entity) for entity in sorted(outcome)}
        former = state.former_links(connection)
        tables["former_links"] = with_vanished(
            former, "customer", tables["customer_xref"], set(_gone(warehouse))
        )
        believed = rules.effective(connection)
    tables["survivorship_rules"] = rules.rule_table(believed)
    tables["order_orphans"] = state.orphan_table(outcome["order"].orphans)
    tables["order_shares"] = state.share_table(outcome["order"].shares)
    tables["sku_relations"] = relation_table(
        relate(rows["int_sku_records"], outcome["sku"].assignment.members, rows["int_sku_recipes"])
    )
    warehouse.replace("identity", tables)
    # Only now does the warehouse know which documents are one order. A run that dies before this does it all again.
    worth = worth_by_record(warehouse.read(WORTH_SQL).to_pylist())
    contradictions = conflicts.find(warehouse, believed)
    with database.begin() as connection:
        state.lock(connection)
        for entity, resolved in outcome.items():
            evidence.keep_records(connection, entity, rows[_RECORDS_OF[entity]], worth.get(entity))
            found = links(resolved.evidence, resolved.refusals, resolved.probabilities)
            evidence.keep_links(connection, entity, found)
            grey = [(pair.left, pair.right, pair.probability) for pair in resolved.doubtful]
            tasks = pair_tasks(entity, resolved.assignment.members, resolved.refusals, grey)
            tasks += steward.in_doubt(connection, entity)
            evidence.open_tasks(connection, entity, tasks, at)
        conflicts.raise_tasks(connection, contradictions, at)
    warehouse.replace("identity", {"survivorship_conflicts": conflicts.conflict_table(contradictions)})
    return outcome


@dataclass(frozen=True)
class Preview:
    """What runs would make of the records as they are, with the active model and with another: record -> golden id.

    `worth`: what hangs on each record.
    """

    before: Mapping[str, str]
    after: Mapping[str, str]
    worth: Mapping[str, Worth]


def preview(warehouse: Warehouse, connection: Connection, model: Model) -> Preview:
    """Resolve the records the warehouse holds under a candidate model; nothing is written.

    Args:
        connection: to the store; what is recalled of identity is as of this transaction.
        model: takes the place of the active model of its entity.

    Raises:
        PipelineError: nothing was staged and resolved yet.
    """
    if not {"int_customer_records", "int_order_records"} <= set(warehouse.tables("intermediate")):
        raise PipelineError("the warehouse holds no records yet: run `orderhub run` first")
    rows = _identity_rows(warehouse)
    known, _ = _recall(connection, rows)
    active = _models(connection)
    # Beside a run with the model active now: what came in and was decided since the last run is not the model's doing.
    before, after = (
        _resolve(warehouse, rows, known, models)[model.entity].assignment.members
        for models in (active, active | {model.entity: model})
    )
    worth = worth_by_record(warehouse.read(WORTH_SQL).to_pylist())
    return Preview(before, after, worth.get(model.entity, {}))


def differing(settings: Settings) -> Callable[[Connection, Model], dict[str, Any]]:
    """What reports on models for a server beside the warehouse; while a run builds it, that is refused."""

    def differ(connection: Connection, model: Model) -> dict[str, Any]:
        try:
            with sole_writer(settings.home, wait_seconds=_WAIT_FOR_RUN):
                found = preview(open_warehouse(settings.home, settings.warehouse_url), connection, model)
        except (PipelineError, WarehouseError) as error:
            raise ActivationRefusedError(
                f"what the model would change cannot be told now: {error}"
            ) from error
        return compare_ids(found.before, found.after, found.worth).as_json()

    return differ


def train_customers(warehouse: Warehouse, version: str) -> Model:
    """Learn a customer model from the staged records, without labels.

    Raises:
        PipelineError: nothing was staged yet.
    """
    from oms_core.identity.scoring.training import train

    if "int_customer_records" not in warehouse.tables("intermediate"):
        raise PipelineError("the warehouse holds no records yet: run `orderhub run` first")
    rows = warehouse.read(
        f"select {_IDENTITY_COLUMNS['int_customer_records']} from intermediate.int_customer_records"
    )
    return train(comparable_customers(rows.to_pylist()), entity="customer", version=version)


def _models(connection: Connection) -> dict[str, Model]:
    return {entity: active_model(connection, entity) for entity in SCORED_BY_MODEL}


_WAIT_FOR_RUN = 5.0  # seconds a request for a report on a model waits for a run to end
_RECORDS_OF = {entity: f"int_{entity}_records" for entity in ("customer", "sku", "location", "order")}


def _identity_rows(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    """Rows of the `int_` tables that identity reads, by table.

    A customer record that was deleted at its source is left out, as if it had vanished; one that was merged away there says
    into which. What was sold, where and in which document stays what it was.
    """
    rows = {
        name: warehouse.read(f"select {columns} from intermediate.{name}").to_pylist()
        for name, columns in _IDENTITY_COLUMNS.items()
    }
    gone = _gone(warehouse)
    customers = {row["record_id"] for row in rows["int_customer_records"]}
    rows["int_customer_records"] = [
        {**row, "merged_into": gone[row["record_id"]]} if row["record_id"] in gone else row
        for row in rows["int_customer_records"]
        if row["record_id"] not in gone or gone[row["record_id"]] in customers
    ]
    return rows


def _gone(warehouse: Warehouse) -> dict[str, str | None]:
    """Records that are gone at their source: record id -> id of the record that took its place."""
    query = "select gone_record_id, merged_into_record_id from intermediate.int_tombstones where is_deleted"
    return {row["gone_record_id"]: row["merged_into_record_id"] for row in warehouse.read(query).to_pylist()}


def _recall(
    connection: Connection, rows: Mapping[str, list[dict[str, Any]]]
) -> tuple[Known, dict[str, state.Changes]]:
    """What earlier runs left, and which records have changed since."""
    comparable = {entity: rows[name] for entity, name in _RECORDS_OF.items()}
    comparable["order"] = [row for row in comparable["order"] if row["document_role"] == "order"]
    changes = {entity: state.compare(connection, entity, found) for entity, found in comparable.items()}
    known = state.recall(connection)
    return replace(known, rewritten={entity: found.rewritten for entity, found in changes.items()}), changes


def _order_lines(warehouse: Warehouse, records: Collection[str]) -> list[dict[str, Any]]:
    """Lines of some order records; all columns that identity compares, but rows of those records alone."""
    table = warehouse.read(
        "select order_record_id, sku_key, qty, is_return from intermediate.int_order_lines"
    )
    asked = pc.is_in(table["order_record_id"], value_set=pa.array(sorted(records), pa.string()))
    return table.filter(asked).to_pylist()


def _resolve(
    warehouse: Warehouse, rows: Mapping[str, list[dict[str, Any]]], known: Known, models: Mapping[str, Model]
) -> dict[str, Resolved]:
    costs = warehouse.read("select entity, wrong_merge, missed_match, review from seeds.match_costs")
    return resolve(
        rows["int_customer_records"],
        rows["int_sku_records"],
        rows["int_location_records"],
        rows["int_order_records"],
        rows["int_order_references"],
        known,
        rows["int_shipments"],
        partial(_order_lines, warehouse),
        weigh(rows["int_customer_records"], rows["int_sku_records"], models, costs.to_pylist()),
        kept_apart(rows["int_sku_recipes"]),
    )


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


def replay(
    settings: Settings, source: str, stream: str | None = None, *, dry_run: bool = False
) -> list[quarantine.Replay]:
    """Validate quarantined rows again and land those that pass; what landed stands in the audit log.

    Raises:
        FatalError: there is no such source.
    """
    declared = registry.source(source)
    with contextlib.closing(Landing(settings.landing)) as landing:
        rows = quarantine.list_rows(landing, source, stream)
        if dry_run or not rows:
            return quarantine.replay(landing, declared, rows, dry_run=dry_run)
        with Database.from_environment(settings.home, settings.values) as database:
            database.upgrade()
            results = quarantine.replay(landing, declared, rows)
            happenings = [
                log.Happening(
                    "quarantine.replayed",
                    settings.actor,
                    f"{item.source}.{item.stream}",
                    {"tried": item.tried, "landed": item.landed, "batch": item.batch_id},
                )
                for item in results
                if item.landed
            ]
            with database.begin() as connection:
                log.append(connection, happenings)
    return results


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
        stack.enter_context(_rare_collections())
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
        digest.update(repr({name: model.sha256 for name, model in _models(connection).items()}).encode())
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
