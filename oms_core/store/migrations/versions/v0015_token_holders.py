"""Keep on which day a token of each holder was used last, so that the first use of each day is logged."""

from __future__ import annotations

from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE orderhub.token_holders (
    role text NOT NULL,
    name text NOT NULL,
    last_used_on date NOT NULL,
    PRIMARY KEY (role, name),
    CONSTRAINT role_is_known CHECK (role IN ('oms_service', 'data_engineer', 'finance', 'auditor', 'steward'))
);
COMMENT ON COLUMN orderhub.token_holders.name IS 'subject of the issuer, after oidc:';
COMMENT ON COLUMN orderhub.token_holders.last_used_on IS 'UTC; the first use of each day is logged';
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget who used tokens when; the audit log keeps it."""
    op.execute("DROP TABLE orderhub.token_holders")
