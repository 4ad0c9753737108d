"""What a score is made of, for two records: where it starts and the weight of every field, in bits."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy import Connection

from oms_core.identity.scoring.model import Model, ModelError
from oms_core.identity.stewardship import evidence
from oms_core.identity.stewardship.activation import active_model
from oms_core.identity.stewardship.evidence import Record
from oms_core.identity.stewardship.show import Weigh
from oms_core.identity.stewardship.waterfall import Step
from oms_core.identity.weigh import SCORED_BY_MODEL

# What titles weigh depends on all titles there are; more than these take too long for somebody who waits.
_MOST_TITLES = 20_000
_TITLE_COLUMNS = ("title", "brand", "mpn", "sku_code", "source_system")


def weigher(connection: Connection) -> Weigh:
    """Weights as runs weigh now: people and companies by the active model, products by their titles."""

    def weigh(entity: str, left: Record, right: Record) -> Sequence[Step]:
        if entity in SCORED_BY_MODEL:
            try:
                model = active_model(connection, entity)
            except ModelError:  # no model, no score: runs go by exact evidence alone then
                return ()
            return model_steps(model, left, right)
        return title_steps(connection, left, right) if entity == "sku" else ()

    return weigh


def model_steps(model: Model, left: Record, right: Record) -> list[Step]:
    """The prior and each field's weight; they sum to the match weight that the model gives the two records."""
    from oms_core.identity.scoring.prepare import prepare  # DuckDB and Splink take a while to import
    from oms_core.identity.scoring.scorer import explain

    names = sorted({*left.fields, *right.fields} - {"record_id"})
    columns = {
        name: pa.array([_text(record, name) for record in (left, right)], pa.string()) for name in names
    }
    table = pa.table({"record_id": pa.array([left.record_id, right.record_id], pa.string()), **columns})
    prepared = {row["record_id"]: row for row in prepare(table, kinds=model.kinds).to_pylist()}
    found = [Step("prior", model.prior_weight, "before anything is compared")]
    for item in explain(model, prepared[left.record_id], prepared[right.record_id]):
        found.append(
            Step(item.field, item.weight_bits, _note(item.level_label, item.left_value, item.right_value))
        )
    return found


def title_steps(connection: Connection, left: Record, right: Record) -> list[Step]:
    """What the titles of two products weigh among all titles there are; nothing where they were too unlike to compare."""
    from oms_core.identity.scoring.titles import explain_titles, fit_titles

    columns = evidence.columns_of(connection, "sku", _TITLE_COLUMNS, most=_MOST_TITLES)
    if columns is None:
        return []
    fitted = fit_titles(columns)
    try:
        explained = explain_titles(fitted, left.record_id, right.record_id)
    except KeyError:  # one has no title, or they have too little in common to be a candidate pair
        return []
    return [
        Step(item.field, item.weight_bits, _note(item.level_label, item.left_value, item.right_value))
        for item in explained
    ]


def _text(record: Record, name: str) -> str | None:
    value = record.fields.get(name)
    return None if value is None else str(value)


def _note(label: str, *values: str | None) -> str:
    told = " | ".join(value for value in values if value)
    return f"{label}: {told}" if told else label
