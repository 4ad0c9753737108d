with named as (
    select
        orders.*,
        'external' as reference_type,
        seller_order_id as reference_value
    from {{ ref('stg_amazon__orders') }} as orders
    where seller_order_id is not null
    union all
    select
        orders.*,
        'po' as reference_type,
        po_number as reference_value
    from {{ ref('stg_amazon__orders') }} as orders
    where po_number is not null
)

{{ conform('order_references', 'named', {
    'source_key': "order_id || '/' || reference_type",
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'reference_type': 'reference_type',
    'reference_value': 'reference_value',
}) }}
