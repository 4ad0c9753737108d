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
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

STATE_SCHEMA = "orderhub"
HISTORY_SCHEMA = "release_history"
RELEASED_SCHEMA = "released"
READER_ROLE = "orderhub_reader"

ENTITIES = ("customer", "sku", "location", "order")
JUDGEMENTS = ("same", "different", "unsure")
EVENT_KINDS = ("born", "revived", "split", "joined", "moved", "left", "merged", "retired")
SURVIVORSHIP_RULES = ("source_priority", "most_recent", "most_frequent", "most_complete")

metadata = MetaData(schema=STATE_SCHEMA)

_INSTANT = DateTime(timezone=True)


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
    Column("home_id", Text, comment="the id it is at home in; null: joined a merged id, belongs to no side"),
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
    Column("version", BigInteger, Identity(always=True), primary_key=True, comment="of two that stand, the later holds"),
    Column("entity", Text, nullable=False),
    Column("attribute_group", Text, nullable=False, comment="or one attribute, which then overrides its group's rule"),
    Column("rule", Text, comment="null: only must_agree is said"),
    Column("sources", ARRAY(Text), comment="kinds of system and single systems, most trusted first"),
    Column("must_agree", Boolean, comment="whether sources that differ contradict each other; null: not said"),
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
    Index("survivorship_rules_standing", "entity", "attribute_group", postgresql_where=text("withdrawn_at IS NULL")),
)
