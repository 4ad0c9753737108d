"""Keep what was booked in a closed period: the close with its control totals, and the balances as booked."""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE orderhub.finance_closes (
    period text PRIMARY KEY CONSTRAINT period_is_a_month CHECK (period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'),
    release_id bigint NOT NULL REFERENCES orderhub.releases (id),
    closed_at timestamptz NOT NULL DEFAULT now(),
    closed_by text NOT NULL,
    reason text NOT NULL,
    threshold_amount numeric(18,4) NOT NULL,
    residual_amount numeric(18,4) NOT NULL,
    reporting_currency text,
    control_totals jsonb NOT NULL,
    control_totals_sha256 text NOT NULL
);
COMMENT ON COLUMN orderhub.finance_closes.period IS 'month, such as 2026-10';
COMMENT ON COLUMN orderhub.finance_closes.release_id IS 'whose figures are frozen';
COMMENT ON COLUMN orderhub.finance_closes.threshold_amount IS 'unexplained differences tolerated, in reporting_currency';
COMMENT ON COLUMN orderhub.finance_closes.residual_amount IS 'unexplained differences there were, without signs';
COMMENT ON COLUMN orderhub.finance_closes.control_totals_sha256 IS 'of the canonical JSON (RFC 8785) of control_totals';

CREATE TABLE orderhub.finance_close_balances (
    period text NOT NULL REFERENCES orderhub.finance_closes (period),
    account text NOT NULL,
    currency text NOT NULL,
    debit_amount numeric(38,4) NOT NULL,
    credit_amount numeric(38,4) NOT NULL,
    posting_count bigint NOT NULL,
    PRIMARY KEY (period, account, currency)
);

CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.finance_closes
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();
CREATE TRIGGER append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON orderhub.finance_close_balances
    FOR EACH STATEMENT EXECUTE FUNCTION orderhub.refuse_change();

CREATE VIEW released.finance_closes AS SELECT * FROM orderhub.finance_closes;
CREATE VIEW released.finance_close_balances AS SELECT * FROM orderhub.finance_close_balances;
GRANT SELECT ON released.finance_closes, released.finance_close_balances TO orderhub_reader, orderhub_auditor;
GRANT SELECT ON orderhub.finance_closes, orderhub.finance_close_balances TO orderhub_auditor;
"""


def upgrade() -> None:
    """Make the tables; nothing in them is ever changed."""
    op.execute(_UP)


def downgrade() -> None:
    """Forget every close."""
    op.execute(
        "DROP VIEW released.finance_close_balances, released.finance_closes; "
        "DROP TABLE orderhub.finance_close_balances, orderhub.finance_closes"
    )
