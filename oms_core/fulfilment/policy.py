"""What is kept back of stock, set aside for channels, and which nodes are closed: said by people, logged, in force at once."""

from __future__ import annotations

from decimal import Decimal

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import ledger
from oms_core.fulfilment.errors import RefusedError, RequestError, UnknownError
from oms_core.fulfilment.stock import CAP, RING_FENCE, Pool
from oms_core.fulfilment.unit import check_quantity, plain_quantity


def set_policy(
    connection: Connection,
    sku_id: str,
    location_id: str,
    safety: Decimal,
    min_shelf_life_days: int,
    *,
    by: str,
) -> None:
    """Say how much of a SKU at a node is kept back, and how long goods must stay good after the promised date.

    Said again while it is in force, it changes nothing.

    Raises:
        UnknownError: nothing was ever counted there.
        RequestError: the quantity makes no sense in the SKU's unit.
    """
    pool = _locked(connection, sku_id, location_id)
    check_quantity(safety, pool.uom, may_be_zero=True)
    if not 0 <= min_shelf_life_days <= 36_500:
        raise RequestError("bad-request", f"a shelf life of {min_shelf_life_days} days makes no sense")
    if (pool.safety, pool.min_shelf_life_days) == (safety, min_shelf_life_days):
        return
    connection.execute(
        text(
            "UPDATE orderhub.stock_pools SET safety_qty = :safety, min_shelf_life_days = :days "
            "WHERE sku_id = :sku AND location_id = :node"
        ),
        {"safety": safety, "days": min_shelf_life_days, "sku": sku_id, "node": location_id},
    )
    said = {
        "location": location_id,
        "safety_qty": plain_quantity(safety),
        "min_shelf_life_days": min_shelf_life_days,
    }
    log.append(connection, [log.Happening("stock.policy_set", by, f"sku/{sku_id}", said)])


def set_allotment(
    connection: Connection,
    sku_id: str,
    location_id: str,
    channel: str,
    kind: str,
    qty: Decimal | None,
    *,
    by: str,
) -> None:
    """Cap what a channel may have of a SKU at a node, or ring-fence a quantity for it; None ends the allotment.

    What the channel holds now counts as used; what it is promised later, shipped goods included, adds to it. Said again while
    it is in force, it changes nothing, so that a repeated request gives no channel its share twice: to begin a new one of the
    same size, end the old one first.

    Raises:
        UnknownError: nothing was ever counted there.
        RequestError: the kind is unknown, or the quantity makes no sense.
        RefusedError: a cap would lie below what the channel holds already.
    """
    pool = _locked(connection, sku_id, location_id)
    names = {"sku": sku_id, "node": location_id, "channel": channel}
    said: dict[str, str | None] = {"location": location_id, "channel": channel, "kind": kind, "qty": None}
    if kind not in (CAP, RING_FENCE):
        raise RequestError(
            "bad-request", f"{kind!r} is no kind of allotment: there are {CAP} and {RING_FENCE}"
        )
    standing = pool.allotments.get(channel)
    in_force = None if standing is None else (standing.kind, standing.qty)
    if in_force == (None if qty is None else (kind, qty)):
        return
    if qty is None:
        connection.execute(
            text(
                "DELETE FROM orderhub.channel_allotments "
                "WHERE sku_id = :sku AND location_id = :node AND channel = :channel"
            ),
            names,
        )
    else:
        check_quantity(qty, pool.uom, may_be_zero=True)
        held: Decimal = connection.execute(
            text(
                "SELECT coalesce(sum(qty), 0) FROM orderhub.reservation_holds "
                "WHERE sku_id = :sku AND location_id = :node AND channel = :channel"
            ),
            names,
        ).scalar_one()
        if kind == CAP and qty < held:
            raise RefusedError(
                "cap-below-held",
                f"{channel} holds {plain_quantity(held)} of {sku_id} at {location_id}: a cap of {plain_quantity(qty)} comes too late",
            )
        connection.execute(
            text(
                "INSERT INTO orderhub.channel_allotments (sku_id, location_id, channel, kind, qty, used_qty) "
                "VALUES (:sku, :node, :channel, :kind, :qty, :used) ON CONFLICT (sku_id, location_id, channel) "
                "DO UPDATE SET kind = excluded.kind, qty = excluded.qty, used_qty = excluded.used_qty"
            ),
            {**names, "kind": kind, "qty": qty, "used": held},
        )
        said["qty"] = plain_quantity(qty)
    log.append(connection, [log.Happening("stock.allotment_set", by, f"sku/{sku_id}", said)])


def close_node(connection: Connection, location_id: str, reason: str | None, *, by: str) -> None:
    """Close a node: nothing more is promised of it, and what is reserved there is not allocated. None opens it again.

    Said again while it is so, it changes nothing.

    Raises:
        UnknownError: it is no node that keeps stock.
    """
    standing = connection.execute(
        text("SELECT closed_reason FROM orderhub.stock_nodes WHERE location_id = :node FOR UPDATE"),
        {"node": location_id},
    ).one_or_none()
    if standing is None:
        raise UnknownError("unknown-node", f"{location_id!r} is no node that keeps stock")
    if standing.closed_reason == reason:
        return
    connection.execute(
        text(
            "UPDATE orderhub.stock_nodes SET closed_reason = :reason, "
            "closed_at = CASE WHEN CAST(:reason AS text) IS NULL THEN NULL ELSE clock_timestamp() END "
            "WHERE location_id = :node"
        ),
        {"node": location_id, "reason": reason},
    )
    verb = "node.opened" if reason is None else "node.closed"
    log.append(connection, [log.Happening(verb, by, f"location/{location_id}", {"reason": reason})])


def _locked(connection: Connection, sku_id: str, location_id: str) -> Pool:
    stock = ledger.lock(connection, {(sku_id, location_id)}, ())
    ledger.write(connection, stock)  # what lapsed is freed for good
    pool = stock.pools.get((sku_id, location_id))
    if pool is None:
        raise UnknownError("unknown-sku", f"nothing was ever counted of SKU {sku_id!r} at {location_id!r}")
    return pool
