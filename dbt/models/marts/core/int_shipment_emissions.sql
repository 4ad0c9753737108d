{{ config(schema='intermediate') }}
-- Well-to-wheel emissions of each shipment that left: weight x distance x the factor of how it travelled, as ISO 14083
-- and the GLEC framework do where nothing was measured. How it travelled is told, or follows from the carrier's service
-- and the distance; what is not known leaves the emissions unknown.
with legs as (
    select
        shipments.*,
        {{ date_of('survived.record_ordered_at') }} as factors_on
    from {{ ref('fct_shipments') }} as shipments
    inner join {{ ref('int_orders_survived') }} as survived on shipments.order_id = survived.order_id
    where shipments.is_counted and coalesce(shipments.shipment_status, '') <> 'cancelled'
),

ruled as (
    select
        legs.shipment_id,
        modes.transport_mode,
        modes.vehicle_class,
        row_number() over (
            partition by legs.shipment_id
            order by case when modes.carrier_code = '*' then 1 else 0 end
        ) as rule_rank
    from legs
    inner join {{ ref('transport_modes') }} as modes
        on
            (legs.carrier_code = modes.carrier_code or modes.carrier_code = '*')
            and legs.service_level = modes.service_level
            and legs.distance_km >= modes.from_km
            and legs.distance_km < modes.to_km
            and (legs.transport_mode is null or legs.transport_mode = modes.transport_mode)
)

select
    legs.shipment_id,
    legs.order_id,
    coalesce(legs.transport_mode, ruled.transport_mode) as transport_mode,
    factors.factor_version,
    factors.uncertainty_percent,
    cast(
        cast(legs.gross_weight_kg as numeric(12, 3)) * cast(legs.distance_km as numeric(9, 1))
        * cast(factors.kg_co2e_per_tkm as numeric(9, 5)) * cast(0.001 as numeric(4, 3))
        as {{ column_type('quantity') }}
    ) as co2e_kg
from legs
left join ruled on legs.shipment_id = ruled.shipment_id and ruled.rule_rank = 1
left join {{ ref('emission_factors') }} as factors
    on
        ruled.vehicle_class = factors.vehicle_class
        and legs.factors_on >= factors.valid_from
        and legs.factors_on < factors.valid_to
