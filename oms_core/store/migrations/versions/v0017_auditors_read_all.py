"""Let auditors read every table, free texts masked, and let SQL say why a released row changed."""

from __future__ import annotations

from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

# Without texts that anybody may write; keys of persons and of the API stay closed.
_WHOLE = (
    "channel_allotments", "configurations", "erased_records", "erasures", "feed_followers", "flow_activations",
    "flow_stays", "flow_versions", "identity_model_reports", "reservation_holds", "reservation_lines", "reservations",
    "sourcing_decisions", "sourcing_documents", "sourcing_refusals", "stock_inbound", "stock_movements", "stock_nodes",
    "stock_pools", "stock_positions", "token_holders",
)  # fmt: skip
# What people write about an order may name a person: auditors see how it begins.
_WRITTEN = {
    "flow_orders": ("order_id, flow, first_version, version, state, entered_at, due_at, is_done, revision, merged_into", "facts"),
    "flow_events": (
        "order_id, event_id, kind, occurred_at, source_system, told_by, due_from, body_sha256, is_released, told_at",
        "reason, data",
    ),
    "flow_changes": (
        "order_id, revision, version, from_state, to_state, event_id, entered_at, changed_by, changed_at", "reason",
    ),
    "outbox_events": ("seq, event_id, type, subject, occurred_at, recorded_at, written_by", "data"),
    "exceptions": (
        "exception_id, kind, order_id, about, fingerprint, state, revision, opened_at, seen_at, decided_at, decided_by, "
        "resolution, outcome",
        "evidence, suggestion, reason",
    ),
    "exception_history": ("exception_id, revision, happened, at, by, suggested, resolution", "reason, evidence"),
}  # fmt: skip
# What identity remembers; its other columns were open already.
_REMEMBERED = {
    "identity_records": ("entity, record_id, home_id, rewritten_at", "identifying"),
    "identity_values": ("entity, record_id, first_seen_at, orders, open_orders, revenue", "fields"),
    "identity_tasks": (
        "id, entity, kind, left_record_id, right_record_id, golden_id, attribute, probability, orders, open_orders, revenue, "
        "opened_at, reopened_at, closed_at, outcome, decision_id, fingerprint",
        "evidence",
    ),
}
_MASK = """
CREATE FUNCTION masked.masked(value jsonb) RETURNS jsonb LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE jsonb_typeof(value)
        WHEN 'string' THEN to_jsonb(masked.masked(value #>> '{}'))
        WHEN 'array' THEN (SELECT coalesce(jsonb_agg(masked.masked(item) ORDER BY place), '[]')
            FROM jsonb_array_elements(value) WITH ORDINALITY AS listed (item, place))
        WHEN 'object' THEN (SELECT coalesce(jsonb_object_agg(name, masked.masked(item)), '{}')
            FROM jsonb_each(value) AS listed (name, item))
        ELSE value END
$$;
COMMENT ON FUNCTION masked.masked(jsonb) IS 'every text in it masked; names, numbers and nulls stay';
GRANT EXECUTE ON FUNCTION masked.masked(jsonb) TO orderhub_auditor;
"""
# Which batch, identity event or code stands behind each change of a released table. Tables are read by the caller's own
# rights and search path, so that auditors get what is masked for them.
_WHY = """
CREATE FUNCTION released.change_reasons(
    since_release bigint, until_release bigint, table_name text DEFAULT 'fct_orders', row_key text DEFAULT NULL
) RETURNS TABLE (
    release_id bigint, change_kind text, key text, column_name text, because text, source_system text, stream text,
    batch_id text, record_id text, rule text, detail text
) LANGUAGE plpgsql STABLE AS $why$
#variable_conflict use_column
DECLARE
    key_name text;
    told_in text;
    told_key text;
    told_record text;
    ids text;
BEGIN
    SELECT a.attname INTO key_name FROM pg_attribute AS a
    WHERE a.attrelid = to_regclass(quote_ident(table_name || '_changes')) AND a.attnum = 4;
    IF key_name IS NULL THEN
        RAISE EXCEPTION 'there is no released table %', quote_literal(table_name);
    END IF;
    ids := format('SELECT DISTINCT c.release_id, c.change_kind, c.%1$I::text AS key, v.id '
        'FROM %2$I AS c CROSS JOIN LATERAL (VALUES (c.%1$I::text), '
        '(CASE WHEN c.column_name LIKE ''%%\\_id'' THEN c.old_value END), '
        '(CASE WHEN c.column_name LIKE ''%%\\_id'' THEN c.new_value END)) AS v (id) '
        'WHERE c.release_id > $1 AND c.release_id <= $2 AND ($3 IS NULL OR c.%1$I::text = $3) '
        'AND v.id ~ ''^(ORD|CUS|SKU|LOC)-''', key_name, table_name || '_changes');
    IF table_name = 'fct_orders' THEN
        told_in := 'order_attribute_provenance';
        told_key := 'order_id';
        told_record := 'p.source_system || '':'' || p.stream || '':'' || p.record_key';
    ELSIF table_name IN ('dim_customers', 'dim_skus', 'dim_locations') THEN
        told_in := 'golden_attribute_provenance';
        told_key := 'golden_id';
        told_record := 'p.record_id';
    END IF;
    IF told_in IS NOT NULL AND to_regclass(told_in || '_versions') IS NOT NULL THEN
        -- A row that is new names its batches once, whatever they told of it.
        RETURN QUERY EXECUTE format('SELECT DISTINCT c.release_id, c.change_kind, c.%1$I::text, c.column_name, ''batch'', '
            'b.source_system, b.stream, b.batch_id, %5$s, CASE WHEN c.column_name IS NOT NULL THEN p.rule::text END, NULL::text '
            'FROM %2$I AS c JOIN %3$I AS p ON p.%4$I = c.%1$I AND coalesce(c.column_name, p.attribute) = p.attribute '
            'AND p.release_from <= c.release_id AND (p.release_to IS NULL OR p.release_to > c.release_id) '
            'JOIN release_batches AS b ON b.batch_id = p.batch_id AND b.release_id = c.release_id '
            'WHERE c.release_id > $1 AND c.release_id <= $2 AND ($3 IS NULL OR c.%1$I::text = $3)',
            key_name, table_name || '_changes', told_in || '_versions', told_key, told_record)
            USING since_release, until_release, row_key;
    END IF;
    IF EXISTS (SELECT FROM pg_attribute AS a
               WHERE a.attrelid = to_regclass(quote_ident(table_name || '_versions')) AND a.attname = '_batch_id') THEN
        RETURN QUERY EXECUTE format('SELECT b.release_id, '
            'CASE WHEN EXISTS (SELECT FROM %2$I AS o WHERE o.%1$I = v.%1$I AND o.release_to = v.release_from) '
            'THEN ''changed'' ELSE ''added'' END, v.%1$I::text, NULL::text, ''batch'', b.source_system, b.stream, '
            'b.batch_id, NULL::text, NULL::text, NULL::text '
            'FROM %2$I AS v JOIN release_batches AS b ON b.release_id = v.release_from AND b.batch_id = v._batch_id '
            'WHERE v.release_from > $1 AND v.release_from <= $2 AND ($3 IS NULL OR v.%1$I::text = $3)',
            key_name, table_name || '_versions') USING since_release, until_release, row_key;
    END IF;
    RETURN QUERY EXECUTE 'SELECT i.release_id, i.change_kind, i.key, NULL::text, ''identity'', NULL::text, NULL::text, '
        'NULL::text, e.record_id, e.kind::text, concat_ws('' '', e.golden_id, e.kind, e.other_id, e.reason) '
        'FROM (' || ids || ') AS i JOIN releases AS r ON r.id = i.release_id '
        'JOIN identity_events AS e ON (e.golden_id = i.id OR e.other_id = i.id) AND e.at <= r.published_at '
        'AND e.at > coalesce((SELECT max(p.published_at) FROM releases AS p WHERE p.id < i.release_id), ''-infinity'')'
        USING since_release, until_release, row_key;
    RETURN QUERY SELECT r.id, NULL::text, NULL::text, NULL::text, 'code', NULL::text, NULL::text, NULL::text, NULL::text,
        NULL::text, format('built by %s, the one before by %s', r.code_version, r.before)
        FROM (SELECT s.id, s.code_version, lag(s.code_version) OVER (ORDER BY s.id) AS before FROM releases AS s) AS r
        WHERE r.id > since_release AND r.id <= until_release AND r.code_version <> r.before;
END $why$;
COMMENT ON FUNCTION released.change_reasons IS
    'why rows of a released table changed after one release and up to another: batch, identity or code';
GRANT EXECUTE ON FUNCTION released.change_reasons TO orderhub_reader, orderhub_auditor;
"""


def upgrade() -> None:
    """Open the tables, make the masked views and the function."""
    op.execute(_MASK)
    tables = ", ".join(f"orderhub.{name}" for name in _WHOLE)
    op.execute(f"GRANT SELECT ON {tables} TO orderhub_auditor")
    op.execute("GRANT SELECT (scopes, last_used_on) ON orderhub.api_keys TO orderhub_auditor")
    for name, (plain, written) in {**_WRITTEN, **_REMEMBERED}.items():
        masked = ", ".join(f"masked.masked({column}) AS {column}" for column in written.split(", "))
        op.execute(f"GRANT SELECT ({plain}) ON orderhub.{name} TO orderhub_auditor")
        op.execute(f"CREATE VIEW masked.{name} AS SELECT {plain}, {masked} FROM orderhub.{name}")
        op.execute(f"GRANT SELECT ON masked.{name} TO orderhub_auditor")
    op.execute(_WHY)


def downgrade() -> None:
    """Close them again."""
    op.execute("DROP FUNCTION released.change_reasons")
    for name in (*_WRITTEN, *_REMEMBERED):
        op.execute(f"DROP VIEW masked.{name}")
    for name in _WRITTEN:
        op.execute(f"REVOKE SELECT ON orderhub.{name} FROM orderhub_auditor")
    op.execute("REVOKE SELECT (fingerprint) ON orderhub.identity_tasks FROM orderhub_auditor")
    op.execute("REVOKE SELECT (scopes, last_used_on) ON orderhub.api_keys FROM orderhub_auditor")
    tables = ", ".join(f"orderhub.{name}" for name in _WHOLE)
    op.execute(f"REVOKE SELECT ON {tables} FROM orderhub_auditor")
    op.execute("DROP FUNCTION masked.masked(jsonb)")
