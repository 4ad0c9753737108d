with named as (
    select shipments.*, 'shipment' as reference_type, reference as reference_value
    from {{ ref('stg_karrio__shipments') }} as shipments
    where reference is not null
    union all
    select shipments.*, 'order_number' as reference_type, order_id as reference_value
    from {{ ref('stg_karrio__shipments') }} as shipments
    where order_id is not null
    union all
    select shipments.*, 'external' as reference_type, metadata_order_ids as reference_value
    from {{ ref('stg_karrio__shipments') }} as shipments
    where metadata_order_ids is not null
)

{{ conform('order_references', 'named', {
    'source_key': "id || '/' || reference_type",
    'source_updated_at': 'created_at',
    'order_record_id': record_id('karrio', 'shipments', 'id'),
    'reference_type': 'reference_type',
    'reference_value': 'reference_value',
}) }}
