with shipments as (
    select
        fulfillments.*,
        case
            when fulfillments.state in ('CANCELED', 'FAILED') then 'cancelled'
            when fulfillments.shipped_at is not null then 'in_transit'
            else 'created'
        end as shipment_status,
        orders.location_id
    from {{ ref('stg_square__order_fulfillments') }} as fulfillments
    inner join {{ ref('stg_square__orders') }} as orders on fulfillments.order_id = orders.order_id
    where fulfillments.fulfillment_type = 'SHIPMENT'
)

{{ conform('shipments', 'shipments', {
    'source_key': "order_id || '/' || uid",
    'shipment_key': 'uid',
    'order_record_id': record_id('square', 'orders', 'order_id'),
    'carrier_code': 'carrier',
    'service_level': 'shipping_type',
    'tracking_number': 'tracking_number',
    'shipped_at': 'shipped_at',
    'from_location_key': record_id('square', 'locations', 'location_id'),
    'shipment_status': 'shipment_status',
}) }}
