"""Whom documents meant by a record that was deleted at its source since."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


def with_vanished(former: pa.Table, entity: str, crosswalk: pa.Table, gone: Collection[str]) -> pa.Table:
    """Add to who had which key the last link of each record that is gone, while its golden id lives on.

    A document from before goes on meaning whom it meant; where the id has no record left, nobody is there to mean.

    Args:
        former: as `state.former_links` gives it.
        entity: whose records.
        crosswalk: its dated links, as `state.crosswalk` gives them.
        gone: records that are deleted at their source.
    """
    column = f"{entity}_id"
    alive = set(crosswalk.filter(pc.is_null(crosswalk["valid_to"]))[column].to_pylist())
    theirs = crosswalk.filter(pc.is_in(crosswalk["record_id"], value_set=pa.array(sorted(gone), pa.string())))
    last: dict[str, dict[str, Any]] = {}
    for row in theirs.to_pylist():
        held = last.get(row["record_id"])
        if held is None or (row["valid_to"] is None, row["valid_from"]) > (
            held["valid_to"] is None,
            held["valid_from"],
        ):
            last[row["record_id"]] = row
    rows = [
        {
            "entity": entity,
            "record_id": record,
            "golden_id": row[column],
            "held_from": None,
            "held_to": row["valid_to"],
        }
        for record, row in sorted(last.items())
        if row["valid_to"] is not None and row[column] in alive
    ]
    return pa.concat_tables([former, pa.Table.from_pylist(rows, schema=former.schema)])
