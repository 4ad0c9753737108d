-- A ticket that names an order hangs on it; one that names none is about no order that anybody could tell.
with tickets as (
    select *
    from {{ ref('stg_zendesk__ticket_forms') }}
    where order_number is not null
)

{{ conform('order_records', 'tickets', {
    'source_key': 'id',
    'source_updated_at': 'coalesce(generated_at, updated_at)',
    'document_role': "'ticket'",
    'customer_key': record_id('zendesk', 'users', 'requester_id'),
}) }}
