"""The conservation law: pulled = landed + quarantined, passed gate 1 = loaded, landed distinct = staged, staged orders =
in the facts or listed; and what sources count themselves is here.

Every figure is counted from the rows themselves, on both sides of each step; nothing is carried over from the step.
`pulled` is counted as a page is decoded. A bad row that comes again while it waits in quarantine counts each time it comes,
on both sides, as a good one does; the quarantine holds it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from sqlalchemy import Connection, insert

from oms_core.completeness import Comparison
from oms_core.store.tables import conservation_counts, conservation_runs, conservation_streams
from oms_core.warehouse import Warehouse

_SHOWN = 10  # rows named where the law is broken


@dataclass(frozen=True)
class StreamShape:
    """What the law needs to know of a declared stream; fields as in its declaration.

    `children` maps a child stream to its parent columns: child column -> parent field.
    """

    source: str
    name: str
    key: tuple[str, ...]
    cursor: str | None = None
    document: tuple[str, ...] = ()
    children: Mapping[str, Mapping[str, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class LandedCount:
    """What the landing manifest says of one stream, children apart, over all its batches."""

    source: str
    stream: str
    pulled: int
    landed: int
    quarantined: int
    passed: int  # of those landed, the rows gate 1 let through to the warehouse


@dataclass(frozen=True)
class StreamBalance:
    """One stream's rows on both sides of each step."""

    source: str
    stream: str
    pulled: int
    landed: int
    quarantined: int
    passed: int
    loaded: int
    distinct: int
    staged: int | None  # None: the stream has no staging model
    lost: tuple[str, ...] = ()  # some of the rows that landed and are not staged

    @property
    def faults(self) -> list[str]:
        """Sentences for each side that does not add up."""
        name, found = f"{self.source}.{self.stream}", []
        if self.pulled != self.landed + self.quarantined:
            found.append(
                f"{name}: {self.pulled} rows were pulled, but {self.landed} landed and {self.quarantined} are in quarantine"
            )
        if self.passed != self.loaded:
            found.append(
                f"{name}: {self.passed} landed rows passed gate 1, but the warehouse holds {self.loaded}"
            )
        if self.staged is None and self.landed:
            found.append(f"{name}: {self.landed} rows landed, but no staging model reads them")
        elif self.staged is not None and self.staged != self.distinct:
            shown = f": {', '.join(self.lost)}" if self.lost else ""
            found.append(f"{name}: {self.distinct} distinct rows landed, but {self.staged} are staged{shown}")
        return found


@dataclass(frozen=True)
class MoneyBalance:
    """Order documents and their net money per source and currency: staged = booked + superseded + orphaned."""

    source: str
    currency: str
    staged_count: int
    linked_count: int
    orphan_count: int
    staged_amount: Decimal
    booked_amount: Decimal
    superseded_amount: Decimal
    orphan_amount: Decimal
    lost: tuple[str, ...] = ()  # some of the documents that are neither in fct_orders nor listed

    @property
    def faults(self) -> list[str]:
        """Sentences for each side that does not add up."""
        name, found = f"{self.source} {self.currency}", []
        if self.staged_count != self.linked_count + self.orphan_count:
            found.append(
                f"{name}: {self.staged_count} order records staged, but {self.linked_count} are in fct_orders and "
                f"{self.orphan_count} are listed as orphans"
                + (f": {', '.join(self.lost)}" if self.lost else "")
            )
        after = self.booked_amount + self.superseded_amount + self.orphan_amount
        if self.staged_amount != after:
            found.append(f"{name}: {self.staged_amount} staged, but {after} booked, superseded or orphaned")
        return found


@dataclass(frozen=True)
class Conservation:
    """The whole law after one run."""

    streams: list[StreamBalance]
    money: list[MoneyBalance]
    counts: list[Comparison] = field(default_factory=list)

    @property
    def faults(self) -> list[str]:
        """Every place where the law is broken."""
        return [
            *(fault for stream in self.streams for fault in stream.faults),
            *(fault for money in self.money for fault in money.faults),
            *(count.sentence for count in self.counts if count.state == "missing"),
        ]

    @property
    def warnings(self) -> list[str]:
        """What was deleted at a source without a word, and counts that could not be compared."""
        return [count.sentence for count in self.counts if count.state in ("deleted", "not_compared")]

    @property
    def holds(self) -> bool:
        """Whether nothing is missing and nothing is double."""
        return not self.faults


def _distinct_queries(stream: StreamShape) -> list[tuple[str, str]]:
    """Queries that count, from landing alone, the rows that staging must show: (stream name, SQL)."""
    table = f"landing.{stream.source}__{stream.name}"
    key = ", ".join(f'"{name}"' for name in stream.key)
    if stream.document:
        names = ", ".join(f'"{name}"' for name in stream.document)
        # By instant, not by batch: a row replayed from quarantine keeps the instant its file came at.
        newest = f"select {names}, max(_extracted_at) as _extracted_at from {table} group by {names}"
        counted = (
            f"select distinct {key} from {table} as landed join ({newest}) as newest "
            f"using ({names}, _extracted_at)"
        )
    else:
        counted = f"select distinct {key} from {table}"
    queries = [(stream.name, f"select count(*) from ({counted}) as rows_counted")]
    if not stream.children:
        return queries
    order = f'"{stream.cursor}" desc nulls last, ' if stream.cursor else ""
    ranked = (
        f"select _record_hash as newest_hash, {key}, row_number() over (partition by {key} "
        f"order by {order}_extracted_at desc, _batch_id desc, _row_index desc) as place from {table}"
    )
    for child, columns in stream.children.items():
        links = " and ".join(
            f'child."{column}" = parent."{name}"' for column, name in columns.items() if name in stream.key
        )
        counted = (
            f"select distinct child._parent_hash, child._child_index, {', '.join(f'parent.{k}' for k in key.split(', '))} "
            f"from landing.{stream.source}__{child} as child join ({ranked}) as parent "
            f"on parent.place = 1 and child._parent_hash = parent.newest_hash"
            + (f" and {links}" if links else "")
        )
        queries.append((child, f"select count(*) from ({counted}) as rows_counted"))
    return queries


def _lost_rows(warehouse: Warehouse, stream: StreamShape) -> tuple[str, ...]:
    """Keys that landed and are not staged, and those staged more than once; some of them."""
    staging, landing = (
        f"staging.stg_{stream.source}__{stream.name}",
        f"landing.{stream.source}__{stream.name}",
    )
    if not set(stream.key) <= set(warehouse.read(f"select * from {staging} where 1 = 0").column_names):
        return ()
    key = ", ".join(f'"{name}"' for name in stream.key)
    same = " and ".join(f'staged."{name}" = landed."{name}"' for name in stream.key)
    missing = f"select distinct {key} from {landing} as landed where not exists (select 1 from {staging} as staged where {same})"
    doubled = f"select {key} from {staging} group by {key} having count(*) > 1"
    found = []
    for word, query in (("not staged", missing), ("staged twice", doubled)):
        rows = warehouse.read(f"{query} order by {key} limit {_SHOWN}").to_pylist()
        found += [f"{'/'.join(str(row[name]) for name in stream.key)} ({word})" for row in rows]
    return tuple(found)


def _lost_documents(warehouse: Warehouse, source: str, currency: str) -> tuple[str, ...]:
    """Order documents of a source and currency that are neither in fct_orders nor listed as orphans; some of them."""
    rows = warehouse.read(
        "select records.record_id from intermediate.int_order_records_linked as records "
        "left join marts.fct_orders as orders on records.order_id = orders.order_id "
        "left join identity.order_orphans as orphans on records.record_id = orphans.record_id "
        "where orders.order_id is null and orphans.record_id is null "
        f"and records.source_system = '{source}' and coalesce(records.currency, 'unknown') = '{currency}' "
        f"order by 1 limit {_SHOWN}"
    )
    return tuple(str(row["record_id"]) for row in rows.to_pylist())


def record(connection: Connection, found: Conservation) -> int:
    """Keep what a run measured, whether the law holds or not; its number."""
    run_id: int = connection.execute(
        insert(conservation_runs)
        .values(holds=found.holds, faults=found.faults, warnings=found.warnings)
        .returning(conservation_runs.c.run_id)
    ).scalar_one()
    if found.streams:
        connection.execute(
            insert(conservation_streams),
            [
                {
                    "run_id": run_id,
                    "source_system": item.source,
                    "stream": item.stream,
                    "pulled_count": item.pulled,
                    "landed_count": item.landed,
                    "quarantined_count": item.quarantined,
                    "passed_count": item.passed,
                    "loaded_count": item.loaded,
                    "distinct_count": item.distinct,
                    "staged_count": item.staged,
                }
                for item in found.streams
            ],
        )
    if found.counts:
        connection.execute(
            insert(conservation_counts),
            [
                {
                    "run_id": run_id,
                    "count_index": index,
                    "source_system": item.source,
                    "stream": item.stream,
                    "scope": item.scope,
                    "window_since": item.since,
                    "window_until": item.until,
                    "told_count": item.told,
                    "held_count": item.held,
                    "difference_count": item.difference,
                    "state": item.state,
                }
                for index, item in enumerate(found.counts)
            ],
        )
    return run_id


def measure(
    warehouse: Warehouse, shapes: Iterable[StreamShape], counts: Iterable[LandedCount]
) -> Conservation:
    """Count both sides of every step.

    Args:
        warehouse: with landing, staging and marts built.
        shapes: every declared stream.
        counts: what the landing manifest says of each stream.
    """
    manifest = {(item.source, item.stream): item for item in counts}
    staged_models = set(warehouse.tables("staging"))
    parts = []
    shapes = list(shapes)
    for shape in shapes:
        for name, query in _distinct_queries(shape):
            if (shape.source, name) not in manifest:
                continue
            model = f"stg_{shape.source}__{name}"
            staged = (
                f"(select count(*) from staging.{model})"
                if model in staged_models
                else "cast(null as bigint)"
            )
            parts.append(
                f"select '{shape.source}' as source, '{name}' as stream, ({query}) as distinct_count, "
                f"{staged} as staged_count, (select count(*) from landing.{shape.source}__{name}) as loaded_count"
            )
    streams = []
    named = {(shape.source, shape.name): shape for shape in shapes}
    for row in warehouse.read(" union all ".join(parts)).to_pylist() if parts else []:
        item = manifest[(row["source"], row["stream"])]
        whole = named.get((item.source, item.stream))
        is_off = row["staged_count"] is not None and row["staged_count"] != row["distinct_count"]
        streams.append(
            StreamBalance(
                item.source,
                item.stream,
                item.pulled,
                item.landed,
                item.quarantined,
                item.passed,
                row["loaded_count"],
                row["distinct_count"],
                row["staged_count"],
                _lost_rows(warehouse, whole) if is_off and whole is not None else (),
            )
        )
    money = [
        MoneyBalance(
            row["source_system"],
            row["currency"],
            row["staged_count"],
            row["linked_count"],
            row["orphan_count"],
            row["staged_net_amount"],
            row["booked_net_amount"],
            row["superseded_net_amount"],
            row["orphan_net_amount"],
            _lost_documents(warehouse, row["source_system"], row["currency"])
            if row["difference_count"]
            else (),
        )
        for row in warehouse.read(
            "select * from marts.ops_conservation order by source_system, currency"
        ).to_pylist()
    ]
    return Conservation(sorted(streams, key=lambda item: (item.source, item.stream)), money)
