with steps as (
    select
        history.*,
        case
            when history.type = 'ORDER_PAYMENT_TRANSITION' and history.to_state = 'Settled' then 'payment_verified'
            when history.type = 'ORDER_REFUND_TRANSITION' and history.to_state = 'Settled' then 'refunded'
            when history.type = 'ORDER_FULFILLMENT_TRANSITION' and history.to_state = 'Shipped' then 'dispatched'
            when history.type = 'ORDER_FULFILLMENT_TRANSITION' and history.to_state = 'Delivered' then 'delivered'
            when history.type = 'ORDER_STATE_TRANSITION' and history.to_state = 'Cancelled' then 'cancelled'
        end as event_type
    from {{ ref('stg_vendure__order_history') }} as history
    inner join {{ ref('stg_vendure__orders') }} as orders
        on history.order_id = orders.order_id and orders.type <> 'Seller'
),

happened as (
    select
        order_id, 'created' as event_type, 'created' as event_key, placed_at as occurred_at,
        placed_at_offset_minutes as offset_minutes, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_vendure__orders') }}
    where placed_at is not null and type <> 'Seller'
    union all
    select
        order_id, event_type, event_type || '/' || entry_id as event_key, created_at as occurred_at,
        created_at_offset_minutes as offset_minutes, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from steps
    where event_type is not null
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id('vendure', 'orders', 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': 'offset_minutes',
}) }}
