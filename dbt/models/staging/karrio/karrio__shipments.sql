-- Parcels are measured in the warehouse's own units; a shipment with a parcel that is not measured has no volume.
with parcels as (
    select
        shipment_id,
        count(*) as package_count,
        sum(weight * case weight_unit
            when 'KG' then cast(1 as numeric(18, 8))
            when 'G' then cast(0.001 as numeric(18, 8))
            when 'LB' then cast(0.45359237 as numeric(18, 8))
            when 'OZ' then cast(0.02834952 as numeric(18, 8))
        end) as gross_weight_kg,
        case when count(length * width * height) = count(*) and count(dimension_unit) = count(*) then
            sum(cast(length as numeric(8, 3)) * cast(width as numeric(8, 3)) * cast(height as numeric(8, 3))
                * case dimension_unit
                    when 'CM' then cast(0.000001 as numeric(12, 12))
                    when 'IN' then cast(0.000016387064 as numeric(12, 12))
                end)
        end as volume_m3
    from {{ ref('stg_karrio__parcels') }}
    group by shipment_id
),

scans as (
    select
        tracker_id,
        min(case when status = 'picked_up' then happened_at end) as shipped_at,
        max(case when status = 'delivered' then happened_at end) as delivered_at
    from {{ ref('stg_karrio__scans') }}
    group by tracker_id
),

shipments as (
    select
        shipments.*,
        parcels.package_count,
        parcels.gross_weight_kg,
        parcels.volume_m3,
        scans.shipped_at,
        scans.delivered_at,
        -- The generic interface serves many carriers: the rate tells which, and of a label without one our account's name.
        case
            when shipments.carrier_name = 'generic' then coalesce(shipments.rated_carrier, shipments.carrier_id)
            else shipments.carrier_name
        end as carrier_code,
        {{ karrio_service_level('shipments.service') }} as service_level,
        case
            when shipments.status = 'cancelled' then 'cancelled'
            when scans.delivered_at is not null then 'delivered'
            when shipments.status in ('draft', 'created') then 'created'
            when shipments.status = 'delivered' then 'delivered'
            when shipments.status = 'delivery_failed' then 'failed'
            else 'in_transit'
        end as shipment_status
    from {{ ref('stg_karrio__shipments') }} as shipments
    left join parcels on shipments.id = parcels.shipment_id
    left join scans on shipments.tracker_id = scans.tracker_id
)

{{ conform('shipments', 'shipments', {
    'source_key': 'id',
    'source_updated_at': 'created_at',
    'shipment_key': 'id',
    'order_record_id': record_id('karrio', 'shipments', 'id'),
    'carrier_code': 'carrier_code',
    'service_level': 'service_level',
    'tracking_number': 'tracking_number',
    'shipped_at': 'shipped_at',
    'delivered_at': 'delivered_at',
    'package_count': 'package_count',
    'gross_weight_kg': 'gross_weight_kg',
    'volume_m3': 'volume_m3',
    'distance_km': 'distance_km',
    'cost_amount': 'charge_amount',
    'currency': 'charge_currency',
    'shipment_status': 'shipment_status',
}) }}
