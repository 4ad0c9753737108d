{#-
  The marketplaces of China in canonical columns: they show an order alike, whatever they call its parts.

  Each macro is the whole of a conformed model `<source>__<entity>`. It reads `stg_<source>__<stream>` and expects there:

  orders: order_id, order_status and payment_method (canonical), order_type, buyer_id, region, city, goods_amount,
    discount_amount, shipping_amount, tax_amount, paid_amount, fee_amount, currency, created_at, paid_at, shipped_at,
    received_at, cancelled_at, closed_at, promised_at, updated_at
  items: order_id, line_id, sku_id, sku_code, title, quantity, unit_price_amount, discount_amount, tax_amount, currency
  shipments: order_id, parcel_id, tracking_number, carrier, shipped_at, delivered_at
  refunds: refund_id, order_id, sku_id, quantity, amount, currency, reason, refunded_at, returned_at, updated_at,
    is_refunded, has_goods_back
  skus: sku_id, sku_code, title, barcode, barcode_gtin14, updated_at, quantity

  states_tax: where a marketplace does not say the tax in its prices, what they are without it is unknown: gross, discount,
  shipping and net stay null, and the ERP's hold.
  payment_fee: what the payment costs, where the platform tells it, as an expression over orders.
  held: units that the platform holds for buyers who have not paid, where it tells them, as an expression over skus.
-#}
{% macro marketplace_order_records(source, orders, refunds, states_tax, payment_fee=none) %}
with refunded as (
    select
        order_id,
        sum(amount) as refunded_amount
    from {{ ref('stg_' ~ source ~ '__' ~ refunds) }}
    where is_refunded
    group by order_id
),

booked as (
    select
        orders.*,
        coalesce(refunded.refunded_amount, 0) as refunded_amount
    from {{ ref('stg_' ~ source ~ '__' ~ orders) }} as orders
    left join refunded on orders.order_id = refunded.order_id
)
{% set money = {
    'gross_amount': 'goods_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'goods_amount - discount_amount + shipping_amount',
} if states_tax else {} %}
{% set columns = {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'order_number': 'order_id',
    'channel': "'" ~ source ~ "'",
    'order_type': 'order_type',
    'document_role': "'order'",
    'is_test': 'false',
    'order_status': 'order_status',
    'customer_key': record_id(source, orders, 'coalesce(buyer_id, order_id)'),
    'ordered_at': 'created_at',
    'promised_at': 'promised_at',
    'currency': 'currency',
    'paid_amount': 'case when paid_at is not null then paid_amount end',
    'refunded_amount': 'refunded_amount',
    'channel_fee_amount': 'fee_amount',
    'ship_to_city': 'city',
    'ship_to_region': 'region',
    'ship_to_country': "'CN'",
} %}
{% do columns.update(money) %}
{% if payment_fee %}
{% do columns.update({'payment_fee_amount': payment_fee}) %}
{% endif %}
{{ conform('order_records', 'booked', columns) }}
{%- endmacro %}


{% macro marketplace_order_lines(source, orders, items, skus, states_tax) %}
with numbered as (
    select
        *,
        row_number() over (partition by order_id order by _child_index) as line_number
    from {{ ref('stg_' ~ source ~ '__' ~ items) }}
)
{% set money = {
    'unit_price_amount': 'unit_price_amount',
    'discount_amount': 'discount_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'unit_price_amount * quantity - discount_amount',
} if states_tax else {} %}
{% set columns = {
    'source_key': "order_id || '/' || line_id",
    'order_record_id': record_id(source, orders, 'order_id'),
    'line_key': 'line_id',
    'line_number': 'line_number',
    'sku_key': record_id(source, skus, 'sku_id'),
    'sku_code': 'sku_code',
    'description': 'title',
    'qty': 'quantity',
    'uom': "'C62'",
    'currency': 'currency',
    'is_return': 'false',
} %}
{% do columns.update(money) %}
{{ conform('order_lines', 'numbered', columns) }}
{%- endmacro %}


{#- moments: event type -> column of the orders. -#}
{% macro marketplace_order_events(source, orders, shipments, refunds, moments) %}
{% set lineage = '_source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at' %}
with happened as (
    {%- for event, column in moments.items() %}
    select
        order_id, '{{ event }}' as event_type, '{{ event }}' as event_key, {{ column }} as occurred_at, {{ lineage }}
    from {{ ref('stg_' ~ source ~ '__' ~ orders) }}
    where {{ column }} is not null
    union all
    {%- endfor %}
    select
        order_id, 'dispatched' as event_type, 'dispatched/' || parcel_id as event_key, shipped_at as occurred_at, {{ lineage }}
    from {{ ref('stg_' ~ source ~ '__' ~ shipments) }}
    where shipped_at is not null
    union all
    select
        order_id, 'delivered' as event_type, 'delivered/' || parcel_id as event_key, delivered_at as occurred_at, {{ lineage }}
    from {{ ref('stg_' ~ source ~ '__' ~ shipments) }}
    where delivered_at is not null
    union all
    select
        order_id, 'refunded' as event_type, 'refunded/' || refund_id as event_key, refunded_at as occurred_at, {{ lineage }}
    from {{ ref('stg_' ~ source ~ '__' ~ refunds) }}
    where refunded_at is not null and is_refunded
    union all
    select
        order_id, 'returned' as event_type, 'returned/' || refund_id as event_key, returned_at as occurred_at, {{ lineage }}
    from {{ ref('stg_' ~ source ~ '__' ~ refunds) }}
    where returned_at is not null and has_goods_back
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id(source, orders, 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': '480',
}) }}
{%- endmacro %}


{% macro marketplace_shipments(source, orders, shipments) %}
with parcels as (
    select
        *,
        case when delivered_at is not null then 'delivered' when shipped_at is not null then 'in_transit' else 'created' end
            as shipment_status,
        case
            when carrier like '顺丰%' or upper(carrier) in ('SF', 'SHUNFENG') then 'sf_express'
            when carrier like '中通%' or upper(carrier) in ('ZTO', 'ZHONGTONG') then 'zto'
            else lower(replace(carrier, ' ', '_'))
        end as carrier_code
    from {{ ref('stg_' ~ source ~ '__' ~ shipments) }}
)

{{ conform('shipments', 'parcels', {
    'source_key': "order_id || '/' || parcel_id",
    'shipment_key': "order_id || '/' || parcel_id",
    'order_record_id': record_id(source, orders, 'order_id'),
    'carrier_code': 'carrier_code',
    'tracking_number': 'tracking_number',
    'shipped_at': 'shipped_at',
    'delivered_at': 'delivered_at',
    'shipment_status': 'shipment_status',
}) }}
{%- endmacro %}


{#- An order is paid at once; what was paid in two steps is paid with the second. -#}
{% macro marketplace_payments(source, orders) %}
with paid as (
    select *
    from {{ ref('stg_' ~ source ~ '__' ~ orders) }}
    where paid_at is not null
)

{{ conform('payments', 'paid', {
    'source_key': 'order_id',
    'payment_key': 'order_id',
    'order_record_id': record_id(source, orders, 'order_id'),
    'method': 'payment_method',
    'amount': 'paid_amount',
    'currency': 'currency',
    'paid_at': 'paid_at',
    'payment_status': "'captured'",
}) }}
{%- endmacro %}


{% macro marketplace_refunds(source, orders, refunds) %}
with granted as (
    select *
    from {{ ref('stg_' ~ source ~ '__' ~ refunds) }}
    where is_refunded
)

{{ conform('refunds', 'granted', {
    'source_key': 'refund_id',
    'source_updated_at': 'updated_at',
    'refund_key': 'refund_id',
    'order_record_id': record_id(source, orders, 'order_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'refunded_at',
    'reason': 'reason',
}) }}
{%- endmacro %}


{% macro marketplace_returns(source, orders, refunds, skus) %}
with taken_back as (
    select *
    from {{ ref('stg_' ~ source ~ '__' ~ refunds) }}
    where has_goods_back
)

{{ conform('returns', 'taken_back', {
    'source_key': 'refund_id',
    'source_updated_at': 'updated_at',
    'return_key': 'refund_id',
    'order_record_id': record_id(source, orders, 'order_id'),
    'sku_key': record_id(source, skus, 'sku_id'),
    'qty': 'quantity',
    'uom': "'C62'",
    'reason': 'reason',
    'returned_at': 'returned_at',
}) }}
{%- endmacro %}


{#-
  A buyer is known by an id that the shop alone knows, and is one record, as of the newest order; a masked name or telephone
  is neither, and is left out.
-#}
{% macro marketplace_customer_records(source, orders) %}
with ordered as (
    select
        *,
        coalesce(buyer_id, order_id) as buyer_key,
        min(created_at) over (partition by coalesce(buyer_id, order_id)) as known_since,
        row_number() over (
            partition by coalesce(buyer_id, order_id) order by created_at desc, order_id desc
        ) as newest_first
    from {{ ref('stg_' ~ source ~ '__' ~ orders) }}
),

buyers as (
    select *
    from ordered
    where newest_first = 1
)

{{ conform('customer_records', 'buyers', {
    'source_key': 'buyer_key',
    'source_updated_at': 'updated_at',
    'customer_type': "'person'",
    'city': 'city',
    'region': 'region',
    'country': "'CN'",
    'marketplace_buyer_id': 'buyer_id',
    'created_at': 'known_since',
}) }}
{%- endmacro %}


{#- products: the stream whose records are deleted, and their SKUs with them, by the number item_id. -#}
{% macro marketplace_sku_records(source, skus, products=none) %}
{{ conform('sku_records', ref('stg_' ~ source ~ '__' ~ skus), {
    'source_key': 'sku_id',
    'source_updated_at': 'updated_at',
    'sku_code': 'sku_code',
    'title': 'title',
    'gtin': 'barcode',
    'gtin14': 'barcode_gtin14',
    'parent_key': record_id(source, products, 'item_id') if products else 'null',
}) }}
{%- endmacro %}


{#- What a shop shows for sale. It says of no place that goods lie there, and not when the figure last changed. -#}
{% macro marketplace_inventory_positions(source, skus, held=none) %}
with offered as (
    select *
    from {{ ref('stg_' ~ source ~ '__' ~ skus) }}
    where quantity is not null
)
{% set columns = {
    'source_key': 'sku_id',
    'source_updated_at': 'updated_at',
    'sku_key': record_id(source, skus, 'sku_id'),
    'uom': "'C62'",
    'channel': "'" ~ source ~ "'",
    'offered_qty': 'quantity',
} %}
{% do columns.update({'reserved_qty': held} if held else {}) %}
{{ conform('inventory_positions', 'offered', columns) }}
{%- endmacro %}
