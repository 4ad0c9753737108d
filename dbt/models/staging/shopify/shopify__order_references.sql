with named as (
    select *
    from {{ ref('stg_shopify__orders') }}
    where po_number is not null and po_number <> ''
)

{{ conform('order_references', 'named', {
    'source_key': "order_id || '/po'",
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'reference_type': "'po'",
    'reference_value': 'po_number',
}) }}
