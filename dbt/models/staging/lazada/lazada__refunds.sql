with granted as (
    select
        reverse_lines.*,
        sums.currency
    from {{ ref('stg_lazada__reverse_order_lines') }} as reverse_lines
    inner join {{ ref('stg_lazada__order_sums') }} as sums
        on reverse_lines.order_id = sums.order_id and sums.currency_count = 1
    where reverse_lines.status = 'REFUND_SUCCESS' and reverse_lines.refund_amount is not null
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
