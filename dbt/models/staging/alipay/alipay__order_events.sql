with happened as (
    select
        *,
        case business_type when '交易' then 'payment_verified' else 'refunded' end as event_type,
        trade_no || '/' || business_type || '/' || refund_request_no as event_key
    from {{ ref('stg_alipay__trades') }}
)

{{ conform('order_events', 'happened', {
    'source_key': 'event_key',
    'source_updated_at': 'completed_at',
    'order_record_id': record_id('alipay', 'trades', 'trade_no'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'completed_at',
    'recorded_at': 'completed_at',
    'occurred_at_offset_minutes': 'completed_at_offset_minutes',
}) }}
