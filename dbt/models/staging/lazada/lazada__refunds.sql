with granted as (
    select *
    from {{ ref('stg_lazada__reverse_order_lines') }}
    where status = 'REFUND_SUCCESS' and refund_amount is not null and currency is not null
)

{{ conform('refunds', 'granted', {
    'source_key': 'line_id',
    'source_updated_at': 'changed_at',
    'refund_key': 'line_id',
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'amount': 'refund_amount',
    'currency': 'currency',
    'refunded_at': 'changed_at',
    'reason': 'reason',
}) }}
