"""Give API keys roles and tenants."""

from __future__ import annotations

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_ROLES = """
ALTER TABLE orderhub.api_keys DROP CONSTRAINT role_is_known;
ALTER TABLE orderhub.api_keys ADD CONSTRAINT role_is_known
    CHECK (role IN ('oms_service', 'data_engineer', 'finance', 'auditor', 'steward'));
ALTER TABLE orderhub.api_keys ADD COLUMN tenant text;
COMMENT ON COLUMN orderhub.api_keys.tenant IS
    'whose reservations the key makes and sees; null: of a role that makes none';
ALTER TABLE orderhub.api_keys ADD CONSTRAINT tenant_has_its_role
    CHECK ((role = 'oms_service') = (tenant IS NOT NULL));
"""
_STEWARDS_ONLY = """
DELETE FROM orderhub.api_keys WHERE role <> 'steward';
ALTER TABLE orderhub.api_keys DROP COLUMN tenant;
ALTER TABLE orderhub.api_keys DROP CONSTRAINT role_is_known;
ALTER TABLE orderhub.api_keys ADD CONSTRAINT role_is_known CHECK (role IN ('steward'));
"""


def upgrade() -> None:
    """Let keys have five roles."""
    op.execute(_ROLES)


def downgrade() -> None:
    """Remove the keys of every role but the stewards'."""
    op.execute(_STEWARDS_ONLY)
