-- A deferred transaction that was released is booked again by the one that released it, and counts once. The marketplace takes
-- the payment itself: what that costs is in its fees.
with settled as (
    select
        order_id,
        currency,
        -sum(expenses_amount) as fee_amount,
        -sum(case when transaction_type = 'Refund' then sales_amount end) as refunded_amount
    from {{ ref('stg_amazon__transactions') }}
    where order_id is not null and coalesce(upper(status), '') <> 'DEFERRED_RELEASED'
    group by order_id, currency
),

orders as (
    select
        orders.*,
        settled.fee_amount,
        case when settled.order_id is not null then coalesce(settled.refunded_amount, 0) end as refunded_amount,
        {{ amazon_network('orders.marketplace_id') }} as network,
        orders.total_amount - orders.tax_amount - orders.tip_amount as net_amount,
        case orders.fulfillment_status
            when 'CANCELLED' then 'cancelled'
            when 'SHIPPED' then 'shipped'
            when 'PARTIALLY_SHIPPED' then 'processing'
            when 'UNSHIPPED' then 'processing'
            when 'PENDING' then 'open'
            when 'PENDING_AVAILABILITY' then 'open'
        end as canonical_status
    from {{ ref('stg_amazon__orders') }} as orders
    left join settled on orders.order_id = settled.order_id and orders.currency = settled.currency
),

booked as (
    select
        *,
        net_amount + discount_amount - shipping_amount as gross_amount
    from orders
)

{{ conform('order_records', 'booked', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'order_number': 'order_id',
    'channel': "'amazon'",
    'store_code': 'marketplace_name',
    'order_type': "case when buyer_company is not null then 'b2b' else 'b2c' end",
    'document_role': "'order'",
    'is_test': 'false',
    'order_status': 'canonical_status',
    'customer_key': record_id('amazon', 'orders', 'order_id'),
    'fulfilment_location_key':
        "case when fulfilled_by = 'AMAZON' then " ~ record_id('amazon', 'inventory_summaries', 'network') ~ ' end',
    'ordered_at': 'created_at',
    'promised_at': 'promised_at',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'paid_amount': "case when fulfillment_status <> 'CANCELLED' then total_amount end",
    'refunded_amount': 'refunded_amount',
    'channel_fee_amount': 'fee_amount',
    'payment_fee_amount': 'cast(0 as ' ~ column_type('amount') ~ ')',
    'ship_to_name': 'ship_to_name',
    'ship_to_street': 'ship_to_street',
    'ship_to_city': 'ship_to_city',
    'ship_to_region': 'ship_to_region',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
    'service_level': 'lower(service_level)',
}) }}
