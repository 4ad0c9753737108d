"""Keep the survivorship rules that stewards set, every version of them."""

from __future__ import annotations

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE orderhub.survivorship_rules (
    version bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    entity text NOT NULL CONSTRAINT entity_is_known CHECK (entity IN ('customer', 'sku', 'location', 'order')),
    attribute_group text NOT NULL,
    rule text CONSTRAINT rule_is_known
        CHECK (rule IN ('source_priority', 'most_recent', 'most_frequent', 'most_complete')),
    sources text[],
    must_agree boolean,
    set_by text NOT NULL,
    set_at timestamptz NOT NULL DEFAULT now(),
    reason text NOT NULL,
    withdrawn_at timestamptz,
    withdrawn_by text,
    withdrawn_reason text,
    CONSTRAINT rule_has_its_order CHECK ((rule IS NULL) = (sources IS NULL)),
    CONSTRAINT rule_says_something CHECK (rule IS NOT NULL OR must_agree IS NOT NULL),
    CONSTRAINT withdrawal_is_whole CHECK (
        (withdrawn_at IS NULL) = (withdrawn_by IS NULL) AND (withdrawn_at IS NULL) = (withdrawn_reason IS NULL)
    )
);
COMMENT ON COLUMN orderhub.survivorship_rules.version IS 'of two that stand, the later holds';
COMMENT ON COLUMN orderhub.survivorship_rules.attribute_group IS
    'or one attribute, which then overrides its group''s rule';
COMMENT ON COLUMN orderhub.survivorship_rules.rule IS 'null: only must_agree is said';
COMMENT ON COLUMN orderhub.survivorship_rules.sources IS 'kinds of system and single systems, most trusted first';
COMMENT ON COLUMN orderhub.survivorship_rules.must_agree IS
    'whether sources that differ contradict each other; null: not said';
CREATE INDEX survivorship_rules_standing
    ON orderhub.survivorship_rules (entity, attribute_group) WHERE withdrawn_at IS NULL;
"""


def upgrade() -> None:
    """Make the table; until somebody sets a rule, those that ship hold."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget every rule that was set."""
    op.execute("DROP TABLE orderhub.survivorship_rules")
