"""What the scorers say of the records of one run: customers by the active model, products by their titles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pyarrow as pa

from oms_core.identity.match import Row
from oms_core.identity.resolve import ScoredPair, Scores
from oms_core.identity.scoring.model import Kind, Model
from oms_core.identity.scoring.threshold import Costs, thresholds

SCORED_BY_MODEL = ("customer",)  # entities whose records have enough fields of their own for a trained model
_CUSTOMER = (
    "record_id", "source_system", "full_name", "company_name", "email", "tax_number", "street", "city", "region",
    "postcode", "country",
)  # fmt: skip
_TELLING = ("full_name", "company_name", "email", "phone", "tax_number", "street")
_SKU = ("record_id", "source_system", "title", "brand", "mpn", "sku_code")


def weigh(
    customers: Sequence[Row],
    skus: Sequence[Row],
    models: Mapping[str, Model],
    costs: Iterable[Mapping[str, Any]],
) -> dict[str, Scores]:
    """Score the pairs worth a look.

    Args:
        customers, skus: rows of the `int_` tables.
        models: the active model by entity.
        costs: rows of the seed `match_costs`.

    Returns:
        Scores by entity; pairs below the review threshold are left out.
    """
    # The scorers take a second or two to import; only a run that resolves pays for it.
    from oms_core.identity.scoring.titles import score_titles

    limits = {
        row["entity"]: thresholds(
            Costs(float(row["wrong_merge"]), float(row["missed_match"]), float(row["review"]))
        )
        for row in costs
    }
    found = {"sku": score_titles(_text_table(skus, _SKU)).pairs}
    described = [row for row in customers if any(row[name] for name in _TELLING)]
    if len(described) > 1:
        # Only here, since it is slow to import and many exports know customers by their number alone.
        from oms_core.identity.scoring.scorer import score

        model = models["customer"]
        people = comparable_customers(described, model.kinds)
        found["customer"] = score(people, model, at_least=limits["customer"].review).pairs
    return {
        entity: Scores(_pairs(pairs, limits[entity].review), limits[entity])
        for entity, pairs in found.items()
    }


def comparable_customers(customers: Sequence[Row], kinds: Mapping[str, Kind] | None = None) -> pa.Table:
    """Rows of `int_customer_records` in the form that models compare; `kinds` are those of a model that exists."""
    from oms_core.identity.scoring.prepare import prepare

    table = _text_table(customers, _CUSTOMER).append_column(
        "phone", pa.array([row["phone_e164"] or row["phone"] for row in customers], pa.string())
    )
    return prepare(table, kinds=kinds)


def _pairs(pairs: pa.Table, at_least: float) -> list[ScoredPair]:
    columns: list[list[Any]] = [pairs[name].to_pylist() for name in ("left_id", "right_id", "probability")]
    return [ScoredPair(*values) for values in zip(*columns, strict=True) if values[2] >= at_least]


def _text_table(rows: Sequence[Row], columns: Sequence[str]) -> pa.Table:
    return pa.table({name: pa.array([row[name] for row in rows], pa.string()) for name in columns})
