with solved as (
    select events.ticket_id, max(events.created_at) as solved_at
    from {{ ref('stg_zendesk__ticket_changes') }} as changes
    inner join {{ ref('stg_zendesk__ticket_events') }} as events on changes.event_id = events.id
    where changes.status = 'solved'
    group by events.ticket_id
),

tickets as (
    select
        forms.*,
        case when forms.order_number is not null then {{ record_id('zendesk', 'tickets', 'forms.id') }} end as order_record_id,
        case when forms.is_return_request then 'return' else forms.type end as ticket_type,
        case when forms.status in ('solved', 'closed') then solved.solved_at end as solved_at
    from {{ ref('stg_zendesk__ticket_forms') }} as forms
    left join solved on forms.id = solved.ticket_id
)

{{ conform('tickets', 'tickets', {
    'source_key': 'id',
    'source_updated_at': 'coalesce(generated_at, updated_at)',
    'ticket_key': 'id',
    'order_record_id': 'order_record_id',
    'customer_key': record_id('zendesk', 'users', 'requester_id'),
    'ticket_type': 'ticket_type',
    'ticket_status': 'status',
    'priority': 'priority',
    'via_channel': 'via_channel',
    'opened_at': 'created_at',
    'solved_at': 'solved_at',
    'is_merged': 'is_merged',
}) }}
