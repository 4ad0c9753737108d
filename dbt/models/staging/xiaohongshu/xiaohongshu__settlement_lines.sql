with transactions as (
    select
        *,
        channel_fee_amount + payment_fee_amount as fee_amount
    from {{ ref('stg_xiaohongshu__transactions') }}
)

{{ conform('settlement_lines', 'transactions', {
    'source_key': 'transaction_id',
    'source_updated_at': 'settled_at',
    'line_key': 'transaction_id',
    'line_kind': 'line_kind',
    'order_record_id': record_id('xiaohongshu', 'orders', 'order_id'),
    'order_reference': 'order_id',
    'gross_amount': 'gross_amount',
    'fee_amount': 'fee_amount',
    'net_amount': 'net_amount',
    'currency': 'currency',
    'booked_at': 'settled_at',
    'available_at': 'settled_at',
}) }}
