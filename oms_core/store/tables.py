"""Tables of the operational store, as SQLAlchemy Core sees them.

`migrations/` makes them; a test holds the two equal.

Three schemas: `orderhub` (state of our own), `release_history` (one table per released mart, every version of
every row) and `released` (one view per released mart, the only things the reading role may see).
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

STATE_SCHEMA = "orderhub"
HISTORY_SCHEMA = "release_history"
RELEASED_SCHEMA = "released"
MASKED_SCHEMA = "masked"
READER_ROLE = "orderhub_reader"
AUDITOR_ROLE = "orderhub_auditor"

ENTITIES = ("customer", "sku", "location", "order")
JUDGEMENTS = ("same", "different", "unsure")
EVENT_KINDS = ("born", "revived", "split", "joined", "moved", "left", "merged", "retired")
SURVIVORSHIP_RULES = ("source_priority", "most_recent", "most_frequent", "most_complete")
TASK_OUTCOMES = ("same", "different", "unsure", "gone")
API_ROLES = ("oms_service", "data_engineer", "finance", "auditor", "steward")

ALLOTMENT_KINDS = ("cap", "ring_fence")
INBOUND_KINDS = ("purchase", "transfer")
MOVEMENT_KINDS = (
    "receipt", "issue", "adjustment", "count", "announcement", "transfer_shipped", "transfer_received",
)  # fmt: skip
SOURCING_DOCUMENTS = ("policy", "facts")
RESERVATION_STATES = ("held", "allocated", "fulfilled", "released")

EXCEPTION_STATES = ("open", "accepted", "changed", "rejected", "gone")
EXCEPTION_OUTCOMES = ("solved", "persists")
EXCEPTION_HAPPENINGS = ("opened", "reopened", "accepted", "changed", "rejected", "gone", "solved")

metadata = MetaData(schema=STATE_SCHEMA)

_INSTANT = DateTime(timezone=True)
_QTY = Numeric(18, 6)


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return CheckConstraint(f"{column} IN ({listed})", name=f"{column}_is_known")


releases = Table(
    "releases",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="1, 2, 3 … without gaps"),
    Column("published_at", _INSTANT, nullable=False),
    Column("code_version", Text, nullable=False),
    Column(
        "merkle_root",
        LargeBinary,
        nullable=False,
        comment="over the tables of the release; see release/seal.py",
    ),
)

release_tables = Table(
    "release_tables",
    metadata,
    Column("release_id", BigInteger, ForeignKey(releases.c.id), primary_key=True),
    Column("table_name", Text, primary_key=True),
    Column("row_count", BigInteger, nullable=False, comment="rows the release shows"),
    Column("inserted_count", BigInteger, nullable=False, comment="row versions that begin with the release"),
    Column("closed_count", BigInteger, nullable=False, comment="row versions that end with the release"),
    Column("columns", JSONB, nullable=False, comment="[[name, type], …] in hashing order"),
    Column("control_totals", JSONB, nullable=False, comment="{currency: {column: sum as text}}"),
    Column("merkle_root", LargeBinary, nullable=False, comment="over the sorted row hashes"),
)

release_batches = Table(
    "release_batches",
    metadata,
    Column("source_system", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("batch_id", Text, primary_key=True),
    Column(
        "release_id", BigInteger, ForeignKey(releases.c.id), nullable=False, comment="the first that holds it"
    ),
    Index("release_batches_by_release", "release_id"),
)

identity_members = Table(
    "identity_members",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("golden_id", Text, nullable=False),
    Column("match_rule", Text, nullable=False),
    Column("valid_from", _INSTANT, primary_key=True),
    Column("valid_to", _INSTANT, comment="exclusive; null while it holds"),
    _one_of("entity", ENTITIES),
    CheckConstraint("valid_to > valid_from", name="interval_is_forward"),
    Index(
        "identity_members_now", "entity", "record_id", unique=True, postgresql_where=text("valid_to IS NULL")
    ),
    Index("identity_members_by_golden_id", "entity", "golden_id"),
    # Record ids without their stream: "shopify:5123", as somebody knows a record who knows a system and a key.
    Index("identity_members_by_source_key", "entity", text("regexp_replace(record_id, ':[^:]*:', ':')")),
)

golden_ids = Table(
    "golden_ids",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("golden_id", Text, primary_key=True),
    Column("born_at", _INSTANT, nullable=False),
    Column("born_from_record_id", Text, nullable=False),
    Column(
        "born_from_seen_at",
        _INSTANT,
        comment="first landing of that record, or of the id it parted from; null: not known, counts from its birth",
    ),
    Column("retired_at", _INSTANT),
    Column("redirect_to", Text, comment="the id that took over; null when none did"),
    _one_of("entity", ENTITIES),
    CheckConstraint("redirect_to IS NULL OR retired_at IS NOT NULL", name="only_retired_ids_redirect"),
    CheckConstraint("redirect_to <> golden_id", name="no_redirect_to_itself"),
)

identity_records = Table(
    "identity_records",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("home_id", Text, comment="the id it is at home in; null: in none"),
    Column("identifying", Text, comment="JSON of the values that tell who it is, as last seen"),
    Column("rewritten_at", _INSTANT, comment="when it was last found to have become somebody else"),
    _one_of("entity", ENTITIES),
)

identity_decisions = Table(
    "identity_decisions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", Text, nullable=False),
    Column("left_record_id", Text, nullable=False),
    Column("right_record_id", Text, nullable=False),
    Column("judgement", Text, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("decided_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("reason", Text, nullable=False),
    Column("withdrawn_at", _INSTANT),
    Column("withdrawn_by", Text),
    Column("withdrawn_reason", Text),
    _one_of("entity", ENTITIES),
    _one_of("judgement", JUDGEMENTS),
    CheckConstraint("left_record_id < right_record_id", name="pair_is_ordered"),
    CheckConstraint("(withdrawn_at IS NULL) = (withdrawn_by IS NULL)", name="withdrawal_is_whole"),
    Index(
        "identity_decisions_in_force", "entity", "left_record_id", "right_record_id",
        unique=True, postgresql_where=text("withdrawn_at IS NULL"),
    ),
)  # fmt: skip

identity_events = Table(
    "identity_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("golden_id", Text, nullable=False),
    Column("record_id", Text),
    Column("other_id", Text, comment="merged: the survivor; split, moved: the former id"),
    Column("at", _INSTANT, nullable=False),
    Column("reason", Text, comment="null in rows older than the column"),
    _one_of("entity", ENTITIES),
    _one_of("kind", EVENT_KINDS),
    Index("identity_events_by_golden_id", "entity", "golden_id"),
)

survivorship_rules = Table(
    "survivorship_rules",
    metadata,
    Column(
        "version",
        BigInteger,
        Identity(always=True),
        primary_key=True,
        comment="of two that stand, the later holds",
    ),
    Column("entity", Text, nullable=False),
    Column(
        "attribute_group",
        Text,
        nullable=False,
        comment="or one attribute, which then overrides its group's rule",
    ),
    Column("rule", Text, comment="null: only must_agree is said"),
    Column("sources", ARRAY(Text), comment="kinds of system and single systems, most trusted first"),
    Column(
        "must_agree", Boolean, comment="whether sources that differ contradict each other; null: not said"
    ),
    Column("set_by", Text, nullable=False),
    Column("set_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("reason", Text, nullable=False),
    Column("withdrawn_at", _INSTANT),
    Column("withdrawn_by", Text),
    Column("withdrawn_reason", Text),
    _one_of("entity", ENTITIES),
    _one_of("rule", SURVIVORSHIP_RULES),
    CheckConstraint("(rule IS NULL) = (sources IS NULL)", name="rule_has_its_order"),
    CheckConstraint("rule IS NOT NULL OR must_agree IS NOT NULL", name="rule_says_something"),
    CheckConstraint(
        "(withdrawn_at IS NULL) = (withdrawn_by IS NULL) AND (withdrawn_at IS NULL) = (withdrawn_reason IS NULL)",
        name="withdrawal_is_whole",
    ),
    Index(
        "survivorship_rules_standing",
        "entity",
        "attribute_group",
        postgresql_where=text("withdrawn_at IS NULL"),
    ),
)

identity_values = Table(
    "identity_values",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("record_id", Text, primary_key=True),
    Column("first_seen_at", _INSTANT, nullable=False, comment="when it first landed"),
    Column("fields", JSONB, nullable=False, comment="values identity looked at in the last run; no nulls"),
    Column("orders", BigInteger, nullable=False, comment="orders that count for this record"),
    Column("open_orders", BigInteger, nullable=False, comment="those of them still to be fulfilled"),
    Column("revenue", JSONB, nullable=False, comment="{currency: [orders, net amount as text]}"),
    _one_of("entity", ENTITIES),
)

identity_evidence = Table(
    "identity_evidence",
    metadata,
    Column("entity", Text, primary_key=True),
    Column("left_record_id", Text, primary_key=True),
    Column("right_record_id", Text, primary_key=True),
    Column("rule", Text, primary_key=True),
    Column("strength", BigInteger, nullable=False, comment="1 is strongest"),
    Column("probability", Double, comment="of a scored pair"),
    Column("refused", Text, comment="why the last run did not follow it; null: followed, or not needed"),
    _one_of("entity", ENTITIES),
    Index("identity_evidence_by_right", "entity", "right_record_id"),
)

identity_tasks = Table(
    "identity_tasks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("left_record_id", Text),
    Column("right_record_id", Text),
    Column("golden_id", Text),
    Column("attribute", Text),
    Column("probability", Double),
    Column("evidence", JSONB, nullable=False),
    Column("fingerprint", Text, nullable=False, comment="SHA-256 of what the question rests on"),
    Column("orders", BigInteger, nullable=False),
    Column("open_orders", BigInteger, nullable=False),
    Column("revenue", JSONB, nullable=False, comment="{currency: [orders, net amount as text]}"),
    Column("opened_at", _INSTANT, nullable=False),
    Column("reopened_at", _INSTANT),
    Column("closed_at", _INSTANT),
    Column("outcome", Text, comment="same, different, unsure; gone: its cause disappeared"),
    Column("decision_id", BigInteger, ForeignKey(identity_decisions.c.id), comment="that closed it"),
    _one_of("entity", ENTITIES),
    _one_of("outcome", TASK_OUTCOMES),
    CheckConstraint("(closed_at IS NULL) = (outcome IS NULL)", name="closing_is_whole"),
    CheckConstraint("(left_record_id IS NULL) = (right_record_id IS NULL)", name="pair_is_whole"),
    CheckConstraint("(left_record_id IS NULL) <> (golden_id IS NULL)", name="pair_or_golden_id"),
    CheckConstraint("left_record_id < right_record_id", name="task_pair_is_ordered"),
    Index(
        "identity_tasks_of_pair", "entity", "left_record_id", "right_record_id",
        unique=True, postgresql_where=text("left_record_id IS NOT NULL"),
    ),
    Index(
        "identity_tasks_of_golden_id", "entity", "kind", "golden_id", "attribute",
        unique=True, postgresql_where=text("golden_id IS NOT NULL"), postgresql_nulls_not_distinct=True,
    ),
)  # fmt: skip

identity_models = Table(
    "identity_models",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("artefact", Text, nullable=False, comment="canonical JSON, what the hash is over"),
    Column("activated_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("activated_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _one_of("entity", ENTITIES),
    Index("identity_models_by_entity", "entity", "id"),
)

identity_model_reports = Table(
    "identity_model_reports",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("entity", Text, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("model_sha256", Text, nullable=False),
    Column("artefact", Text, nullable=False, comment="canonical JSON, what the hash is over"),
    Column(
        "state_sha256", Text, nullable=False, comment="of members, decisions and model it was compared with"
    ),
    Column("report", JSONB, nullable=False),
    Column("made_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("made_by", Text, nullable=False),
    _one_of("entity", ENTITIES),
    Index("identity_model_reports_of_model", "entity", "model_sha256", "state_sha256"),
)

finance_closes = Table(
    "finance_closes",
    metadata,
    Column("period", Text, primary_key=True, comment="month, such as 2026-10"),
    Column(
        "release_id",
        BigInteger,
        ForeignKey(releases.c.id),
        nullable=False,
        comment="whose figures are frozen",
    ),
    Column("closed_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("closed_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column(
        "threshold_amount",
        Numeric(18, 4),
        nullable=False,
        comment="unexplained differences tolerated, in reporting_currency",
    ),
    Column(
        "residual_amount",
        Numeric(18, 4),
        nullable=False,
        comment="unexplained differences there were, without signs",
    ),
    Column("reporting_currency", Text),
    Column("control_totals", JSONB, nullable=False),
    Column(
        "control_totals_sha256",
        Text,
        nullable=False,
        comment="of the canonical JSON (RFC 8785) of control_totals",
    ),
    CheckConstraint("period ~ '^[0-9]{4}-(0[1-9]|1[0-2])$'", name="period_is_a_month"),
)

finance_close_balances = Table(
    "finance_close_balances",
    metadata,
    Column("period", Text, ForeignKey(finance_closes.c.period), primary_key=True),
    Column("account", Text, primary_key=True),
    Column("currency", Text, primary_key=True),
    Column("debit_amount", Numeric(38, 4), nullable=False),
    Column("credit_amount", Numeric(38, 4), nullable=False),
    Column("posting_count", BigInteger, nullable=False),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("role", Text, nullable=False),
    Column("name", Text, nullable=False, comment="whose; decisions made with the key carry it"),
    Column("key_sha256", LargeBinary, nullable=False, comment="the key itself is stored nowhere"),
    Column("made_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("made_by", Text, nullable=False),
    Column("revoked_at", _INSTANT),
    Column("revoked_by", Text),
    Column(
        "tenant", Text, comment="whose reservations the key makes and sees; null: of a role that makes none"
    ),
    Column("last_used_on", Date, comment="UTC; the first use of each day is logged"),
    Column("scopes", ARRAY(Text), comment="what it opens of all that the role opens; null: all of it"),
    _one_of("role", API_ROLES),
    CheckConstraint("cardinality(scopes) > 0", name="scopes_are_some"),
    CheckConstraint("(role = 'oms_service') = (tenant IS NOT NULL)", name="tenant_has_its_role"),
    CheckConstraint("(revoked_at IS NULL) = (revoked_by IS NULL)", name="revocation_is_whole"),
    Index("api_keys_in_force", "role", "name", unique=True, postgresql_where=text("revoked_at IS NULL")),
)

token_holders = Table(
    "token_holders",
    metadata,
    Column("role", Text, primary_key=True),
    Column("name", Text, primary_key=True, comment="subject of the issuer, after oidc:"),
    Column("last_used_on", Date, nullable=False, comment="UTC; the first use of each day is logged"),
    _one_of("role", API_ROLES),
)

person_keys = Table(
    "person_keys",
    metadata,
    Column(
        "person_id",
        Text,
        primary_key=True,
        comment="golden customer id, or the order's where it has no customer",
    ),
    Column("key", LargeBinary, nullable=False),
    CheckConstraint("length(key) = 32", name="key_is_whole"),
)

erasures = Table(
    "erasures",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("person_id", Text, nullable=False),
    Column("erased_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("erased_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
)

erased_records = Table(
    "erased_records",
    metadata,
    Column(
        "record_key",
        Text,
        primary_key=True,
        comment="source, stream and key as a JSON list: what is not taken in again",
    ),
    Column("erasure_id", BigInteger, ForeignKey(erasures.c.id), nullable=False),
)

feed_followers = Table(
    "feed_followers",
    metadata,
    Column("name", Text, primary_key=True),
    Column("url", Text, nullable=False),
    Column("cursor", Text, comment="of the last change it took; null: none yet"),
    Column("delivered_count", BigInteger, nullable=False, server_default=text("0")),
    Column("delivered_at", _INSTANT),
)

configurations = Table(
    "configurations",
    metadata,
    Column("fingerprint", Text, nullable=False, comment="SHA-256 of the canonical JSON that was logged"),
    Column("noted_at", _INSTANT, primary_key=True, server_default=text("now()")),
)

audit_log = Table(
    "audit_log",
    metadata,
    Column("origin", Text, primary_key=True, comment="name of the log, as its checkpoints bear it; one row"),
)

audit_entries = Table(
    "audit_entries",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False, comment="0, 1, 2 … without gaps"),
    Column("entry", Text, nullable=False, comment="canonical JSON (RFC 8785)"),
    Column("leaf_hash", LargeBinary, nullable=False, comment="SHA-256 of 0x00 and the entry's UTF-8"),
)

audit_nodes = Table(
    "audit_nodes",
    metadata,
    Column("level", SmallInteger, primary_key=True, comment="the node spans 2^level leaves; 4 and up"),
    Column("position", BigInteger, primary_key=True),
    Column("hash", LargeBinary, nullable=False),
)

stock_nodes = Table(
    "stock_nodes",
    metadata,
    Column("location_id", Text, primary_key=True),
    Column(
        "counted_by", Text, comment="the system that is believed for what lies there; null: none counted it"
    ),
    Column("closed_at", _INSTANT),
    Column("closed_reason", Text),
    CheckConstraint("(closed_at IS NULL) = (closed_reason IS NULL)", name="closing_is_whole"),
)

stock_pools = Table(
    "stock_pools",
    metadata,
    Column("sku_id", Text, primary_key=True),
    Column("location_id", Text, ForeignKey(stock_nodes.c.location_id), primary_key=True),
    Column("uom", Text, nullable=False, comment="UN/ECE Rec 20, of all its quantities"),
    Column("needs_expiry", Boolean, nullable=False, comment="a lot without a date is not promised"),
    Column("safety_qty", _QTY, nullable=False, server_default=text("0")),
    Column("min_shelf_life_days", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("safety_qty >= 0 AND min_shelf_life_days >= 0", name="policy_is_not_negative"),
)

stock_positions = Table(
    "stock_positions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("sku_id", Text, nullable=False),
    Column("location_id", Text, nullable=False),
    Column("lot_number", Text, nullable=False, comment="empty: goods without a lot"),
    Column("expires_on", Date),
    Column("on_hand_qty", _QTY, nullable=False, comment="base and the movements on top of it"),
    Column("reserved_qty", _QTY, nullable=False, server_default=text("0")),
    Column(
        "committed_qty",
        _QTY,
        nullable=False,
        server_default=text("0"),
        comment="by the counting system itself",
    ),
    Column("base_qty", _QTY, nullable=False, server_default=text("0"), comment="as released"),
    Column("base_counted_at", _INSTANT, comment="watermark: newer movements are on top; null: all of them"),
    Column("base_source", Text, comment="system that counted; null: known from movements only"),
    Column("base_release_id", BigInteger, comment="release in which that count began"),
    Column("base_position_ids", ARRAY(Text), comment="released positions it is the sum of"),
    Column("last_recorded_at", _INSTANT, comment="of the newest movement on top"),
    Column(
        "inbound",
        Text,
        nullable=False,
        server_default=text("''"),
        comment="system/reference of the delivery or transfer that is under way; empty: the goods lie there",
    ),
    Column("arrives_on", Date, comment="of goods under way; on_hand_qty is what is still to arrive of them"),
    # The last line of defence: no fault above can promise more than there is.
    CheckConstraint(
        "reserved_qty >= 0 AND reserved_qty <= greatest(on_hand_qty, 0)", name="reserved_is_on_hand"
    ),
    CheckConstraint("committed_qty >= 0", name="committed_is_not_negative"),
    ForeignKeyConstraint(["sku_id", "location_id"], [stock_pools.c.sku_id, stock_pools.c.location_id]),
    CheckConstraint("(inbound = '') = (arrives_on IS NULL)", name="inbound_arrives"),
    Index("stock_positions_of_lot", "sku_id", "location_id", "lot_number", "inbound", unique=True),
)

channel_allotments = Table(
    "channel_allotments",
    metadata,
    Column("sku_id", Text, primary_key=True),
    Column("location_id", Text, primary_key=True),
    Column("channel", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("qty", _QTY, nullable=False),
    Column("used_qty", _QTY, nullable=False, comment="promised to the channel since, shipped goods included"),
    _one_of("kind", ALLOTMENT_KINDS),
    CheckConstraint("qty >= 0 AND used_qty >= 0", name="allotment_is_not_negative"),
    CheckConstraint("kind <> 'cap' OR used_qty <= qty", name="cap_holds"),
    ForeignKeyConstraint(["sku_id", "location_id"], [stock_pools.c.sku_id, stock_pools.c.location_id]),
)

stock_inbound = Table(
    "stock_inbound",
    metadata,
    Column("source_system", Text, primary_key=True),
    Column("reference", Text, primary_key=True),
    Column("sku_id", Text, primary_key=True),
    Column("location_id", Text, primary_key=True),
    Column("lot_number", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("qty", _QTY, nullable=False, comment="announced or shipped"),
    Column("received_qty", _QTY, nullable=False, server_default=text("0")),
    Column("expected_on", Date, nullable=False),
    Column("expires_on", Date),
    Column("recorded_at", _INSTANT, nullable=False),
    _one_of("kind", INBOUND_KINDS),
    CheckConstraint("qty >= 0 AND received_qty >= 0", name="inbound_is_not_negative"),
    ForeignKeyConstraint(["sku_id", "location_id"], [stock_pools.c.sku_id, stock_pools.c.location_id]),
    Index("stock_inbound_of_pool", "sku_id", "location_id"),
)

conservation_runs = Table(
    "conservation_runs",
    metadata,
    Column("run_id", BigInteger, Identity(always=True), primary_key=True),
    Column("measured_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("holds", Boolean, nullable=False),
    Column("faults", ARRAY(Text), nullable=False, comment="where the law is broken, with the rows; such a run released nothing"),
    Column("warnings", ARRAY(Text), nullable=False, comment="rows deleted at a source, and counts that could not be compared"),
)  # fmt: skip

conservation_streams = Table(
    "conservation_streams",
    metadata,
    Column("run_id", BigInteger, ForeignKey(conservation_runs.c.run_id), primary_key=True),
    Column("source_system", Text, primary_key=True),
    Column("stream", Text, primary_key=True),
    Column("pulled_count", BigInteger, nullable=False),
    Column("landed_count", BigInteger, nullable=False),
    Column("quarantined_count", BigInteger, nullable=False),
    Column("passed_count", BigInteger, nullable=False),
    Column("loaded_count", BigInteger, nullable=False),
    Column("distinct_count", BigInteger, nullable=False),
    Column("staged_count", BigInteger, comment="null: no staging model reads the stream"),
)

conservation_counts = Table(
    "conservation_counts",
    metadata,
    Column("run_id", BigInteger, ForeignKey(conservation_runs.c.run_id), primary_key=True),
    Column("count_index", Integer, primary_key=True),
    Column("source_system", Text, nullable=False),
    Column("stream", Text, nullable=False),
    Column("scope", Text, nullable=False),
    Column("window_since", _INSTANT),
    Column("window_until", _INSTANT),
    Column("told_count", BigInteger, comment="by the source; null: it would not say"),
    Column("held_count", BigInteger),
    Column("difference_count", BigInteger, nullable=False, comment="missing here; negative: deleted at the source"),
    Column("state", Text, nullable=False),
    CheckConstraint("state IN ('complete', 'missing', 'deleted', 'not_compared')", name="state_is_known"),
)  # fmt: skip

stock_movements = Table(
    "stock_movements",
    metadata,
    Column("source_system", Text, primary_key=True),
    Column("movement_id", Text, primary_key=True),
    Column("seq", BigInteger, Identity(always=True), nullable=False, comment="order of arrival"),
    Column("kind", Text, nullable=False),
    Column("sku_id", Text, nullable=False),
    Column("location_id", Text, nullable=False),
    Column("lot_number", Text, nullable=False),
    Column("qty", _QTY, nullable=False, comment="signed in adjustments; what lies there in counts"),
    Column("recorded_at", _INSTANT, nullable=False, comment="when the source's books took it up"),
    Column("body_sha256", LargeBinary, nullable=False, comment="of all it said: the same id means the same"),
    Column("told_by", Text, nullable=False),
    Column("told_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("is_absorbed", Boolean, nullable=False, comment="a release counts it; it is on top no longer"),
    _one_of("kind", MOVEMENT_KINDS),
    Index("stock_movements_of_lot", "sku_id", "location_id", "lot_number", "recorded_at"),
)

reservations = Table(
    "reservations",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("tenant", Text, nullable=False),
    Column("key", Text, nullable=False, comment="the tenant's own name for the request"),
    Column("body_sha256", LargeBinary, nullable=False),
    Column("channel", Text, nullable=False),
    Column("order_reference", Text),
    Column("state", Text, nullable=False, comment="a held one is expired once expires_at is past"),
    Column("made_at", _INSTANT, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("expires_at", _INSTANT, comment="null: it does not expire, or has ended"),
    _one_of("state", RESERVATION_STATES),
    CheckConstraint("(state = 'held') = (expires_at IS NOT NULL)", name="only_held_ones_expire"),
    Index("reservations_by_key", "tenant", "key", unique=True),
    Index(
        "reservations_of_order", "order_reference", postgresql_where=text("state IN ('held', 'allocated')")
    ),
)

reservation_lines = Table(
    "reservation_lines",
    metadata,
    Column("reservation_id", Text, ForeignKey(reservations.c.reservation_id), primary_key=True),
    Column("line_number", Integer, primary_key=True),
    Column("sku_id", Text, nullable=False),
    Column("uom", Text, nullable=False),
    Column("asked_qty", _QTY, nullable=False),
    Column("granted_qty", _QTY, nullable=False),
    Column("issued_qty", _QTY, nullable=False, server_default=text("0")),
    Column(
        "lost_qty",
        _QTY,
        nullable=False,
        server_default=text("0"),
        comment="granted, then found not to be there",
    ),
    Column("promised_on", Date, nullable=False),
    Column("min_shelf_life_days", Integer, comment="null: as the pool's policy says"),
    CheckConstraint(
        "asked_qty > 0 AND granted_qty BETWEEN 0 AND asked_qty AND issued_qty + lost_qty <= granted_qty",
        name="line_adds_up",
    ),
)

reservation_holds = Table(
    "reservation_holds",
    metadata,
    Column("reservation_id", Text, primary_key=True),
    Column("line_number", Integer, primary_key=True),
    Column("position_id", BigInteger, ForeignKey(stock_positions.c.id), primary_key=True),
    Column("sku_id", Text, nullable=False),
    Column("location_id", Text, nullable=False),
    Column("channel", Text, nullable=False),
    Column("qty", _QTY, nullable=False),
    Column("expires_at", _INSTANT, comment="of its reservation; null: allocated"),
    CheckConstraint("qty > 0", name="hold_holds"),
    ForeignKeyConstraint(
        ["reservation_id", "line_number"],
        [reservation_lines.c.reservation_id, reservation_lines.c.line_number],
    ),
    Index("reservation_holds_of_position", "position_id"),
    Index(
        "reservation_holds_by_end", "sku_id", "location_id", "expires_at",
        postgresql_where=text("expires_at IS NOT NULL"),
    ),
)  # fmt: skip

flow_versions = Table(
    "flow_versions",
    metadata,
    Column("flow", Text, primary_key=True),
    Column("version", Text, primary_key=True),
    Column("document", Text, nullable=False, comment="JSON, what the hash is over"),
    Column("sha256", Text, nullable=False),
)

flow_activations = Table(
    "flow_activations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("flow", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("activated_at", _INSTANT, nullable=False, server_default=text("now()")),
    Column("activated_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    ForeignKeyConstraint(["flow", "version"], [flow_versions.c.flow, flow_versions.c.version]),
    comment="the last one of a flow is in force",
)

flow_orders = Table(
    "flow_orders",
    metadata,
    Column("order_id", Text, primary_key=True),
    Column("flow", Text, nullable=False),
    Column("first_version", Text, nullable=False),
    Column("version", Text, nullable=False),
    Column("facts", JSONB, nullable=False, comment="as known when it began; amounts as text"),
    Column("state", Text, nullable=False),
    Column("entered_at", _INSTANT, comment="since when it is in its state; null: nothing happened yet"),
    Column("due_at", _INSTANT, comment="when its timeout happens; null: none will"),
    Column("is_done", Boolean, nullable=False),
    Column("revision", BigInteger, nullable=False, comment="changes so far"),
    Column("merged_into", Text, comment="the order that it turned out to be; null: it is one of its own"),
    ForeignKeyConstraint(["flow", "first_version"], [flow_versions.c.flow, flow_versions.c.version]),
    ForeignKeyConstraint(["flow", "version"], [flow_versions.c.flow, flow_versions.c.version]),
    Index("flow_orders_due", "due_at", postgresql_where=text("due_at IS NOT NULL AND merged_into IS NULL")),
    Index("flow_orders_by_state", "flow", "version", "state"),
)

flow_events = Table(
    "flow_events",
    metadata,
    Column("order_id", Text, ForeignKey(flow_orders.c.order_id), primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("occurred_at", _INSTANT, nullable=False),
    Column("source_system", Text, nullable=False),
    Column("told_by", Text),
    Column("reason", Text),
    Column("due_from", Text, comment="of a timeout: the state whose time was up"),
    Column("data", JSONB, nullable=False),
    Column(
        "body_sha256",
        LargeBinary,
        comment="of all it said: the same id means the same; null: a release tells it",
    ),
    Column(
        "is_released",
        Boolean,
        nullable=False,
        comment="follows the current release, and goes when that tells it no longer",
    ),
    Column("told_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    CheckConstraint("(body_sha256 IS NULL) = is_released", name="released_ones_have_no_body"),
)

flow_stays = Table(
    "flow_stays",
    metadata,
    Column("order_id", Text, ForeignKey(flow_orders.c.order_id), primary_key=True),
    Column("place", Integer, primary_key=True, autoincrement=False),
    Column("flow", Text, nullable=False),
    Column("channel", Text),
    Column("state", Text, nullable=False),
    Column("entered_at", _INSTANT, nullable=False),
    Column("left_at", _INSTANT, comment="null: it is still there"),
    Column("left_by", Text, comment="kind of the event that took it out"),
    Column("is_usual", Boolean, nullable=False, comment="it left because something happened, not because time was up"),
)  # fmt: skip

flow_changes = Table(
    "flow_changes",
    metadata,
    Column("order_id", Text, ForeignKey(flow_orders.c.order_id), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("version", Text, nullable=False),
    Column("from_state", Text, comment="null: its flow began"),
    Column("to_state", Text, nullable=False),
    Column("event_id", Text, comment="that led to to_state; null: none did yet"),
    Column("entered_at", _INSTANT),
    Column("changed_by", Text, nullable=False),
    Column("changed_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("reason", Text, nullable=False),
)

outbox_events = Table(
    "outbox_events",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    Column("event_id", Text, nullable=False, comment="of the CloudEvent: the same is told once"),
    Column("type", Text, nullable=False),
    Column("subject", Text, nullable=False, comment="golden order id"),
    Column("occurred_at", _INSTANT, nullable=False),
    Column("recorded_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("data", JSONB, nullable=False),
    Column(
        "written_by",
        BigInteger,
        nullable=False,
        server_default=text("txid_current()"),
        comment="transaction: readers wait until no older one is open",
    ),
    Index("outbox_events_once", "event_id", unique=True),
)

sourcing_documents = Table(
    "sourcing_documents",
    metadata,
    Column(
        "id", BigInteger, Identity(always=True), primary_key=True, comment="the newest of a kind is in force"
    ),
    Column(
        "kind", Text, nullable=False, comment="policy: weights and constraints; facts: what no source tells"
    ),
    Column("version", Text, nullable=False),
    Column("sha256", Text, nullable=False),
    Column("document", Text, nullable=False, comment="JSON"),
    Column("activated_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("activated_by", Text, nullable=False),
    Column("reason", Text, nullable=False),
    _one_of("kind", SOURCING_DOCUMENTS),
    Index("sourcing_documents_of_kind", "kind", "id"),
)

sourcing_decisions = Table(
    "sourcing_decisions",
    metadata,
    Column("decision_id", Text, primary_key=True),
    Column("order_id", Text, nullable=False),
    Column("tenant", Text, comment="whose reservation carries it out; null: a dry run of nobody's"),
    Column("key", Text, comment="the tenant's own name for the request; null: a dry run"),
    Column("body_sha256", LargeBinary),
    Column("decided_at", _INSTANT, nullable=False),
    Column("decided_by", Text, nullable=False),
    Column("release_id", BigInteger, ForeignKey(releases.c.id), nullable=False),
    Column("policy_version", Text, nullable=False),
    Column("policy_sha256", Text, nullable=False),
    Column("facts_version", Text, comment="null: there were none"),
    Column("inputs", Text, nullable=False, comment="JSON: policy, order, nodes, shelves; all that it rests on"),
    Column("decision", Text, nullable=False, comment="JSON: plan, scores, counterfactuals"),
    Column("unknown", ARRAY(Text), nullable=False, comment="in words, what nobody knew"),
    Column("reservation_id", Text, ForeignKey(reservations.c.reservation_id), comment="null: a dry run, or unfilled"),
    Column("replaces", Text, ForeignKey("sourcing_decisions.decision_id"), comment="which it took the place of"),
    CheckConstraint("(key IS NULL) = (body_sha256 IS NULL)", name="request_is_whole"),
    Index("sourcing_decisions_of_order", "order_id", "decided_at"),
    Index("sourcing_decisions_by_time", "decided_at"),
    Index("sourcing_decisions_by_key", "tenant", "key", unique=True, postgresql_where=text("key IS NOT NULL")),
)  # fmt: skip

sourcing_refusals = Table(
    "sourcing_refusals",
    metadata,
    Column("decision_id", Text, ForeignKey(sourcing_decisions.c.decision_id), primary_key=True),
    Column("location_id", Text, ForeignKey(stock_nodes.c.location_id), primary_key=True),
    Column("reason", Text, nullable=False),
    Column("refused_at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("refused_by", Text, nullable=False),
    Index("sourcing_refusals_of_node", "location_id"),
)

exceptions = Table(
    "exceptions",
    metadata,
    Column("exception_id", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("order_id", Text, nullable=False),
    Column("about", Text, nullable=False, comment="what of the order; empty: the order"),
    Column("fingerprint", Text, nullable=False, comment="SHA-256 of what it rests on"),
    Column("evidence", JSONB, nullable=False),
    Column("suggestion", JSONB, nullable=False),
    Column("state", Text, nullable=False),
    Column("revision", BigInteger, nullable=False, comment="changes so far"),
    Column("opened_at", _INSTANT, nullable=False, comment="last opened"),
    Column("seen_at", _INSTANT, nullable=False, comment="last found"),
    Column("decided_at", _INSTANT),
    Column("decided_by", Text),
    Column("resolution", Text, comment="what was decided"),
    Column("reason", Text),
    Column(
        "outcome", Text, comment="of what was decided: solved once it is found no more, persists while it is"
    ),
    _one_of("state", EXCEPTION_STATES),
    _one_of("outcome", EXCEPTION_OUTCOMES),
    CheckConstraint(
        "(state IN ('accepted', 'changed', 'rejected')) = (decided_at IS NOT NULL)", name="decision_is_whole"
    ),
    Index("exceptions_by_order", "order_id"),
    Index("exceptions_open", "kind", "opened_at", postgresql_where=text("state = 'open'")),
)

exception_history = Table(
    "exception_history",
    metadata,
    Column("exception_id", Text, ForeignKey(exceptions.c.exception_id), primary_key=True),
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("happened", Text, nullable=False),
    Column("at", _INSTANT, nullable=False, server_default=text("clock_timestamp()")),
    Column("by", Text, nullable=False),
    Column("suggested", Text, nullable=False),
    Column("resolution", Text),
    Column("reason", Text),
    Column("evidence", JSONB, nullable=False),
    _one_of("happened", EXCEPTION_HAPPENINGS),
)
