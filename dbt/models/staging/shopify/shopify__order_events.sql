with happened as (
    select
        order_id, 'created' as event_type, 'created' as event_key, created_at as occurred_at,
        created_at_offset_minutes as offset_minutes, cast(null as {{ column_type('text') }}) as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__orders') }}
    where created_at is not null
    union all
    select
        order_id, 'cancelled' as event_type, 'cancelled' as event_key, cancelled_at as occurred_at,
        cancelled_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__orders') }}
    where cancelled_at is not null
    union all
    select
        order_id, 'closed' as event_type, 'closed' as event_key, closed_at as occurred_at,
        closed_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__orders') }}
    where closed_at is not null
    union all
    select
        order_id, 'payment_verified' as event_type, 'payment/' || transaction_id as event_key, processed_at as occurred_at,
        processed_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_transactions') }}
    where processed_at is not null and status = 'SUCCESS' and kind in ('SALE', 'CAPTURE')
    union all
    select
        order_id, 'refunded' as event_type, 'refund/' || refund_id as event_key, created_at as occurred_at,
        created_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_refunds') }}
    where amount > 0
    union all
    select
        order_id, 'returned' as event_type, 'return/' || refund_line_item_id as event_key, refunded_at as occurred_at,
        refunded_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_refund_line_items') }}
    where refunded_at is not null and restock_type = 'RETURN'
    union all
    select
        order_id, 'dispatched' as event_type, 'dispatched/' || fulfillment_id as event_key, created_at as occurred_at,
        created_at_offset_minutes as offset_minutes, location_id as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_fulfillments') }}
    where status = 'SUCCESS'
    union all
    select
        order_id, 'carrier_scanned' as event_type, 'scanned/' || fulfillment_id as event_key, in_transit_at as occurred_at,
        in_transit_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_fulfillments') }}
    where in_transit_at is not null and status = 'SUCCESS'
    union all
    select
        order_id, 'delivered' as event_type, 'delivered/' || fulfillment_id as event_key, delivered_at as occurred_at,
        delivered_at_offset_minutes as offset_minutes, null as location_id, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from {{ ref('stg_shopify__order_fulfillments') }}
    where delivered_at is not null and status = 'SUCCESS'
)

{{ conform('order_events', 'happened', {
    'source_key': "order_id || '/' || event_key",
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'occurred_at_offset_minutes': 'offset_minutes',
    'location_key': record_id('shopify', 'locations', 'location_id'),
}) }}
