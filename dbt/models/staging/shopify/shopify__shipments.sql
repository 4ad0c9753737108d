with shipments as (
    select
        *,
        case
            when status = 'CANCELLED' then 'cancelled'
            when status in ('ERROR', 'FAILURE') then 'failed'
            when delivered_at is not null then 'delivered'
            when in_transit_at is not null then 'in_transit'
            else 'created'
        end as shipment_status
    from {{ ref('stg_shopify__order_fulfillments') }}
)

{{ conform('shipments', 'shipments', {
    'source_key': 'fulfillment_id',
    'shipment_key': 'fulfillment_id',
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'carrier_code': "lower(replace(carrier, ' ', '_'))",
    'tracking_number': 'tracking_number',
    'shipped_at': 'created_at',
    'delivered_at': 'delivered_at',
    'from_location_key': record_id('shopify', 'locations', 'location_id'),
    'shipment_status': 'shipment_status',
}) }}
