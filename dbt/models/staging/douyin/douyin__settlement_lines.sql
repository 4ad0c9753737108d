-- What is not settled of the income is what the platform kept, whatever it was for.
with bills as (
    select
        *,
        settlement_no || '/' || line_id || '/' || cast(trade_type as {{ column_type('text') }}) as bill_key,
        case when trade_type = 0 then 'charge' else 'refund' end as line_kind,
        income_amount - settled_amount as fee_amount
    from {{ ref('stg_douyin__settle_bills') }}
)

{{ conform('settlement_lines', 'bills', {
    'source_key': 'bill_key',
    'source_updated_at': 'settled_at',
    'line_key': 'bill_key',
    'line_kind': 'line_kind',
    'order_record_id': record_id('douyin', 'orders', 'order_id'),
    'order_reference': 'order_id',
    'gross_amount': 'income_amount',
    'fee_amount': 'fee_amount',
    'net_amount': 'settled_amount',
    'currency': 'currency',
    'booked_at': 'settled_at',
    'available_at': 'settled_at',
}) }}
