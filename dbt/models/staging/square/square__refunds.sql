with given_back as (
    select
        refunds.*,
        coalesce(payments.order_id, refunds.order_id) as sale_id
    from {{ ref('stg_square__refunds') }} as refunds
    left join {{ ref('stg_square__payments') }} as payments on refunds.payment_id = payments.payment_id
    where coalesce(refunds.status, 'COMPLETED') not in ('REJECTED', 'FAILED')
)

{{ conform('refunds', 'given_back', {
    'source_key': 'refund_id',
    'source_updated_at': 'updated_at',
    'refund_key': 'refund_id',
    'order_record_id': record_id('square', 'orders', 'sale_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'created_at',
    'reason': 'reason',
}) }}
