with happened as (
    select
        order_id, 'created' as event_type, 'created' as event_key, created_at as occurred_at,
        created_at_offset_minutes as offset_minutes, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_lazada__orders') }}
    union all
    select
        orders.order_id, 'payment_verified' as event_type, 'payment' as event_key, sums.paid_at as occurred_at,
        0 as offset_minutes, orders._source, orders._stream, orders._batch_id, orders._page_sha256, orders._row_index,
        orders._extracted_at
    from {{ ref('stg_lazada__orders') }} as orders
    inner join {{ ref('stg_lazada__order_sums') }} as sums
        on orders.order_id = sums.order_id
    where sums.paid_at is not null
    union all
    select
        order_id, 'refunded' as event_type, 'refund/' || line_id as event_key, changed_at as occurred_at,
        changed_at_offset_minutes as offset_minutes, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_lazada__reverse_order_lines') }}
    where status = 'REFUND_SUCCESS' and changed_at is not null
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': 'offset_minutes',
}) }}
