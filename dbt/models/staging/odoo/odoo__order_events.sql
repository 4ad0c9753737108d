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
)

{{ conform('order_events', 'told', {
    'source_key': "cast(event_id as " ~ column_type('text') ~ ") || '/' || event_type",
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('odoo', 'pickings', 'picking_id'),
    'event_key': "cast(event_id as " ~ column_type('text') ~ ") || '/' || event_type",
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'recorded_at': 'modified_at',
    'location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'biz_step': 'biz_step',
}) }}
