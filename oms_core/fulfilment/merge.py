"""When identity finds that two SKUs or two nodes are one, their stock and what is promised of it become one, too.

Only what stands in these tables moves; the count of the release, which knows the surviving id, replaces the quantities next.
"""

from __future__ import annotations

from functools import partial

from sqlalchemy import Connection, text

from oms_core.audit import log
from oms_core.fulfilment import ledger
from oms_core.fulfilment.desk import repeat
from oms_core.fulfilment.stock import PoolKey
from oms_core.identity.lookup import current_id
from oms_core.store.postgres import Database

_RETIRED = """
SELECT DISTINCT p.{column} FROM orderhub.stock_pools AS p
JOIN released.golden_id_redirects AS r ON r.entity = :entity AND r.golden_id = p.{column} WHERE r.redirect_to IS NOT NULL"""
_OLD = "{0}.sku_id = :sku AND {0}.location_id = :node"
_NEW = "{0}.sku_id = :new_sku AND {0}.location_id = :new_node"
_PAIR = f"{_OLD.format('o')} AND {_NEW.format('t')} AND t.lot_number = o.lot_number AND t.inbound = o.inbound"
_STEPS = (
    "INSERT INTO orderhub.stock_nodes (location_id) VALUES (:new_node) ON CONFLICT DO NOTHING",
    "INSERT INTO orderhub.stock_pools (sku_id, location_id, uom, needs_expiry, safety_qty, min_shelf_life_days) "
    "SELECT :new_sku, :new_node, o.uom, o.needs_expiry, o.safety_qty, o.min_shelf_life_days FROM orderhub.stock_pools AS o "
    f"WHERE {_OLD.format('o')} ON CONFLICT DO NOTHING",
    "INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, expires_on, on_hand_qty, inbound, "
    "arrives_on) SELECT :new_sku, :new_node, o.lot_number, o.expires_on, 0, o.inbound, o.arrives_on FROM orderhub.stock_positions AS o "
    f"WHERE {_OLD.format('o')} ON CONFLICT DO NOTHING",
    # The next count settles the quantities: until then nothing that was there is missing, and no base is believed.
    "UPDATE orderhub.stock_positions AS t SET on_hand_qty = greatest(t.on_hand_qty, 0) + greatest(o.on_hand_qty, 0), "
    "reserved_qty = t.reserved_qty + o.reserved_qty, "
    "base_source = CASE WHEN o.inbound = '' THEN coalesce(t.base_source, o.base_source, '') END, "
    f"base_position_ids = '{{}}' FROM orderhub.stock_positions AS o WHERE {_PAIR}",
    "UPDATE orderhub.reservation_holds AS h SET qty = h.qty + x.qty FROM orderhub.reservation_holds AS x, "
    "orderhub.stock_positions AS o, orderhub.stock_positions AS t "
    f"WHERE {_PAIR} AND x.position_id = o.id AND h.position_id = t.id "
    "AND h.reservation_id = x.reservation_id AND h.line_number = x.line_number",
    "DELETE FROM orderhub.reservation_holds AS x USING orderhub.reservation_holds AS h, orderhub.stock_positions AS o, "
    f"orderhub.stock_positions AS t WHERE {_PAIR} AND x.position_id = o.id AND h.position_id = t.id "
    "AND h.reservation_id = x.reservation_id AND h.line_number = x.line_number",
    "UPDATE orderhub.reservation_lines AS l SET sku_id = :new_sku FROM orderhub.reservation_holds AS o "
    f"WHERE {_OLD.format('o')} AND l.reservation_id = o.reservation_id AND l.sku_id = :sku",
    "UPDATE orderhub.reservation_holds AS x SET position_id = t.id, sku_id = :new_sku, location_id = :new_node "
    f"FROM orderhub.stock_positions AS o, orderhub.stock_positions AS t WHERE {_PAIR} AND x.position_id = o.id",
    "UPDATE orderhub.stock_movements AS o SET sku_id = :new_sku, location_id = :new_node "
    f"WHERE {_OLD.format('o')}",
    "UPDATE orderhub.channel_allotments AS t SET qty = t.qty + o.qty, used_qty = t.used_qty + o.used_qty "
    f"FROM orderhub.channel_allotments AS o WHERE {_OLD.format('o')} AND {_NEW.format('t')} AND t.channel = o.channel",
    "INSERT INTO orderhub.channel_allotments (sku_id, location_id, channel, kind, qty, used_qty) "
    "SELECT :new_sku, :new_node, o.channel, o.kind, o.qty, o.used_qty FROM orderhub.channel_allotments AS o "
    f"WHERE {_OLD.format('o')} ON CONFLICT DO NOTHING",
    "INSERT INTO orderhub.stock_inbound AS t SELECT o.source_system, o.reference, :new_sku, :new_node, o.lot_number, o.kind, "
    "o.qty, o.received_qty, o.expected_on, o.expires_on, o.recorded_at FROM orderhub.stock_inbound AS o "
    f"WHERE {_OLD.format('o')} ON CONFLICT (source_system, reference, sku_id, location_id, lot_number) DO UPDATE "
    "SET qty = t.qty + excluded.qty, received_qty = t.received_qty + excluded.received_qty",
    f"DELETE FROM orderhub.channel_allotments AS o WHERE {_OLD.format('o')}",
    f"DELETE FROM orderhub.stock_inbound AS o WHERE {_OLD.format('o')}",
    f"DELETE FROM orderhub.stock_positions AS o WHERE {_OLD.format('o')}",
    f"DELETE FROM orderhub.stock_pools AS o WHERE {_OLD.format('o')}",
)


def follow_redirects(database: Database, *, by: str) -> int:
    """Move stock and promises from retired ids to those that took over.

    A pool whose successor is kept in another unit stays where it is.

    Returns:
        Number of pools that moved.
    """
    with database.begin() as connection:
        heirs = {
            entity: _heirs(connection, entity, column)
            for entity, column in (("sku", "sku_id"), ("location", "location_id"))
        }
        rows = connection.execute(
            text(
                "SELECT sku_id, location_id FROM orderhub.stock_pools WHERE sku_id = ANY(CAST(:skus AS text[])) "
                "OR location_id = ANY(CAST(:nodes AS text[])) ORDER BY sku_id, location_id"
            ),
            {"skus": list(heirs["sku"]), "nodes": list(heirs["location"])},
        )
        pools = [(row.sku_id, row.location_id) for row in rows]
    moved = 0
    for sku, node in pools:
        heir = (heirs["sku"].get(sku, sku), heirs["location"].get(node, node))
        moved += repeat(database, partial(_move, (sku, node), heir, by))
    return moved


def _heirs(connection: Connection, entity: str, column: str) -> dict[str, str]:
    rows = connection.execute(text(_RETIRED.format(column=column)), {"entity": entity})
    found = {row[0]: current_id(connection, entity, row[0]) for row in rows}
    return {golden_id: heir for golden_id, heir in found.items() if heir is not None and heir != golden_id}


def _move(old: PoolKey, new: PoolKey, by: str, connection: Connection, _also: frozenset[PoolKey]) -> bool:
    stock = ledger.lock(connection, {old, new}, ())
    ledger.write(connection, stock)
    if old not in stock.pools or (new in stock.pools and stock.pools[new].uom != stock.pools[old].uom):
        return False
    values = {"sku": old[0], "node": old[1], "new_sku": new[0], "new_node": new[1]}
    for step in _STEPS:
        connection.execute(text(step), values)
    said = {"from_location": old[1], "to_sku": new[0], "to_location": new[1]}
    log.append(connection, [log.Happening("stock.moved", by, f"sku/{old[0]}", said)])
    return True
