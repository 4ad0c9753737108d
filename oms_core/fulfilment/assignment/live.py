"""What lies on the nodes and waits there now, read with the stock: the inputs of a decision, complete."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from decimal import Decimal

from sqlalchemy import Connection, text

from oms_core.fulfilment.assignment.company import Company, Wanted, unknown_of
from oms_core.fulfilment.errors import UnknownError
from oms_core.fulfilment.ledger import Stock
from oms_core.fulfilment.reservation import Reservation
from oms_core.fulfilment.sourcing.document import Day
from oms_core.fulfilment.sourcing.network import Node, Shelf
from oms_core.fulfilment.stock import ZERO, Pool

# Holds of reservations that ran out count no longer, whether they were swept yet or not.
_LOAD = """
SELECT n.location_id, n.closed_reason, coalesce(w.parcels, 0) AS parcels, coalesce(w.lines, 0) AS lines,
    coalesce(f.refused, 0) AS refused, (
        SELECT max(x.reason) FROM orderhub.sourcing_refusals AS x JOIN orderhub.sourcing_decisions AS d USING (decision_id)
        WHERE x.location_id = n.location_id AND d.order_id = :order
    ) AS refused_this
FROM orderhub.stock_nodes AS n
LEFT JOIN (
    SELECT location_id, count(DISTINCT reservation_id) AS parcels, count(DISTINCT (reservation_id, line_number)) AS lines
    FROM orderhub.reservation_holds WHERE (expires_at IS NULL OR expires_at > clock_timestamp())
    AND NOT reservation_id = ANY(:own) GROUP BY location_id
) AS w ON w.location_id = n.location_id
LEFT JOIN (
    SELECT location_id, count(*) AS refused FROM orderhub.sourcing_refusals GROUP BY location_id
) AS f ON f.location_id = n.location_id
ORDER BY n.location_id"""


@dataclass(frozen=True)
class Inputs:
    """All that a decision rests on, but for the policy.

    Attributes:
        day: the order, the nodes, and the shelves its goods may come from.
        unknown: in words, what nobody knows.
    """

    day: Day
    unknown: tuple[str, ...]


def gather(
    connection: Connection, company: Company, wanted: Wanted, stock: Stock, own: Collection[Reservation] = ()
) -> Inputs:
    """Put the released order and nodes together with stock and load as they are now.

    Args:
        connection: of `Database.begin`.
        stock: every pool of the order's SKUs, locked where the decision is to be carried out.
        own: reservations of the order itself; what they hold counts as free, as it is free for this order.

    Raises:
        UnknownError: "unknown-sku", nothing was ever counted of a SKU.
    """
    known = {pool.sku_id for pool in stock.pools.values()}
    for line in wanted.order.lines:
        if line.sku_id not in known:
            raise UnknownError(
                "unknown-sku",
                f"order {wanted.order.order_id}: nothing was ever counted of SKU {line.sku_id!r}",
            )
    held: dict[tuple[str, str], Decimal] = {}
    for made in own:
        for hold in made.holds:
            if hold.lot.arrives_on is not None:
                continue
            held[hold.key] = held.get(hold.key, ZERO) + hold.qty
    nodes = _nodes(connection, company, wanted.order.order_id, [made.reservation_id for made in own])
    places = {node.node_id for node in nodes}
    shelves = []
    told = [
        f"of node {node.node_id}: {', '.join(missing)}" for node in nodes if (missing := unknown_of(node))
    ]
    for key, pool in sorted(stock.pools.items()):
        unit = wanted.units[pool.sku_id]
        if unit not in (None, pool.uom):
            told.append(
                f"how much {unit} the {pool.uom} of SKU {pool.sku_id} at {pool.location_id} is, which is not asked"
            )
        elif key[1] in places:
            shelves.append(_shelf(pool, wanted, stock, held.get(key, ZERO)))
    return Inputs(
        Day(tuple(nodes), tuple(shelves), (wanted.order,)), (*wanted.unknown, *company.unknown, *told)
    )


def _nodes(connection: Connection, company: Company, order_id: str, own: list[str]) -> list[Node]:
    found = []
    for row in connection.execute(text(_LOAD), {"own": own, "order": order_id}):
        node = company.nodes.get(row.location_id)
        if node is not None:  # a node that the release does not show cannot be weighed
            found.append(
                replace(
                    node,
                    parcels_taken=row.parcels,
                    lines_waiting=row.lines,
                    offered=node.offered + row.refused,
                    refused=row.refused,
                    closed_reason=row.closed_reason
                    or (None if row.refused_this is None else f"it refused this order: {row.refused_this}")
                    or node.closed_reason,
                )
            )
    return found


def _shelf(pool: Pool, wanted: Wanted, stock: Stock, held: Decimal) -> Shelf:
    today = stock.now.date()
    needed_on = max(wanted.order.needed_on, today)
    until = pool.good_until(needed_on, None)
    first = next((lot for lot in pool.good_lots(until) if lot.free(pool.uom) > 0), None)
    return Shelf(
        pool.sku_id,
        pool.location_id,
        pool.available(wanted.channel, until, today) + held,
        pool.uom,
        wanted.demand.get(pool.key, ZERO),
        None if first is None else first.expires_on,
    )
