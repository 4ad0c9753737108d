-- The order as placed. Vendure takes cancelled units out of its totals: then the goods at list price are still known from the
-- lines, what the buyer was to pay for them is not. Surcharges count as goods. The shop is our own: no channel keeps a fee.
with placed as (
    select
        order_id,
        sum(placed_qty * unit_price_amount) as list_amount,
        sum(list_amount - net_amount) as discount_amount,
        min(case when quantity = placed_qty then 1 else 0 end) as is_whole
    from {{ ref('stg_vendure__order_lines') }}
    group by order_id
),

paid as (
    select
        order_id,
        sum(case when state = 'Settled' then amount else cast(0 as {{ column_type('amount') }}) end) as amount
    from {{ ref('stg_vendure__order_payments') }}
    group by order_id
),

refunded as (
    select
        order_id,
        sum(case when state = 'Settled' then amount else cast(0 as {{ column_type('amount') }}) end) as amount
    from {{ ref('stg_vendure__order_refunds') }}
    group by order_id
),

orders as (
    select
        orders.*,
        case
            when orders.state = 'Cancelled' then 'cancelled'
            when orders.state = 'Delivered' then 'delivered'
            when orders.state in ('Shipped', 'PartiallyDelivered') then 'shipped'
            when orders.state = 'PartiallyShipped' then 'processing'
            else 'open'
        end as order_status,
        case
            when placed.is_whole = 1 then orders.goods_amount + placed.discount_amount else placed.list_amount
        end as gross_amount,
        case when placed.is_whole = 1 then placed.discount_amount end as discount_amount,
        case when placed.is_whole = 1 then orders.net_amount end as booked_amount,
        case when placed.is_whole = 1 then orders.total_amount - orders.net_amount end as tax_amount,
        coalesce(paid.amount, cast(0 as {{ column_type('amount') }})) as paid_amount,
        coalesce(refunded.amount, cast(0 as {{ column_type('amount') }})) as refunded_amount
    from {{ ref('stg_vendure__orders') }} as orders
    left join placed
        on orders.order_id = placed.order_id
    left join paid
        on orders.order_id = paid.order_id
    left join refunded
        on orders.order_id = refunded.order_id
    where orders.type <> 'Seller'
)

{{ conform('order_records', 'orders', {
    'source_key': 'order_id',
    'source_updated_at': 'changed_at',
    'order_number': 'code',
    'channel': "'vendure'",
    'order_type': "'b2c'",
    'document_role': "'order'",
    'order_status': 'order_status',
    'customer_key': record_id('vendure', 'customers', 'customer_id'),
    'ordered_at': 'coalesce(placed_at, created_at)',
    'currency': 'currency',
    'gross_amount': 'gross_amount',
    'discount_amount': 'discount_amount',
    'shipping_amount': 'shipping_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'booked_amount',
    'paid_amount': 'paid_amount',
    'refunded_amount': 'refunded_amount',
    'channel_fee_amount': 'cast(0 as ' ~ column_type('amount') ~ ')',
    'ship_to_name': 'ship_to_name',
    'ship_to_street': 'ship_to_street',
    'ship_to_city': 'ship_to_city',
    'ship_to_region': 'ship_to_region',
    'ship_to_postcode': 'ship_to_postcode',
    'ship_to_country': 'ship_to_country_iso2',
    'service_level': 'shipping_method',
}) }}
