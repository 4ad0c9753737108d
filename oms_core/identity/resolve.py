"""One identity run: records in, crosswalks out. Pure; the state it reads and writes is handed in and out as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import pairwise

from oms_core.identity import match
from oms_core.identity.cluster import Clustering, Edge, Refusal, cluster
from oms_core.identity.match import Row
from oms_core.identity.stable import Assignment, Memory, assign

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
    """What earlier runs left, and what is known of today's records beside their rows, per entity.

    `memory`: ids and where records are at home. `decisions`: stewards' standing judgements. `rewritten`: records that
    became somebody else since the last run -> what tells so. `rewritten_at`: when an earlier run last found that.
    """

    memory: Mapping[str, Memory] = field(default_factory=dict)
    decisions: Mapping[str, Sequence[Decision]] = field(default_factory=dict)
    rewritten: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    rewritten_at: Mapping[str, Mapping[str, datetime]] = field(default_factory=dict)


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
    evidence = match.customer_edges(customers) + _buyers_of_one_order(orders, order, customers, known)
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


def contradictions(entity: str, left: Row, right: Row) -> list[str]:
    """What speaks against two records being one, so that weaker evidence than a steward's does not join them."""
    if entity == "order":
        system = left["source_system"]
        return [f"both are order documents of {system}"] if system == right["source_system"] else []
    rows = [left, right]
    found = [_VETOES[entity](rows)(left["record_id"], right["record_id"])]
    for name, values in match.agreements(entity, rows).items():
        if len(set(values.values())) > 1:
            found.append(f"their {name}s differ")
    return list(dict.fromkeys(filter(None, found)))


def _resolve(entity: str, rows: Sequence[Row], evidence: Sequence[Edge], known: Known) -> Resolved:
    found = group(entity, rows, evidence, known.decisions.get(entity, ()))
    return replace(_with_ids(entity, rows, found, known), evidence=evidence)


def _with_ids(
    entity: str,
    rows: Sequence[Row],
    found: Clustering,
    known: Known,
    hangers: Mapping[str, tuple[str, str]] | None = None,
) -> Resolved:
    hangers = hangers or {}
    judged: dict[str, list[tuple[str, str]]] = {"same": [], "different": [], "unsure": []}
    for item in known.decisions.get(entity, ()):
        judged[item.judgement].append((item.left, item.right))
    assignment = assign(
        entity,
        found.clusters,
        {row["record_id"]: _first_seen(row) for row in rows},
        known.memory.get(entity, Memory()),
        rewritten=known.rewritten.get(entity, {}),
        same=judged["same"],
        apart=judged["different"],
        hangers={record: target for record, (target, _) in hangers.items()},
    )
    rules = {**found.rules, **{record: rule for record, (_, rule) in hangers.items()}}
    return Resolved(assignment, rules, found.refusals)


def _first_seen(row: Row) -> datetime:
    """When a record first landed, aware UTC; the warehouse's own times are naive."""
    instant: datetime = row["_first_seen_at"]
    return instant if instant.tzinfo is not None else instant.replace(tzinfo=UTC)


def _resolve_orders(orders: Sequence[Row], references: Sequence[Row], known: Known) -> Resolved:
    links = match.order_links(orders, references)
    documents = [row for row in orders if row["document_role"] == "order"]
    found = group("order", documents, links.edges, known.decisions.get("order", ()))
    resolved = _with_ids("order", documents, found, known, links.hangers)
    return replace(resolved, orphans=links.orphans, evidence=links.edges)


def _buyers_of_one_order(
    orders: Sequence[Row], resolved: Resolved, customers: Sequence[Row], known: Known
) -> list[Edge]:
    """Customer records that two systems name on one order are one customer, unless one stands for many.

    A collective account ("web shop customers") would chain everybody together: records that meet more than one partner
    of one other system are left out. So is an order older than the day its customer record was rewritten: somebody
    else bought there.
    """
    rewritten, rewritten_at = known.rewritten.get("customer", {}), known.rewritten_at.get("customer", {})
    present = {row["record_id"] for row in customers}
    system = {row["record_id"]: row["source_system"] for row in customers}
    by_order: dict[str, set[str]] = defaultdict(set)
    for row in orders:
        order_id, buyer = resolved.assignment.members.get(row["record_id"]), row["customer_key"]
        if order_id is None or buyer not in present or row["document_role"] != "order":
            continue
        if buyer in rewritten or (buyer in rewritten_at and _first_seen(row) <= rewritten_at[buyer]):
            continue
        by_order[order_id].add(buyer)
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
