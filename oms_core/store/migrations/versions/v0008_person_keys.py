"""Give each person a key under which personal values are sealed, and keep what was erased from coming back."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_KEYS = """
CREATE TABLE orderhub.person_keys (
    person_id text NOT NULL,
    key bytea NOT NULL,
    PRIMARY KEY (person_id),
    CONSTRAINT key_is_whole CHECK (length(key) = 32)
);
COMMENT ON COLUMN orderhub.person_keys.person_id IS 'golden customer id, or the order''s where it has no customer';

CREATE TABLE orderhub.erasures (
    id bigint GENERATED ALWAYS AS IDENTITY,
    person_id text NOT NULL,
    erased_at timestamptz DEFAULT now() NOT NULL,
    erased_by text NOT NULL,
    reason text NOT NULL,
    PRIMARY KEY (id)
);
CREATE TABLE orderhub.erased_records (
    record_key text NOT NULL,
    erasure_id bigint NOT NULL,
    PRIMARY KEY (record_key),
    FOREIGN KEY(erasure_id) REFERENCES orderhub.erasures (id)
);
COMMENT ON COLUMN orderhub.erased_records.record_key IS 'source, stream and key as a JSON list: what is not taken in again';
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_KEYS)


def downgrade() -> None:
    """Remove them; seals made with the keys can no longer be recomputed."""
    for table in ("erased_records", "erasures", "person_keys"):
        op.execute(f"DROP TABLE orderhub.{table}")
