"""Show readers of the release what open reservations and allocations hold for each order."""

from __future__ import annotations

from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_UP = """
CREATE INDEX reservations_of_order ON orderhub.reservations (order_reference) WHERE state IN ('held', 'allocated');
CREATE VIEW released.order_reservations AS
    SELECT r.order_reference, r.reservation_id, r.state, r.expires_at, h.line_number, h.sku_id, h.location_id,
        nullif(p.lot_number, '') AS lot_number, p.expires_on, h.qty, l.uom, l.promised_on, p.arrives_on
    FROM orderhub.reservations AS r
    JOIN orderhub.reservation_lines AS l ON l.reservation_id = r.reservation_id
    JOIN orderhub.reservation_holds AS h ON h.reservation_id = l.reservation_id AND h.line_number = l.line_number
    JOIN orderhub.stock_positions AS p ON p.id = h.position_id
    WHERE r.state IN ('held', 'allocated') AND (r.expires_at IS NULL OR r.expires_at > now());
COMMENT ON VIEW released.order_reservations IS 'what is held for an order now, by lot, whichever release is read';
GRANT SELECT ON released.order_reservations TO orderhub_reader, orderhub_auditor;
"""


def upgrade() -> None:
    """Make the view, and what finds an order's reservations."""
    op.execute(_UP)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP VIEW released.order_reservations; DROP INDEX orderhub.reservations_of_order")
