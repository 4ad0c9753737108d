with settled as (
    select
        refund_id,
        min(created_at) as settled_at
    from {{ ref('stg_vendure__order_history') }}
    where type = 'ORDER_REFUND_TRANSITION' and to_state = 'Settled'
    group by refund_id
),

given as (
    select
        refunds.*,
        settled.settled_at
    from {{ ref('stg_vendure__order_refunds') }} as refunds
    inner join {{ ref('stg_vendure__orders') }} as orders
        on refunds.order_id = orders.order_id and orders.type <> 'Seller'
    left join settled
        on refunds.refund_id = settled.refund_id
    where refunds.state = 'Settled'
)

{{ conform('refunds', 'given', {
    'source_key': 'refund_id',
    'source_updated_at': 'updated_at',
    'refund_key': 'refund_id',
    'order_record_id': record_id('vendure', 'orders', 'order_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'settled_at',
    'reason': 'reason',
}) }}
