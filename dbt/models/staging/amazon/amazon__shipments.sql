with packages as (
    select
        *,
        case status
            when 'PENDING' then 'created' when 'IN_TRANSIT' then 'in_transit' when 'SHIPPED' then 'in_transit'
            when 'DELIVERED' then 'delivered' when 'CANCELLED' then 'cancelled' when 'UNDELIVERABLE' then 'failed'
        end as shipment_status
    from {{ ref('stg_amazon__order_packages') }}
)

{{ conform('shipments', 'packages', {
    'source_key': "order_id || '/' || package_reference_id",
    'shipment_key': "order_id || '/' || package_reference_id",
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'carrier_code': "lower(replace(carrier, ' ', '_'))",
    'service_level': 'shipping_service',
    'tracking_number': 'tracking_number',
    'shipped_at': 'shipped_at',
    'package_count': '1',
    'shipment_status': 'shipment_status',
}) }}
