"""Scores for pairs of records with several fields (people, companies, places): Fellegi and Sunter's model, by Splink.

`make_plan` says what to compare and what to block on, `train` estimates the model without labels, `score` finds candidate
pairs and lets Splink's SQL weigh them in DuckDB, PostgreSQL or Spark, `explain` takes one score apart. The same records and
the same model give the same scores, whatever else is loaded: term frequencies are part of the model.

Source: I. P. Fellegi, A. B. Sunter, A Theory for Record Linkage, JASA 64 (1969); https://moj-analytical-services.github.io/splink
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from splink import SettingsCreator
from splink.internals.comparison_vector_values import compute_comparison_vector_values_from_id_pairs_sqls
from splink.internals.dialects import SplinkDialect
from splink.internals.pipeline import CTEPipeline
from splink.internals.predict import predict_from_comparison_vectors_sqls

from oms_core.identity import plan as planning
from oms_core.identity.engines import DuckDB, Engine, open_engine
from oms_core.identity.model import Comparison, Frequencies, Model
from oms_core.identity.plan import Plan
from oms_core.identity.prepare import RECORD_ID, SOURCE, kinds_of

ROW = "row_number_of_record"
# Pairs below this probability are not returned; far below any threshold that sensible costs give.
AT_LEAST = 0.01
_SEED = 4
_RANDOM_PAIRS = 300_000
_TRAINING_PAIRS = 1_000_000
_MOST_ROUNDS = 60
_COMMON_VALUES = 500
_LEAST_COMMON = 10


@dataclass(frozen=True)
class Scored:
    """Pairs with their probabilities, and what was left out, in sentences.

    `pairs`: left_id, right_id (text, left_id < right_id), probability, match_weight (log2 odds) as float64, and one int8
    column per comparison: the number of the level from 0 (nothing in common) up, -1 where a value is unknown. Sorted by
    left_id, right_id.
    """

    pairs: pa.Table
    cut: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class FieldWeight:
    """What one field says for (positive bits) or against (negative bits) two records being one entity."""

    field: str
    left_value: str | None
    right_value: str | None
    level_label: str
    weight_bits: float


# --- blocking -------------------------------------------------------------------------------------------------------


def _pairs_budget(records: int) -> float:
    """How many pairs all blocking rules together may bring."""
    return max(400_000.0, 12.0 * records)


def make_plan(records: pa.Table, *, scale: int | None = None, memory_limit: str = "2GB") -> Plan:
    """What to compare and what to block on, from the columns and how their values are distributed.

    Args:
        records: a prepared table.
        scale: number of records that the blocking rules should be affordable for, if larger than this table.
        memory_limit: what DuckDB may use.
    """
    engine = DuckDB(memory_limit)
    try:
        columns = [name for name in records.column_names if name not in (RECORD_ID, SOURCE)]
        engine.load("nodes", records.select([*([RECORD_ID] if not columns else []), *columns]))
        return _plan(engine, records, columns, scale)
    finally:
        engine.close()


def _plan(engine: DuckDB, records: pa.Table, columns: Sequence[str], scale: int | None) -> Plan:
    left_out = []
    usable = []
    known: dict[str, float] = {}
    total = max(records.num_rows, 1)
    if columns:
        counts = ", ".join(f"approx_count_distinct({name}), count({name})" for name in columns)
        row = engine.con.execute(f"select {counts} from nodes").fetchall()[0]
        for at, name in enumerate(columns):
            distinct, present = row[2 * at], row[2 * at + 1]
            known[name] = present / total
            if present == 0:
                left_out.append(f"{name} is empty in all {records.num_rows:,} records and is not compared.")
            elif distinct < 2 and records.num_rows > 2:
                left_out.append(
                    f"{name} has the same value in all {present:,} records that have one and is not compared."
                )
            else:
                usable.append(name)
    kinds = kinds_of(records)
    comparisons = planning.comparisons(usable, {name: kind for name, kind in kinds.items() if name in usable})
    fields = {column for comparison in comparisons for column in comparison.columns} | {
        c.field for c in comparisons
    }
    candidates = []
    growth = max(1.0, (scale or 0) / total)
    most = 300

    def sizes(rule: tuple[str, ...]) -> tuple[float, float, float]:
        """Pairs in blocks not too large, the share of records outside those too large, and the share of pairs that agree."""
        known_all = " and ".join(f"{column} is not null" for column in rule)
        row = engine.con.execute(
            f"""select coalesce(sum(pairs) filter (fits), 0), coalesce(sum(size) filter (fits), 0), coalesce(sum(size), 0),
                coalesce(sum(pairs), 0)
            from (select size, size * (size - 1) / 2 as pairs, size * {growth} <= {most} as fits from
                (select count(*)::double as size from nodes where {known_all} group by {", ".join(rule)}))"""
        ).fetchall()[0]
        return float(row[0]) * growth**2, row[1] / max(row[2], 1.0), row[3] / max(total * (total - 1) / 2, 1)

    for column, base, survives in planning.forms([c for c in usable if kinds.get(c) != "number"], fields):
        pairs, kept, agreeing = sizes((column,))
        candidates.append(planning.Form(column, base, survives, pairs, known[column], kept, agreeing))

    def count(rule: tuple[str, ...]) -> tuple[float, float]:
        return sizes(rule)[:2]

    target = max(records.num_rows, scale or 0)
    blocks = planning.choose_blocks(candidates, count, target, budget=_pairs_budget(target))
    return Plan(comparisons, tuple(blocks), most, kinds, tuple(left_out))


def _load_nodes(
    engine: Engine, records: pa.Table, model: Model, *, sides: bool, new: pa.Array | None
) -> pa.Table:
    """Tables `nodes` (what the comparisons read, with term frequencies) and `keys` (what blocking reads).

    Returns:
        The record ids in order of their row number.
    """
    table = _fitting(records, model, sides)
    ids = table.select([RECORD_ID])
    plain = table.drop_columns([RECORD_ID]).add_column(
        0, ROW, pa.array(np.arange(table.num_rows), pa.int64())
    )
    if new is not None:
        fresh = pc.is_in(table[RECORD_ID], value_set=pa.array(new).cast(pa.string()))
        plain = plain.append_column("is_new", pc.cast(fresh, pa.int64()))
    engine.load("nodes_plain", plain)
    joins, extra = [], []
    for column in _frequent(model):
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
    engine.run(
        f"create table nodes as select nodes_plain.*{''.join(extra)} from nodes_plain {' '.join(joins)}"
    )
    return ids


def _fitting(records: pa.Table, model: Model, sides: bool) -> pa.Table:
    """The columns that the model reads, sorted by record id; those that these records do not have are unknown."""
    if RECORD_ID not in records.column_names:
        raise ValueError(
            f"the records have no column {RECORD_ID}; prepare them with oms_core.identity.prepare.prepare"
        )
    if sides and SOURCE not in records.column_names:
        raise ValueError(f"linking two sides needs a column {SOURCE} that tells them apart")
    numbers = {name for name, kind in model.kinds.items() if kind == "number"}
    columns = {RECORD_ID: records[RECORD_ID].cast(pa.string())}
    if sides:
        columns[SOURCE] = records[SOURCE].cast(pa.string())
    for name in model.columns:
        kind = pa.float64() if name in numbers else pa.string()
        columns[name] = (
            records[name].cast(kind) if name in records.column_names else pa.nulls(records.num_rows, kind)
        )
    table = pa.table(columns)
    order = pc.sort_indices(table[RECORD_ID])
    return table.take(order)


def _frequent(model: Model) -> list[str]:
    """Columns whose common values weigh less than the rare ones."""
    used = {
        level.frequency for comparison in model.comparisons for level in comparison.levels if level.frequency
    }
    return sorted(
        column for column in used if column in model.frequencies and model.frequencies[column].values
    )


def _number(engine: Engine, sql: str) -> int:
    value = engine.fetch(sql).column(0)[0].as_py()
    return int(value or 0)


def _make_pairs(
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
    alike = _make_alike(engine, model, sides=sides, new=new)
    if alike:
        cut.append(alike)
    kept = []
    for at, (rule, most) in enumerate(_allowances(engine, model, records, cut)):
        if most is None:
            kept.append(f", k{at}")
            continue
        engine.run(
            f"create table large{at} as select k{at} as k from keys_kept group by k{at} having count(*) > {most}"
        )
        kept.append(
            f", case when k{at} in (select k from large{at} where k is not null) then null else k{at} end as k{at}"
        )
        del rule
    engine.run(f"create table keys as select {ROW}{carried}{''.join(kept)} from keys_kept")
    selects = ["select join_key_l, join_key_r, '0' as match_key from alike where join_key_l <> join_key_r"]
    for at in range(len(model.blocks)):
        before = "".join(f" and coalesce(l.k{earlier} <> r.k{earlier}, true)" for earlier in range(at))
        apart = f" and l.{SOURCE} <> r.{SOURCE}" if sides else ""
        sample = f" and l.{ROW} % {one_in} = 0" if one_in > 1 else ""
        if new:
            # Each pair once: a new record meets every known one, and the new ones after it.
            selects.append(
                f"select least(l.{ROW}, r.{ROW}) as join_key_l, greatest(l.{ROW}, r.{ROW}) as join_key_r, '0' as match_key "
                f"from (select * from keys where is_new = 1) l join keys r on l.k{at} = r.k{at} "
                f"where (r.is_new = 0 or l.{ROW} < r.{ROW}){before}{apart}"
            )
        else:
            selects.append(
                f"select l.{ROW} as join_key_l, r.{ROW} as join_key_r, '0' as match_key from keys l join keys r "
                f"on l.k{at} = r.k{at} and l.{ROW} < r.{ROW}{sample} where true{before}{apart}"
            )
    engine.run("create table pairs as " + " union all ".join(selects))
    return cut


def _make_alike(engine: Engine, model: Model, *, sides: bool, new: bool) -> str | None:
    """Table `alike`: pairs of records that are the same in all that is compared, where there are too many to pair each
    with each; table `keys_kept`: the keys without all but one of them."""
    compared = list(
        dict.fromkeys(column for comparison in model.comparisons for column in comparison.columns)
    )
    everything = [
        f"coalesce({column}{'' if column not in _numbers(model) else '::text'}, '')" for column in compared
    ]
    carried = (f", {SOURCE}" if sides else "") + (", is_new" if new else "")
    whole = engine.key(everything) if compared else "0"
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
    if not _number(engine, "select count(*) from many"):
        engine.run("create table alike as select first as join_key_l, first as join_key_r from many")
        engine.run("create table keys_kept as select * from keys_all")
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
    groups, records = (_number(engine, f"select {what} from many") for what in ("count(*)", "sum(size)"))
    return (
        f"{records:,} records are alike in all that is compared, in {groups:,} groups of more than {model.most_in_block:,}; each "
        "was paired with the first of its group only."
    )


def _numbers(model: Model) -> set[str]:
    return {name for name, kind in model.kinds.items() if kind == "number"}


def _allowances(
    engine: Engine, model: Model, records: int, cut: list[str]
) -> list[tuple[tuple[str, ...], int | None]]:
    """The largest block that each rule may have; None where none is too large. Says in `cut` what goes."""
    sizes = []
    for at in range(len(model.blocks)):
        table = engine.fetch(
            f"select size, count(*) as blocks from (select count(*) as size from keys_kept where k{at} is not null "
            f"group by k{at}) s group by size order by size"
        )
        sizes.append(
            (
                np.asarray(table["size"].to_pylist(), dtype=float),
                np.asarray(table["blocks"].to_pylist(), dtype=float),
            )
        )
    left = _pairs_budget(records)
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
                f"Blocking on {rule}: {int(blocks[~fits].sum()):,} blocks of more than {allowed[at]:,} records, the largest of "
                f"{int(size.max()):,}, would bring {int(cost[at] - running[fits].max(initial=0.0)):,} pairs and were cut; "
                f"{int((size * blocks)[~fits].sum()):,} records are affected."
            )
    return [(model.blocks[at], allowed[at]) for at in range(len(sizes))]


# --- scoring --------------------------------------------------------------------------------------------------------


def _settings(model: Model, dialect: str) -> Any:
    """The model in Splink's own terms."""
    frequent = set(_frequent(model))
    comparisons = []
    for comparison in model.comparisons:
        levels: list[dict[str, Any]] = [
            {"sql_condition": comparison.unknown, "label_for_charts": "unknown", "is_null_level": True}
        ]
        for level in comparison.levels:
            entry: dict[str, Any] = {
                "sql_condition": level.test or "ELSE",
                "label_for_charts": level.label,
                "m_probability": level.u if level.neutral else level.m,
                "u_probability": level.u,
            }
            if level.frequency in frequent:
                entry |= {
                    "tf_adjustment_column": level.frequency,
                    "tf_adjustment_weight": 1.0,
                    "disable_tf_exact_match_detection": True,
                }
            levels.append(entry)
        comparisons.append({"output_column_name": comparison.field, "comparison_levels": levels})
    creator = SettingsCreator(
        link_type="dedupe_only",
        unique_id_column_name=ROW,
        comparisons=comparisons,
        blocking_rules_to_generate_predictions=[],
        probability_two_random_records_match=model.prior,
        linker_uid="orderhub",
    )
    return creator.get_settings(dialect)


def _splink_sql(model: Model, dialect: str, *, least_weight: float | None, parts: bool = False) -> str:
    """Splink's statement that compares and weighs table `pairs` over table `nodes`."""
    settings = _settings(model, dialect)
    ids = settings.column_info_settings
    pipeline = CTEPipeline()
    pipeline.enqueue_sql("select * from nodes", "__splink__df_concat_with_tf")
    pipeline.enqueue_sql("select * from pairs", "__splink__blocked_id_pairs")
    pipeline.enqueue_list_of_sqls(
        compute_comparison_vector_values_from_id_pairs_sqls(
            list(dict.fromkeys([f"l.{ROW} as {ROW}_l", f"r.{ROW} as {ROW}_r", *_compared(settings)])),
            settings.columns_to_select_for_comparison_vector_values(
                unique_id_input_columns=ids.unique_id_input_columns,
                comparisons=settings.comparisons,
                retain_matching_columns=False,
                additional_columns_to_retain=[],
            ),
            input_tablename_l="__splink__df_concat_with_tf",
            input_tablename_r="__splink__df_concat_with_tf",
            source_dataset_input_column=None,
            unique_id_input_column=ids.unique_id_input_column,
            link_type="dedupe_only",
            sql_dialect_str=dialect,
        )
    )
    pipeline.enqueue_list_of_sqls(
        predict_from_comparison_vectors_sqls(
            unique_id_input_columns=ids.unique_id_input_columns,
            core_model_settings=settings.core_model_settings,
            sql_dialect=SplinkDialect.from_string(dialect),
            threshold_match_weight=least_weight,
            retain_intermediate_calculation_columns=parts,
            training_mode=True,
        )
    )
    return str(pipeline.generate_cte_pipeline_sql())


def _compared(settings: Any) -> list[str]:
    return [
        column
        for comparison in settings.comparisons
        for column in comparison._columns_to_select_for_blocking()
    ]


def score(
    records: pa.Table,
    model: Model,
    *,
    new: pa.Array | None = None,
    sides: bool = False,
    at_least: float = AT_LEAST,
    memory_limit: str = "2GB",
    warehouse: Any = None,
) -> Scored:
    """Find and score candidate pairs.

    Args:
        records: prepared table (see `prepare.prepare`).
        model: a trained or shipped model.
        new: ids; only pairs that touch one of these.
        sides: only pairs of records of different `source_system`.
        at_least: pairs of lower probability are left out.
        memory_limit: what DuckDB may use, such as "2GB".
        warehouse: where to compare: nothing for DuckDB in memory, a DuckDB connection, a SQLAlchemy engine of PostgreSQL or a
            Spark session.

    Raises:
        ValueError: the records have no `record_id`, or no `source_system` for `sides`.
    """
    levels = [comparison.field for comparison in model.comparisons]
    if records.num_rows < 2 or not model.comparisons:
        return Scored(_no_pairs(levels), list(_too_little(records, model)))
    engine = open_engine(warehouse, memory_limit)
    try:
        ids = _load_nodes(engine, records, model, sides=sides, new=new)
        cut = _make_pairs(engine, model, records.num_rows, sides=sides, new=new is not None)
        least = float(np.log2(at_least / (1 - at_least))) if 0 < at_least < 1 else None
        found = engine.fetch(_splink_sql(model, engine.dialect, least_weight=least))
        return Scored(_named(found, ids, levels), cut)
    finally:
        engine.close()


def _too_little(records: pa.Table, model: Model) -> list[str]:
    if not model.comparisons and records.num_rows > 1:
        return ["No column tells the records apart, so nothing was compared."]
    return []


def _no_pairs(levels: Sequence[str]) -> pa.Table:
    kinds = {
        "left_id": pa.string(),
        "right_id": pa.string(),
        "probability": pa.float64(),
        "match_weight": pa.float64(),
    }
    kinds |= {name: pa.int8() for name in levels}
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})


def _named(found: pa.Table, ids: pa.Table, levels: Sequence[str]) -> pa.Table:
    """Splink's result with record ids instead of row numbers, sorted."""
    if not found.num_rows:
        return _no_pairs(levels)
    left, right = found[f"{ROW}_l"].to_numpy().astype(np.int64), found[f"{ROW}_r"].to_numpy().astype(np.int64)
    order = np.lexsort((right, left))
    names = ids[RECORD_ID].combine_chunks()
    columns = {
        "left_id": names.take(pa.array(left[order])),
        "right_id": names.take(pa.array(right[order])),
        "probability": pa.array(found["match_probability"].to_numpy().astype(float)[order]),
        "match_weight": pa.array(found["match_weight"].to_numpy().astype(float)[order]),
    }
    for name in levels:
        columns[name] = pa.array(found[f"gamma_{name}"].to_numpy().astype(np.int8)[order])
    return pa.table(columns)


def explain(model: Model, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[FieldWeight]:
    """Field by field, what makes two prepared records one entity or two.

    The weights and `model.prior_weight` sum to the pair's match weight.

    Args:
        left, right: rows of the prepared table, as mappings.
    """
    rows = []
    for name, row in (("1", left), ("2", right)):
        rows.append({RECORD_ID: name} | {column: row.get(column) for column in model.columns})
    numbers = _numbers(model)
    table = pa.table(
        {
            column: pa.array(
                [row[column] for row in rows], pa.float64() if column in numbers else pa.string()
            )
            for column in (RECORD_ID, *model.columns)
        }
    )
    engine = DuckDB("500MB")
    try:
        _load_nodes(engine, table, model, sides=False, new=None)
        engine.run(
            "create table pairs as select 0::bigint as join_key_l, 1::bigint as join_key_r, '0' as match_key"
        )
        found = engine.fetch(_splink_sql(model, engine.dialect, least_weight=None, parts=True)).to_pylist()[0]
    finally:
        engine.close()
    weights = []
    for comparison in model.comparisons:
        outcome = found[f"gamma_{comparison.field}"]
        label = "unknown" if outcome < 0 else comparison.levels[len(comparison.levels) - 1 - outcome].label
        bits = found[f"mw_{comparison.field}"] + (found.get(f"mw_tf_adj_{comparison.field}") or 0.0)
        shown = _shown(comparison)
        weights.append(
            FieldWeight(comparison.field, _value(left, shown), _value(right, shown), label, float(bits))
        )
    return weights


def _shown(comparison: Comparison) -> list[str]:
    if comparison.field in comparison.columns:
        return [comparison.field]
    return [column for column in comparison.columns if not column.endswith(("_signs", "_sound"))]


def _value(row: Mapping[str, Any], columns: Sequence[str]) -> str | None:
    known = [str(row[column]) for column in columns if row.get(column) is not None]
    return " ".join(known) or None


# --- training -------------------------------------------------------------------------------------------------------


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
        _load_nodes(engine, records, first, sides=False, new=None)
        one_in = max(1, round(_pairs_budget(total) / _TRAINING_PAIRS / 2)) if total > 50_000 else 1
        _make_pairs(engine, first, total, sides=False, new=False, one_in=one_in)
        blocked = _patterns(engine, first)
        engine.run("drop table pairs")
        engine.load("pairs", _random_pairs(total))
        random = _patterns(engine, first)
        shares = _agreeing_shares(engine, first)
        estimate = _maximise(first, blocked, random, shares, all_pairs, one_in)
        return _with_frequencies(engine, first, estimate, shares)
    finally:
        engine.close()


def _stated_prior(records: int) -> float:
    """Before anything is known: one match per ten records."""
    return 0.1 / max(records, 2)


@dataclass(frozen=True)
class _Patterns:
    """Outcomes of all comparisons, each combination once: levels (patterns, comparisons), counts (patterns,)."""

    levels: NDArray[np.int64]
    counts: NDArray[np.float64]


def _patterns(engine: Engine, model: Model) -> _Patterns:
    settings = _settings(model, engine.dialect)
    gammas = [f"gamma_{comparison.field}" for comparison in model.comparisons]
    ids = settings.column_info_settings
    pipeline = CTEPipeline()
    pipeline.enqueue_sql("select * from nodes", "__splink__df_concat_with_tf")
    pipeline.enqueue_sql("select * from pairs", "__splink__blocked_id_pairs")
    pipeline.enqueue_list_of_sqls(
        compute_comparison_vector_values_from_id_pairs_sqls(
            list(dict.fromkeys(_compared(settings))),
            [comparison._case_statement for comparison in settings.comparisons],
            input_tablename_l="__splink__df_concat_with_tf",
            input_tablename_r="__splink__df_concat_with_tf",
            source_dataset_input_column=None,
            unique_id_input_column=ids.unique_id_input_column,
            link_type="dedupe_only",
            sql_dialect_str=engine.dialect,
        )
    )
    pipeline.enqueue_sql(
        f"select {', '.join(gammas)}, count(*) as pairs from __splink__df_comparison_vectors "
        f"group by {', '.join(gammas)} order by {', '.join(gammas)}",
        "patterns",
    )
    table = engine.fetch(str(pipeline.generate_cte_pipeline_sql()))
    levels = np.column_stack([table[name].to_numpy().astype(np.int64) for name in gammas])
    return _Patterns(levels.reshape(-1, len(gammas)), table["pairs"].to_numpy().astype(float))


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


def _agreeing_shares(engine: Engine, model: Model) -> dict[str, float]:
    """Share of all pairs that agree on a column, among those that know it, by counting values."""
    shares = {}
    for comparison in model.comparisons:
        level = comparison.levels[0]
        column = comparison.columns[0]
        if level.test == f"{column}_l = {column}_r":
            row = engine.fetch(
                f"select sum(size * (size - 1)) as same, sum(size) as known from "
                f"(select count(*)::double as size from nodes where {column} is not null group by {column}) s"
            ).to_pylist()[0]
            known = row["known"] or 0.0
            if known > 1:
                shares[comparison.field] = row["same"] / (known * (known - 1))
    return shares


@dataclass(frozen=True)
class _Estimate:
    prior: float
    m: list[NDArray[np.float64]]  # per comparison, by outcome: index 0 is the last level
    u: list[NDArray[np.float64]]


def _maximise(
    model: Model,
    blocked: _Patterns,
    random: _Patterns,
    shares: Mapping[str, float],
    all_pairs: float,
    one_in: int,
) -> _Estimate:
    """Expectation maximisation over the blocked pairs, against the outcomes of random pairs."""
    drawn = random.counts.sum()
    m, stated, seen, floors = [], [], [], []
    for at, comparison in enumerate(model.comparisons):
        size = len(comparison.levels)
        prior_m = np.array([level.m for level in reversed(comparison.levels)])
        prior_u = np.array([level.u for level in reversed(comparison.levels)])
        known = random.levels[:, at] >= 0
        counts = np.bincount(random.levels[known, at], random.counts[known], minlength=size)
        weight = 2.0
        share = (counts + weight * prior_u) / (counts.sum() + weight)
        floor = np.full(size, 0.5 / max(drawn, 1.0))
        if comparison.field in shares:
            exact = max(shares[comparison.field], 0.25 / all_pairs)
            share[:-1] *= (1 - exact) / max(share[:-1].sum(), 1e-12)
            share[-1] = exact
            floor[-1] = 0.25 / max(all_pairs, 1.0)
        m.append(prior_m.copy())
        stated.append(prior_m)
        seen.append(share)
        floors.append(floor)
    u = [share.copy() for share in seen]
    counts = blocked.counts * one_in
    prior = model.prior
    onehot = [
        [(blocked.levels[:, at] == level).astype(float) for level in range(len(seen[at]))]
        for at in range(len(seen))
    ]
    for _ in range(_MOST_ROUNDS):
        odds = np.full(len(counts), np.log(prior / (1 - prior)))
        for at, comparison in enumerate(model.comparisons):
            ratio = np.log(m[at] / u[at])
            for number, level in enumerate(reversed(comparison.levels)):
                if level.neutral:
                    ratio[number] = 0.0
            odds += np.where(blocked.levels[:, at] >= 0, ratio[np.maximum(blocked.levels[:, at], 0)], 0.0)
        matched = counts / (1 + np.exp(-np.clip(odds, -500, 500)))
        # One match more, at the stated rate: nothing where there is much to learn from.
        new_prior = (matched.sum() + 1.0) / (all_pairs + 1.0 / model.prior)
        moved = abs(np.log(new_prior / prior))
        prior = float(np.clip(new_prior, 1e-12, 0.5))
        for at in range(len(m)):
            by_level = np.array([(matched * hot).sum() for hot in onehot[at]])
            weight = 4.0
            fresh = (by_level + weight * stated[at]) / (by_level.sum() + weight)
            moved = max(moved, float(np.abs(fresh - m[at]).max()))
            m[at] = fresh
            # Random pairs are a mixture, too: what matches there are is taken out of them.
            u[at] = np.maximum((seen[at] - prior * m[at]) / (1 - prior), floors[at])
            u[at] /= u[at].sum()
        if moved < 1e-5:
            break
    for at in range(len(m)):
        # An outcome that matches hardly ever had says no more against one than having nothing in common.
        m[at] = np.maximum(m[at], u[at] * m[at][0] / u[at][0])
    return _Estimate(prior, m, u)


def _with_frequencies(
    engine: Engine, model: Model, estimate: _Estimate, shares: Mapping[str, float]
) -> Model:
    """The model with its estimates, common values apart from rare ones."""
    frequencies: dict[str, Frequencies] = {}
    comparisons = []
    for at, comparison in enumerate(model.comparisons):
        m, u = estimate.m[at][::-1], estimate.u[at][::-1]
        levels = [
            level.model_copy(update={"m": _round(m[number]), "u": _round(u[number])})
            for number, level in enumerate(comparison.levels)
        ]
        column = levels[0].frequency
        if column is not None:
            values, rest = _common(engine, column, float(u[0]), estimate.prior * float(m[0]))
            if values:
                frequencies[column] = Frequencies(values=values)
                levels[0] = levels[0].model_copy(update={"u": _round(rest)})
        comparisons.append(comparison.model_copy(update={"levels": tuple(levels)}))
    return model.model_copy(
        update={
            "comparisons": tuple(comparisons),
            "prior": _round(estimate.prior),
            "frequencies": frequencies,
        }
    )


def _round(value: float) -> float:
    """Twelve significant digits: sums in another order must not make another model."""
    return float(np.clip(float(f"{value:.12g}"), 1e-12, 1.0))


def _common(engine: Engine, column: str, u: float, matches: float) -> tuple[dict[str, float], float]:
    """Chance agreement on each common value of a column, and on all others.

    A level that also asks for something else (postcode and city) has a smaller u than its column has; each value's share is
    brought down in the same proportion.
    """
    known = _number(engine, f"select count({column}) from nodes")
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
    chance = max(same - matches, float((shares**2).sum()) * 0.5, 1e-12)
    scale = min(1.0, u / chance)
    listed = float(shares.sum())
    rest = (chance - float((shares**2).sum())) / max(1 - listed, 1e-9)
    # No rarer than if every rare value stood for two records.
    rest = max(rest, 2.0 / known / 10) if listed < 1 else float(shares.min())
    worth = shares > 1.5 * rest
    values = dict(zip(table["value"].to_pylist(), (_round(share * scale) for share in shares), strict=True))
    kept = {value: share for (value, share), keep in zip(values.items(), worth, strict=True) if keep}
    return dict(sorted(kept.items())), min(rest * scale, 1.0)
