-- Steps of the order: packed for it, left, arrived where it was sent.
with told as (
    select
        event_id as document_event_id,
        event_id,
        'packed' as event_type,
        biz_step, occurred_at, occurred_at_offset_minutes, recorded_at, read_point_gln,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_epcis__documents') }}
    where not is_over_the_counter

    union all

    select
        parcels.document_event_id,
        events.event_id,
        case when events.biz_step = 'shipping' then 'dispatched' else 'delivered' end as event_type,
        events.biz_step, events.occurred_at, events.occurred_at_offset_minutes, events.recorded_at, events.read_point_gln,
        events._source, events._stream, events._batch_id, events._page_sha256, events._row_index, events._extracted_at
    from {{ ref('stg_epcis__events') }} as events
    inner join {{ ref('stg_epcis__event_epcs') }} as units on events.event_id = units.event_id and units.role = 'object'
    inner join {{ ref('stg_epcis__parcels') }} as parcels on units.sscc = parcels.sscc
    where events.biz_step in ('shipping', 'arriving') and events.error_declared_at is null
)

{{ conform('order_events', 'told', {
    'source_key': "event_id || '/' || document_event_id",
    'source_updated_at': 'recorded_at',
    'order_record_id': record_id('epcis', 'events', 'document_event_id'),
    'event_key': 'event_id',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'recorded_at': 'recorded_at',
    'occurred_at_offset_minutes': 'occurred_at_offset_minutes',
    'location_key': record_id('epcis', 'events', "'gln/' || read_point_gln"),
    'biz_step': 'biz_step',
}) }}
