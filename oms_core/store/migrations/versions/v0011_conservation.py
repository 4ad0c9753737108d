"""Keep what every run measured of the conservation law, and what sources said how many rows they have."""

from __future__ import annotations

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE orderhub.conservation_runs (
    run_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    measured_at timestamptz NOT NULL DEFAULT now(),
    holds boolean NOT NULL,
    faults text[] NOT NULL,
    warnings text[] NOT NULL
);
COMMENT ON COLUMN orderhub.conservation_runs.faults IS 'where the law is broken, with the rows; such a run released nothing';
COMMENT ON COLUMN orderhub.conservation_runs.warnings IS 'rows deleted at a source, and counts that could not be compared';

CREATE TABLE orderhub.conservation_streams (
    run_id bigint NOT NULL REFERENCES orderhub.conservation_runs (run_id),
    source_system text NOT NULL,
    stream text NOT NULL,
    pulled_count bigint NOT NULL,
    landed_count bigint NOT NULL,
    quarantined_count bigint NOT NULL,
    passed_count bigint NOT NULL,
    loaded_count bigint NOT NULL,
    distinct_count bigint NOT NULL,
    staged_count bigint,
    PRIMARY KEY (run_id, source_system, stream)
);
COMMENT ON COLUMN orderhub.conservation_streams.staged_count IS 'null: no staging model reads the stream';

CREATE TABLE orderhub.conservation_counts (
    run_id bigint NOT NULL REFERENCES orderhub.conservation_runs (run_id),
    count_index integer NOT NULL,
    source_system text NOT NULL,
    stream text NOT NULL,
    scope text NOT NULL,
    window_since timestamptz,
    window_until timestamptz,
    told_count bigint,
    held_count bigint,
    difference_count bigint NOT NULL,
    state text NOT NULL,
    PRIMARY KEY (run_id, count_index),
    CONSTRAINT state_is_known CHECK (state IN ('complete', 'missing', 'deleted', 'not_compared'))
);
COMMENT ON COLUMN orderhub.conservation_counts.told_count IS 'by the source; null: it would not say';
COMMENT ON COLUMN orderhub.conservation_counts.difference_count IS 'missing here; negative: deleted at the source';

CREATE VIEW released.ops_conservation_runs AS SELECT * FROM orderhub.conservation_runs;
CREATE VIEW released.ops_conservation_streams AS SELECT * FROM orderhub.conservation_streams;
CREATE VIEW released.ops_control_counts AS SELECT * FROM orderhub.conservation_counts;
GRANT SELECT ON released.ops_conservation_runs, released.ops_conservation_streams, released.ops_control_counts
    TO orderhub_reader, orderhub_auditor;
GRANT SELECT ON orderhub.conservation_runs, orderhub.conservation_streams, orderhub.conservation_counts TO orderhub_auditor;
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget what runs measured."""
    op.execute(
        "DROP VIEW released.ops_control_counts, released.ops_conservation_streams, released.ops_conservation_runs; "
        "DROP TABLE orderhub.conservation_counts, orderhub.conservation_streams, orderhub.conservation_runs"
    )
