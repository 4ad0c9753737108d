with given_back as (
    select *
    from {{ ref('stg_stripe__refunds') }}
    where coalesce(status, 'succeeded') not in ('failed', 'canceled')
)

{{ conform('refunds', 'given_back', {
    'source_key': 'refund_id',
    'source_updated_at': 'created_at',
    'refund_key': 'refund_id',
    'order_record_id': record_id('stripe', 'charges', 'charge_id'),
    'amount': 'amount',
    'currency': 'currency',
    'refunded_at': 'created_at',
    'reason': 'reason',
}) }}
