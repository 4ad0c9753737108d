with named as (
    select
        *,
        'origin' as reference_type,
        source_order_id as reference_value,
        'square' as target_system
    from {{ ref('stg_square__order_returns') }}
    where source_order_id is not null
)

{{ conform('order_references', 'named', {
    'source_key': "order_id || '/' || uid",
    'order_record_id': record_id('square', 'orders', 'order_id'),
    'reference_type': 'reference_type',
    'reference_value': 'reference_value',
    'target_system': 'target_system',
}) }}
