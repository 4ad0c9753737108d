"""Show readers of the release where each order is now, and what was told of it since."""

from __future__ import annotations

from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_UP = """
CREATE VIEW released.order_flows AS
    SELECT f.order_id, f.flow, f.version, f.state, f.is_done, f.entered_at, f.due_at, f.revision
    FROM orderhub.flow_orders AS f WHERE f.merged_into IS NULL;
COMMENT ON VIEW released.order_flows IS 'where each order is in its flow now, whichever release is read';
CREATE VIEW released.order_flow_events AS
    SELECT e.order_id, e.event_id, e.kind AS event_type, e.occurred_at, e.told_at AS recorded_at, e.source_system
    FROM orderhub.flow_events AS e WHERE NOT e.is_released;
COMMENT ON VIEW released.order_flow_events IS 'what was told of orders live; what releases tell is in fct_order_events';
GRANT SELECT ON released.order_flows, released.order_flow_events TO orderhub_reader, orderhub_auditor;
"""


def upgrade() -> None:
    """Make the views."""
    op.execute(_UP)


def downgrade() -> None:
    """Take them away."""
    op.execute("DROP VIEW released.order_flows, released.order_flow_events")
