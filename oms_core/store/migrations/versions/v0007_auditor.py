"""Give auditors a role that reads everything, changes nothing and sees personal data masked; note settings and key use."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Roles belong to the whole server: another database may have made it. What an auditor may see of the state is named
# column by column, so that a column that comes later is closed until somebody opens it.
_AUDITOR = """
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orderhub_auditor') THEN
        CREATE ROLE orderhub_auditor LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
CREATE SCHEMA masked;
GRANT USAGE ON SCHEMA masked, released, orderhub TO orderhub_auditor;
GRANT SELECT ON released.releases, released.release_tables, released.release_batches, released.golden_id_redirects,
    released.identity_events, released.identity_links TO orderhub_auditor;
GRANT SELECT ON orderhub.audit_log, orderhub.audit_entries, orderhub.audit_nodes, orderhub.releases,
    orderhub.release_tables, orderhub.release_batches, orderhub.golden_ids, orderhub.identity_members,
    orderhub.identity_events, orderhub.identity_decisions, orderhub.identity_evidence, orderhub.identity_models,
    orderhub.survivorship_rules TO orderhub_auditor;
GRANT SELECT (entity, record_id, home_id, rewritten_at) ON orderhub.identity_records TO orderhub_auditor;
GRANT SELECT (entity, record_id, first_seen_at, orders, open_orders, revenue) ON orderhub.identity_values TO orderhub_auditor;
GRANT SELECT (id, entity, kind, left_record_id, right_record_id, golden_id, attribute, probability, orders, open_orders,
    revenue, opened_at, reopened_at, closed_at, outcome, decision_id) ON orderhub.identity_tasks TO orderhub_auditor;
GRANT SELECT (id, role, name, tenant, made_at, made_by, revoked_at, revoked_by) ON orderhub.api_keys TO orderhub_auditor;

CREATE FUNCTION masked.masked(value text) RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE
    RETURN left(value, 1) || '•••';
COMMENT ON FUNCTION masked.masked(text) IS 'the first sign of a value, and that there is more; null stays null';
GRANT EXECUTE ON FUNCTION masked.masked(text) TO orderhub_auditor;
"""
_NOTED = """
ALTER TABLE orderhub.api_keys ADD COLUMN last_used_on date;
COMMENT ON COLUMN orderhub.api_keys.last_used_on IS 'UTC; the first use of each day is logged';
CREATE TABLE orderhub.configurations (
    fingerprint text NOT NULL,
    noted_at timestamptz DEFAULT now() NOT NULL,
    PRIMARY KEY (noted_at)
);
COMMENT ON COLUMN orderhub.configurations.fingerprint IS 'SHA-256 of the canonical JSON that was logged';
"""


def upgrade() -> None:
    """Make the role, what it may see, and where key use and settings are noted."""
    op.execute(_AUDITOR)
    op.execute(_NOTED)


def downgrade() -> None:
    """Remove it all but the role itself, which other databases may use."""
    op.execute("DROP TABLE orderhub.configurations")
    op.execute("ALTER TABLE orderhub.api_keys DROP COLUMN last_used_on")
    op.execute("DROP OWNED BY orderhub_auditor")
    op.execute("DROP SCHEMA masked CASCADE")
