"""The conservation law: pulled = landed + quarantined, passed gate 1 = loaded, landed distinct = staged, staged orders =
in the facts or listed.

Every figure is counted from the rows themselves, on both sides of each step; nothing is carried over from the step.
`pulled` is counted as a page is decoded. A bad row that comes again while it waits in quarantine counts each time it comes,
on both sides, as a good one does; the quarantine holds it once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from oms_core.warehouse import Warehouse


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
            found.append(f"{name}: {self.distinct} distinct rows landed, but {self.staged} are staged")
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

    @property
    def faults(self) -> list[str]:
        """Sentences for each side that does not add up."""
        name, found = f"{self.source} {self.currency}", []
        if self.staged_count != self.linked_count + self.orphan_count:
            found.append(
                f"{name}: {self.staged_count} order records staged, but {self.linked_count} are in fct_orders and "
                f"{self.orphan_count} are listed as orphans"
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

    @property
    def faults(self) -> list[str]:
        """Every place where the law is broken."""
        return [fault for stream in self.streams for fault in stream.faults] + [
            fault for money in self.money for fault in money.faults
        ]

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
    for row in warehouse.read(" union all ".join(parts)).to_pylist() if parts else []:
        item = manifest[(row["source"], row["stream"])]
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
        )
        for row in warehouse.read(
            "select * from marts.ops_conservation order by source_system, currency"
        ).to_pylist()
    ]
    return Conservation(sorted(streams, key=lambda item: (item.source, item.stream)), money)
