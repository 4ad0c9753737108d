"""Make the audit log: entries, the kept nodes of its tree, and its name."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# The triggers stop mistakes and half-rights; whoever owns the tables is stopped by checkpoints kept elsewhere.
_AUDIT = """
CREATE TABLE orderhub.audit_log (
    origin text PRIMARY KEY
);
COMMENT ON COLUMN orderhub.audit_log.origin IS 'name of the log, as its checkpoints bear it; one row';
INSERT INTO orderhub.audit_log SELECT 'orderhub.log/' || gen_random_uuid();

CREATE TABLE orderhub.audit_entries (
    seq bigint PRIMARY KEY,
    entry text NOT NULL,
    leaf_hash bytea NOT NULL
);
COMMENT ON COLUMN orderhub.audit_entries.seq IS '0, 1, 2 … without gaps';
COMMENT ON COLUMN orderhub.audit_entries.entry IS 'canonical JSON (RFC 8785)';
COMMENT ON COLUMN orderhub.audit_entries.leaf_hash IS 'SHA-256 of 0x00 and the entry''s UTF-8';

CREATE TABLE orderhub.audit_nodes (
    level smallint NOT NULL,
    position bigint NOT NULL,
    hash bytea NOT NULL,
    PRIMARY KEY (level, position)
);
COMMENT ON COLUMN orderhub.audit_nodes.level IS 'the node spans 2^level leaves; 4 and up';

CREATE FUNCTION orderhub.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END $$;
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.audit_entries
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.audit_nodes
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();
"""


def upgrade() -> None:
    """Make the tables; the log is named here, once."""
    op.execute(_AUDIT)


def downgrade() -> None:
    """Remove the log and all it vouches for."""
    op.execute(
        "DROP TABLE orderhub.audit_entries, orderhub.audit_nodes, orderhub.audit_log; "
        "DROP FUNCTION orderhub.refuse_change()"
    )
