"""Plans and trains models without labels: statistics of the columns, outcomes of pairs, expectation maximisation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from oms_core.identity.scoring import plan as planning
from oms_core.identity.scoring.blocking import load_nodes, make_pairs, number, pairs_budget
from oms_core.identity.scoring.engines import DuckDB, Engine, in_memory
from oms_core.identity.scoring.estimate import Estimate, Patterns, maximise
from oms_core.identity.scoring.model import Frequencies, Model
from oms_core.identity.scoring.plan import Plan
from oms_core.identity.scoring.prepare import RECORD_ID, SOURCE, kinds_of
from oms_core.identity.scoring.splink_sql import level_columns, patterns_sql

_SEED = 4
_MOST_IN_BLOCK = 300
_RANDOM_PAIRS = 150_000
_TRAINING_PAIRS = 1_000_000
_STATISTICS = 20_000
_COMMON_VALUES = 500
_LEAST_COMMON = 10


def make_plan(records: pa.Table, *, for_many: bool = False, memory_limit: str = "2GB") -> Plan:
    """What to compare and what to block on, from the columns and how their values are distributed.

    Args:
        records: a prepared table.
        for_many: the model will be used on many more records than these: take stated blocking rules, not such as these few
            records can afford.
        memory_limit: what DuckDB may use.
    """
    engine = DuckDB(memory_limit)
    try:
        columns = [name for name in records.column_names if name not in (RECORD_ID, SOURCE)]
        engine.load("nodes", _sample(records).select([*([RECORD_ID] if not columns else []), *columns]))
        return _plan(engine, records, columns, for_many)
    finally:
        engine.close()


def _sample(records: pa.Table) -> pa.Table:
    """The records, or as many of them as statistics need, chosen by their ids and not by their order."""
    if records.num_rows <= 2 * _STATISTICS:
        return records
    con = in_memory()
    try:
        con.register("every", records.select([RECORD_ID]))
        part = f"hash({RECORD_ID}) % {records.num_rows} < {_STATISTICS}"
        mask: Any = con.sql(f"select {part} as chosen from every").to_arrow_table()["chosen"]
        return records.filter(mask)
    finally:
        con.close()


def _distinct(engine: DuckDB, columns: Sequence[str]) -> dict[str, int]:
    if not columns:
        return {}
    counts = ", ".join(f"approx_count_distinct({name})" for name in columns)
    return dict(zip(columns, engine.con.execute(f"select {counts} from nodes").fetchall()[0], strict=True))


def _coded(engine: DuckDB, names: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """Values as numbers, -1 where unknown."""
    if not names:
        return {}
    table = engine.fetch(f"select {', '.join(names)} from nodes")
    coded = {}
    for name in names:
        values: Any = table[name].combine_chunks().dictionary_encode()
        coded[name] = np.asarray(values.indices.fill_null(-1).to_numpy(zero_copy_only=False)).astype(np.int64)
    return coded


def _plan(engine: DuckDB, records: pa.Table, columns: Sequence[str], for_many: bool) -> Plan:
    left_out: list[str] = []
    usable: list[str] = []
    known: dict[str, float] = {}
    sampled = max(number(engine, "select count(*) from nodes"), 1)
    distinct = _distinct(engine, columns)
    for name in columns:
        present = records.num_rows - records[name].null_count
        known[name] = present / max(records.num_rows, 1)
        if present == 0:
            left_out.append(f"{name} is empty in all {records.num_rows:,} records and is not compared.")
        elif distinct[name] < 2 and records.num_rows > 2 and len(records[name].drop_null().unique()) < 2:
            left_out.append(
                f"{name} has one value in all {present:,} records that have any and is not compared."
            )
        else:
            usable.append(name)
    kinds = kinds_of(records)
    comparisons = planning.comparisons(usable, {name: kind for name, kind in kinds.items() if name in usable})
    fields = {column for comparison in comparisons for column in comparison.columns} | {
        c.field for c in comparisons
    }
    candidates = []
    if for_many:
        stated = tuple(rule for rule in planning.STATED_BLOCKS if set(rule) <= set(usable))
        return Plan(comparisons, stated, _MOST_IN_BLOCK, kinds, tuple(left_out))
    growth = max(1.0, records.num_rows / sampled)

    # As numbers, since hundreds of rules are counted.
    coded = _coded(engine, [name for name in usable if kinds.get(name) != "number"])

    def sizes(rule: tuple[str, ...]) -> tuple[float, float, float]:
        """Pairs in blocks not too large, the share of records outside those too large, and the share of pairs that agree."""
        combined = np.zeros(len(coded[rule[0]]), dtype=np.int64)
        for column in rule:
            values = coded[column]
            combined = np.where(
                (combined < 0) | (values < 0), -1, combined * (int(values.max()) + 2) + values
            )
        size = np.unique(combined[combined >= 0], return_counts=True)[1].astype(float)
        pairs, fits = size * (size - 1) / 2, size * growth <= _MOST_IN_BLOCK
        agreeing = pairs.sum() / max(sampled * (sampled - 1) / 2, 1)
        return (
            float(pairs[fits].sum()) * growth**2,
            float(size[fits].sum() / max(size.sum(), 1)),
            float(agreeing),
        )

    for column, base, survives in planning.forms(list(coded), fields):
        pairs, kept, agreeing = sizes((column,))
        candidates.append(planning.Form(column, base, survives, pairs, known[column], kept, agreeing))

    def count(rule: tuple[str, ...]) -> tuple[float, float]:
        return sizes(rule)[:2]

    blocks = planning.choose_blocks(
        candidates, count, records.num_rows, budget=pairs_budget(records.num_rows)
    )
    return Plan(comparisons, tuple(blocks), _MOST_IN_BLOCK, kinds, tuple(left_out))


def train(
    records: pa.Table,
    plan: Plan | None = None,
    *,
    entity: str = "generic",
    version: str = "trained",
    trained_on: str | None = None,
    memory_limit: str = "2GB",
) -> Model:
    """Estimate a model from the records alone.

    How often records of different entities agree (u) comes from pairs drawn at random and from the values' frequencies, less
    the matches among them; how often records of one entity do (m) and how many pairs are matches (the prior) come from
    expectation maximisation over the pairs that blocking brings. Where there is little to learn from, the plan's stated
    priors stand. Same records, same model, in whatever order they come.

    Args:
        records: prepared table; may be empty.
        plan: from `make_plan`, which is called when it is not given.
        entity, version, trained_on: what to call the model.
        memory_limit: what DuckDB may use.
    """
    plan = plan or make_plan(records, memory_limit=memory_limit)
    total = records.num_rows
    all_pairs = total * (total - 1) / 2
    first = Model(
        entity=entity,
        version=version,
        trained_on=trained_on or f"{total:,} records, without labels",
        records=total,
        prior=_stated_prior(total),
        comparisons=plan.comparisons,
        blocks=plan.blocks,
        most_in_block=plan.most_in_block,
        frequencies={},
        kinds=dict(plan.kinds),
    )
    if total < 2 or not plan.comparisons:
        return first
    engine = DuckDB(memory_limit)
    try:
        load_nodes(engine, records, first, sides=False, new=None)
        one_in = max(1, round(pairs_budget(total) / _TRAINING_PAIRS / 2)) if total > 50_000 else 1
        make_pairs(engine, first, total, sides=False, new=False, one_in=one_in)
        blocked = _patterns(engine, first)
        engine.run("drop table pairs")
        engine.load("pairs", _random_pairs(total))
        random = _patterns(engine, first)
        shares = _agreeing_shares(engine, first)
        known = _known_pairs(engine, first)
        fields = {comparison.field for comparison in first.comparisons}
        together = ("given_name", "surname") if "full_name" in fields else ()
        estimate = maximise(first, blocked, random, shares, all_pairs, known, one_in, together)
        return _with_frequencies(engine, first, estimate, shares)
    finally:
        engine.close()


def _stated_prior(records: int) -> float:
    """Before anything is known: one match per ten records."""
    return 0.1 / max(records, 2)


def _patterns(engine: Engine, model: Model) -> Patterns:
    table = engine.fetch(patterns_sql(model, engine.dialect))
    names = level_columns(model)
    levels = np.column_stack([table[name].to_numpy().astype(np.int64) for name in names])
    return Patterns(levels.reshape(-1, len(names)), table["pairs"].to_numpy().astype(float))


def _random_pairs(total: int) -> pa.Table:
    """Pairs of row numbers: all where they are few, else drawn at random with a fixed seed."""
    if total * (total - 1) / 2 <= _RANDOM_PAIRS:
        left, right = np.triu_indices(total, 1)
    else:
        generator = np.random.default_rng(_SEED)
        left = generator.integers(0, total, _RANDOM_PAIRS)
        right = (left + generator.integers(1, total, _RANDOM_PAIRS)) % total
        left, right = np.minimum(left, right), np.maximum(left, right)
    return pa.table(
        {
            "join_key_l": pa.array(left, pa.int64()),
            "join_key_r": pa.array(right, pa.int64()),
            "match_key": pa.array(["0"] * len(left), pa.string()),
        }
    )


def _known_pairs(engine: Engine, model: Model) -> dict[str, float]:
    """Number of pairs in which a field is known on both sides; of a field of several columns, the first that counts."""
    found = {}
    for comparison in model.comparisons:
        known = number(
            engine,
            f"select max(n) from ({' union all '.join(f'select count({c}) as n from nodes' for c in comparison.columns)}) s",
        )
        found[comparison.field] = known * (known - 1) / 2
    return found


def _agreeing_shares(engine: Engine, model: Model) -> dict[str, float]:
    """Share of all pairs that agree on a column, among those that know it, by counting values."""
    shares = {}
    for comparison in model.comparisons:
        column = comparison.agrees_on
        if column is not None:
            row = engine.fetch(
                f"select sum(size * (size - 1)) as same, sum(size) as known from "
                f"(select count(*)::double as size from nodes where {column} is not null group by {column}) s"
            ).to_pylist()[0]
            known = row["known"] or 0.0
            if known > 1:
                shares[comparison.field] = row["same"] / (known * (known - 1))
    return shares


def _with_frequencies(engine: Engine, model: Model, estimate: Estimate, shares: Mapping[str, float]) -> Model:
    """The model with its estimates, common values apart from rare ones."""
    frequencies: dict[str, Frequencies] = {}
    comparisons = []
    namesakes = _namesakes(engine, model, estimate)
    for at, comparison in enumerate(model.comparisons):
        m, u = estimate.m[at][::-1], estimate.u[at][::-1]
        levels = [
            level.model_copy(update={"m": _round(m[place]), "u": _round(u[place])})
            for place, level in enumerate(comparison.levels)
        ]
        if levels[0].label == planning.NAMESAKES and namesakes > 1:
            levels[0] = levels[0].model_copy(update={"m": _round(1 / namesakes), "u": 1.0, "neutral": False})
        for place, level in enumerate(levels):
            if level.frequency is None:
                continue
            values, rest = _common(engine, level.frequency, float(u[place]), estimate.prior, float(m[place]))
            if values:
                frequencies[level.frequency] = Frequencies(values=values)
                levels[place] = level.model_copy(update={"u": _round(rest)})
        comparisons.append(comparison.model_copy(update={"levels": tuple(levels)}))
    return model.model_copy(
        update={
            "comparisons": tuple(comparisons),
            "prior": _round(estimate.prior),
            "frequencies": frequencies,
        }
    )


def _namesakes(engine: Engine, model: Model, estimate: Estimate) -> float:
    """How much more often people share both names than two independent draws would; 1 where that cannot be told."""
    fields = [comparison.field for comparison in model.comparisons]
    if "full_name" not in fields:
        return 1.0
    row = engine.fetch(
        "select sum(size * (size - 1)) / 2 as same, sum(size) as known from (select count(*)::double as size from nodes "
        "where given_name is not null and surname is not null group by given_name, surname) s"
    ).to_pylist()[0]
    known = row["known"] or 0.0
    if known < 2:
        return 1.0
    alone = 1.0
    for name in ("given_name", "surname"):
        at = fields.index(name)
        alone *= float(estimate.u[at][len(estimate.u[at]) - 1 - model.comparisons[at].top])
    others = max(row["same"] - estimate.matches_together, 0.0)
    expected = alone * known * (known - 1) / 2
    # A few namesakes more or less prove nothing.
    return float(np.clip((others + 3.0) / (expected + 3.0), 1.0, 256.0))


def _round(value: float) -> float:
    """Twelve significant digits: sums in another order must not make another model."""
    return float(np.clip(float(f"{value:.12g}"), 1e-12, 1.0))


def _common(engine: Engine, column: str, u: float, prior: float, m: float) -> tuple[dict[str, float], float]:
    """Chance agreement on each common value of a column, and on all others.

    A level that also asks for something else (postcode and city) has a smaller u than its column has; each value's share is
    brought down in the same proportion.
    """
    known = number(engine, f"select count({column}) from nodes")
    table = engine.fetch(
        f"select {column} as value, count(*) as size from nodes where {column} is not null group by {column} "
        f"having count(*) >= {_LEAST_COMMON} order by size desc, value limit {_COMMON_VALUES}"
    )
    if known < 2 or not table.num_rows:
        return {}, u
    shares = np.asarray(table["size"].to_pylist(), dtype=float) / known
    same = float(
        engine.fetch(
            f"select sum(size * (size - 1)) as same from (select count(*)::double as size from nodes where {column} is not null "
            f"group by {column}) s"
        )
        .column(0)[0]
        .as_py()
    ) / (known * (known - 1))
    chance = max(same - prior * m, float((shares**2).sum()) * 0.5, 1e-12)
    scale = min(1.0, u / chance)
    listed = float(shares.sum())
    rest = (chance - float((shares**2).sum())) / max(1 - listed, 1e-9)
    # No rarer than if one other entity had it, with as many records as entities have on average, weighted by their records:
    # from so many nothing rarer can be known.
    rest = max(rest, (1 + prior * (known - 1)) / known) if listed < 1 else float(shares.min())
    worth = shares > 1.5 * rest
    values: dict[str, float] = dict(
        zip(map(str, table["value"].to_pylist()), (_round(share * scale) for share in shares), strict=True)
    )
    kept = {value: share for (value, share), keep in zip(values.items(), worth, strict=True) if keep}
    return dict(sorted(kept.items())), min(rest * scale, 1.0)
