with sales as (
    select distinct order_id from {{ ref('stg_square__order_line_items') }}
),

happened as (
    select
        orders.order_id, 'created' as event_type, 'created' as event_key, orders.created_at as occurred_at,
        orders.created_at_offset_minutes as offset_minutes, orders.location_id, orders._source, orders._stream,
        orders._batch_id, orders._page_sha256, orders._row_index, orders._extracted_at
    from {{ ref('stg_square__orders') }} as orders
    inner join sales on orders.order_id = sales.order_id
    union all
    select
        orders.order_id, 'closed', 'closed', orders.closed_at, orders.closed_at_offset_minutes, orders.location_id,
        orders._source, orders._stream, orders._batch_id, orders._page_sha256, orders._row_index, orders._extracted_at
    from {{ ref('stg_square__orders') }} as orders
    inner join sales on orders.order_id = sales.order_id
    where orders.closed_at is not null and orders.state = 'COMPLETED'
    union all
    select
        orders.order_id, 'cancelled', 'cancelled', orders.updated_at, orders.updated_at_offset_minutes,
        orders.location_id, orders._source, orders._stream, orders._batch_id, orders._page_sha256, orders._row_index,
        orders._extracted_at
    from {{ ref('stg_square__orders') }} as orders
    inner join sales on orders.order_id = sales.order_id
    where orders.state = 'CANCELED'
    union all
    select
        order_id, 'payment_verified', 'payment/' || payment_id, created_at, created_at_offset_minutes, location_id,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_square__payments') }}
    where status = 'COMPLETED' and order_id is not null
    union all
    select
        payments.order_id, 'refunded', 'refund/' || refunds.refund_id, refunds.created_at,
        refunds.created_at_offset_minutes, refunds.location_id, refunds._source, refunds._stream, refunds._batch_id,
        refunds._page_sha256, refunds._row_index, refunds._extracted_at
    from {{ ref('stg_square__refunds') }} as refunds
    inner join {{ ref('stg_square__payments') }} as payments on refunds.payment_id = payments.payment_id
    where refunds.status = 'COMPLETED' and payments.order_id is not null
    union all
    select
        lines.source_order_id, 'returned', 'return/' || lines.order_id || '/' || lines.uid, orders.created_at,
        orders.created_at_offset_minutes, orders.location_id, lines._source, lines._stream, lines._batch_id,
        lines._page_sha256, lines._row_index, lines._extracted_at
    from {{ ref('stg_square__order_return_line_items') }} as lines
    inner join {{ ref('stg_square__orders') }} as orders on lines.order_id = orders.order_id
    where lines.source_order_id is not null
    union all
    select
        order_id, 'packed', 'packed/' || uid, packaged_at, packaged_at_offset_minutes, null, _source, _stream,
        _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_square__order_fulfillments') }}
    where packaged_at is not null
    union all
    select
        order_id, 'dispatched', 'dispatched/' || uid, shipped_at, shipped_at_offset_minutes, null, _source, _stream,
        _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_square__order_fulfillments') }}
    where shipped_at is not null
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id('square', 'orders', 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': 'offset_minutes',
    'location_key': record_id('square', 'locations', 'location_id'),
}) }}
