"""Make the stewards' queue, what they are shown, activated models, and keys of the API."""

from __future__ import annotations

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ENTITY = "CONSTRAINT entity_is_known CHECK (entity IN ('customer', 'sku', 'location', 'order'))"

_STEWARDSHIP = f"""
ALTER TABLE orderhub.identity_decisions ADD COLUMN withdrawn_reason text;

CREATE TABLE orderhub.identity_values (
    entity text NOT NULL {_ENTITY},
    record_id text NOT NULL,
    first_seen_at timestamptz NOT NULL,
    fields jsonb NOT NULL,
    orders bigint NOT NULL,
    open_orders bigint NOT NULL,
    revenue jsonb NOT NULL,
    PRIMARY KEY (entity, record_id)
);
COMMENT ON COLUMN orderhub.identity_values.first_seen_at IS 'when it first landed';
COMMENT ON COLUMN orderhub.identity_values.fields IS 'values identity looked at in the last run; no nulls';
COMMENT ON COLUMN orderhub.identity_values.orders IS 'orders that count for this record';
COMMENT ON COLUMN orderhub.identity_values.open_orders IS 'those of them still to be fulfilled';
COMMENT ON COLUMN orderhub.identity_values.revenue IS '{{currency: [orders, net amount as text]}}';

CREATE TABLE orderhub.identity_evidence (
    entity text NOT NULL {_ENTITY},
    left_record_id text NOT NULL,
    right_record_id text NOT NULL,
    rule text NOT NULL,
    strength bigint NOT NULL,
    probability double precision,
    refused text,
    PRIMARY KEY (entity, left_record_id, right_record_id, rule)
);
COMMENT ON COLUMN orderhub.identity_evidence.strength IS '1 is strongest';
COMMENT ON COLUMN orderhub.identity_evidence.probability IS 'of a scored pair';
COMMENT ON COLUMN orderhub.identity_evidence.refused IS 'why the last run did not follow it; null: followed, or not needed';
CREATE INDEX identity_evidence_by_right ON orderhub.identity_evidence (entity, right_record_id);

CREATE TABLE orderhub.identity_tasks (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL {_ENTITY},
    kind text NOT NULL,
    left_record_id text,
    right_record_id text,
    golden_id text,
    attribute text,
    probability double precision,
    evidence jsonb NOT NULL,
    fingerprint text NOT NULL,
    orders bigint NOT NULL,
    open_orders bigint NOT NULL,
    revenue jsonb NOT NULL,
    opened_at timestamptz NOT NULL,
    reopened_at timestamptz,
    closed_at timestamptz,
    outcome text CONSTRAINT outcome_is_known CHECK (outcome IN ('same', 'different', 'unsure', 'gone')),
    decision_id bigint REFERENCES orderhub.identity_decisions (id),
    CONSTRAINT closing_is_whole CHECK ((closed_at IS NULL) = (outcome IS NULL)),
    CONSTRAINT pair_is_whole CHECK ((left_record_id IS NULL) = (right_record_id IS NULL)),
    CONSTRAINT pair_or_golden_id CHECK ((left_record_id IS NULL) <> (golden_id IS NULL)),
    CONSTRAINT task_pair_is_ordered CHECK (left_record_id < right_record_id)
);
COMMENT ON COLUMN orderhub.identity_tasks.fingerprint IS 'SHA-256 of what the question rests on';
COMMENT ON COLUMN orderhub.identity_tasks.revenue IS '{{currency: [orders, net amount as text]}}';
COMMENT ON COLUMN orderhub.identity_tasks.outcome IS 'same, different, unsure; gone: its cause disappeared';
COMMENT ON COLUMN orderhub.identity_tasks.decision_id IS 'that closed it';
CREATE UNIQUE INDEX identity_tasks_of_pair
    ON orderhub.identity_tasks (entity, left_record_id, right_record_id) WHERE left_record_id IS NOT NULL;
CREATE UNIQUE INDEX identity_tasks_of_golden_id
    ON orderhub.identity_tasks (entity, kind, golden_id, attribute) NULLS NOT DISTINCT
    WHERE golden_id IS NOT NULL;

CREATE TABLE orderhub.identity_models (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL {_ENTITY},
    version text NOT NULL,
    sha256 text NOT NULL,
    artefact text NOT NULL,
    activated_at timestamptz NOT NULL DEFAULT now(),
    activated_by text NOT NULL,
    reason text NOT NULL
);
COMMENT ON COLUMN orderhub.identity_models.artefact IS 'canonical JSON, what the hash is over';
CREATE INDEX identity_models_by_entity ON orderhub.identity_models (entity, id);

CREATE TABLE orderhub.identity_model_reports (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL {_ENTITY},
    model_version text NOT NULL,
    model_sha256 text NOT NULL,
    artefact text NOT NULL,
    state_sha256 text NOT NULL,
    report jsonb NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL
);
COMMENT ON COLUMN orderhub.identity_model_reports.artefact IS 'canonical JSON, what the hash is over';
COMMENT ON COLUMN orderhub.identity_model_reports.state_sha256
    IS 'of members, decisions and model it was compared with';
CREATE INDEX identity_model_reports_of_model
    ON orderhub.identity_model_reports (entity, model_sha256, state_sha256);

CREATE TABLE orderhub.api_keys (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    role text NOT NULL CONSTRAINT role_is_known CHECK (role IN ('steward')),
    name text NOT NULL,
    key_sha256 bytea NOT NULL,
    made_at timestamptz NOT NULL DEFAULT now(),
    made_by text NOT NULL,
    revoked_at timestamptz,
    revoked_by text,
    CONSTRAINT revocation_is_whole CHECK ((revoked_at IS NULL) = (revoked_by IS NULL))
);
COMMENT ON COLUMN orderhub.api_keys.name IS 'whose; decisions made with the key carry it';
COMMENT ON COLUMN orderhub.api_keys.key_sha256 IS 'the key itself is stored nowhere';
CREATE UNIQUE INDEX api_keys_in_force ON orderhub.api_keys (role, name) WHERE revoked_at IS NULL;
"""


def upgrade() -> None:
    """Make the tables."""
    op.execute(_STEWARDSHIP)


def downgrade() -> None:
    """Remove them, with every task, activation and key; decisions stay."""
    for table in (
        "api_keys", "identity_model_reports", "identity_models", "identity_tasks", "identity_evidence", "identity_values",
    ):  # fmt: skip
        op.execute(f"DROP TABLE orderhub.{table}")
    op.execute("ALTER TABLE orderhub.identity_decisions DROP COLUMN withdrawn_reason")
