-- Every scan that means a step of the order; which of several counts is decided later. A scan repeated word for word
-- is one scan.
with scans as (
    select
        events.*,
        shipments.id as shipment_id,
        case
            when events.status in ('picked_up', 'in_transit') then 'carrier_scanned'
            when events.status = 'delivered' then 'delivered'
        end as event_type,
        case when events.status = 'delivered' then 'receiving' else 'accepting' end as biz_step,
        row_number() over (
            partition by shipments.id, events.occurred_at, events.status, events.code
            order by events._child_index
        ) as repetition
    from {{ ref('stg_karrio__scans') }} as events
    inner join {{ ref('stg_karrio__shipments') }} as shipments
        on events.tracker_id = shipments.tracker_id
    where events.status in ('picked_up', 'in_transit', 'delivered')
),

counted as (
    select
        *,
        tracker_id || '/' || event_type || '/' || {{ instant_text('occurred_at') }} || '/' || coalesce(code, '') as event_key
    from scans
    where repetition = 1
)

{{ conform('order_events', 'counted', {
    'source_key': 'event_key',
    'source_updated_at': 'happened_at',
    'order_record_id': record_id('karrio', 'shipments', 'shipment_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'happened_at',
    'recorded_at': '_extracted_at',
    'occurred_at_offset_minutes': 'happened_at_offset_minutes',
    'biz_step': 'biz_step',
}) }}
