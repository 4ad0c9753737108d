-- A deferred transaction is on no balance yet, and one that was released is booked again by the one that released it.
with movements as (
    select
        *,
        case
            when transaction_type = 'Refund' then 'refund'
            when transaction_type = 'Shipment' then 'charge'
            when sales_amount is null and expenses_amount is not null then 'fee'
            else 'adjustment'
        end as line_kind,
        -coalesce(expenses_amount, 0) as fee_amount,
        total_amount - coalesce(expenses_amount, 0) as gross_amount
    from {{ ref('stg_amazon__transactions') }}
    where
        coalesce(transaction_type, '') <> 'Transfer'
        and coalesce(upper(status), '') not in ('DEFERRED', 'DEFERRED_RELEASED')
)

{{ conform('settlement_lines', 'movements', {
    'source_key': 'transaction_id',
    'source_updated_at': 'posted_at',
    'settlement_record_id': "'amazon:settlements:' || settlement_id || '/' || currency",
    'line_key': 'transaction_id',
    'line_kind': 'line_kind',
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'order_reference': 'coalesce(order_id, shipment_id)',
    'gross_amount': 'gross_amount',
    'fee_amount': 'fee_amount',
    'net_amount': 'total_amount',
    'currency': 'currency',
    'booked_at': 'posted_at',
    'available_at': 'posted_at',
}) }}
