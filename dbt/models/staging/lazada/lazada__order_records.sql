-- A list shows no currency: an order whose units have not come has no money yet.
with granted as (
    select
        reverse_lines.order_id,
        sum(reverse_lines.refund_amount) as amount
    from {{ ref('stg_lazada__reverse_order_lines') }} as reverse_lines
    where reverse_lines.status = 'REFUND_SUCCESS'
    group by reverse_lines.order_id
),

kept as (
    select
        order_number,
        sum(fee_amount - payment_fee_amount) as channel_fee_amount,
        sum(payment_fee_amount) as payment_fee_amount
    from {{ ref('stg_lazada__statement_lines') }}
    group by order_number
),

orders as (
    select
        orders.*,
        kept.channel_fee_amount,
        kept.payment_fee_amount,
        sums.currency,
        sums.gross_amount,
        sums.discount_amount,
        sums.tax_amount,
        sums.paid_at,
        case when sums.order_id is not null then orders.shipping_amount end as freight_amount,
        sums.gross_amount - sums.discount_amount + orders.shipping_amount as net_amount,
        case when sums.paid_at is not null then sums.paid_amount + orders.shipping_amount end as paid_amount,
        case when sums.order_id is not null then coalesce(granted.amount, cast(0 as {{ column_type('amount') }})) end as refunded_amount,
        case
            when sums.unit_count = sums.cancelled_count then 'cancelled'
            when sums.unit_count - sums.cancelled_count = sums.returned_count then 'returned'
            when sums.unit_count - sums.cancelled_count = sums.delivered_count then 'delivered'
            when sums.unit_count - sums.cancelled_count = sums.shipped_count then 'shipped'
            when sums.shipped_count > 0 then 'processing'
            else 'open'
        end as order_status
    from {{ ref('stg_lazada__orders') }} as orders
    left join {{ ref('stg_lazada__order_sums') }} as sums
        on orders.order_id = sums.order_id and sums.currency_count = 1
    left join granted
        on orders.order_id = granted.order_id
    left join kept
        on orders.order_id = kept.order_number
)

{{ conform('order_records', 'orders', {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'order_number': 'order_number',
    'channel': "'lazada'",
    'order_type': "'b2c'",
    'document_role': "'order'",
    'order_status': 'order_status',
    'customer_key': record_id('lazada', 'orders', 'order_id'),
    'ordered_at': 'created_at',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': 'freight_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'paid_amount': 'paid_amount',
    'refunded_amount': 'refunded_amount',
    'channel_fee_amount': 'channel_fee_amount',
    'payment_fee_amount': 'payment_fee_amount',
    'ship_to_city': 'ship_to_city',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
}) }}
