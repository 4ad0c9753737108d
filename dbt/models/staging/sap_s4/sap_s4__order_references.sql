with orders as (
    select *
    from {{ ref('stg_sap_s4__sales_orders') }}
    where purchase_order is not null
)

{{ conform('order_references', 'orders', {
    'source_key': 'sales_order',
    'source_updated_at': 'changed_at',
    'order_record_id': record_id('sap_s4', 'sales_orders', 'sales_order'),
    'reference_type': "'external'",
    'reference_value': 'purchase_order',
}) }}
