"""Scores for pairs of records with several fields (people, companies, places): Fellegi and Sunter's model, by Splink.

`make_plan` says what to compare and what to block on, `train` estimates the model without labels, `score` finds candidate
pairs and lets Splink's SQL weigh them in DuckDB, PostgreSQL or Spark, `explain` takes one score apart. The same two records
and the same model give the same score, whatever else is loaded: term frequencies are part of the model.

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
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from oms_core.identity.scoring.blocking import ROW, load_nodes, make_pairs, number_columns
from oms_core.identity.scoring.engines import DuckDB, open_engine
from oms_core.identity.scoring.model import Comparison, Model
from oms_core.identity.scoring.prepare import RECORD_ID
from oms_core.identity.scoring.splink_sql import scores_sql
from oms_core.identity.scoring.training import make_plan, train

__all__ = [
    "AT_LEAST",
    "FieldWeight",
    "Scored",
    "components",
    "explain",
    "make_plan",
    "score",
    "train",
    "weigh_pairs",
]

# Pairs below this probability are not returned; far below any threshold that sensible costs give.
AT_LEAST = 0.01


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


def score(
    records: pa.Table,
    model: Model,
    *,
    new: Any = None,
    sides: bool = False,
    at_least: float = AT_LEAST,
    memory_limit: str = "2GB",
    warehouse: Any = None,
) -> Scored:
    """Find and score candidate pairs.

    Args:
        records: prepared table (see `prepare.prepare`).
        model: a trained or shipped model.
        new: ids (Arrow array or sequence of text); only pairs that touch one of these.
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
        return Scored(no_pairs(levels), list(_too_little(records, model)))
    engine = open_engine(warehouse, memory_limit)
    try:
        ids = load_nodes(engine, records, model, sides=sides, new=new)
        cut = make_pairs(engine, model, records.num_rows, sides=sides, new=new is not None)
        found = engine.fetch(scores_sql(model, engine.dialect, least_weight=least_weight(at_least)))
        return Scored(named(found, ids, levels), cut)
    finally:
        engine.close()


def weigh_pairs(
    records: pa.Table,
    model: Model,
    pairs: Sequence[tuple[str, str]],
    *,
    memory_limit: str = "2GB",
    warehouse: Any = None,
) -> dict[str, NDArray[np.float64]]:
    """What each field says of given pairs, in bits; with `model.prior_weight` they sum to the pair's match weight.

    Args:
        records: prepared table.
        model: a trained or shipped model.
        pairs: record ids; pairs of records that are not in the table weigh nothing.
        memory_limit, warehouse: see `score`.

    Returns:
        By field (pairs,): weights, nan where a value is unknown.
    """
    weights = {comparison.field: np.full(len(pairs), np.nan) for comparison in model.comparisons}
    engine = open_engine(warehouse, memory_limit)
    try:
        ids = load_nodes(engine, records, model, sides=False, new=None)
        names: Any = ids[RECORD_ID].combine_chunks()
        rows = ids[ROW].to_numpy()
        sides = [
            pc.index_in(pa.array([pair[at] for pair in pairs], pa.string()), value_set=names) for at in (0, 1)
        ]
        known = np.flatnonzero(~(np.asarray(sides[0].is_null()) | np.asarray(sides[1].is_null())))
        left, right = (rows[np.asarray(side.fill_null(0))[known]] for side in sides)
        asked = {
            "join_key_l": pa.array(np.minimum(left, right), pa.int64()),
            "join_key_r": pa.array(np.maximum(left, right), pa.int64()),
            "match_key": pa.array([str(at) for at in known], pa.string()),
        }
        engine.load("pairs", pa.table(asked))
        found = engine.fetch(scores_sql(model, engine.dialect, least_weight=None, parts=True))
    finally:
        engine.close()
    at = found["match_key"].cast(pa.int64()).to_numpy()
    for name, values in weights.items():
        bits = found[f"mw_{name}"].to_numpy().astype(float)
        adjusted = f"mw_tf_adj_{name}"
        if adjusted in found.column_names:
            bits = bits + np.nan_to_num(found[adjusted].to_numpy(zero_copy_only=False).astype(float))
        values[at] = np.where(found[f"gamma_{name}"].to_numpy() < 0, np.nan, bits)
    return weights


def _too_little(records: pa.Table, model: Model) -> list[str]:
    if not model.comparisons and records.num_rows > 1:
        return ["No column tells the records apart, so nothing was compared."]
    return []


def least_weight(probability: float) -> float | None:
    """The match weight that belongs to a probability; None where every pair is wanted."""
    return float(np.log2(probability / (1 - probability))) if 0 < probability < 1 else None


def no_pairs(levels: Sequence[str]) -> pa.Table:
    """An empty table of pairs with a column per comparison."""
    kinds: dict[str, Any] = {"left_id": pa.string(), "right_id": pa.string()}
    kinds |= {"probability": pa.float64(), "match_weight": pa.float64()}
    kinds |= {name: pa.int8() for name in levels}
    return pa.table({name: pa.array([], kind) for name, kind in kinds.items()})


def named(found: pa.Table, ids: pa.Table, levels: Sequence[str]) -> pa.Table:
    """Splink's result with record ids instead of row numbers, sorted.

    Args:
        found: Splink's columns.
        ids: row number and record id, sorted by record id.
        levels: fields compared.
    """
    if not found.num_rows:
        return no_pairs(levels)
    rows = ids[ROW].to_numpy()
    order = np.argsort(rows, kind="stable")
    # Place of each record in the order of ids.
    sides = [
        order[np.searchsorted(rows, found[f"{ROW}_{side}"].to_numpy().astype(np.int64), sorter=order)]
        for side in "lr"
    ]
    left, right = np.minimum(*sides), np.maximum(*sides)
    sorting = np.lexsort((right, left))
    names: Any = ids[RECORD_ID].combine_chunks()
    columns: dict[str, Any] = {
        "left_id": names.take(pa.array(left[sorting])),
        "right_id": names.take(pa.array(right[sorting])),
        "probability": pa.array(found["match_probability"].to_numpy().astype(float)[sorting]),
        "match_weight": pa.array(found["match_weight"].to_numpy().astype(float)[sorting]),
    }
    for name in levels:
        columns[name] = pa.array(found[f"gamma_{name}"].to_numpy().astype(np.int8)[sorting])
    return pa.table(columns)


def components(ids: Any, pairs: pa.Table, at_least: float) -> Any:
    """Connected components of the pairs of at least this probability.

    Args:
        ids: all record ids, an Arrow array.
        pairs: left_id, right_id, probability.

    Returns:
        A number per record, in the order of `ids`: equal for records of one component (Arrow int32).
    """
    strong: Any = pairs.filter(pa.array(pairs["probability"].to_numpy() >= at_least))
    plain: Any = ids.combine_chunks() if isinstance(ids, pa.ChunkedArray) else ids
    left, right = (pc.index_in(strong[side], value_set=plain).to_numpy() for side in ("left_id", "right_id"))
    graph = coo_array((np.ones(len(left), dtype=np.int8), (left, right)), shape=(len(plain), len(plain)))
    _, labels = connected_components(graph, directed=False)
    return pa.array(labels, pa.int32())


def explain(model: Model, left: Mapping[str, Any], right: Mapping[str, Any]) -> list[FieldWeight]:
    """Field by field, what makes two prepared records one entity or two.

    The weights and `model.prior_weight` sum to the pair's match weight.

    Args:
        left, right: rows of the prepared table, as mappings.
    """
    rows = []
    for name, row in (("1", left), ("2", right)):
        rows.append({RECORD_ID: name} | {column: row.get(column) for column in model.columns})
    numbers = number_columns(model)
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
        load_nodes(engine, table, model, sides=False, new=None)
        engine.run(
            "create table pairs as select 0::bigint as join_key_l, 1::bigint as join_key_r, '0' as match_key"
        )
        found = engine.fetch(scores_sql(model, engine.dialect, least_weight=None, parts=True)).to_pylist()[0]
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
