-- What customers and the desk did about an order: opened a ticket, asked for a return, solved it.
with told as (
    select
        id as ticket_id,
        case when is_return_request then 'return_requested' else 'ticket_opened' end as event_type,
        id || '/opened' as event_key,
        created_at as occurred_at,
        created_at_offset_minutes as occurred_at_offset_minutes,
        _source, _stream, _batch_id, _page_sha256, _row_index, _extracted_at
    from {{ ref('stg_zendesk__ticket_forms') }}
    where order_number is not null and not is_merged

    union all

    select
        events.ticket_id,
        'ticket_solved' as event_type,
        changes.event_id || '/' || changes.change_id as event_key,
        events.created_at as occurred_at,
        events.created_at_offset_minutes as occurred_at_offset_minutes,
        events._source, events._stream, events._batch_id, events._page_sha256, events._row_index, events._extracted_at
    from {{ ref('stg_zendesk__ticket_changes') }} as changes
    inner join {{ ref('stg_zendesk__ticket_events') }} as events on changes.event_id = events.id
    inner join {{ ref('stg_zendesk__ticket_forms') }} as tickets on events.ticket_id = tickets.id
    where changes.status = 'solved' and tickets.order_number is not null
)

{{ conform('order_events', 'told', {
    'source_key': 'event_key',
    'source_updated_at': 'occurred_at',
    'order_record_id': record_id('zendesk', 'tickets', 'ticket_id'),
    'event_key': 'event_key',
    'event_type': 'event_type',
    'occurred_at': 'occurred_at',
    'recorded_at': 'occurred_at',
    'occurred_at_offset_minutes': 'occurred_at_offset_minutes',
}) }}
