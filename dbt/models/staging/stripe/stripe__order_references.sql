with named as (
    select
        *,
        coalesce(order_number, order_code, description) as reference_value
    from {{ ref('stg_stripe__charges') }}
    where coalesce(order_number, order_code, description) is not null
)

{{ conform('order_references', 'named', {
    'source_key': 'charge_id',
    'source_updated_at': 'created_at',
    'order_record_id': record_id('stripe', 'charges', 'charge_id'),
    'reference_type': "'order_number'",
    'reference_value': 'reference_value',
}) }}
