with happened as (
    select
        order_id, 'created' as event_type, 'created' as event_key, created_at as occurred_at, created_at_offset_minutes as offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_amazon__orders') }}
    where created_at is not null
    union all
    select
        order_id, 'cancelled' as event_type, 'cancelled' as event_key, updated_at as occurred_at, updated_at_offset_minutes as offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_amazon__orders') }}
    where fulfillment_status = 'CANCELLED'
    union all
    select
        order_id, 'packed' as event_type, 'packed/' || package_reference_id as event_key, packed_at as occurred_at, packed_at_offset_minutes as offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_amazon__order_packages') }}
    where packed_at is not null
    union all
    select
        order_id, 'dispatched' as event_type, 'dispatched/' || package_reference_id as event_key, shipped_at as occurred_at, shipped_at_offset_minutes as offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_amazon__order_packages') }}
    where shipped_at is not null
    union all
    select
        order_id, 'refunded' as event_type, 'refund/' || transaction_id as event_key, posted_at as occurred_at, posted_at_offset_minutes as offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_amazon__transactions') }}
    where order_id is not null and transaction_type = 'Refund' and coalesce(upper(status), '') <> 'DEFERRED_RELEASED'
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': 'offset_minutes',
}) }}
