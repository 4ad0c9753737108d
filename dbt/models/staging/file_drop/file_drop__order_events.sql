with created as (
    select *
    from {{ ref('stg_file_drop__orders') }}
    where ordered_at is not null
)

{{ conform('order_events', 'created', {
    'source_key': "order_key || '/created'",
    'order_record_id': record_id('file_drop', 'order_lines', 'order_key'),
    'event_key': "order_key || '/created'",
    'event_type': "'created'",
    'occurred_at': 'ordered_at',
    'occurred_at_offset_minutes': 'ordered_at_offset_minutes',
}) }}
