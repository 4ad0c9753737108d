"""Remember how far each follower of the change feed has been served."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

_FOLLOWERS = """
CREATE TABLE orderhub.feed_followers (
    name text NOT NULL,
    url text NOT NULL,
    cursor text,
    delivered_count bigint DEFAULT 0 NOT NULL,
    delivered_at timestamptz,
    PRIMARY KEY (name)
);
COMMENT ON COLUMN orderhub.feed_followers.cursor IS 'of the last change it took; null: none yet';
"""


def upgrade() -> None:
    """Make the table."""
    op.execute(_FOLLOWERS)


def downgrade() -> None:
    """Remove it; followers are served from the beginning again."""
    op.execute("DROP TABLE orderhub.feed_followers")
