"""Keep how long orders stayed in each state, and the orders that need a person with what was decided about them."""

from __future__ import annotations

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE orderhub.flow_stays (
    order_id text NOT NULL REFERENCES orderhub.flow_orders (order_id),
    place integer NOT NULL,
    flow text NOT NULL,
    channel text,
    state text NOT NULL,
    entered_at timestamptz NOT NULL,
    left_at timestamptz,
    left_by text,
    is_usual boolean NOT NULL,
    PRIMARY KEY (order_id, place)
);
COMMENT ON COLUMN orderhub.flow_stays.left_at IS 'null: it is still there';
COMMENT ON COLUMN orderhub.flow_stays.left_by IS 'kind of the event that took it out';
COMMENT ON COLUMN orderhub.flow_stays.is_usual IS 'it left because something happened, not because time was up';

CREATE TABLE orderhub.exceptions (
    exception_id text NOT NULL PRIMARY KEY,
    kind text NOT NULL,
    order_id text NOT NULL,
    about text NOT NULL,
    fingerprint text NOT NULL,
    evidence jsonb NOT NULL,
    suggestion jsonb NOT NULL,
    state text NOT NULL,
    revision bigint NOT NULL,
    opened_at timestamptz NOT NULL,
    seen_at timestamptz NOT NULL,
    decided_at timestamptz,
    decided_by text,
    resolution text,
    reason text,
    outcome text,
    CONSTRAINT state_is_known CHECK (state IN ('open', 'accepted', 'changed', 'rejected', 'gone')),
    CONSTRAINT outcome_is_known CHECK (outcome IN ('solved', 'persists')),
    CONSTRAINT decision_is_whole CHECK ((state IN ('accepted', 'changed', 'rejected')) = (decided_at IS NOT NULL))
);
COMMENT ON COLUMN orderhub.exceptions.about IS 'what of the order; empty: the order';
COMMENT ON COLUMN orderhub.exceptions.fingerprint IS 'SHA-256 of what it rests on';
COMMENT ON COLUMN orderhub.exceptions.revision IS 'changes so far';
COMMENT ON COLUMN orderhub.exceptions.opened_at IS 'last opened';
COMMENT ON COLUMN orderhub.exceptions.seen_at IS 'last found';
COMMENT ON COLUMN orderhub.exceptions.resolution IS 'what was decided';
COMMENT ON COLUMN orderhub.exceptions.outcome IS 'of what was decided: solved once it is found no more, persists while it is';
CREATE INDEX exceptions_by_order ON orderhub.exceptions (order_id);
CREATE INDEX exceptions_open ON orderhub.exceptions (kind, opened_at) WHERE state = 'open';

CREATE TABLE orderhub.exception_history (
    exception_id text NOT NULL REFERENCES orderhub.exceptions (exception_id),
    revision bigint NOT NULL,
    happened text NOT NULL,
    at timestamptz DEFAULT clock_timestamp() NOT NULL,
    by text NOT NULL,
    suggested text NOT NULL,
    resolution text,
    reason text,
    evidence jsonb NOT NULL,
    PRIMARY KEY (exception_id, revision),
    CONSTRAINT happened_is_known CHECK (happened IN ('opened', 'reopened', 'accepted', 'changed', 'rejected', 'gone', 'solved'))
);
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.exception_history
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget what needed a person, and what was decided."""
    op.execute("DROP TABLE orderhub.exception_history, orderhub.exceptions, orderhub.flow_stays")
