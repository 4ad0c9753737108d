"""Candidate pairs: records that agree on one of the model's sets of columns, with blocks that would explode cut and reported."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from oms_core.identity.scoring.engines import Engine
from oms_core.identity.scoring.model import Model
from oms_core.identity.scoring.prepare import RECORD_ID, SOURCE

ROW = "row_number_of_record"


def pairs_budget(records: int) -> float:
    """How many pairs all blocking rules together may bring."""
    return max(400_000.0, 12.0 * records)


def load_nodes(engine: Engine, records: pa.Table, model: Model, *, sides: bool, new: Any) -> pa.Table:
    """Tables `nodes` (what the comparisons read, with term frequencies) and `keys` (what blocking reads).

    Returns:
        record_id and row number, in the order of both.
    """
    table = fitting(records, model, sides)
    rows = pa.array(np.arange(table.num_rows), pa.int64())
    ids = table.select([RECORD_ID]).append_column(ROW, rows)
    plain = table.drop_columns([RECORD_ID]).add_column(0, ROW, rows)
    if new is not None:
        arrow: Any = new if isinstance(new, pa.Array | pa.ChunkedArray) else pa.array(new, pa.string())
        fresh = pc.is_in(table[RECORD_ID], value_set=arrow)
        plain = plain.append_column("is_new", pc.cast(fresh, pa.int64()))
    engine.load("nodes_plain", plain)
    join_common_values(engine, model)
    return ids


def join_common_values(engine: Engine, model: Model) -> None:
    """Table `nodes`: table `nodes_plain` with what the model knows of each common value."""
    joins, extra = [], []
    for column in frequent_columns(model):
        known = model.frequencies[column].values
        engine.load(
            f"common_{column}",
            pa.table(
                {
                    column: pa.array(list(known), pa.string()),
                    f"tf_{column}": pa.array(list(known.values()), pa.float64()),
                }
            ),
        )
        joins.append(f"left join common_{column} on common_{column}.{column} = nodes_plain.{column}")
        extra.append(f", common_{column}.tf_{column}")
    engine.run("drop table if exists nodes")
    engine.run(
        f"create table nodes as select nodes_plain.*{''.join(extra)} from nodes_plain {' '.join(joins)}"
    )


def fitting(records: pa.Table, model: Model, sides: bool) -> pa.Table:
    """The columns that the model reads, sorted by record id; those that these records do not have are unknown."""
    if RECORD_ID not in records.column_names:
        raise ValueError(
            f"the records have no column {RECORD_ID}; prepare them with oms_core.identity.scoring.prepare.prepare"
        )
    if sides and SOURCE not in records.column_names:
        raise ValueError(f"linking two sides needs a column {SOURCE} that tells them apart")
    numbers = {name for name, kind in model.kinds.items() if kind == "number"}
    columns: dict[str, Any] = {RECORD_ID: records[RECORD_ID].cast(pa.string())}
    if sides:
        columns[SOURCE] = records[SOURCE].cast(pa.string())
    for name in model.columns:
        kind: Any = pa.float64() if name in numbers else pa.string()
        columns[name] = (
            records[name].cast(kind) if name in records.column_names else pa.nulls(records.num_rows, kind)
        )
    table = pa.table(columns)
    order = pc.sort_indices(table[RECORD_ID])
    return table.take(order)


def frequent_columns(model: Model) -> list[str]:
    """Columns whose common values weigh less than the rare ones."""
    used = {
        level.frequency for comparison in model.comparisons for level in comparison.levels if level.frequency
    }
    return sorted(
        column for column in used if column in model.frequencies and model.frequencies[column].values
    )


def number(engine: Engine, sql: str) -> int:
    value = engine.fetch(sql).column(0)[0].as_py()
    return int(value or 0)


def make_pairs(
    engine: Engine,
    model: Model,
    records: int,
    *,
    sides: bool,
    new: bool,
    one_in: int = 1,
) -> list[str]:
    """Table `pairs` (join_key_l < join_key_r, match_key) of all records that agree on a rule; what was cut, in sentences.

    Args:
        one_in: of the records, only every so-many-th is a left side (for training on many records).
    """
    cut: list[str] = []
    carried = (f", {SOURCE}" if sides else "") + (", is_new" if new else "")
    keys = "".join(f", {engine.key(rule)} as k{at}" for at, rule in enumerate(model.blocks))
    engine.run(f"create table keys_all as select {ROW}{carried}{keys} from nodes")
    # A table is copied only where something is to be left out of it, which is seldom.
    kept, selects = "keys_all", []
    sizes = _sizes(engine, model, kept)
    if _may_be_many_alike(engine, model, sizes):
        alike = _make_alike(engine, model, sides=sides, new=new)
        selects = ["select join_key_l, join_key_r from alike where join_key_l <> join_key_r"]
        if alike is not None:
            cut.append(alike)
            kept, sizes = "keys_kept", _sizes(engine, model, "keys_kept")
    allowed = _allowances(model, sizes, records, cut)
    if any(most is not None for most in allowed):
        columns = []
        for at, most in enumerate(allowed):
            if most is None:
                columns.append(f", k{at}")
                continue
            engine.run(
                f"create table large{at} as select k{at} as k from {kept} group by k{at} having count(*) > {most}"
            )
            columns.append(
                f", case when k{at} in (select k from large{at} where k is not null) then null else k{at} end as k{at}"
            )
        engine.run(f"create table keys as select {ROW}{carried}{''.join(columns)} from {kept}")
        kept = "keys"
    for at in range(len(model.blocks)):
        apart = f" and l.{SOURCE} <> r.{SOURCE}" if sides else ""
        sample = f" and l.{ROW} % {one_in} = 0" if one_in > 1 else ""
        if new:
            # Each pair once: a new record meets every known one, and the new ones after it.
            selects.append(
                f"select least(l.{ROW}, r.{ROW}) as join_key_l, greatest(l.{ROW}, r.{ROW}) as join_key_r "
                f"from (select * from {kept} where is_new = 1) l join {kept} r on l.k{at} = r.k{at} "
                f"where (r.is_new = 0 or l.{ROW} < r.{ROW}){apart}"
            )
        else:
            selects.append(
                f"select l.{ROW} as join_key_l, r.{ROW} as join_key_r from {kept} l join {kept} r "
                f"on l.k{at} = r.k{at} and l.{ROW} < r.{ROW}{sample}{apart}"
            )
    # What several rules bring is told apart at the end: each rule then reads its own keys alone.
    engine.run(
        f"create table pairs as select distinct join_key_l, join_key_r, '0' as match_key from ({' union all '.join(selects)}) s"
    )
    return cut


def _may_be_many_alike(engine: Engine, model: Model, sizes: Sequence[Sizes]) -> bool:
    """Whether so many records can be the same in all that is compared: they would share a block, or have no key at all."""
    if any(size.max(initial=0) > model.most_in_block for size, _ in sizes):
        return True
    none = " and ".join(f"k{at} is null" for at in range(len(model.blocks))) or "1 = 1"
    return number(engine, f"select count(*) from keys_all where {none}") > model.most_in_block


def _make_alike(engine: Engine, model: Model, *, sides: bool, new: bool) -> str | None:
    """Table `alike`: pairs of records that are the same in all that is compared, where there are too many to pair each
    with each; table `keys_kept`, if there are any: the keys without all but one of them."""
    everything = [
        f"coalesce({column if column not in number_columns(model) else f'cast({column} as {engine.text})'}, '')"
        for column in model.compared
    ]
    carried = (f", {SOURCE}" if sides else "") + (", is_new" if new else "")
    whole = engine.key(everything) if everything else "0"
    engine.run(f"create table whole as select {ROW}{carried}, {whole} as k from nodes")
    engine.run(
        f"create table many as select k, min({ROW}) as first, count(*) as size"
        + (
            f", min(case when {SOURCE} = lowest then {ROW} end) as first_left, min(case when {SOURCE} <> lowest then {ROW} end) as first_right"
            if sides
            else ""
        )
        + f" from whole{f', (select min({SOURCE}) as lowest from whole) s' if sides else ''} group by k having count(*) > {model.most_in_block}"
    )
    if not number(engine, "select count(*) from many"):
        engine.run("create table alike as select first as join_key_l, first as join_key_r from many")
        return None
    touched = " and (w.is_new = 1)" if new else ""
    if sides:
        partner = f"case when w.{ROW} < first_right and w.{SOURCE} = lowest then first_right when w.{SOURCE} = lowest then first_right else first_left end"
        engine.run(
            f"create table alike as select least(w.{ROW}, {partner}) as join_key_l, greatest(w.{ROW}, {partner}) as join_key_r "
            f"from whole w join many on w.k = many.k, (select min({SOURCE}) as lowest from whole) s "
            f"where first_left is not null and first_right is not null and w.{ROW} not in (first_left){touched}"
        )
        keep = f"keys_all.{ROW} in (first_left, first_right)"
    else:
        engine.run(
            f"create table alike as select many.first as join_key_l, w.{ROW} as join_key_r from whole w join many on w.k = many.k "
            f"where w.{ROW} <> many.first{touched}"
        )
        keep = f"keys_all.{ROW} = many.first"
    engine.run(
        f"create table keys_kept as select keys_all.* from keys_all join whole on whole.{ROW} = keys_all.{ROW} "
        f"left join many on many.k = whole.k where many.k is null or {keep}"
    )
    groups, records = (number(engine, f"select {what} from many") for what in ("count(*)", "sum(size)"))
    return (
        f"{records:,} records are alike in all that is compared, in {groups:,} groups of more than {model.most_in_block:,}; each "
        "was paired with the first of its group only."
    )


def number_columns(model: Model) -> set[str]:
    return {name for name, kind in model.kinds.items() if kind == "number"}


# Distinct sizes of a rule's blocks, rising, and how many blocks have each.
Sizes = tuple[NDArray[np.float64], NDArray[np.float64]]


def _sizes(engine: Engine, model: Model, keys: str) -> list[Sizes]:
    found = []
    for at in range(len(model.blocks)):
        table = engine.fetch(
            f"select size, count(*) as blocks from (select count(*) as size from {keys} where k{at} is not null "
            f"group by k{at}) s group by size order by size"
        )
        size, blocks = (np.asarray(table[name].to_pylist(), dtype=float) for name in ("size", "blocks"))
        found.append((size, blocks))
    return found


def _allowances(model: Model, sizes: Sequence[Sizes], records: int, cut: list[str]) -> list[int | None]:
    """The largest block that each rule may have; None where none is too large. Says in `cut` what goes."""
    # Far above what a plan for this many records asks for: only what explodes is cut.
    left = 5 * pairs_budget(records)
    allowed: dict[int, int | None] = {}
    cost = [float((size * (size - 1) / 2 * blocks).sum()) for size, blocks in sizes]
    for done, at in enumerate(sorted(range(len(sizes)), key=lambda at: (cost[at], at))):
        size, blocks = sizes[at]
        share = left / (len(sizes) - done)
        running = np.cumsum(size * (size - 1) / 2 * blocks)
        fits = (size <= model.most_in_block) & (running <= share)
        allowed[at] = None if fits.all() else int(size[fits].max(initial=1))
        left -= float(running[fits].max(initial=0.0))
        if allowed[at] is not None:
            rule = " and ".join(model.blocks[at])
            cut.append(
                f"Blocking on {rule}: {int(blocks[~fits].sum()):,} blocks of {int(size[~fits].min()):,} to "
                f"{int(size.max()):,} records would bring {int(cost[at] - running[fits].max(initial=0.0)):,} pairs and were cut; "
                f"{int((size * blocks)[~fits].sum()):,} records are affected."
            )
    return [allowed[at] for at in range(len(sizes))]
