-- Which record each non-null value of an order came from, down to the row of the page as received. Values that are
-- sums or lists name every record they are made of.
{% set document_attributes = {
    'order_number': 'order_number', 'channel': 'channel', 'order_type': 'order_type', 'store_code': 'store',
    'customer_id': 'customer', 'bill_to_party_id': 'bill_to', 'order_status': 'status', 'promised_at': 'promise',
    'currency': 'money', 'gross_amount': 'money', 'discount_amount': 'money', 'shipping_amount': 'money',
    'tax_amount': 'money', 'duty_amount': 'money', 'net_amount': 'money', 'channel_fee_amount': 'channel_fee',
    'ship_to_country': 'address', 'ship_to_region': 'address', 'ship_to_city': 'address',
    'ship_to_postcode': 'address', 'service_level': 'service_level', 'line_count': 'lines', 'unit_qty': 'lines',
    'distinct_sku_count': 'lines', 'lot_numbers': 'lines',
} -%}
{%- set stated_amounts = {
    'paid_amount': 'paid', 'refunded_amount': 'refunded', 'payment_fee_amount': 'payment_fee', 'cogs_amount': 'cogs',
    'logistics_cost_amount': 'logistics_cost',
} -%}
{%- set customer_attributes = {
    'loyalty_tier': 'loyalty', 'customer_segment': 'segment', 'preference_tags': 'preference',
    'marketing_consent': 'consent',
} -%}
{%- set shipment_attributes = {
    'shipment_count': 'true', 'carrier_codes': 'records.carrier_code is not null',
    'tracking_numbers': 'records.tracking_number is not null', 'package_count': 'true', 'distance_km': 'true',
    'transport_modes': 'records.transport_mode is not null',
    'gross_weight_kg': 'records.gross_weight_kg is not null', 'volume_m3': 'records.volume_m3 is not null',
} -%}
{%- set document_lists = {
    'source_systems': 'true', 'is_test': 'records.is_test is not null',
} -%}
{%- set sku_attributes = {
    'category_codes': ('category', 'true'), 'has_bundle': ('bundle', 'true'), 'needs_cold_chain': ('cold_chain', 'true'),
    'gross_weight_kg': ('weight', 'assembled.is_weight_of_goods'), 'volume_m3': ('volume', 'assembled.is_volume_of_goods'),
} -%}
with chosen as (
    {%- for attribute, group in document_attributes.items() %}
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        survived.{{ group }}_record_id as record_id,
        survived.{{ group }}_rule as rule
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived on orders.order_id = survived.order_id
    where orders.{{ attribute }} is not null and survived.{{ group }}_record_id is not null
    union all
    {%- endfor %}
    {%- for attribute, group in stated_amounts.items() %}
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        survived.{{ group }}_record_id as record_id,
        survived.{{ group }}_rule as rule
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived on orders.order_id = survived.order_id
    inner join {{ ref('int_order_money') }} as money on orders.order_id = money.order_id
    where
        orders.{{ attribute }} is not null
        and survived.{{ group }}_record_id is not null
        and survived.{{ group }}_currency = survived.currency
        {%- if attribute == 'paid_amount' %}
        and money.payment_count is null
        {%- elif attribute == 'refunded_amount' %}
        and money.refund_count is null
        {%- elif attribute == 'payment_fee_amount' %}
        and not money.fee_from_payments
        {%- elif attribute == 'logistics_cost_amount' %}
        and not money.logistics_from_shipments
        {%- endif %}
    union all
    {%- endfor %}
    select
        orders.order_id,
        'cogs_amount' as attribute,
        survived.lines_record_id as record_id,
        'sum_of_lines' as rule
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived on orders.order_id = survived.order_id
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
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from chosen
    inner join {{ ref('int_order_records') }} as records on chosen.record_id = records.record_id

    union all
    select
        steps.order_id,
        steps.attribute,
        coalesce(rules.rule, 'source_priority') as rule,
        coalesce(events.source_system, records.source_system) as source_system,
        coalesce(events.stream, records.stream) as stream,
        coalesce(events.source_key, records.source_key) as source_key,
        coalesce(events._batch_id, records._batch_id) as _batch_id,
        coalesce(events._page_sha256, records._page_sha256) as _page_sha256,
        coalesce(events._row_index, records._row_index) as _row_index
    from {{ ref('int_order_steps') }} as steps
    left join {{ ref('fct_order_events') }} as events on steps.record_id = events.event_id
    left join {{ ref('int_order_records') }} as records on steps.record_id = records.record_id
    left join (
        select unit, min(rule) as rule
        from {{ source('identity', 'survivorship_rules') }}
        where entity = 'order'
        group by unit
    ) as rules on steps.event_type = rules.unit

    {%- for attribute, group in customer_attributes.items() %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        golden.{{ group }}_rule as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('golden_customers') }} as golden on orders.customer_id = golden.customer_id
    inner join {{ ref('int_customer_records') }} as records on golden.{{ group }}_record_id = records.record_id
    where orders.{{ attribute }} is not null
    {%- endfor %}

    {%- for attribute, condition in {
        'paid_amount': 'records.is_paid', 'payment_fee_amount': 'records.is_paid and money.fee_from_payments',
    }.items() %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        'sum_of_payments' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_order_money') }} as money on orders.order_id = money.order_id
    inner join {{ ref('fct_payments') }} as records on orders.order_id = records.order_id and records.is_counted
    where orders.{{ attribute }} is not null and {{ condition }}
    {%- endfor %}

    union all
    select
        orders.order_id,
        'refunded_amount' as attribute,
        'sum_of_refunds' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('fct_refunds') }} as records on orders.order_id = records.order_id and records.is_counted
    where orders.refunded_amount is not null

    union all
    select
        orders.order_id,
        'logistics_cost_amount' as attribute,
        'sum_of_shipments' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_order_money') }} as money on orders.order_id = money.order_id and money.logistics_from_shipments
    inner join {{ ref('fct_shipments') }} as records on orders.order_id = records.order_id and records.is_counted
    where orders.logistics_cost_amount is not null and coalesce(records.shipment_status, '') <> 'cancelled'

    {%- for attribute, condition in shipment_attributes.items() %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_shipments' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('fct_shipments') }} as records
        on orders.order_id = records.order_id and records.is_counted
    where orders.{{ attribute }} is not null and coalesce(records.shipment_status, '') <> 'cancelled' and {{ condition }}
    {%- endfor %}

    {%- for attribute, condition in document_lists.items() %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_documents' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_order_records_linked') }} as records on orders.order_id = records.order_id
    where orders.{{ attribute }} is not null and {{ condition }}
    {%- endfor %}

    {%- for attribute, (group, condition) in sku_attributes.items() %}
    union all
    select distinct
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_lines' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_assembled') }} as assembled on orders.order_id = assembled.order_id
    inner join {{ ref('fct_order_lines') }} as lines on orders.order_id = lines.order_id
    inner join {{ ref('golden_skus') }} as golden on lines.sku_id = golden.sku_id
    inner join {{ ref('int_sku_records') }} as records on golden.{{ group }}_record_id = records.record_id
    where orders.{{ attribute }} is not null and {{ condition }}
    {%- endfor %}

    union all
    select
        orders.order_id,
        'service_level' as attribute,
        'all_shipments' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('int_orders_survived') }} as survived
        on orders.order_id = survived.order_id and survived.record_service_level is null
    inner join {{ ref('fct_shipments') }} as records on orders.order_id = records.order_id and records.is_counted
    where orders.service_level is not null and records.service_level is not null

    -- One record may be a document, a shipment and an event at once.
    union all
    select
        order_id,
        'fulfilment_location_ids' as attribute,
        'all_places' as rule,
        source_system,
        stream,
        source_key,
        _batch_id,
        _page_sha256,
        _row_index
    from (
        {%- for relation, condition in {
            'int_order_records_linked': 'fulfilment_location_id is not null',
            'fct_shipments': 'from_location_id is not null',
            'fct_order_events': "location_id is not null and event_type in ('stock_reserved', 'picked', 'packed', 'dispatched')",
        }.items() %}
        select
            order_id,
            source_system,
            stream,
            source_key,
            _batch_id,
            _page_sha256,
            _row_index
        from {{ ref(relation) }}
        where order_id is not null and {{ condition }}
        {{ 'union' if not loop.last }}
        {%- endfor %}
    ) as places

    {%- for attribute in ['return_count', 'returned_unit_qty', 'return_reasons'] %}
    union all
    select
        orders.order_id,
        '{{ attribute }}' as attribute,
        'all_returns' as rule,
        records.source_system,
        records.stream,
        records.source_key,
        records._batch_id,
        records._page_sha256,
        records._row_index
    from {{ ref('fct_orders') }} as orders
    inner join {{ ref('fct_returns') }} as records on orders.order_id = records.order_id and records.is_counted
    where orders.{{ attribute }} is not null
        {%- if attribute == 'return_reasons' %} and records.reason is not null{% endif %}
    {%- endfor %}
)

select {{ contracted({
    'record_key': 'source_key', 'batch_id': '_batch_id', 'page_sha256': '_page_sha256', 'row_index': '_row_index',
}) }}
from located
