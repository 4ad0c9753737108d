"""Let a key open less than its role does."""

from __future__ import annotations

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE orderhub.api_keys ADD COLUMN scopes text[];
ALTER TABLE orderhub.api_keys ADD CONSTRAINT scopes_are_some CHECK (cardinality(scopes) > 0);
COMMENT ON COLUMN orderhub.api_keys.scopes IS 'what it opens of all that the role opens; null: all of it';
"""
_DOWN = """
UPDATE orderhub.api_keys SET revoked_at = now(), revoked_by = 'migration' WHERE scopes IS NOT NULL AND revoked_at IS NULL;
ALTER TABLE orderhub.api_keys DROP COLUMN scopes;
"""


def upgrade() -> None:
    """Keys there are open all that their roles open, as before."""
    op.execute(_UP)


def downgrade() -> None:
    """End the keys that would open more without their scopes."""
    op.execute(_DOWN)
