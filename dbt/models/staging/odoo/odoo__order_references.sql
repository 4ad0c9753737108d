with deliveries as (
    select *
    from {{ ref('stg_odoo__deliveries') }}
    where origin is not null
)

{{ conform('order_references', 'deliveries', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('odoo', 'pickings', 'id'),
    'reference_type': "'origin'",
    'reference_value': 'origin',
}) }}
