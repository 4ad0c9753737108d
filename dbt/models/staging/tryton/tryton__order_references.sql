with sales as (
    select *
    from {{ ref('stg_tryton__sales') }}
    where reference is not null and state not in ('draft', 'quotation')
)

{{ conform('order_references', 'sales', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('tryton', 'sales', 'id'),
    'reference_type': "'external'",
    'reference_value': 'reference',
}) }}
