"""Keep what orders are sourced by, and every decision with what it rests on."""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE orderhub.sourcing_documents (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    kind text NOT NULL,
    version text NOT NULL,
    sha256 text NOT NULL,
    document text NOT NULL,
    activated_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    activated_by text NOT NULL,
    reason text NOT NULL,
    CONSTRAINT kind_is_known CHECK (kind IN ('policy', 'facts'))
);
CREATE INDEX sourcing_documents_of_kind ON orderhub.sourcing_documents (kind, id);
CREATE TABLE orderhub.sourcing_decisions (
    decision_id text NOT NULL PRIMARY KEY,
    order_id text NOT NULL,
    tenant text,
    key text,
    body_sha256 bytea,
    decided_at timestamptz NOT NULL,
    decided_by text NOT NULL,
    release_id bigint NOT NULL REFERENCES orderhub.releases (id),
    policy_version text NOT NULL,
    policy_sha256 text NOT NULL,
    facts_version text,
    inputs text NOT NULL,
    decision text NOT NULL,
    unknown text[] NOT NULL,
    reservation_id text REFERENCES orderhub.reservations (reservation_id),
    replaces text REFERENCES orderhub.sourcing_decisions (decision_id),
    CONSTRAINT request_is_whole CHECK ((key IS NULL) = (body_sha256 IS NULL))
);
CREATE INDEX sourcing_decisions_of_order ON orderhub.sourcing_decisions (order_id, decided_at);
CREATE INDEX sourcing_decisions_by_time ON orderhub.sourcing_decisions (decided_at);
CREATE UNIQUE INDEX sourcing_decisions_by_key ON orderhub.sourcing_decisions (tenant, key) WHERE key IS NOT NULL;
CREATE TABLE orderhub.sourcing_refusals (
    decision_id text NOT NULL REFERENCES orderhub.sourcing_decisions (decision_id),
    location_id text NOT NULL REFERENCES orderhub.stock_nodes (location_id),
    reason text NOT NULL,
    refused_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    refused_by text NOT NULL,
    PRIMARY KEY (decision_id, location_id)
);
CREATE INDEX sourcing_refusals_of_node ON orderhub.sourcing_refusals (location_id);
COMMENT ON COLUMN orderhub.sourcing_documents.id IS 'the newest of a kind is in force';
COMMENT ON COLUMN orderhub.sourcing_documents.kind IS 'policy: weights and constraints; facts: what no source tells';
COMMENT ON COLUMN orderhub.sourcing_documents.document IS 'JSON';
COMMENT ON COLUMN orderhub.sourcing_decisions.tenant IS 'whose reservation carries it out; null: a dry run of nobody''s';
COMMENT ON COLUMN orderhub.sourcing_decisions.key IS 'the tenant''s own name for the request; null: a dry run';
COMMENT ON COLUMN orderhub.sourcing_decisions.facts_version IS 'null: there were none';
COMMENT ON COLUMN orderhub.sourcing_decisions.inputs IS 'JSON: policy, order, nodes, shelves; all that it rests on';
COMMENT ON COLUMN orderhub.sourcing_decisions.decision IS 'JSON: plan, scores, counterfactuals';
COMMENT ON COLUMN orderhub.sourcing_decisions.unknown IS 'in words, what nobody knew';
COMMENT ON COLUMN orderhub.sourcing_decisions.reservation_id IS 'null: a dry run, or unfilled';
COMMENT ON COLUMN orderhub.sourcing_decisions.replaces IS 'which it took the place of';
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_TABLES)


def downgrade() -> None:
    """Remove them; what was reserved stays reserved."""
    op.execute(
        "DROP TABLE orderhub.sourcing_refusals; DROP TABLE orderhub.sourcing_decisions; DROP TABLE orderhub.sourcing_documents"
    )
