"""The stewards' queue, as plain values: what a task is, what it is worth, and in which order tasks are asked."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from itertools import chain
from typing import Any

from oms_core.identity.cluster import Edge, Refusal
from oms_core.identity.match import Row

GREY = "grey_zone"
REFUSED = "refused_evidence"
CONTRADICTION = "contradiction"
PAIR_KINDS = (REFUSED, GREY)

# Evidence this strong that was not followed asks for a person; weaker evidence loses against a contradiction every day.
_WEAKEST_ASKED = 4
_DONE = frozenset({"shipped", "delivered", "cancelled", "returned", "closed"})


@dataclass(frozen=True)
class Worth:
    """What hangs on records: orders, those of them still to be fulfilled, and per currency orders and net revenue."""

    orders: int = 0
    open_orders: int = 0
    revenue: Mapping[str, tuple[int, Decimal]] = field(default_factory=dict)

    def __add__(self, other: Worth) -> Worth:
        """Sum; exact where no order counts for two records, which `worth_of_records` sees to."""
        both: dict[str, tuple[int, Decimal]] = dict(self.revenue)
        for currency, (orders, amount) in other.revenue.items():
            had = both.get(currency, (0, Decimal(0)))
            both[currency] = (had[0] + orders, had[1] + amount)
        return Worth(self.orders + other.orders, self.open_orders + other.open_orders, both)

    def as_json(self) -> dict[str, Any]:
        """`orders`, `open_orders` and `revenue` as {currency: amount as text}."""
        revenue = {currency: str(amount) for currency, (_, amount) in sorted(self.revenue.items())}
        return {"orders": self.orders, "open_orders": self.open_orders, "revenue": revenue}


@dataclass(frozen=True)
class Task:
    """A question for a steward: about two records, or about one golden id (and an attribute of it).

    `evidence` says why it is asked. It is also what decides whether a task that was answered "unsure" is asked again, so
    that figures which change with every training of a model have no place in it: they go into `probability`.
    """

    entity: str
    kind: str
    left: str | None = None
    right: str | None = None
    golden_id: str | None = None
    attribute: str | None = None
    probability: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Order the pair; refuse a task that is about neither a pair nor an id, or about both."""
        if (self.left is None) != (self.right is None) or (self.left is None) == (self.golden_id is None):
            raise ValueError(f"a task is about two records or about one golden id, not {self}")
        if self.left is not None and self.right is not None and self.left > self.right:
            left, right = self.right, self.left
            object.__setattr__(self, "left", left)
            object.__setattr__(self, "right", right)


def pair_tasks(
    entity: str,
    members: Mapping[str, str],
    refusals: Iterable[Refusal],
    scored: Iterable[tuple[str, str, float]] = (),
) -> list[Task]:
    """What a run leaves to a person: exact evidence it did not follow, and pairs in the grey zone.

    Args:
        entity: customer, sku, location or order.
        members: record id -> golden id, of this run; pairs that are one anyway are no question.
        refusals: of the run's clustering.
        scored: (left, right, probability) between the review and the merge threshold.

    Returns:
        Tasks in no order; several may be about the same two golden ids.
    """
    tasks: list[Task] = []
    for refusal in refusals:
        edge = refusal.edge
        if not 0 < edge.strength <= _WEAKEST_ASKED or refusal.reason == "a steward judged them different":
            continue
        if _parted(members, edge.left, edge.right):
            evidence = {"rule": edge.rule, "strength": edge.strength, "reason": refusal.reason}
            tasks.append(Task(entity, REFUSED, edge.left, edge.right, evidence=evidence))
    for left, right, probability in scored:
        if _parted(members, left, right):
            tasks.append(Task(entity, GREY, left, right, probability=probability, evidence={"rule": "score"}))
    return tasks


def _parted(members: Mapping[str, str], left: str, right: str) -> bool:
    return left in members and right in members and members[left] != members[right]


@dataclass(frozen=True)
class Link:
    """One piece of a run's evidence: strength 1 is strongest; `refused` says why it was not followed."""

    left: str
    right: str
    rule: str
    strength: int
    probability: float | None = None
    refused: str | None = None


def links(
    evidence: Iterable[Edge],
    refusals: Iterable[Refusal],
    probability: Mapping[tuple[str, str], float] | None = None,
) -> list[Link]:
    """A run's evidence with what became of it; one link per pair and rule, the strongest.

    Args:
        evidence: every edge of the run.
        refusals: those that were not followed.
        probability: (left, right) -> probability, of scored pairs.
    """
    refused = {(item.edge.left, item.edge.right, item.edge.rule): item.reason for item in refusals}
    known = probability or {}
    found: dict[tuple[str, str, str], Link] = {}
    for edge in sorted(set(evidence), reverse=True):
        if edge.strength > 0:
            key = (min(edge.left, edge.right), max(edge.left, edge.right), edge.rule)
            reason = refused.get((edge.left, edge.right, edge.rule))
            found[key] = Link(*key, edge.strength, known.get(key[:2]), reason)
    return list(found.values())


def worth_of_records(
    orders: Sequence[Row],
    lines: Iterable[Row] = (),
    places: Iterable[tuple[str, str | None]] = (),
    order_ids: Mapping[str, str] | None = None,
) -> dict[str, dict[str, Worth]]:
    """What hangs on each record, so that sums over any records count an order once.

    An order known to several systems counts for the customer record of one of its documents: the first by record id
    among those that state an amount and name a customer. Its lines count for the SKU records of the first document with
    lines.

    Args:
        orders: `record_id, document_role, customer_key, order_status, net_amount, currency` of `int_order_records`.
        lines: `order_record_id, sku_key, net_amount, currency` of `int_order_lines`.
        places: (order record id, location record id) from stores, warehouses and shipments.
        order_ids: order record id -> golden order id; without it each document is an order.

    Returns:
        entity -> record id -> worth.
    """
    golden = order_ids or {}
    documents: dict[str, list[Row]] = defaultdict(list)
    order_of: dict[str, str] = {}
    for row in orders:
        order_of[row["record_id"]] = golden.get(row["record_id"], row["record_id"])
        if row["document_role"] == "order":
            documents[order_of[row["record_id"]]].append(row)
    by_document: dict[str, list[Row]] = defaultdict(list)
    for line in lines:
        by_document[line["order_record_id"]].append(line)
    found: dict[str, dict[str, Worth]] = {name: {} for name in ("order", "customer", "sku", "location")}
    open_orders: set[str] = set()
    for order_id, rows in documents.items():
        rows.sort(key=lambda row: (row["net_amount"] is None, row["record_id"]))
        statuses = {row["order_status"] for row in rows}
        is_open = bool(statuses & {"open", "processing"}) and not statuses & _DONE
        if is_open:
            open_orders.add(order_id)
        leading = rows[0]
        worth = _one_order(is_open, [(leading["currency"], leading["net_amount"])])
        _count(found["order"], leading["record_id"], worth)
        buyer = next((row["customer_key"] for row in rows if row["customer_key"] is not None), None)
        if buyer is not None:
            _count(found["customer"], buyer, worth)
        billed = next((by_document[row["record_id"]] for row in rows if row["record_id"] in by_document), [])
        amounts: dict[str, list[tuple[str | None, Decimal | None]]] = defaultdict(list)
        for line in billed:
            if line["sku_key"] is not None:
                amounts[line["sku_key"]].append((line["currency"], line["net_amount"]))
        for record, told in amounts.items():
            _count(found["sku"], record, _one_order(is_open, told))
    for order_id, place in {(order_of.get(record, record), place) for record, place in places}:
        if place is not None and order_id in documents:
            leading = documents[order_id][0]
            told = [(leading["currency"], leading["net_amount"])]
            _count(found["location"], place, _one_order(order_id in open_orders, told))
    return found


def _one_order(is_open: bool, told: Iterable[tuple[str | None, Decimal | None]]) -> Worth:
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for currency, amount in told:
        if currency is not None and amount is not None:
            sums[currency] += amount
    return Worth(1, int(is_open), {currency: (1, amount) for currency, amount in sums.items()})


def _count(found: dict[str, Worth], record: str, worth: Worth) -> None:
    found[record] = found.get(record, Worth()) + worth


def points(worth: Worth, usual: Mapping[str, Decimal]) -> Decimal:
    """Worth as one number, in orders: orders, plus open orders (still to be put right), plus revenue in usual orders.

    Args:
        worth: of the task.
        usual: currency -> net amount of a usual order; revenue in a currency without one counts nothing.
    """
    revenue = (
        abs(amount) / usual[currency]
        for currency, (_, amount) in worth.revenue.items()
        if usual.get(currency)
    )
    return Decimal(worth.orders + worth.open_orders) + sum(revenue, Decimal(0))


def usual_orders(worths: Iterable[Worth]) -> dict[str, Decimal]:
    """Mean net amount of an order in each currency, so that currencies compare without exchange rates."""
    counts: dict[str, int] = defaultdict(int)
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for currency, (orders, amount) in chain.from_iterable(worth.revenue.items() for worth in worths):
        counts[currency] += orders
        sums[currency] += abs(amount)
    return {currency: sums[currency] / counts[currency] for currency in sums if counts[currency]}


def rank(tasks: Mapping[int, Worth]) -> list[int]:
    """Task ids from the most worth to the least; equal worth in the order they were opened (smaller id first)."""
    usual = usual_orders(tasks.values())
    return sorted(tasks, key=lambda number: (-points(tasks[number], usual), number))
