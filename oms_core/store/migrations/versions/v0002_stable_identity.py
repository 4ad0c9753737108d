"""Remember where each record is at home, what identified it, how old each id is, and why each event happened."""

from __future__ import annotations

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_KINDS = "'born', 'revived', 'split', 'joined', 'moved', 'left', 'merged', 'retired'"

_UP = f"""
ALTER TABLE orderhub.golden_ids ADD COLUMN born_from_seen_at timestamptz;
COMMENT ON COLUMN orderhub.golden_ids.born_from_seen_at IS
    'first landing of that record, or of the id it parted from; null: not known, counts from its birth';

CREATE INDEX identity_members_by_source_key
    ON orderhub.identity_members (entity, regexp_replace(record_id, ':[^:]*:', ':'));

CREATE TABLE orderhub.identity_records (
    entity text NOT NULL CONSTRAINT entity_is_known CHECK (entity IN ('customer', 'sku', 'location', 'order')),
    record_id text NOT NULL,
    home_id text,
    identifying text,
    rewritten_at timestamptz,
    PRIMARY KEY (entity, record_id)
);
COMMENT ON COLUMN orderhub.identity_records.home_id IS 'the id it is at home in; null: in none';
COMMENT ON COLUMN orderhub.identity_records.identifying IS 'JSON of the values that tell who it is, as last seen';
COMMENT ON COLUMN orderhub.identity_records.rewritten_at IS 'when it was last found to have become somebody else';
INSERT INTO orderhub.identity_records (entity, record_id, home_id)
SELECT DISTINCT ON (entity, record_id) entity, record_id, golden_id
FROM orderhub.identity_members ORDER BY entity, record_id, valid_from;

ALTER TABLE orderhub.identity_events ADD COLUMN reason text;
COMMENT ON COLUMN orderhub.identity_events.reason IS 'null in rows older than the column';
ALTER TABLE orderhub.identity_events DROP CONSTRAINT kind_is_known;
ALTER TABLE orderhub.identity_events ADD CONSTRAINT kind_is_known CHECK (kind IN ({_KINDS}));

CREATE VIEW released.identity_events AS
    SELECT e.seq, e.entity, e.kind, e.golden_id, e.record_id, e.other_id, e.reason, e.at
    FROM orderhub.identity_events AS e;
CREATE VIEW released.identity_links AS
    SELECT m.entity, m.record_id, m.golden_id, m.match_rule, m.valid_from, m.valid_to
    FROM orderhub.identity_members AS m;
"""

_DOWN = """
DROP VIEW released.identity_links;
DROP VIEW released.identity_events;
DELETE FROM orderhub.identity_events WHERE kind IN ('revived', 'joined', 'left');
ALTER TABLE orderhub.identity_events DROP CONSTRAINT kind_is_known;
ALTER TABLE orderhub.identity_events ADD CONSTRAINT kind_is_known
    CHECK (kind IN ('born', 'merged', 'split', 'moved', 'retired'));
ALTER TABLE orderhub.identity_events DROP COLUMN reason;
DROP TABLE orderhub.identity_records;
DROP INDEX orderhub.identity_members_by_source_key;
ALTER TABLE orderhub.golden_ids DROP COLUMN born_from_seen_at;
"""


def upgrade() -> None:
    """Ids stay as they are; records are at home in the first id they had."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget homes, identifying values and reasons, and the events of kinds that were not known before."""
    op.execute(_DOWN)
