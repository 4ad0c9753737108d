"""What the scorers say of the records of one run: customers by the active model, products by their titles."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pyarrow as pa

from oms_core.identity import collective, match
from oms_core.identity.cluster import Edge
from oms_core.identity.match import Row
from oms_core.identity.resolve import ScoredPair, Scores
from oms_core.identity.scoring.model import Kind, Model
from oms_core.identity.scoring.threshold import Costs, Thresholds, thresholds

SCORED_BY_MODEL = ("customer",)  # entities whose records have enough fields of their own for a trained model
_CUSTOMER = (
    "record_id", "source_system", "full_name", "company_name", "email", "tax_number", "street", "city", "region",
    "postcode", "country",
)  # fmt: skip
_TELLING = ("full_name", "company_name", "email", "phone", "tax_number", "street")
# Candidates that this is the probability of, by two records alone, may still be one by all that their groups know.
_WORTH_A_LOOK = 1e-7
# A customer without an order is worth this much of one with as many as usual: there is a name, a mailbox, a consent.
_LEAST_STAKE = 0.25
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

    of_errors = {
        row["entity"]: Costs(float(row["wrong_merge"]), float(row["missed_match"]), float(row["review"]))
        for row in costs
    }
    limits = {entity: thresholds(found) for entity, found in of_errors.items()}
    found = {"sku": score_titles(_text_table(skus, _SKU)).pairs}
    described = [row for row in customers if any(row[name] for name in _TELLING)]
    if len(described) > 1:
        # Only here, since it is slow to import and many exports know customers by their number alone.
        from oms_core.identity.scoring.scorer import score

        model = models["customer"]
        people = comparable_customers(described, model.kinds)
        found["customer"] = score(people, model, at_least=_WORTH_A_LOOK).pairs
    scores = {
        entity: Scores(_pairs(pairs, limits[entity].review), limits[entity])
        for entity, pairs in found.items()
    }
    if "customer" in found:
        between = partial(_between, customers, people, model, found["customer"], of_errors["customer"])
        scores["customer"] = replace(scores["customer"], between=between)
    return scores


def _between(
    customers: Sequence[Row],
    people: pa.Table,
    model: Model,
    candidates: pa.Table,
    costs: Costs,
    clusters: Sequence[frozenset[str]],
    evidence: Sequence[Edge],
    registers: Mapping[str, str],
    bought: Mapping[str, Collection[str]],
) -> list[ScoredPair]:
    """Probabilities between groups of customers that exact evidence holds together.

    What an error costs grows with the orders it would misplace: those of the smaller group.
    """
    from oms_core.identity.scoring.scorer import weigh_pairs

    orders = [len({order for record in records for order in bought.get(record, ())}) for records in clusters]
    buying = [count for count in orders if count]
    usual = sum(buying) / len(buying) if buying else 1.0

    def limits(pair: tuple[int, int]) -> Thresholds:
        stake = min(orders[pair[0]], orders[pair[1]]) / usual
        return thresholds(costs.at_stake(max(stake, _LEAST_STAKE)))

    left, right = (
        [str(record) for record in candidates[side].to_pylist()] for side in ("left_id", "right_id")
    )
    pairs = list(zip(left, right, strict=True))
    found = collective.link(
        clusters,
        pairs,
        match.customer_groups(customers, evidence, registers),
        partial(weigh_pairs, people, model),
        model.prior_weight,
        limits,
    )
    return [ScoredPair(item.left, item.right, item.probability, limits(item.groups)) for item in found]


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
