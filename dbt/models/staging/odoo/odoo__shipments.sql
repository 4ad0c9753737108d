with shipments as (
    select
        deliveries.*,
        lower(replace(carrier_name, ' ', '_')) as carrier_code
    from {{ ref('stg_odoo__deliveries') }} as deliveries
    where picking_type_code = 'outgoing' and state = 'done'
)

{{ conform('shipments', 'shipments', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'shipment_key': 'name',
    'order_record_id': record_id('odoo', 'pickings', 'id'),
    'carrier_code': 'carrier_code',
    'tracking_number': 'tracking_number',
    'shipped_at': 'done_at',
    'from_location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'gross_weight_kg': 'nullif(shipping_weight_kg, 0)',
    'shipment_status': "'in_transit'",
}) }}
