-- One row per delivery and sale: a delivery may serve several sales, and then its cost is not one sale's.
with served as (
    select
        shipment,
        sale_id,
        count(*) over (partition by shipment) as sale_count
    from (
        select distinct shipment, sale_id
        from {{ ref('stg_tryton__sale_moves') }}
        where to_location_type = 'customer'
    ) as pairs
),

shipments as (
    select
        shipments.*,
        served.sale_id,
        lower(replace(shipments.carrier_name, ' ', '_')) as carrier_code,
        case when served.sale_count = 1 then shipments.cost_amount end as sale_cost_amount,
        case
            when shipments.state = 'cancelled' then 'cancelled'
            when shipments.state in ('shipped', 'done') then 'in_transit'
            else 'created'
        end as shipment_status
    from {{ ref('stg_tryton__shipments') }} as shipments
    inner join served
        on served.shipment = 'stock.shipment.out,' || cast(shipments.id as {{ column_type('text') }})
)

{{ conform('shipments', 'shipments', {
    'source_key': "cast(id as " ~ column_type('text') ~ ") || '/' || cast(sale_id as " ~ column_type('text') ~ ')',
    'source_updated_at': 'modified_at',
    'shipment_key': 'number',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'carrier_code': 'carrier_code',
    'from_location_key': record_id('tryton', 'locations', 'warehouse_id'),
    'cost_amount': 'sale_cost_amount',
    'currency': 'cost_currency',
    'shipment_status': 'shipment_status',
}) }}
