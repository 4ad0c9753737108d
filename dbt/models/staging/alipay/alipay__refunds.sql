with given_back as (
    select
        *,
        trade_no || '/' || refund_request_no as refund_key
    from {{ ref('stg_alipay__trades') }}
    where business_type = '退款'
)

{{ conform('refunds', 'given_back', {
    'source_key': 'refund_key',
    'source_updated_at': 'completed_at',
    'refund_key': 'refund_key',
    'order_record_id': record_id('alipay', 'trades', 'trade_no'),
    'amount': '-order_amount',
    'currency': 'currency',
    'refunded_at': 'completed_at',
    'reason': 'remark',
}) }}
