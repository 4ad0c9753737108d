"""One identity run: records in, crosswalks out. Pure; the state it reads and writes is handed in and out as values."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from types import MappingProxyType

from oms_core.identity import match, references
from oms_core.identity.cluster import SCORED, Clustering, Edge, Refusal, cluster
from oms_core.identity.match import Row
from oms_core.identity.references import LinesOf, OrderLinks, Orphan
from oms_core.identity.scoring.threshold import Thresholds
from oms_core.identity.stable import Assignment, Memory, assign

Veto = Callable[[str, str], str | None]

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
class ScoredPair:
    """A pair that a model weighed: left < right, probability 0 … 1 that the two are one.

    `thresholds`: those of this pair, where more or less than usual hangs on it.
    """

    left: str
    right: str
    probability: float
    thresholds: Thresholds | None = None


Between = Callable[
    [Sequence[frozenset[str]], Sequence[Edge], Mapping[str, str], Mapping[str, Collection[str]]],
    Sequence[ScoredPair],
]


@dataclass(frozen=True)
class Scores:
    """The pairs of one entity that a model found worth a look, and the probabilities at which to join and to ask.

    `between`, where there is one, weighs groups that exact evidence holds together instead of single records: clusters,
    exact evidence, registers and each record's orders in, pairs out.
    """

    pairs: Sequence[ScoredPair]
    thresholds: Thresholds
    between: Between | None = None

    def edges(self) -> list[Edge]:
        """Evidence that rests on a score, the likeliest first."""
        return [
            Edge(SCORED + round((1 - pair.probability) * 1_000_000), pair.left, pair.right, "score")
            for pair in self.pairs
            if self.decide(pair) == "merge"
        ]

    def doubtful(self) -> list[ScoredPair]:
        """Pairs to ask a steward about."""
        return [pair for pair in self.pairs if self.decide(pair) == "review"]

    def decide(self, pair: ScoredPair) -> str:
        """merge, review or apart."""
        return (pair.thresholds or self.thresholds).decide(pair.probability)


@dataclass(frozen=True)
class Resolved:
    """One entity's outcome: ids, the rule behind each record's place, evidence refused, and records without an order.

    `shares` are the orders of records that stand for several: record id -> (golden ids, rule). `evidence` is every edge the run
    had, followed or not; stewards' own are not among it. `doubtful` are the pairs a score neither joins nor leaves alone;
    `probabilities` those of every scored pair, by (left, right).
    """

    assignment: Assignment
    rules: dict[str, str]
    refusals: list[Refusal]
    orphans: dict[str, Orphan] = field(default_factory=dict)
    shares: Mapping[str, tuple[tuple[str, ...], str]] = field(default_factory=dict)
    evidence: Sequence[Edge] = ()
    doubtful: Sequence[ScoredPair] = ()
    probabilities: Mapping[tuple[str, str], float] = field(default_factory=dict)


def resolve(
    customers: Sequence[Row],
    skus: Sequence[Row],
    locations: Sequence[Row],
    orders: Sequence[Row],
    order_references: Sequence[Row],
    known: Known,
    shipments: Sequence[Row] = (),
    lines_of: LinesOf = lambda _: (),
    scores: Mapping[str, Scores] | None = None,
    parts: Iterable[tuple[str, str]] = (),
    lots: Sequence[Row] = (),
) -> dict[str, Resolved]:
    """Resolve all four entities.

    Args:
        customers, skus, locations, orders, order_references: rows of the `int_` tables of the same names.
        known: ids and decisions so far.
        shipments: rows of `int_shipments`: a parcel's number joins those who know it.
        lines_of: tells the `int_order_lines` of some order records; asked about those whose reference was lost.
        scores: by entity, the pairs a model weighed; exact evidence goes before them.
        parts: pairs of SKU records, a kit and an article in it.
        lots: rows of `int_order_lots`: what names no order may name goods that one order alone got.

    Returns:
        Outcome by entity: order, customer, sku, location.
    """
    scores = scores or {}
    registers = _registers(customers, orders)
    links = references.order_links(orders, order_references, shipments)
    ordered = _group_orders(orders, links, known)
    exact = match.customer_edges(customers)
    evidence = exact + match.buyer_edges(
        _as_bought(orders, known), ordered, customers, _shared(links, ordered)
    )
    bought = _bought(orders, ordered)
    customer = _resolve("customer", customers, evidence, known, scores, told_apart=registers, bought=bought)
    sku = _resolve("sku", skus, match.sku_edges(skus), known, scores, parts)
    more = references.corroborate(
        orders, lines_of, links, ordered, customers, customer.assignment.members, sku.assignment.members
    )
    if more.edges or more.hangers:
        links = links.with_more(more)
        ordered = _group_orders(orders, links, known)
        more_evidence = exact + match.buyer_edges(
            _as_bought(orders, known), ordered, customers, _shared(links, ordered)
        )
        if more_evidence != evidence:
            bought = _bought(orders, ordered)
            customer = _resolve(
                "customer", customers, more_evidence, known, scores, told_apart=registers, bought=bought
            )
    # Last, since it says where goods went, and not who bought them.
    told, unplaced = references.by_lot(lots, links, ordered)
    links = replace(links, orphans=links.orphans | unplaced).with_more(told)
    return {
        "order": _resolve_orders(orders, links, known),
        "customer": customer,
        "sku": sku,
        "location": _resolve("location", locations, match.location_edges(locations), known, scores),
    }


def group(
    entity: str,
    rows: Sequence[Row],
    evidence: Iterable[Edge],
    decisions: Iterable[Decision],
    parts: Iterable[tuple[str, str]] = (),
    told_apart: Mapping[str, str] | None = None,
) -> Clustering:
    """Partition records of one entity by evidence and stewards' decisions, under the rules of that entity.

    Same is a link stronger than any evidence, different a wall. Unsure is neither: a score does not join that very pair,
    exact evidence still does.

    Args:
        entity: customer, sku, location or order.
        rows: of the `int_` table; of orders only order documents.
        evidence: edges between these records; edges to others are ignored.
        decisions: those in force.
        parts: pairs of a kit and an article in it.
        told_apart: record id -> register in which it stands but once; see `cluster`.
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
        exclusive = references.exclusive(rows, followed)
        return cluster(records, [*same, *followed], judged["different"], exclusive=exclusive)
    return cluster(
        records,
        [*same, *followed],
        judged["different"],
        veto=_VETOES[entity](rows),
        agree=match.agreements(entity, rows, followed),
        parts=parts,
        told_apart=told_apart,
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


def _resolve(
    entity: str,
    rows: Sequence[Row],
    exact: Sequence[Edge],
    known: Known,
    scores: Mapping[str, Scores],
    parts: Iterable[tuple[str, str]] = (),
    told_apart: Mapping[str, str] | None = None,
    bought: Mapping[str, Collection[str]] = MappingProxyType({}),
) -> Resolved:
    scored = scores.get(entity)
    if scored is not None and scored.between is not None:
        held = group(entity, rows, exact, known.decisions.get(entity, ()), parts, told_apart)
        scored = replace(scored, pairs=scored.between(held.clusters, exact, told_apart or {}, bought))
    evidence = [*exact, *(scored.edges() if scored else [])]
    found = group(entity, rows, evidence, known.decisions.get(entity, ()), parts, told_apart)
    resolved = _with_ids(entity, rows, found, known)
    if scored is None:
        return replace(resolved, evidence=evidence)
    known_odds = {(pair.left, pair.right): pair.probability for pair in scored.pairs}
    doubtful = _askable(entity, rows, found, scored, exact, known.decisions.get(entity, ()))
    return replace(resolved, evidence=evidence, doubtful=doubtful, probabilities=known_odds)


def _registers(customers: Sequence[Row], orders: Sequence[Row]) -> dict[str, str]:
    """Customer record -> the list of customers it stands in; a buyer who is only named on an order stands in none."""
    of_orders = {match.stream(row["record_id"]) for row in orders}
    streams = {row["record_id"]: match.stream(row["record_id"]) for row in customers}
    return {record: stream for record, stream in streams.items() if stream not in of_orders}


def _bought(orders: Sequence[Row], ordered: Mapping[str, str]) -> dict[str, set[str]]:
    """Customer record -> the orders that name it."""
    found: dict[str, set[str]] = defaultdict(set)
    for row in orders:
        if row["customer_key"] is not None and row["record_id"] in ordered:
            found[row["customer_key"]].add(ordered[row["record_id"]])
    return found


def _askable(
    entity: str,
    rows: Sequence[Row],
    found: Clustering,
    scored: Scores,
    exact: Sequence[Edge],
    decisions: Iterable[Decision],
) -> list[ScoredPair]:
    """Doubtful pairs, and likely ones that an unsure judgement holds back, but for those that identifiers rule out."""
    unsure = {
        (min(item.left, item.right), max(item.left, item.right))
        for item in decisions
        if item.judgement == "unsure"
    }
    held = [
        pair for pair in scored.pairs if scored.decide(pair) == "merge" and (pair.left, pair.right) in unsure
    ]
    place = {record: number for number, records in enumerate(found.clusters) for record in records}
    veto, values = _VETOES[entity](rows), match.agreements(entity, rows, exact)
    of_cluster: dict[str, dict[int, set[str]]] = {name: defaultdict(set) for name in values}
    for name, known in values.items():
        for record, value in known.items():
            of_cluster[name][place[record]].add(value)

    def is_ruled_out(left: str, right: str) -> bool:
        if veto(left, right) is not None:
            return True
        sides = [(told.get(place[left]), told.get(place[right])) for told in of_cluster.values()]
        return any(ours and theirs and not (ours <= theirs or theirs <= ours) for ours, theirs in sides)

    return [pair for pair in [*scored.doubtful(), *held] if not is_ruled_out(pair.left, pair.right)]


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


def _documents(orders: Sequence[Row], links: OrderLinks) -> list[Row]:
    return [row for row in orders if row["document_role"] == "order" and row["record_id"] not in links.merged]


def _group_orders(orders: Sequence[Row], links: OrderLinks, known: Known) -> dict[str, str]:
    """Order record -> one record of its order, by what is known so far; ids come last."""
    found = group("order", _documents(orders, links), links.edges, known.decisions.get("order", ()))
    ids = {record: min(members) for members in found.clusters for record in members}
    return ids | {record: ids[target] for record, (target, _) in links.hangers.items()}


def _shared(links: OrderLinks, ordered: Mapping[str, str]) -> dict[str, set[str]]:
    """Order record that stands for several orders -> one record of each."""
    return {
        record: {ordered[target] for target in targets if target in ordered}
        for record, (targets, _) in links.shared.items()
    }


def _resolve_orders(orders: Sequence[Row], links: OrderLinks, known: Known) -> Resolved:
    documents = _documents(orders, links)
    found = group("order", documents, links.edges, known.decisions.get("order", ()))
    place = {record: number for number, records in enumerate(found.clusters) for record in records}
    # What one purchase is called in several systems is one order after all.
    several = {
        record: targets
        for record, (targets, _) in links.shared.items()
        if len({place[target] for target in targets}) > 1
    }
    hangers = {record: hung for record, hung in links.hangers.items() if record not in several}
    for record in links.merged - several.keys():
        targets, rule = links.shared[record]
        hangers[record] = (targets[0], rule)
    resolved = _with_ids("order", documents, found, known, hangers)
    ids = resolved.assignment.members
    shares = {
        record: (tuple(sorted({ids[target] for target in targets})), links.shared[record][1])
        for record, targets in several.items()
    }
    return replace(resolved, orphans=links.orphans, shares=shares, evidence=links.edges)


def _as_bought(orders: Sequence[Row], known: Known) -> list[Row]:
    """Orders that say who their customer record is today: not those older than the day it was rewritten, since somebody
    else bought there."""
    rewritten, rewritten_at = known.rewritten.get("customer", {}), known.rewritten_at.get("customer", {})
    return [
        row
        for row in orders
        if row["customer_key"] not in rewritten
        and not (
            row["customer_key"] in rewritten_at and _first_seen(row) <= rewritten_at[row["customer_key"]]
        )
    ]
