"""What a score is made of, for two records: the prior and the weight of every field, in bits."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
from sqlalchemy import Connection

from oms_core.identity.activation import active_model
from oms_core.identity.evidence import Record
from oms_core.identity.model import Model
from oms_core.identity.show import Weigh
from oms_core.identity.waterfall import Step
from oms_core.identity.weigh import SCORED_BY_MODEL


def weigher(connection: Connection) -> Weigh:
    """Weights by the models active now; entities without a model weigh nothing."""

    def weigh(entity: str, left: Record, right: Record) -> Sequence[Step]:
        if entity not in SCORED_BY_MODEL:
            return ()
        return steps(active_model(connection, entity), left, right)

    return weigh


def steps(model: Model, left: Record, right: Record) -> list[Step]:
    """The prior and each field's weight; they sum to the match weight that the model gives the two records."""
    from oms_core.identity.prepare import prepare  # DuckDB and Splink take a while to import
    from oms_core.identity.scorer import explain

    names = sorted({*left.fields, *right.fields} - {"record_id"})
    columns = {
        name: pa.array(
            [
                None if record.fields.get(name) is None else str(record.fields[name])
                for record in (left, right)
            ],
            pa.string(),
        )
        for name in names
    }
    table = pa.table({"record_id": pa.array([left.record_id, right.record_id], pa.string()), **columns})
    prepared = {row["record_id"]: row for row in prepare(table, kinds=model.kinds).to_pylist()}
    found = [Step("prior", model.prior_weight, "before anything is compared")]
    for item in explain(model, prepared[left.record_id], prepared[right.record_id]):
        values = " | ".join(value for value in (item.left_value, item.right_value) if value is not None)
        found.append(
            Step(
                item.field, item.weight_bits, f"{item.level_label}: {values}" if values else item.level_label
            )
        )
    return found
