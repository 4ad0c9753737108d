-- A pick is made when its goods are reserved, where the operation reserves at once; each step ends when it is done.
with events as (
    select
        deliveries.*,
        'stock_reserved' as event_type,
        'reserving' as biz_step,
        created_at as occurred_at
    from {{ ref('stg_odoo__deliveries') }} as deliveries
    where sequence_code = 'PICK' and reservation_method = 'at_confirm' and state in ('assigned', 'done')
    union all
    select
        deliveries.*,
        case sequence_code when 'PICK' then 'picked' when 'PACK' then 'packed' else 'dispatched' end as event_type,
        case sequence_code when 'PICK' then 'picking' when 'PACK' then 'packing' else 'shipping' end as biz_step,
        done_at as occurred_at
    from {{ ref('stg_odoo__deliveries') }} as deliveries
    where state = 'done' and done_at is not null
),

returned as (
    select
        id as event_id,
        return_id as picking_id,
        'returned' as event_type,
        'receiving' as biz_step,
        done_at as occurred_at,
        warehouse_id,
        modified_at,
        _source,
        _stream,
        _batch_id,
        _page_sha256,
        _row_index,
        _extracted_at
    from {{ ref('stg_odoo__returns') }}
    where state = 'done' and done_at is not null
),

told as (
    select
        id as event_id,
        id as picking_id,
        event_type,
        biz_step,
        occurred_at,
        warehouse_id,
        modified_at,
        _source,
        _stream,
        _batch_id,
        _page_sha256,
        _row_index,
        _extracted_at
    from events
    union all
    select *
    from returned
),

-- A sale over the counter is closed when it is paid. What a till takes back it does so at once.
rung_up as (
    select
        id as event_id, id as sale_id, 'created' as event_type, ordered_at as occurred_at, warehouse_id, modified_at,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_odoo__pos_sales') }}
    where is_return = 0
    union all
    select
        id as event_id, id as sale_id, 'closed', ordered_at, warehouse_id, modified_at, _source, _stream, _batch_id, _page_sha256, _row_index,
        _extracted_at
    from {{ ref('stg_odoo__pos_sales') }}
    where is_return = 0 and state in ('paid', 'done') and shipping_on is null
    union all
    select
        id as event_id, id as sale_id, 'cancelled', modified_at as occurred_at, warehouse_id, modified_at, _source,
        _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_odoo__pos_sales') }}
    where is_return = 0 and state = 'cancel'
    union all
    select
        id, refunded_order_id, 'returned', ordered_at, warehouse_id, modified_at, _source, _stream, _batch_id,
        _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_odoo__pos_sales') }}
    where refunded_order_id is not null and state in ('paid', 'done')
    union all
    select
        takings.id, takings.sale_id, case when takings.taken_amount < 0 then 'refunded' else 'payment_verified' end,
        takings.paid_at, sales.warehouse_id, takings.modified_at, takings._source, takings._stream, takings._batch_id,
        takings._page_sha256, takings._row_index, takings._extracted_at
    from {{ ref('stg_odoo__pos_takings') }} as takings
    inner join {{ ref('stg_odoo__pos_sales') }} as sales on takings.order_id = sales.id
    where
        takings.order_state in ('paid', 'done')
        and takings.method_type <> 'pay_later'
        and coalesce(takings.payment_status, 'done') = 'done'
),

happened as (
    select
        event_id, {{ record_id('odoo', 'pickings', 'picking_id') }} as order_record_id, event_type, biz_step,
        occurred_at, modified_at as recorded_at, warehouse_id, modified_at, _source, _stream, _batch_id, _page_sha256,
        _row_index, _extracted_at
    from told
    union all
    select
        event_id, {{ record_id('odoo', 'pos_orders', 'sale_id') }}, event_type, null, occurred_at, null, warehouse_id,
        modified_at, _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from rung_up
)

{{ conform('order_events', 'happened', {
    'source_key': "cast(event_id as " ~ column_type('text') ~ ") || '/' || event_type",
    'source_updated_at': 'modified_at',
    'order_record_id': 'order_record_id',
    'event_key': "cast(event_id as " ~ column_type('text') ~ ") || '/' || event_type",
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'recorded_at': 'recorded_at',
    'location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'biz_step': 'biz_step',
}) }}
