"""Make the release and identity tables, the three schemas and the reading role."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ENTITY = "CONSTRAINT entity_is_known CHECK (entity IN ('customer', 'sku', 'location', 'order'))"

_STATE = f"""
CREATE TABLE orderhub.releases (
    id bigint PRIMARY KEY,
    published_at timestamptz NOT NULL,
    code_version text NOT NULL,
    merkle_root bytea NOT NULL
);
COMMENT ON COLUMN orderhub.releases.id IS '1, 2, 3 … without gaps';
COMMENT ON COLUMN orderhub.releases.merkle_root IS 'over the tables of the release; see release/seal.py';

CREATE TABLE orderhub.release_tables (
    release_id bigint NOT NULL REFERENCES orderhub.releases (id),
    table_name text NOT NULL,
    row_count bigint NOT NULL,
    inserted_count bigint NOT NULL,
    closed_count bigint NOT NULL,
    columns jsonb NOT NULL,
    control_totals jsonb NOT NULL,
    merkle_root bytea NOT NULL,
    PRIMARY KEY (release_id, table_name)
);
COMMENT ON COLUMN orderhub.release_tables.row_count IS 'rows the release shows';
COMMENT ON COLUMN orderhub.release_tables.inserted_count IS 'row versions that begin with the release';
COMMENT ON COLUMN orderhub.release_tables.closed_count IS 'row versions that end with the release';
COMMENT ON COLUMN orderhub.release_tables.columns IS '[[name, type], …] in hashing order';
COMMENT ON COLUMN orderhub.release_tables.control_totals IS '{{currency: {{column: sum as text}}}}';
COMMENT ON COLUMN orderhub.release_tables.merkle_root IS 'over the sorted row hashes';

CREATE TABLE orderhub.release_batches (
    source_system text NOT NULL,
    stream text NOT NULL,
    batch_id text NOT NULL,
    release_id bigint NOT NULL REFERENCES orderhub.releases (id),
    PRIMARY KEY (source_system, stream, batch_id)
);
COMMENT ON COLUMN orderhub.release_batches.release_id IS 'the first that holds it';
CREATE INDEX release_batches_by_release ON orderhub.release_batches (release_id);

CREATE TABLE orderhub.identity_members (
    entity text NOT NULL {_ENTITY},
    record_id text NOT NULL,
    golden_id text NOT NULL,
    match_rule text NOT NULL,
    valid_from timestamptz NOT NULL,
    valid_to timestamptz,
    CONSTRAINT interval_is_forward CHECK (valid_to > valid_from),
    PRIMARY KEY (entity, record_id, valid_from)
);
COMMENT ON COLUMN orderhub.identity_members.valid_to IS 'exclusive; null while it holds';
CREATE UNIQUE INDEX identity_members_now
    ON orderhub.identity_members (entity, record_id) WHERE valid_to IS NULL;
CREATE INDEX identity_members_by_golden_id ON orderhub.identity_members (entity, golden_id);

CREATE TABLE orderhub.golden_ids (
    entity text NOT NULL {_ENTITY},
    golden_id text NOT NULL,
    born_at timestamptz NOT NULL,
    born_from_record_id text NOT NULL,
    retired_at timestamptz,
    redirect_to text,
    CONSTRAINT only_retired_ids_redirect CHECK (redirect_to IS NULL OR retired_at IS NOT NULL),
    CONSTRAINT no_redirect_to_itself CHECK (redirect_to <> golden_id),
    PRIMARY KEY (entity, golden_id)
);
COMMENT ON COLUMN orderhub.golden_ids.redirect_to IS 'the id that took over; null when none did';

CREATE TABLE orderhub.identity_decisions (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL {_ENTITY},
    left_record_id text NOT NULL,
    right_record_id text NOT NULL,
    judgement text NOT NULL
        CONSTRAINT judgement_is_known CHECK (judgement IN ('same', 'different', 'unsure')),
    decided_by text NOT NULL,
    decided_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    withdrawn_at timestamptz,
    withdrawn_by text,
    CONSTRAINT pair_is_ordered CHECK (left_record_id < right_record_id),
    CONSTRAINT withdrawal_is_whole CHECK ((withdrawn_at IS NULL) = (withdrawn_by IS NULL))
);
CREATE UNIQUE INDEX identity_decisions_in_force
    ON orderhub.identity_decisions (entity, left_record_id, right_record_id) WHERE withdrawn_at IS NULL;

CREATE TABLE orderhub.identity_events (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL {_ENTITY},
    kind text NOT NULL
        CONSTRAINT kind_is_known CHECK (kind IN ('born', 'merged', 'split', 'moved', 'retired')),
    golden_id text NOT NULL,
    record_id text,
    other_id text,
    at timestamptz NOT NULL
);
COMMENT ON COLUMN orderhub.identity_events.other_id IS 'merged: the survivor; split, moved: the former id';
CREATE INDEX identity_events_by_golden_id ON orderhub.identity_events (entity, golden_id);
"""

# The reading role sees views only. Roles belong to the whole server: another database may have made it.
_READING = """
CREATE SCHEMA release_history;
CREATE SCHEMA released;
CREATE VIEW released.releases AS
    SELECT r.id, r.published_at, r.code_version, encode(r.merkle_root, 'hex') AS merkle_root
    FROM orderhub.releases AS r;
CREATE VIEW released.release_tables AS
    SELECT t.release_id, t.table_name, t.row_count, t.inserted_count, t.closed_count, t.columns,
        t.control_totals, encode(t.merkle_root, 'hex') AS merkle_root
    FROM orderhub.release_tables AS t;
CREATE VIEW released.release_batches AS
    SELECT b.release_id, b.source_system, b.stream, b.batch_id FROM orderhub.release_batches AS b;
CREATE VIEW released.golden_id_redirects AS
    SELECT g.entity, g.golden_id, g.redirect_to, g.retired_at FROM orderhub.golden_ids AS g
    WHERE g.retired_at IS NOT NULL;
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'orderhub_reader') THEN
        CREATE ROLE orderhub_reader LOGIN;
    END IF;
EXCEPTION WHEN duplicate_object OR unique_violation THEN
    NULL;
END
$$;
GRANT USAGE ON SCHEMA released TO orderhub_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA released TO orderhub_reader;
ALTER DEFAULT PRIVILEGES IN SCHEMA released GRANT SELECT ON TABLES TO orderhub_reader;
"""


def upgrade() -> None:
    """Make everything; the schema `orderhub` is there already, since Alembic's own table lives in it."""
    op.execute(_STATE)
    op.execute(_READING)


def downgrade() -> None:
    """Remove every release and every identity. The role stays: other databases may use it."""
    op.execute("DROP SCHEMA released CASCADE")
    op.execute("DROP SCHEMA release_history CASCADE")
    for table in (
        "identity_events", "identity_decisions", "golden_ids", "identity_members",
        "release_batches", "release_tables", "releases",
    ):  # fmt: skip
        op.execute(f"DROP TABLE orderhub.{table}")
