with tickets as (
    select *
    from {{ ref('stg_zendesk__ticket_forms') }}
    where order_number is not null
)

{{ conform('order_references', 'tickets', {
    'source_key': 'id',
    'source_updated_at': 'coalesce(generated_at, updated_at)',
    'order_record_id': record_id('zendesk', 'tickets', 'id'),
    'reference_type': "'order_number'",
    'reference_value': 'order_number',
}) }}
