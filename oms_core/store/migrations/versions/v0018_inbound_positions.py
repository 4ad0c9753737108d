"""Let goods under way be promised: a position for each delivery or transfer, with the day it arrives."""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE orderhub.stock_positions ADD COLUMN inbound text DEFAULT '' NOT NULL, ADD COLUMN arrives_on date,
    ADD CONSTRAINT inbound_arrives CHECK ((inbound = '') = (arrives_on IS NULL));
COMMENT ON COLUMN orderhub.stock_positions.inbound IS
    'system/reference of the delivery or transfer that is under way; empty: the goods lie there';
COMMENT ON COLUMN orderhub.stock_positions.arrives_on IS 'of goods under way; on_hand_qty is what is still to arrive of them';
DROP INDEX orderhub.stock_positions_of_lot;
CREATE UNIQUE INDEX stock_positions_of_lot ON orderhub.stock_positions (sku_id, location_id, lot_number, inbound);
INSERT INTO orderhub.stock_positions (sku_id, location_id, lot_number, expires_on, on_hand_qty, inbound, arrives_on)
SELECT sku_id, location_id, lot_number, expires_on, greatest(qty - received_qty, 0), source_system || '/' || reference,
    expected_on FROM orderhub.stock_inbound;
"""
# What was promised of goods under way is lost to its line, which says so.
_DOWN = """
UPDATE orderhub.reservation_lines AS l SET lost_qty = l.lost_qty + h.qty FROM (
    SELECT h.reservation_id, h.line_number, sum(h.qty) AS qty FROM orderhub.reservation_holds AS h
    JOIN orderhub.stock_positions AS p ON p.id = h.position_id WHERE p.inbound <> '' GROUP BY 1, 2
) AS h WHERE l.reservation_id = h.reservation_id AND l.line_number = h.line_number;
DELETE FROM orderhub.reservation_holds AS h USING orderhub.stock_positions AS p WHERE p.id = h.position_id AND p.inbound <> '';
DELETE FROM orderhub.stock_positions WHERE inbound <> '';
DROP INDEX orderhub.stock_positions_of_lot;
ALTER TABLE orderhub.stock_positions DROP CONSTRAINT inbound_arrives, DROP COLUMN inbound, DROP COLUMN arrives_on;
CREATE UNIQUE INDEX stock_positions_of_lot ON orderhub.stock_positions (sku_id, location_id, lot_number);
"""


def upgrade() -> None:
    """Make a position of everything that is under way."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget goods under way, and what was promised of them."""
    op.execute(_DOWN)
