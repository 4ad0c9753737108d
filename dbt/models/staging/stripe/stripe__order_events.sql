with happened as (
    select
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at,
        charge_id,
        charge_id as event_key,
        'payment_verified' as event_type,
        created_at as occurred_at
    from {{ ref('stg_stripe__charges') }}
    where status = 'succeeded' and coalesce(is_captured, true)

    union all

    select
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at,
        charge_id,
        refund_id as event_key,
        'refunded' as event_type,
        created_at as occurred_at
    from {{ ref('stg_stripe__refunds') }}
    where charge_id is not null and coalesce(status, 'succeeded') not in ('failed', 'canceled')
)

{{ conform('order_events', 'happened', {
    'source_key': "event_key || '/' || event_type",
    'source_updated_at': 'occurred_at',
    'order_record_id': record_id('stripe', 'charges', 'charge_id'),
    'event_key': "event_key || '/' || event_type",
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'recorded_at': 'occurred_at',
    'occurred_at_offset_minutes': '0',
}) }}
