with taken as (
    select
        payments.*,
        case payments.state
            when 'Settled' then 'captured'
            when 'Authorized' then 'authorised'
            when 'Created' then 'pending'
            when 'Cancelled' then 'cancelled'
            when 'Declined' then 'failed'
            when 'Error' then 'failed'
        end as payment_status
    from {{ ref('stg_vendure__order_payments') }} as payments
    inner join {{ ref('stg_vendure__orders') }} as orders
        on payments.order_id = orders.order_id and orders.type <> 'Seller'
),

settled as (
    select
        payment_id,
        min(created_at) as settled_at
    from {{ ref('stg_vendure__order_history') }}
    where type = 'ORDER_PAYMENT_TRANSITION' and to_state = 'Settled'
    group by payment_id
),

dated as (
    select
        taken.*,
        settled.settled_at
    from taken
    left join settled
        on taken.payment_id = settled.payment_id
)

{{ conform('payments', 'dated', {
    'source_key': 'payment_id',
    'source_updated_at': 'updated_at',
    'payment_key': "coalesce(transaction_id, payment_id)",
    'order_record_id': record_id('vendure', 'orders', 'order_id'),
    'method': 'method',
    'amount': 'amount',
    'currency': 'currency',
    'paid_at': "case when payment_status = 'captured' then settled_at end",
    'payment_status': 'payment_status',
}) }}
