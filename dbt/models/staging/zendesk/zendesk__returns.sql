-- What the desk accepted: a request without a promise is none yet, and of two tickets merged into one the first counts.
with accepted as (
    select
        *,
        case when order_number is not null then {{ record_id('zendesk', 'tickets', 'id') }} end as order_record_id
    from {{ ref('stg_zendesk__ticket_forms') }}
    where is_return_request and not is_merged and promised_amount is not null
)

{{ conform('returns', 'accepted', {
    'source_key': 'id',
    'source_updated_at': 'coalesce(generated_at, updated_at)',
    'return_key': 'id',
    'order_record_id': 'order_record_id',
    'qty': 'return_qty',
    'uom': "'C62'",
    'reason': 'return_reason',
    'returned_at': 'created_at',
    'promised_amount': 'promised_amount',
    'currency': 'currency',
}) }}
