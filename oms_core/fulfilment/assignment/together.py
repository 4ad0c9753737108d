"""Source many released orders together, and carry the decisions out one by one, each looked at again before it is."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime

from sqlalchemy import Connection, text

from oms_core.fulfilment.assignment import record, rules
from oms_core.fulfilment.assignment.assign import DONE, Request, Sourcing
from oms_core.fulfilment.assignment.company import orders_on
from oms_core.fulfilment.assignment.past import joined
from oms_core.fulfilment.assignment.record import Stored
from oms_core.fulfilment.errors import FulfilmentError, RequestError
from oms_core.fulfilment.sourcing.batch import Batch, source_batch
from oms_core.store.errors import NotReleasedError
from oms_core.store.postgres import Database
from oms_core.store.released import Released

_OPEN = """
SELECT order_id FROM fct_orders WHERE ship_to_country IS NOT NULL AND is_test IS NOT TRUE AND dispatched_at IS NULL
AND delivered_at IS NULL AND order_type IS DISTINCT FROM 'return'
AND coalesce(order_status, '') <> ALL(:done) ORDER BY ordered_at, order_id"""


@dataclass(frozen=True)
class Together:
    """What became of a batch.

    Attributes:
        batch: what was decided; one decision per order.
        left_out: order -> why it was not decided about.
        kept: order -> its decision as it was carried out; none of a dry run.
        refused: order -> why its decision was not carried out.
        changed: orders whose plan of the batch could no longer be sent, so that another one was made.
    """

    batch: Batch
    left_out: Mapping[str, str]
    kept: Mapping[str, Stored]
    refused: Mapping[str, str]
    changed: tuple[str, ...]


def open_orders(connection: Connection, on: date | None) -> list[str]:
    """Golden ids of released orders that are still to be sent, oldest first.

    Args:
        connection: of `Database.read`.
        on: only those placed on that day (UTC).

    Raises:
        NotReleasedError: nothing was released yet.
    """
    if not Released(connection).tables.issuperset({"fct_orders"}):
        raise NotReleasedError("no orders were released yet: run `orderhub run` first")
    found: list[str] = list(connection.execute(text(_OPEN), {"done": list(DONE)}).scalars())
    if on is None:
        return found
    placed = set(orders_on(connection, on))
    return [order_id for order_id in found if order_id in placed]


def source_together(
    database: Database,
    on: date | None,
    *,
    by: str,
    tenant: str | None = None,
    seconds: float = 60.0,
    say: Callable[[str], None] = lambda _: None,
) -> Together:
    """Source the open orders of a release as one batch.

    Args:
        on: only orders placed on that day (UTC); None: all that are still to be sent.
        tenant: carry the decisions out, and whose the reservations are; None: a dry run, which keeps nothing.
        seconds: time limit of the optimisation.
        say: told of progress, in words.

    Raises:
        RequestError: "no-orders", there are none, or none that can be sourced.
        NotReleasedError: nothing was released yet.
    """
    with database.read() as connection:
        numbers = open_orders(connection, on)
    with database.begin() as connection:
        policy, _ = rules.in_force(connection)
        standing = {number for number in numbers if record.standing(connection, number) is not None}
    desk = Sourcing(database)
    say(f"{len(numbers)} open orders, {len(standing)} of them being carried out already")
    found, left_out = desk.inputs([number for number in numbers if number not in standing])
    if not found:
        because = "".join(f"; {order}: {why}" for order, why in sorted(left_out.items())[:3])
        raise RequestError("no-orders", f"no open order can be sourced{because}")
    now = datetime.now(UTC)
    day = joined(inputs.day for inputs in found)
    orders = [replace(order, at=now) for order in day.orders]
    say(f"deciding about {len(orders)} orders and {len(day.nodes)} nodes, {seconds:g} s at most")
    batch = source_batch(orders, day.network(), policy, time_limit_seconds=seconds)
    say(f"score {batch.score:.4f}, at most {batch.gap:.2%} above the best there is")
    kept: dict[str, Stored] = {}
    refused: dict[str, str] = {}
    changed: list[str] = []
    for number, decided in enumerate(batch.decisions if tenant is not None else (), 1):
        assert tenant is not None
        order_id = decided.order.order_id
        key = f"batch {now.isoformat()} {order_id}"
        request = Request(tenant, key, hashlib.sha256(key.encode()).digest())
        try:
            stored = desk.source(order_id, by=by, request=request, planned=decided)
        except FulfilmentError as error:
            refused[order_id] = f"{error} ({error.code})"
        else:
            kept[order_id] = stored
            if {parcel["node_id"] for parcel in stored.decision["parcels"]} != {
                parcel.node_id for parcel in decided.parcels
            }:
                changed.append(order_id)
        if number % 100 == 0:
            say(f"{number} of {len(batch.decisions)} carried out")
    return Together(batch, left_out, kept, refused, tuple(changed))
