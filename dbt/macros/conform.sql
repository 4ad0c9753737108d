{#-
  The canonical shape of every entity, in one place.

  canonical_columns(entity) gives the ordered (name, kind) pairs; conform() casts a source's expressions to them.
  Order and types are fixed here, so that the unions in models/intermediate are safe on every engine.
-#}
{% macro canonical_columns(entity) %}
    {%- set money = 'amount' -%}
    {%- set entities = {
        'order_records': [
            ('order_number', 'text'), ('channel', 'text'), ('store_code', 'text'), ('order_type', 'text'),
            ('document_role', 'text'), ('is_test', 'boolean'), ('order_status', 'text'), ('customer_key', 'text'),
            ('bill_to_key', 'text'), ('store_location_key', 'text'), ('fulfilment_location_key', 'text'),
            ('ordered_at', 'instant'), ('promised_at', 'instant'), ('currency', 'text'), ('gross_amount', money),
            ('discount_amount', money), ('shipping_amount', money), ('tax_amount', money), ('duty_amount', money),
            ('net_amount', money), ('paid_amount', money), ('refunded_amount', money), ('channel_fee_amount', money),
            ('payment_fee_amount', money), ('cogs_amount', money), ('logistics_cost_amount', money),
            ('ship_to_name', 'text'), ('ship_to_street', 'text'), ('ship_to_city', 'text'), ('ship_to_region', 'text'),
            ('ship_to_postcode', 'text'), ('ship_to_country', 'text'), ('service_level', 'text'),
        ],
        'order_references': [
            ('order_record_id', 'text'), ('reference_type', 'text'), ('reference_value', 'text'),
            ('target_system', 'text'),
        ],
        'order_lines': [
            ('order_record_id', 'text'), ('line_key', 'text'), ('line_number', 'integer'), ('sku_key', 'text'),
            ('sku_code', 'text'), ('description', 'text'), ('qty', 'quantity'), ('uom', 'text'),
            ('unit_price_amount', money), ('discount_amount', money), ('tax_amount', money), ('net_amount', money),
            ('cost_amount', money), ('currency', 'text'), ('lot_number', 'text'), ('is_return', 'boolean'),
        ],
        'order_events': [
            ('order_record_id', 'text'), ('event_key', 'text'), ('event_type', 'text'), ('occurred_at', 'instant'),
            ('recorded_at', 'instant'), ('occurred_at_offset_minutes', 'offset'), ('location_key', 'text'),
            ('biz_step', 'text'),
        ],
        'shipments': [
            ('shipment_key', 'text'), ('order_record_id', 'text'), ('carrier_code', 'text'), ('service_level', 'text'),
            ('tracking_number', 'text'), ('shipped_at', 'instant'), ('delivered_at', 'instant'),
            ('from_location_key', 'text'), ('package_count', 'integer'), ('gross_weight_kg', 'quantity'),
            ('volume_m3', 'quantity'), ('distance_km', 'quantity'), ('cost_amount', money), ('currency', 'text'),
            ('transport_mode', 'text'), ('shipment_status', 'text'),
        ],
        'payments': [
            ('payment_key', 'text'), ('order_record_id', 'text'), ('method', 'text'), ('amount', money),
            ('fee_amount', money), ('currency', 'text'), ('paid_at', 'instant'), ('payment_status', 'text'),
        ],
        'refunds': [
            ('refund_key', 'text'), ('order_record_id', 'text'), ('amount', money), ('currency', 'text'),
            ('refunded_at', 'instant'), ('reason', 'text'),
        ],
        'settlements': [
            ('settlement_key', 'text'), ('settlement_status', 'text'), ('currency', 'text'), ('gross_amount', money),
            ('refund_amount', money), ('fee_amount', money), ('adjustment_amount', money), ('net_amount', money),
            ('opened_at', 'instant'), ('closed_at', 'instant'), ('paid_at', 'instant'), ('bank_reference', 'text'),
        ],
        'settlement_lines': [
            ('settlement_record_id', 'text'), ('line_key', 'text'), ('line_kind', 'text'), ('order_record_id', 'text'),
            ('order_reference', 'text'), ('payment_record_id', 'text'), ('gross_amount', money), ('fee_amount', money),
            ('net_amount', money), ('currency', 'text'), ('charged_amount', money), ('charged_currency', 'text'),
            ('exchange_rate', 'rate'), ('booked_at', 'instant'), ('available_at', 'instant'),
        ],
        'billing_documents': [
            ('document_key', 'text'), ('order_record_id', 'text'), ('document_type', 'text'), ('billed_on', 'date'),
            ('net_amount', money), ('tax_amount', money), ('total_amount', money), ('currency', 'text'),
            ('line_count', 'integer'), ('billed_lines_amount', money), ('sold_lines_amount', money),
        ],
        'rebate_agreements': [
            ('agreement_code', 'text'), ('dealer_code', 'text'), ('dealer_name', 'text'), ('scope_type', 'text'),
            ('scope_code', 'text'), ('basis', 'text'), ('rate', 'quantity'), ('tier_from_amount', money),
            ('currency', 'text'), ('valid_from', 'date'), ('valid_until', 'date'),
        ],
        'rebates': [
            ('rebate_key', 'text'), ('order_record_id', 'text'), ('dealer_code', 'text'), ('agreement_code', 'text'),
            ('claim_number', 'text'), ('settlement_number', 'text'), ('rebate_type', 'text'), ('rebate_status', 'text'),
            ('sku_code', 'text'), ('qty', 'quantity'), ('base_amount', money), ('claimed_amount', money),
            ('settled_amount', money), ('amount', money), ('currency', 'text'), ('accrued_on', 'date'),
            ('settled_on', 'date'), ('reason', 'text'),
        ],
        'reference_rates': [
            ('base_currency', 'text'), ('quote_currency', 'text'), ('rate', 'rate'), ('rate_on', 'date'),
        ],
        'returns': [
            ('return_key', 'text'), ('order_record_id', 'text'), ('sku_key', 'text'), ('qty', 'quantity'),
            ('uom', 'text'), ('reason', 'text'), ('returned_at', 'instant'), ('promised_amount', money),
            ('currency', 'text'),
        ],
        'order_lots': [
            ('order_record_id', 'text'), ('lot_id', 'text'), ('lot_number', 'text'), ('gtin14', 'text'),
            ('qty', 'quantity'), ('uom', 'text'),
        ],
        'lot_links': [
            ('from_lot_id', 'text'), ('to_lot_id', 'text'), ('occurred_at', 'instant'), ('biz_step', 'text'),
        ],
        'lot_origins': [
            ('lot_id', 'text'), ('lot_number', 'text'), ('origin_country', 'text'), ('supplier_key', 'text'),
            ('born_at', 'instant'),
        ],
        'lot_certificates': [('lot_id', 'text'), ('certificate_id', 'text')],
        'temperature_readings': [
            ('order_record_id', 'text'), ('shipment_key', 'text'), ('location_key', 'text'), ('sensor_id', 'text'),
            ('measured_at', 'instant'), ('measured_until', 'instant'), ('temperature_c', 'quantity'),
            ('lowest_c', 'quantity'), ('highest_c', 'quantity'),
        ],
        'tickets': [
            ('ticket_key', 'text'), ('order_record_id', 'text'), ('customer_key', 'text'), ('ticket_type', 'text'),
            ('ticket_status', 'text'), ('priority', 'text'), ('via_channel', 'text'), ('opened_at', 'instant'),
            ('solved_at', 'instant'), ('is_merged', 'boolean'),
        ],
        'tombstones': [
            ('gone_record_id', 'text'), ('merged_into_record_id', 'text'), ('is_deleted', 'boolean'),
            ('evidence', 'text'), ('noticed_at', 'instant'),
        ],
        'customer_records': [
            ('customer_type', 'text'), ('full_name', 'text'), ('given_name', 'text'), ('family_name', 'text'),
            ('company_name', 'text'), ('email', 'text'), ('phone', 'text'), ('phone_e164', 'text'),
            ('tax_number', 'text'), ('street', 'text'), ('city', 'text'), ('region', 'text'), ('postcode', 'text'),
            ('country', 'text'), ('language', 'text'), ('marketplace_buyer_id', 'text'), ('loyalty_tier', 'text'),
            ('customer_segment', 'text'), ('preference_tags', 'text'), ('marketing_consent', 'boolean'),
            ('created_at', 'instant'), ('parent_key', 'text'),
        ],
        'sku_records': [
            ('sku_code', 'text'), ('title', 'text'), ('brand', 'text'), ('mpn', 'text'), ('gtin', 'text'),
            ('gtin14', 'text'), ('category_code', 'text'), ('size_qty', 'quantity'), ('size_uom', 'text'),
            ('pack_qty', 'quantity'), ('weight_kg', 'quantity'), ('volume_m3', 'quantity'),
            ('needs_cold_chain', 'boolean'), ('is_bundle', 'boolean'), ('unit_cost_amount', money),
            ('cost_currency', 'text'), ('origin_country', 'text'), ('parent_key', 'text'),
        ],
        'sku_recipes': [
            ('kit_record_id', 'text'), ('component_record_id', 'text'), ('qty', 'quantity'), ('uom', 'text'),
        ],
        'location_records': [
            ('location_name', 'text'), ('location_type', 'text'), ('gln', 'text'), ('location_code', 'text'),
            ('street', 'text'), ('city', 'text'), ('region', 'text'), ('postcode', 'text'), ('country', 'text'),
            ('latitude', 'degree'), ('longitude', 'degree'), ('timezone', 'text'),
        ],
        'inventory_positions': [
            ('sku_key', 'text'), ('location_key', 'text'), ('lot_number', 'text'), ('on_hand_qty', 'quantity'),
            ('reserved_qty', 'quantity'), ('uom', 'text'), ('counted_at', 'instant'), ('expires_on', 'date'),
            ('channel', 'text'), ('offered_qty', 'quantity'),
        ],
    } -%}
    {%- if entity not in entities -%}
        {{ exceptions.raise_compiler_error("conform: no entity '" ~ entity ~ "'; known: " ~ entities | join(', ')) }}
    {%- endif -%}
    {%- set head = [('record_id', 'text'), ('source_system', 'text'), ('stream', 'text'), ('source_key', 'text'),
                    ('source_updated_at', 'instant')] -%}
    {%- set tail = [('_batch_id', 'text'), ('_page_sha256', 'text'), ('_row_index', 'integer'),
                    ('_extracted_at', 'instant')] -%}
    {%- if entity in ('order_records', 'customer_records', 'sku_records', 'location_records') -%}
        {%- set tail = tail + [('_first_seen_at', 'instant')] -%}
    {%- endif -%}
    {{ return(head + entities[entity] + tail) }}
{% endmacro %}


{#- SQL type of a canonical kind. -#}
{% macro column_type(kind) %}
    {{ return(adapter.dispatch('column_type')(kind)) }}
{% endmacro %}

{% macro default__column_type(kind) %}
    {%- set types = {
        'text': 'text', 'boolean': 'boolean', 'integer': 'bigint', 'offset': 'smallint', 'instant': 'timestamp',
        'date': 'date', 'amount': 'numeric(18,4)', 'quantity': 'numeric(18,6)', 'degree': 'numeric(9,6)',
        'ratio': 'numeric(7,4)', 'hours': 'numeric(18,4)', 'rate': 'numeric(18,8)',
    } -%}
    {{ return(types[kind]) }}
{% endmacro %}

{% macro spark__column_type(kind) %}
    {{ return({'text': 'string', 'instant': 'timestamp_ntz'}.get(kind, default__column_type(kind))) }}
{% endmacro %}


{#-
  Cast one source's records to an entity's canonical columns; columns it does not give become typed nulls.

  entity: one of the entities above. relation: a ref, or the name of a CTE in the calling model; it carries _source,
  _stream and the four lineage columns (and _first_seen_at for the four kinds identity resolves). columns: {canonical name: SQL
  expression over the relation}; source_key is required. source_system and stream default to _source and _stream;
  record_id is always "<source_system>:<stream>:<source_key>".

  Conformed models are ephemeral: they are inlined into the unions, so that a source costs no extra relations.
-#}
{% macro conform(entity, relation, columns) %}
    {{- config(materialized='ephemeral') -}}
    {%- set canonical = canonical_columns(entity) -%}
    {%- set names = canonical | map('first') | list -%}
    {%- for name in columns if name not in names or name == 'record_id' -%}
        {{ exceptions.raise_compiler_error("conform('" ~ entity ~ "'): '" ~ name ~ "' is not a column to give; known: "
           ~ names | join(', ')) }}
    {%- endfor -%}
    {%- if 'source_key' not in columns -%}
        {{ exceptions.raise_compiler_error("conform('" ~ entity ~ "'): give source_key") }}
    {%- endif -%}
    {%- set text = column_type('text') -%}
    {%- set given = {'source_system': '_source', 'stream': '_stream'} -%}
    {%- do given.update(columns) -%}
    {%- do given.update({'record_id': 'cast(' ~ given['source_system'] ~ ' as ' ~ text ~ ") || ':' || cast("
        ~ given['stream'] ~ ' as ' ~ text ~ ") || ':' || cast(" ~ given['source_key'] ~ ' as ' ~ text ~ ')'}) -%}
select
    {%- for name, kind in canonical %}
    cast({{ given.get(name, name if name.startswith('_') else 'null') }} as {{ column_type(kind) }}) as {{ name }}
        {{- ',' if not loop.last }}
    {%- endfor %}
from {{ relation }}
{%- endmacro %}


{#- Words about records that are gone, as they landed, in canonical columns. -#}
{% macro conform_tombstones(source, relation) -%}
{{ conform('tombstones', relation, {
    'source_key': "stream || '/' || record_key",
    'stream': "'tombstones'",
    'source_updated_at': 'noticed_at',
    'gone_record_id': "'" ~ source ~ ":' || stream || ':' || record_key",
    'merged_into_record_id': "'" ~ source ~ ":' || stream || ':' || merged_into_key",
    'is_deleted': 'is_deleted',
    'evidence': 'evidence',
    'noticed_at': 'noticed_at',
}) }}
{%- endmacro %}


{#- Words about records of a stream that stay, and say themselves that they were deleted, in the columns of landed tombstones. -#}
{% macro told_deleted(relation, stream, key, where) -%}
select
    '{{ stream }}' as stream,
    {{ key }} as record_key,
    cast(null as {{ column_type('text') }}) as merged_into_key,
    true as is_deleted,
    'record' as evidence,
    updated_at as noticed_at,
    _source,
    _stream,
    _batch_id,
    _page_sha256,
    _row_index,
    _extracted_at
from {{ relation }}
where {{ where }}
{%- endmacro %}


{#-
  Order records of the documents that bill several orders: each stands for all of them, and order_references names them.

  relation: parts of documents, with is_shared, currency and lineage columns. key: identifies the document. number: what is
  printed on it. changed_at: when it last changed.
-#}
{% macro conform_shared_invoices(relation, key, number, changed_at) -%}
{% set shared -%}
(
    select
        {{ key }} as document_key, max({{ number }}) as document_number, max({{ changed_at }}) as changed_at,
        max(currency) as currency, min(_first_seen_at) as _first_seen_at, max(_source) as _source, max(_stream) as _stream,
        max(_batch_id) as _batch_id, max(_page_sha256) as _page_sha256, max(_row_index) as _row_index,
        max(_extracted_at) as _extracted_at
    from {{ relation }}
    where is_shared
    group by {{ key }}
) as shared
{%- endset %}
{{ conform('order_records', shared, {
    'source_key': 'document_key',
    'source_updated_at': 'changed_at',
    'order_number': 'document_number',
    'document_role': "'invoice'",
    'currency': 'currency',
}) }}
{%- endmacro %}


{#- Whether a source still holds a record, as far as is known: a line that was struck from an order tells no one itself. -#}
{% macro is_held(source, stream, key) -%}
not exists (
        select 1
        from {{ ref('stg_' ~ source ~ '__tombstones') }} as gone
        where gone.stream = '{{ stream }}' and gone.record_key = cast({{ key }} as {{ column_type('text') }}) and gone.is_deleted
    )
{%- endmacro %}


{#- record_id of a record named by another: null when the key is null. -#}
{% macro record_id(source, stream, key) -%}
    '{{ source }}:{{ stream }}:' || cast({{ key }} as {{ column_type('text') }})
{%- endmacro %}


{#-
  Union of every source's conformed model of an entity, from var sources_by_entity; empty but typed with none.

  A run leaves sources without rows out of the project and names them in var silent_sources. So the union is the only way from
  a source's models to the others.
-#}
{% macro union_sources(entity) %}
    {%- set sources = var('sources_by_entity')[entity] | reject('in', var('silent_sources')) | list -%}
    {%- for source in sources %}
select * from {{ ref(source ~ '__' ~ entity) }}
        {%- if not loop.last %}
union all
        {%- endif -%}
    {%- else %}
select
        {%- for name, kind in canonical_columns(entity) %}
    cast(null as {{ column_type(kind) }}) as {{ name }}{{ ',' if not loop.last }}
        {%- endfor %}
where 1 = 0
    {%- endfor %}
{%- endmacro %}
