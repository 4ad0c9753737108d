with taken as (
    select
        *,
        -fee_amount as kept_amount
    from {{ ref('stg_alipay__trades') }}
    where business_type = '交易'
)

{{ conform('payments', 'taken', {
    'source_key': 'trade_no',
    'source_updated_at': 'completed_at',
    'payment_key': 'trade_no',
    'order_record_id': record_id('alipay', 'trades', 'trade_no'),
    'method': "'alipay'",
    'amount': 'order_amount',
    'fee_amount': 'kept_amount',
    'currency': 'currency',
    'paid_at': 'completed_at',
    'payment_status': "'captured'",
}) }}
