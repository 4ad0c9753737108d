with refunds as (
    select
        *,
        -coalesce(sales_amount, total_amount) as refund_amount
    from {{ ref('stg_amazon__transactions') }}
    where transaction_type = 'Refund' and coalesce(upper(status), '') <> 'DEFERRED_RELEASED'
)

{{ conform('refunds', 'refunds', {
    'source_key': 'transaction_id',
    'refund_key': 'coalesce(refund_id, transaction_id)',
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'amount': 'refund_amount',
    'currency': 'currency',
    'refunded_at': 'posted_at',
    'reason': 'description',
}) }}
