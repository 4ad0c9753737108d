"""Give API keys roles and tenants; make stock positions, movements and reservations."""

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
# Tables with many updates keep room in their pages, so that an update stays in its page and touches no index.
_STOCK = """
CREATE TABLE orderhub.stock_nodes (
    location_id text NOT NULL,
    counted_by text,
    closed_at timestamptz,
    closed_reason text,
    PRIMARY KEY (location_id),
    CONSTRAINT closing_is_whole CHECK ((closed_at IS NULL) = (closed_reason IS NULL))
);
COMMENT ON COLUMN orderhub.stock_nodes.counted_by IS 'the system that is believed for what lies there; null: none counted it';

CREATE TABLE orderhub.stock_pools (
    sku_id text NOT NULL,
    location_id text NOT NULL,
    uom text NOT NULL,
    needs_expiry boolean NOT NULL,
    safety_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    min_shelf_life_days integer DEFAULT 0 NOT NULL,
    PRIMARY KEY (sku_id, location_id),
    CONSTRAINT policy_is_not_negative CHECK (safety_qty >= 0 AND min_shelf_life_days >= 0),
    FOREIGN KEY(location_id) REFERENCES orderhub.stock_nodes (location_id)
);
COMMENT ON COLUMN orderhub.stock_pools.uom IS 'UN/ECE Rec 20, of all its quantities';
COMMENT ON COLUMN orderhub.stock_pools.needs_expiry IS 'a lot without a date is not promised';

CREATE TABLE orderhub.stock_positions (
    id bigint GENERATED ALWAYS AS IDENTITY,
    sku_id text NOT NULL,
    location_id text NOT NULL,
    lot_number text NOT NULL,
    expires_on date,
    on_hand_qty numeric(18, 6) NOT NULL,
    reserved_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    committed_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    base_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    base_counted_at timestamptz,
    base_source text,
    base_release_id bigint,
    base_position_ids text[],
    last_recorded_at timestamptz,
    PRIMARY KEY (id),
    CONSTRAINT reserved_is_on_hand CHECK (reserved_qty >= 0 AND reserved_qty <= greatest(on_hand_qty, 0)),
    CONSTRAINT committed_is_not_negative CHECK (committed_qty >= 0),
    FOREIGN KEY(sku_id, location_id) REFERENCES orderhub.stock_pools (sku_id, location_id)
);
COMMENT ON COLUMN orderhub.stock_positions.lot_number IS 'empty: goods without a lot';
COMMENT ON COLUMN orderhub.stock_positions.on_hand_qty IS 'base and the movements on top of it';
COMMENT ON COLUMN orderhub.stock_positions.committed_qty IS 'by the counting system itself';
COMMENT ON COLUMN orderhub.stock_positions.base_qty IS 'as released';
COMMENT ON COLUMN orderhub.stock_positions.base_counted_at IS 'watermark: newer movements are on top; null: all of them';
COMMENT ON COLUMN orderhub.stock_positions.base_source IS 'system that counted; null: known from movements only';
COMMENT ON COLUMN orderhub.stock_positions.base_release_id IS 'release in which that count began';
COMMENT ON COLUMN orderhub.stock_positions.base_position_ids IS 'released positions it is the sum of';
COMMENT ON COLUMN orderhub.stock_positions.last_recorded_at IS 'of the newest movement on top';
CREATE UNIQUE INDEX stock_positions_of_lot ON orderhub.stock_positions (sku_id, location_id, lot_number);

CREATE TABLE orderhub.channel_allotments (
    sku_id text NOT NULL,
    location_id text NOT NULL,
    channel text NOT NULL,
    kind text NOT NULL,
    qty numeric(18, 6) NOT NULL,
    used_qty numeric(18, 6) NOT NULL,
    PRIMARY KEY (sku_id, location_id, channel),
    CONSTRAINT kind_is_known CHECK (kind IN ('cap', 'ring_fence')),
    CONSTRAINT allotment_is_not_negative CHECK (qty >= 0 AND used_qty >= 0),
    CONSTRAINT cap_holds CHECK (kind <> 'cap' OR used_qty <= qty),
    FOREIGN KEY(sku_id, location_id) REFERENCES orderhub.stock_pools (sku_id, location_id)
);
COMMENT ON COLUMN orderhub.channel_allotments.used_qty IS 'promised to the channel since, shipped goods included';

CREATE TABLE orderhub.stock_inbound (
    source_system text NOT NULL,
    reference text NOT NULL,
    sku_id text NOT NULL,
    location_id text NOT NULL,
    lot_number text NOT NULL,
    kind text NOT NULL,
    qty numeric(18, 6) NOT NULL,
    received_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    expected_on date NOT NULL,
    expires_on date,
    recorded_at timestamptz NOT NULL,
    PRIMARY KEY (source_system, reference, sku_id, location_id, lot_number),
    CONSTRAINT kind_is_known CHECK (kind IN ('purchase', 'transfer')),
    CONSTRAINT inbound_is_not_negative CHECK (qty >= 0 AND received_qty >= 0),
    FOREIGN KEY(sku_id, location_id) REFERENCES orderhub.stock_pools (sku_id, location_id)
);
COMMENT ON COLUMN orderhub.stock_inbound.qty IS 'announced or shipped';
CREATE INDEX stock_inbound_of_pool ON orderhub.stock_inbound (sku_id, location_id);

CREATE TABLE orderhub.stock_movements (
    source_system text NOT NULL,
    movement_id text NOT NULL,
    seq bigint GENERATED ALWAYS AS IDENTITY,
    kind text NOT NULL,
    sku_id text NOT NULL,
    location_id text NOT NULL,
    lot_number text NOT NULL,
    qty numeric(18, 6) NOT NULL,
    recorded_at timestamptz NOT NULL,
    body_sha256 bytea NOT NULL,
    told_by text NOT NULL,
    told_at timestamptz DEFAULT clock_timestamp() NOT NULL,
    is_absorbed boolean NOT NULL,
    PRIMARY KEY (source_system, movement_id),
    CONSTRAINT kind_is_known CHECK (kind IN ('receipt', 'issue', 'adjustment', 'count', 'announcement', 'transfer_shipped', 'transfer_received'))
);
COMMENT ON COLUMN orderhub.stock_movements.seq IS 'order of arrival';
COMMENT ON COLUMN orderhub.stock_movements.qty IS 'signed in adjustments; what lies there in counts';
COMMENT ON COLUMN orderhub.stock_movements.recorded_at IS 'when the source''s books took it up';
COMMENT ON COLUMN orderhub.stock_movements.body_sha256 IS 'of all it said: the same id means the same';
COMMENT ON COLUMN orderhub.stock_movements.is_absorbed IS 'a release counts it; it is on top no longer';
CREATE INDEX stock_movements_of_lot ON orderhub.stock_movements (sku_id, location_id, lot_number, recorded_at);

CREATE TABLE orderhub.reservations (
    reservation_id text NOT NULL,
    tenant text NOT NULL,
    key text NOT NULL,
    body_sha256 bytea NOT NULL,
    channel text NOT NULL,
    order_reference text,
    state text NOT NULL,
    made_at timestamptz NOT NULL,
    made_by text NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (reservation_id),
    CONSTRAINT state_is_known CHECK (state IN ('held', 'allocated', 'fulfilled', 'released')),
    CONSTRAINT only_held_ones_expire CHECK ((state = 'held') = (expires_at IS NOT NULL))
);
COMMENT ON COLUMN orderhub.reservations.key IS 'the tenant''s own name for the request';
COMMENT ON COLUMN orderhub.reservations.state IS 'a held one is expired once expires_at is past';
COMMENT ON COLUMN orderhub.reservations.expires_at IS 'null: it does not expire, or has ended';
CREATE UNIQUE INDEX reservations_by_key ON orderhub.reservations (tenant, key);

CREATE TABLE orderhub.reservation_lines (
    reservation_id text NOT NULL,
    line_number integer NOT NULL,
    sku_id text NOT NULL,
    uom text NOT NULL,
    asked_qty numeric(18, 6) NOT NULL,
    granted_qty numeric(18, 6) NOT NULL,
    issued_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    lost_qty numeric(18, 6) DEFAULT 0 NOT NULL,
    promised_on date NOT NULL,
    min_shelf_life_days integer,
    PRIMARY KEY (reservation_id, line_number),
    CONSTRAINT line_adds_up CHECK (asked_qty > 0 AND granted_qty BETWEEN 0 AND asked_qty AND issued_qty + lost_qty <= granted_qty),
    FOREIGN KEY(reservation_id) REFERENCES orderhub.reservations (reservation_id)
);
COMMENT ON COLUMN orderhub.reservation_lines.lost_qty IS 'granted, then found not to be there';
COMMENT ON COLUMN orderhub.reservation_lines.min_shelf_life_days IS 'null: as the pool''s policy says';

CREATE TABLE orderhub.reservation_holds (
    reservation_id text NOT NULL,
    line_number integer NOT NULL,
    position_id bigint NOT NULL,
    sku_id text NOT NULL,
    location_id text NOT NULL,
    channel text NOT NULL,
    qty numeric(18, 6) NOT NULL,
    expires_at timestamptz,
    PRIMARY KEY (reservation_id, line_number, position_id),
    CONSTRAINT hold_holds CHECK (qty > 0),
    FOREIGN KEY(reservation_id, line_number) REFERENCES orderhub.reservation_lines (reservation_id, line_number),
    FOREIGN KEY(position_id) REFERENCES orderhub.stock_positions (id)
);
COMMENT ON COLUMN orderhub.reservation_holds.expires_at IS 'of its reservation; null: allocated';
CREATE INDEX reservation_holds_by_end ON orderhub.reservation_holds (sku_id, location_id, expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX reservation_holds_of_position ON orderhub.reservation_holds (position_id);

ALTER TABLE orderhub.stock_positions SET (fillfactor = 50);
ALTER TABLE orderhub.stock_pools SET (fillfactor = 50);
"""
_STEWARDS_ONLY = """
DELETE FROM orderhub.api_keys WHERE role <> 'steward';
ALTER TABLE orderhub.api_keys DROP COLUMN tenant;
ALTER TABLE orderhub.api_keys DROP CONSTRAINT role_is_known;
ALTER TABLE orderhub.api_keys ADD CONSTRAINT role_is_known CHECK (role IN ('steward'));
"""


def upgrade() -> None:
    """Let keys have five roles; make the tables of stock and reservations."""
    op.execute(_ROLES)
    op.execute(_STOCK)


def downgrade() -> None:
    """Remove stock, reservations, and the keys of every role but the stewards'."""
    for table in (
        "reservation_holds", "reservation_lines", "reservations", "stock_movements", "stock_inbound", "channel_allotments",
        "stock_positions", "stock_pools", "stock_nodes",
    ):  # fmt: skip
        op.execute(f"DROP TABLE orderhub.{table}")
    op.execute(_STEWARDS_ONLY)
