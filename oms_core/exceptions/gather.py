"""Read what exceptions are found in: the current release, the books, the stock, what sourcing decided, flows, open questions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, text

from oms_core.exceptions.baseline import Stay

# An order is under way while its flow says so; one that is in no flow, while a system says how it stands and that it has not
# ended. Of old exports, which say neither, nothing is asked.
_OPEN = """
SELECT o.order_id FROM released.fct_orders AS o LEFT JOIN orderhub.flow_orders AS f ON f.order_id = o.order_id
WHERE o.is_test IS NOT TRUE AND CASE WHEN f.order_id IS NULL
    THEN o.order_status NOT IN ('delivered', 'closed', 'returned', 'refunded', 'cancelled')
    ELSE NOT f.is_done END
"""
# The newest decision of each order counts; goods are what lies in open nodes and is promised to nobody. What left a node, or
# is reserved by the system that ships it, has its goods.
_NO_STOCK = f"""
WITH open_orders AS ({_OPEN}),
decided AS (
    SELECT DISTINCT ON (order_id) order_id, decision_id, CAST(decision AS jsonb) AS decision
    FROM orderhub.sourcing_decisions WHERE order_id IN (SELECT order_id FROM open_orders)
    ORDER BY order_id, decided_at DESC, decision_id DESC
),
unsourced AS (
    SELECT d.order_id, item ->> 'sku_id' AS sku_id, CAST(item ->> 'qty' AS numeric) AS asked_qty,
        CAST(item ->> 'sendable_qty' AS numeric) AS available_qty, CAST(NULL AS text) AS uom, d.decision_id
    FROM decided AS d CROSS JOIN LATERAL jsonb_array_elements(d.decision -> 'unfillable') AS item
    WHERE d.decision ->> 'is_filled' = 'false'
),
needed AS (
    SELECT l.order_id, l.sku_id, l.uom, sum(l.qty) AS asked_qty
    FROM released.fct_order_lines AS l JOIN released.fct_orders AS o ON o.order_id = l.order_id
    WHERE l.order_id IN (SELECT order_id FROM open_orders) AND l.order_id NOT IN (SELECT order_id FROM decided)
    AND l.sku_id IS NOT NULL AND l.is_return IS NOT TRUE AND o.stock_reserved_at IS NULL AND o.picked_at IS NULL AND o.packed_at IS NULL
    AND o.dispatched_at IS NULL AND o.first_carrier_scan_at IS NULL AND o.delivered_at IS NULL
    AND coalesce(o.order_status, '') NOT IN ('shipped', 'delivered', 'closed', 'returned', 'refunded', 'cancelled')
    GROUP BY l.order_id, l.sku_id, l.uom
),
held AS (
    SELECT p.sku_id, min(pool.uom) AS uom, sum(greatest(p.on_hand_qty - p.reserved_qty - p.committed_qty, 0)) AS qty
    FROM orderhub.stock_positions AS p
    JOIN orderhub.stock_pools AS pool ON pool.sku_id = p.sku_id AND pool.location_id = p.location_id
    JOIN orderhub.stock_nodes AS node ON node.location_id = p.location_id AND node.closed_at IS NULL
    WHERE p.inbound = '' GROUP BY p.sku_id
),
short AS (
    SELECT n.order_id, n.sku_id, n.asked_qty, h.qty AS available_qty, h.uom, CAST(NULL AS text) AS decision_id
    FROM needed AS n JOIN held AS h ON h.sku_id = n.sku_id AND h.uom = n.uom WHERE h.qty < n.asked_qty
),
-- What was promised and is not there after all, will not come, or comes after the promised date; the newest reservation counts.
promised AS (
    SELECT DISTINCT ON (order_reference) order_reference AS order_id, reservation_id FROM orderhub.reservations
    WHERE order_reference IN (SELECT order_id FROM open_orders) ORDER BY order_reference, made_at DESC, reservation_id DESC
),
late AS (
    SELECT h.reservation_id, h.line_number, sum(h.qty) AS qty FROM orderhub.reservation_holds AS h
    JOIN orderhub.stock_positions AS p ON p.id = h.position_id
    JOIN orderhub.reservation_lines AS l ON l.reservation_id = h.reservation_id AND l.line_number = h.line_number
    WHERE p.inbound <> '' AND (p.arrives_on > l.promised_on OR p.arrives_on < current_date)
    AND h.reservation_id IN (SELECT reservation_id FROM promised) GROUP BY h.reservation_id, h.line_number
),
broken AS (
    SELECT r.order_id, l.sku_id, sum(l.granted_qty) AS asked_qty,
        sum(l.granted_qty - l.lost_qty - coalesce(late.qty, 0)) AS available_qty, min(l.uom) AS uom,
        CAST(NULL AS text) AS decision_id
    FROM promised AS r JOIN orderhub.reservation_lines AS l ON l.reservation_id = r.reservation_id
    LEFT JOIN late ON late.reservation_id = l.reservation_id AND late.line_number = l.line_number
    GROUP BY r.order_id, l.sku_id HAVING sum(l.lost_qty + coalesce(late.qty, 0)) > 0
),
missing AS (SELECT * FROM unsourced UNION ALL SELECT * FROM short)
SELECT s.*, (
    SELECT min(i.expected_on) FROM orderhub.stock_inbound AS i
    WHERE i.sku_id = s.sku_id AND i.received_qty < i.qty AND i.expected_on >= current_date
) AS expected_on
FROM (
    SELECT * FROM missing UNION ALL SELECT * FROM broken AS b
    WHERE NOT EXISTS (SELECT FROM missing AS m WHERE m.order_id = b.order_id AND m.sku_id IS NOT DISTINCT FROM b.sku_id)
) AS s
"""
_ADDRESSES = f"""
SELECT o.order_id, o.ship_to_country AS country, o.ship_to_region AS region, o.ship_to_city AS city,
    o.ship_to_postcode AS postcode
FROM released.fct_orders AS o JOIN ({_OPEN}) AS open_orders ON open_orders.order_id = o.order_id
WHERE o.order_type IS DISTINCT FROM 'pos' AND o.delivered_at IS NULL AND o.dispatched_at IS NULL
AND coalesce(o.order_status, '') <> 'shipped'
"""
_DIFFERENCES = """
SELECT difference_id, order_id, leg, document, cause, missing_in, period, currency, left_amount, right_amount,
    difference_amount, left_records, right_records
FROM released.fin_reconciliation WHERE status = 'different' AND leg {leg} 'payment'
"""
_COLD_CHAIN = """
SELECT order_id, order_status, delivered_at, min_temperature_c, max_temperature_c, excursion_minutes, excursion_count,
    sensor_coverage_ratio
FROM released.fct_orders WHERE needs_cold_chain AND is_cold_chain_intact = false AND is_test IS NOT TRUE
"""
_IDENTITY = f"""
WITH asked AS (
    SELECT t.id, t.entity, coalesce(t.golden_id, m.golden_id) AS golden_id
    FROM orderhub.identity_tasks AS t LEFT JOIN orderhub.identity_members AS m
    ON m.entity = t.entity AND m.valid_to IS NULL AND m.record_id IN (t.left_record_id, t.right_record_id)
    WHERE t.closed_at IS NULL
),
touched AS (
    SELECT id, golden_id AS order_id FROM asked WHERE entity = 'order'
    UNION SELECT a.id, o.order_id FROM asked AS a JOIN released.fct_orders AS o
    ON a.entity = 'customer' AND o.customer_id = a.golden_id
    UNION SELECT a.id, l.order_id FROM asked AS a JOIN released.fct_order_lines AS l
    ON a.entity = 'sku' AND l.sku_id = a.golden_id
)
SELECT w.order_id, t.id AS task_id, t.entity, t.kind AS task_kind, t.left_record_id, t.right_record_id, t.golden_id,
    t.probability, t.fingerprint AS task_fingerprint
FROM touched AS w JOIN orderhub.identity_tasks AS t ON t.id = w.id
WHERE w.order_id IN ({_OPEN})
"""
_STANDING = """
SELECT order_id, flow, state, facts ->> 'channel' AS channel, entered_at
FROM orderhub.flow_orders WHERE NOT is_done AND merged_into IS NULL AND entered_at IS NOT NULL
"""
_STAYS = """
SELECT flow, state, channel, extract(epoch FROM left_at - entered_at) AS seconds, left_by
FROM orderhub.flow_stays WHERE left_at IS NOT NULL AND is_usual
"""
# Each kind's rows, and the released tables they need; without one, nothing can be said about the kind.
STATEMENTS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "no_stock": (_NO_STOCK, ("fct_orders", "fct_order_lines")),
    "address_doubtful": (_ADDRESSES, ("fct_orders",)),
    "payment_mismatch": (_DIFFERENCES.format(leg="="), ("fin_reconciliation",)),
    "cold_chain_broken": (_COLD_CHAIN, ("fct_orders",)),
    "identity_in_doubt": (_IDENTITY, ("fct_orders", "fct_order_lines")),
    "reconciliation_difference": (_DIFFERENCES.format(leg="<>"), ("fin_reconciliation",)),
    "stuck": (_STANDING, ()),
}


def released_tables(connection: Connection) -> frozenset[str]:
    """Names of the released tables there are."""
    return frozenset(
        connection.execute(
            text("SELECT viewname::text FROM pg_views WHERE schemaname = 'released'")
        ).scalars()
    )


def rows(connection: Connection, kind: str) -> list[dict[str, Any]]:
    """The rows a kind's detector looks at."""
    return [dict(row) for row in connection.execute(text(STATEMENTS[kind][0])).mappings()]


def stays(connection: Connection) -> list[Stay]:
    """Every stay that ended as stays usually do."""
    return [
        Stay(row.flow, row.state, row.channel, timedelta(seconds=float(row.seconds)), row.left_by)
        for row in connection.execute(text(_STAYS))
    ]
