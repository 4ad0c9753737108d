with fees as (
    select
        order_id,
        currency,
        sum(fee_amount) as fee_amount
    from {{ ref('stg_shopify__order_transactions') }}
    where status = 'SUCCESS' and (fee_currency is null or fee_currency = currency)
    group by order_id, currency
),

orders as (
    select
        orders.*,
        orders.total_amount - coalesce(orders.tax_amount, 0) - coalesce(orders.duty_amount, 0)
            - coalesce(orders.tip_amount, 0) as net_amount,
        fees.fee_amount,
        case
            when orders.cancelled_at is not null then 'cancelled'
            when orders.closed_at is not null then 'closed'
            when orders.fulfillment_status = 'FULFILLED' then 'shipped'
            when orders.fulfillment_status in ('PARTIALLY_FULFILLED', 'IN_PROGRESS') then 'processing'
            else 'open'
        end as canonical_status
    from {{ ref('stg_shopify__orders') }} as orders
    left join fees on orders.order_id = fees.order_id and orders.currency = fees.currency
),

booked as (
    select
        *,
        net_amount + coalesce(discount_amount, 0) - coalesce(shipping_amount, 0) as gross_amount
    from orders
)

{{ conform('order_records', 'booked', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'order_number': 'name',
    'channel': "'shopify'",
    'store_code': 'source_name',
    'order_type': "'b2c'",
    'document_role': "'order'",
    'is_test': 'is_test',
    'order_status': 'canonical_status',
    'customer_key': record_id('shopify', 'customers', 'customer_id'),
    'ordered_at': 'coalesce(processed_at, created_at)',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'duty_amount': 'duty_amount',
    'net_amount': 'net_amount',
    'paid_amount': 'received_amount',
    'refunded_amount': 'refunded_amount',
    'payment_fee_amount': 'fee_amount',
    'ship_to_name': 'ship_to_name',
    'ship_to_street': 'ship_to_street',
    'ship_to_city': 'ship_to_city',
    'ship_to_region': 'ship_to_region',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
    'service_level': 'shipping_title',
}) }}
