-- Which record each non-null value of an order came from, down to the row of the page as received. Values that are
-- sums or lists name every record they are made of.
{% set orders = ref('fct_orders') -%}
{%- set survived = ref('int_orders_survived') -%}
{%- set document_attributes = {
    'order_number': 'order_number', 'channel': 'channel', 'order_type': 'order_type', 'store_code': 'store',
    'customer_id': 'customer', 'bill_to_party_id': 'bill_to', 'order_status': 'status', 'promised_at': 'promise',
    'currency': 'money', 'gross_amount': 'money', 'discount_amount': 'money', 'shipping_amount': 'money',
    'tax_amount': 'money', 'duty_amount': 'money', 'net_amount': 'money', 'channel_fee_amount': 'channel_fee',
    'ship_to_country': 'address', 'ship_to_region': 'address', 'ship_to_city': 'address',
    'ship_to_postcode': 'address', 'service_level': 'service_level', 'line_count': 'lines', 'unit_qty': 'lines',
    'distinct_sku_count': 'lines',
} -%}
{#- Amounts that a document states: {attribute: (unit, when they are no sum)}. -#}
{%- set stated_amounts = {
    'paid_amount': ('paid', 'money.payment_count is null'),
    'refunded_amount': ('refunded', 'money.refund_count is null'),
    'payment_fee_amount': ('payment_fee', 'not money.fee_from_payments'),
    'cogs_amount': ('cogs', 'true'),
    'logistics_cost_amount': ('logistics_cost', 'not money.logistics_from_shipments'),
} -%}
{#- Values made of many records: (attribute, rule, relation of the records, condition, further join, select). -#}
{%- set with_money = 'inner join ' ~ ref('int_order_money') ~ ' as money on orders.order_id = money.order_id' -%}
{%- set payments = ref('fct_payments') -%}
{%- set shipments = ref('fct_shipments') -%}
{%- set readings = ref('fct_temperature_readings') -%}
{%- set is_sent = "records.is_counted and coalesce(records.shipment_status, '') <> 'cancelled'" -%}
{%- set without_level = 'inner join ' ~ survived ~ ' as survived
        on orders.order_id = survived.order_id and survived.record_service_level is null' -%}
{%- set made_of = [
    ('paid_amount', 'sum_of_payments', payments, 'records.is_counted and records.is_paid', ''),
    ('payment_fee_amount', 'sum_of_payments', payments,
        'records.is_counted and records.is_paid and money.fee_from_payments', with_money),
    ('refunded_amount', 'sum_of_refunds', ref('fct_refunds'), 'records.is_counted', ''),
    ('dealer_rebate_amount', 'sum_of_rebates', ref('fct_rebates'), 'true', ''),
    ('logistics_cost_amount', 'sum_of_shipments', shipments, is_sent ~ ' and money.logistics_from_shipments', with_money),
    ('shipment_count', 'all_shipments', shipments, is_sent, ''),
    ('carrier_codes', 'all_shipments', shipments, is_sent ~ ' and records.carrier_code is not null', ''),
    ('tracking_numbers', 'all_shipments', shipments, is_sent ~ ' and records.tracking_number is not null', ''),
    ('package_count', 'all_shipments', shipments, is_sent, ''),
    ('distance_km', 'all_shipments', shipments, is_sent, ''),
    ('transport_modes', 'all_shipments', shipments, is_sent, ''),
    ('transport_co2e_kg', 'weight_x_distance', shipments, is_sent, ''),
    ('gross_weight_kg', 'all_shipments', shipments, is_sent ~ ' and records.gross_weight_kg is not null', ''),
    ('volume_m3', 'all_shipments', shipments, is_sent ~ ' and records.volume_m3 is not null', ''),
    ('service_level', 'all_shipments', shipments, 'records.is_counted and records.service_level is not null', without_level),
    ('source_systems', 'all_documents', ref('int_order_records_linked'), 'true', ''),
    ('is_test', 'all_documents', ref('int_order_records_linked'), 'records.is_test is not null', ''),
    ('return_count', 'all_returns', ref('fct_returns'), 'records.is_counted', ''),
    ('returned_unit_qty', 'all_returns', ref('fct_returns'), 'records.is_counted', ''),
    ('lot_numbers', 'all_lots', ref('fct_order_lots'), 'true', ''),
    ('traceability_ratio', 'all_lots', ref('fct_order_lots'), 'true', ''),
    ('lot_numbers', 'all_lines', ref('fct_order_lines'), 'records.lot_number is not null and not exists (
        select 1 from ' ~ ref('fct_order_lots') ~ ' as lots where orders.order_id = lots.order_id)', ''),
    ('min_temperature_c', 'extreme_reading', readings, 'records.lowest_c = orders.min_temperature_c', ''),
    ('max_temperature_c', 'extreme_reading', readings, 'records.highest_c = orders.max_temperature_c', ''),
    ('excursion_minutes', 'readings_out_of_range', readings, 'records.is_out_of_range', ''),
    ('excursion_count', 'readings_out_of_range', readings, 'records.is_out_of_range', ''),
    ('ticket_count', 'all_tickets', ref('fct_tickets'), 'not records.is_merged', ''),
    ('first_ticket_at', 'all_tickets', ref('fct_tickets'), 'not records.is_merged', ''),
    ('has_open_ticket', 'all_tickets', ref('fct_tickets'), 'not records.is_merged', ''),
    ('return_reasons', 'all_returns', ref('fct_returns'), 'records.reason is not null and (records.is_counted or not exists (
        select 1 from ' ~ ref('fct_returns') ~ ' as counted
        where orders.order_id = counted.order_id and counted.is_counted and counted.reason is not null))', ''),
] -%}
{%- set customer_attributes = {
    'loyalty_tier': 'loyalty', 'customer_segment': 'segment', 'preference_tags': 'preference',
    'marketing_consent': 'consent',
} -%}
{%- set sku_attributes = {
    'category_codes': ('category', 'true'), 'has_bundle': ('bundle', 'true'), 'needs_cold_chain': ('cold_chain', 'true'),
    'packaging_co2e_kg': ('weight', 'true'),
    'gross_weight_kg': ('weight', 'assembled.is_weight_of_goods'), 'volume_m3': ('volume', 'assembled.is_volume_of_goods'),
} -%}
{%- set places = {
    'int_order_records_linked': 'fulfilment_location_id is not null',
    'fct_shipments': 'from_location_id is not null',
    'fct_order_events': "location_id is not null and event_type in ('stock_reserved', 'picked', 'packed', 'dispatched')",
} -%}
{%- set lineage = ['source_system', 'stream', 'source_key', '_batch_id', '_page_sha256', '_row_index'] -%}
with chosen as (
    {%- for attribute, unit in document_attributes.items() %}
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        survived.{{ unit }}_record_id as record_id,
        survived.{{ unit }}_rule as rule
    from {{ orders }} as orders
    inner join {{ survived }} as survived on orders.order_id = survived.order_id
    where orders.{{ attribute }} is not null and survived.{{ unit }}_record_id is not null
    union all
    {%- endfor %}
    {%- for attribute, (unit, condition) in stated_amounts.items() %}
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        survived.{{ unit }}_record_id as record_id,
        survived.{{ unit }}_rule as rule
    from {{ orders }} as orders
    inner join {{ survived }} as survived on orders.order_id = survived.order_id
    {{ with_money }}
    where
        orders.{{ attribute }} is not null
        and survived.{{ unit }}_record_id is not null
        and survived.{{ unit }}_currency = survived.currency
        and {{ condition }}
    union all
    {%- endfor %}
    select
        orders.order_id,
        'cogs_amount' as attribute,
        survived.lines_record_id as record_id,
        'sum_of_lines' as rule
    from {{ orders }} as orders
    inner join {{ survived }} as survived on orders.order_id = survived.order_id
    where
        orders.cogs_amount is not null
        and survived.lines_record_id is not null
        and coalesce(survived.cogs_currency, '') <> survived.currency
),

located as (
    select
        chosen.order_id,
        chosen.attribute,
        chosen.rule,
        records.{{ lineage | join(', records.') }}
    from chosen
    inner join {{ ref('int_order_records') }} as records on chosen.record_id = records.record_id

    -- A step is told by an event, or by a document that states its own time.
    union all
    select
        steps.order_id,
        steps.attribute,
        coalesce(rules.rule, 'source_priority') as rule
        {%- for name in lineage %},
        coalesce(events.{{ name }}, records.{{ name }}) as {{ name }}
        {%- endfor %}
    from {{ ref('int_order_steps') }} as steps
    left join {{ ref('fct_order_events') }} as events on steps.record_id = events.event_id
    left join {{ ref('int_order_records') }} as records on steps.record_id = records.record_id
    left join (
        select unit, min(rule) as rule
        from {{ source('identity', 'survivorship_rules') }}
        where entity = 'order'
        group by unit
    ) as rules on steps.event_type = rules.unit

    {%- for attribute, unit in customer_attributes.items() %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        golden.{{ unit }}_rule as rule,
        records.{{ lineage | join(', records.') }}
    from {{ orders }} as orders
    inner join {{ ref('golden_customers') }} as golden on orders.customer_id = golden.customer_id
    inner join {{ ref('int_customer_records') }} as records on golden.{{ unit }}_record_id = records.record_id
    where orders.{{ attribute }} is not null
    {%- endfor %}

    {%- for attribute, rule, relation, condition, join in made_of %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        '{{ rule }}' as rule,
        records.{{ lineage | join(', records.') }}
    from {{ orders }} as orders
    inner join {{ relation }} as records on orders.order_id = records.order_id
    {{ join }}
    where orders.{{ attribute }} is not null and {{ condition }}
    {%- endfor %}

    {%- for attribute in ['fx_rate', 'fx_rate_on', 'fx_source', 'net_reporting_amount', 'margin_reporting_amount'] %}
    {%- for rate in ['own_rate_id', 'reporting_rate_id'] %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        'last_rate_published' as rule,
        rates.{{ lineage | join(', rates.') }}
    from {{ orders }} as orders
    inner join {{ ref('int_order_fx') }} as fx on orders.order_id = fx.order_id
    inner join {{ ref('int_reference_rates') }} as rates on fx.{{ rate }} = rates.record_id
    where orders.{{ attribute }} is not null
    {%- endfor %}
    {%- endfor %}

    {%- for attribute, (unit, condition) in sku_attributes.items() %}
    union all
    select distinct
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_lines' as rule,
        records.{{ lineage | join(', records.') }}
    from {{ orders }} as orders
    inner join {{ ref('int_orders_assembled') }} as assembled on orders.order_id = assembled.order_id
    inner join {{ ref('fct_order_lines') }} as lines on orders.order_id = lines.order_id
    inner join {{ ref('golden_skus') }} as golden on lines.sku_id = golden.sku_id
    inner join {{ ref('int_sku_records') }} as records on golden.{{ unit }}_record_id = records.record_id
    where orders.{{ attribute }} is not null and {{ condition }}
    {%- endfor %}

    {%- for attribute, relation, told in [
        ('origin_countries', 'int_lot_origins', 'origin_country'), ('supplier_party_ids', 'int_lot_origins', 'supplier_key'),
        ('certificate_ids', 'int_lot_certificates', 'certificate_id'),
    ] %}
    union all
    select distinct
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_ancestors' as rule,
        records.{{ lineage | join(', records.') }}
    from {{ orders }} as orders
    inner join {{ ref('fct_order_lots') }} as lots on orders.order_id = lots.order_id
    inner join {{ ref('int_lot_ancestry') }} as ancestry on lots.lot_id = ancestry.lot_id
    inner join {{ ref(relation) }} as records on ancestry.ancestor_lot_id = records.lot_id
    where orders.{{ attribute }} is not null and records.{{ told }} is not null
    {%- endfor %}

    -- One record may be a document, a shipment and an event at once.
    union all
    select
        order_id,
        'fulfilment_location_ids' as attribute,
        'all_places' as rule,
        {{ lineage | join(', ') }}
    from (
        {%- for relation, condition in places.items() %}
        select
            order_id,
            {{ lineage | join(', ') }}
        from {{ ref(relation) }}
        where order_id is not null and {{ condition }}
        {{ 'union' if not loop.last }}
        {%- endfor %}
    ) as places
)

select {{ contracted({
    'record_key': 'source_key', 'batch_id': '_batch_id', 'page_sha256': '_page_sha256', 'row_index': '_row_index',
}) }}
from located
