"""One identity run: records in, crosswalks out. Pure; the state it reads and writes is handed in and out as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import pairwise

from oms_core.identity import match
from oms_core.identity.cluster import Clustering, Edge, Refusal, cluster
from oms_core.identity.match import Row
from oms_core.identity.stable import Assignment, assign

Veto = Callable[[str, str], str | None]
SCORED = 5  # strength of an edge that rests on a score; everything stronger is exact

_VETOES: Mapping[str, Callable[[Sequence[Row]], Veto]] = {
    "customer": match.customer_veto,
    "sku": match.sku_veto,
    "location": match.location_veto,
}


@dataclass(frozen=True)
class Decision:
    """A steward's standing judgement on two records: same, different or unsure."""

    left: str
    right: str
    judgement: str


@dataclass(frozen=True)
class Known:
    """What earlier runs left: record -> golden id, golden id -> birth, and standing decisions, per entity."""

    members: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    born_at: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)
    decisions: Mapping[str, Sequence[Decision]] = field(default_factory=dict)


@dataclass(frozen=True)
class Resolved:
    """One entity's outcome: ids, the rule behind each record's place, evidence refused, and records without an order.

    `evidence` is every edge the run had, followed or not; stewards' own are not among it.
    """

    assignment: Assignment
    rules: dict[str, str]
    refusals: list[Refusal]
    orphans: dict[str, str] = field(default_factory=dict)
    evidence: Sequence[Edge] = ()


def resolve(
    customers: Sequence[Row],
    skus: Sequence[Row],
    locations: Sequence[Row],
    orders: Sequence[Row],
    references: Sequence[Row],
    known: Known,
) -> dict[str, Resolved]:
    """Resolve all four entities.

    Args:
        customers, skus, locations, orders, references: rows of the `int_` tables of the same names.
        known: ids and decisions so far.

    Returns:
        Outcome by entity: order, customer, sku, location.
    """
    order = _resolve_orders(orders, references, known)
    evidence = match.customer_edges(customers) + _buyers_of_one_order(orders, order, customers)
    return {
        "order": order,
        "customer": _resolve("customer", customers, evidence, known),
        "sku": _resolve("sku", skus, match.sku_edges(skus), known),
        "location": _resolve("location", locations, match.location_edges(locations), known),
    }


def group(
    entity: str, rows: Sequence[Row], evidence: Iterable[Edge], decisions: Iterable[Decision]
) -> Clustering:
    """Partition records of one entity by evidence and stewards' decisions, under the rules of that entity.

    Same is a link stronger than any evidence, different a wall. Unsure is neither: a score does not join that very pair,
    exact evidence still does.

    Args:
        entity: customer, sku, location or order.
        rows: of the `int_` table; of orders only order documents.
        evidence: edges between these records; edges to others are ignored.
        decisions: those in force.
    """
    judged: dict[str, set[tuple[str, str]]] = defaultdict(set)
    for item in decisions:
        judged[item.judgement].add((min(item.left, item.right), max(item.left, item.right)))
    same = [Edge(0, left, right, "steward") for left, right in judged["same"]]
    followed = [
        edge for edge in evidence if edge.strength < SCORED or (edge.left, edge.right) not in judged["unsure"]
    ]
    records = [row["record_id"] for row in rows]
    if entity == "order":
        # One purchase has one document per system; a chain that would join two of them is a wrong reference.
        exclusive = {row["record_id"]: row["source_system"] for row in rows}
        return cluster(records, [*same, *followed], judged["different"], exclusive=exclusive)
    return cluster(
        records,
        [*same, *followed],
        judged["different"],
        veto=_VETOES[entity](rows),
        agree=match.agreements(entity, rows),
    )


def _resolve(entity: str, rows: Sequence[Row], evidence: Sequence[Edge], known: Known) -> Resolved:
    found = group(entity, rows, evidence, known.decisions.get(entity, ()))
    return replace(_with_ids(entity, rows, found, known), evidence=evidence)


def _with_ids(
    entity: str, rows: Sequence[Row], found: Clustering, known: Known, orphans: dict[str, str] | None = None
) -> Resolved:
    born_at = known.born_at.get(entity, {})
    assignment = assign(
        entity,
        found.clusters,
        {row["record_id"]: row["_first_seen_at"] for row in rows},
        known.members.get(entity, {}),
        born_at,
        taken=born_at,
    )
    return Resolved(assignment, found.rules, found.refusals, orphans or {})


def _resolve_orders(orders: Sequence[Row], references: Sequence[Row], known: Known) -> Resolved:
    links = match.order_links(orders, references)
    documents = [row for row in orders if row["document_role"] == "order"]
    found = group("order", documents, links.edges, known.decisions.get("order", ()))
    resolved = _with_ids("order", documents, found, known, links.orphans)
    members = dict(resolved.assignment.members)
    for record, (target, rule) in links.hangers.items():
        members[record] = members[target]
        resolved.rules[record] = rule
    assignment = Assignment(
        members, resolved.assignment.born, resolved.assignment.retired, resolved.assignment.events
    )
    return replace(resolved, assignment=assignment, evidence=links.edges)


def _buyers_of_one_order(orders: Sequence[Row], resolved: Resolved, customers: Sequence[Row]) -> list[Edge]:
    """Customer records that two systems name on one order are one customer, unless one stands for many.

    A collective account ("web shop customers") would chain everybody together: records that meet more than one partner
    of one other system are left out.
    """
    known = {row["record_id"] for row in customers}
    system = {row["record_id"]: row["source_system"] for row in customers}
    by_order: dict[str, set[str]] = defaultdict(set)
    for row in orders:
        order_id = resolved.assignment.members.get(row["record_id"])
        if order_id is not None and row["customer_key"] in known and row["document_role"] == "order":
            by_order[order_id].add(row["customer_key"])
    partners: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for group in by_order.values():
        for left in group:
            for right in group - {left}:
                partners[left][system[right]].add(right)
    collective = {
        record for record, met in partners.items() if any(len(others) > 4 for others in met.values())
    }
    edges = []
    for group in by_order.values():
        for left, right in pairwise(sorted(group - collective)):
            edges.append(Edge(3, left, right, "same_order"))
    return edges
