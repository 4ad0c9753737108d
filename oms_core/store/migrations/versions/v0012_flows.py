"""Keep flows in versions, orders in them with their events and changes, and what is to be told to others."""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_FLOWS = """
CREATE TABLE orderhub.flow_versions (
    flow text NOT NULL,
    version text NOT NULL,
    document text NOT NULL,
    sha256 text NOT NULL,
    PRIMARY KEY (flow, version)
);
COMMENT ON COLUMN orderhub.flow_versions.document IS 'JSON, what the hash is over';

CREATE TABLE orderhub.flow_activations (
    id bigint GENERATED ALWAYS AS IDENTITY,
    flow text NOT NULL,
    version text NOT NULL,
    activated_at timestamptz DEFAULT now() NOT NULL,
    activated_by text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (id),
    FOREIGN KEY(flow, version) REFERENCES orderhub.flow_versions (flow, version)
);
COMMENT ON TABLE orderhub.flow_activations IS 'the last one of a flow is in force';

CREATE TABLE orderhub.flow_orders (
    order_id text NOT NULL,
    flow text NOT NULL,
    first_version text NOT NULL,
    version text NOT NULL,
    facts jsonb NOT NULL,
    state text NOT NULL,
    entered_at timestamptz,
    due_at timestamptz,
    is_done boolean NOT NULL,
    revision bigint NOT NULL,
    merged_into text,
    PRIMARY KEY (order_id),
    FOREIGN KEY(flow, first_version) REFERENCES orderhub.flow_versions (flow, version),
    FOREIGN KEY(flow, version) REFERENCES orderhub.flow_versions (flow, version)
);
COMMENT ON COLUMN orderhub.flow_orders.facts IS 'as known when it began; amounts as text';
COMMENT ON COLUMN orderhub.flow_orders.entered_at IS 'since when it is in its state; null: nothing happened yet';
COMMENT ON COLUMN orderhub.flow_orders.due_at IS 'when its timeout happens; null: none will';
COMMENT ON COLUMN orderhub.flow_orders.revision IS 'changes so far';
COMMENT ON COLUMN orderhub.flow_orders.merged_into IS 'the order that it turned out to be; null: it is one of its own';
CREATE INDEX flow_orders_due ON orderhub.flow_orders (due_at) WHERE due_at IS NOT NULL AND merged_into IS NULL;
CREATE INDEX flow_orders_by_state ON orderhub.flow_orders (flow, version, state);

CREATE TABLE orderhub.flow_events (
    order_id text NOT NULL,
    event_id text NOT NULL,
    kind text NOT NULL,
    occurred_at timestamptz NOT NULL,
    source_system text NOT NULL,
    told_by text,
    reason text,
    due_from text,
    data jsonb NOT NULL,
    body_sha256 bytea,
    is_released boolean NOT NULL,
    told_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    PRIMARY KEY (order_id, event_id),
    CONSTRAINT released_ones_have_no_body CHECK ((body_sha256 IS NULL) = is_released),
    FOREIGN KEY(order_id) REFERENCES orderhub.flow_orders (order_id)
);
COMMENT ON COLUMN orderhub.flow_events.due_from IS 'of a timeout: the state whose time was up';
COMMENT ON COLUMN orderhub.flow_events.body_sha256 IS 'of all it said: the same id means the same; null: a release tells it';
COMMENT ON COLUMN orderhub.flow_events.is_released IS 'follows the current release, and goes when that tells it no longer';

CREATE TABLE orderhub.flow_changes (
    order_id text NOT NULL,
    revision bigint NOT NULL,
    version text NOT NULL,
    from_state text,
    to_state text NOT NULL,
    event_id text,
    entered_at timestamptz,
    changed_by text NOT NULL,
    changed_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (order_id, revision),
    FOREIGN KEY(order_id) REFERENCES orderhub.flow_orders (order_id)
);
COMMENT ON COLUMN orderhub.flow_changes.from_state IS 'null: its flow began';
COMMENT ON COLUMN orderhub.flow_changes.event_id IS 'that led to to_state; null: none did yet';
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.flow_changes
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();

CREATE TABLE orderhub.outbox_events (
    seq bigint GENERATED ALWAYS AS IDENTITY,
    event_id text NOT NULL,
    type text NOT NULL,
    subject text NOT NULL,
    occurred_at timestamptz NOT NULL,
    recorded_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    data jsonb NOT NULL,
    written_by bigint DEFAULT txid_current() NOT NULL,
    PRIMARY KEY (seq)
);
COMMENT ON COLUMN orderhub.outbox_events.event_id IS 'of the CloudEvent: the same is told once';
COMMENT ON COLUMN orderhub.outbox_events.subject IS 'golden order id';
COMMENT ON COLUMN orderhub.outbox_events.written_by IS 'transaction: readers wait until no older one is open';
CREATE UNIQUE INDEX outbox_events_once ON orderhub.outbox_events (event_id);
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_FLOWS)


def downgrade() -> None:
    """Forget flows, where orders are in them, and what was still to be told."""
    for table in (
        "outbox_events", "flow_changes", "flow_events", "flow_orders", "flow_activations", "flow_versions",
    ):  # fmt: skip
        op.execute(f"DROP TABLE orderhub.{table}")
