-- What left, and what is packed to leave. When it did is told by the steps; the fulfilment's own stamp moves on.
with steps as (
    select
        fulfillment_id,
        min(case when to_state = 'Shipped' then created_at end) as shipped_at,
        min(case when to_state = 'Delivered' then created_at end) as delivered_at
    from {{ ref('stg_vendure__order_history') }}
    where type = 'ORDER_FULFILLMENT_TRANSITION'
    group by fulfillment_id
),

shipments as (
    select
        fulfillments.*,
        steps.shipped_at,
        steps.delivered_at,
        case fulfillments.state
            when 'Cancelled' then 'cancelled'
            when 'Delivered' then 'delivered'
            when 'Shipped' then 'in_transit'
            else 'created'
        end as shipment_status
    from {{ ref('stg_vendure__order_fulfillments') }} as fulfillments
    inner join {{ ref('stg_vendure__orders') }} as orders
        on fulfillments.order_id = orders.order_id and orders.type <> 'Seller'
    left join steps
        on fulfillments.fulfillment_id = steps.fulfillment_id
)

{{ conform('shipments', 'shipments', {
    'source_key': 'fulfillment_id',
    'source_updated_at': 'updated_at',
    'shipment_key': 'fulfillment_id',
    'order_record_id': record_id('vendure', 'orders', 'order_id'),
    'carrier_code': "lower(replace(method, ' ', '_'))",
    'tracking_number': 'tracking_code',
    'shipped_at': 'shipped_at',
    'delivered_at': 'delivered_at',
    'shipment_status': 'shipment_status',
}) }}
