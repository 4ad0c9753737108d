{{ config(schema='intermediate') }}
-- One row per order: what its transport and its packaging emitted. A sum that one leg or line cannot add to is unknown.
-- Legs and lines are taken to err together, so that the uncertainty of the whole is their weighted mean.
with transport as (
    select
        order_id,
        {{ sorted_json_list('transport_mode') }} as transport_modes,
        case when count(co2e_kg) = count(*) then sum(co2e_kg) end as co2e_kg,
        case when count(co2e_kg) = count(*)
            then sum({{ milligrams('co2e_kg') }} * uncertainty_percent)
        end as uncertain,
        case when count(distinct factor_version) = 1 then min(factor_version) end as factor_version
    from {{ ref('int_shipment_emissions') }}
    group by order_id
),

lines as (
    select
        lines.order_id,
        factors.uncertainty_percent,
        cast(
            case when lines.uom = 'C62' then
                cast(lines.qty as numeric(12, 3)) * cast(skus.weight_kg as numeric(9, 4))
                * cast(factors.kg_co2e_per_kg_goods as numeric(8, 5))
            end
            as {{ column_type('quantity') }}
        ) as co2e_kg
    from {{ ref('fct_order_lines') }} as lines
    left join {{ ref('golden_skus') }} as skus on lines.sku_id = skus.sku_id
    left join {{ ref('packaging_factors') }} as factors on skus.category_code = factors.category_code
),

packaging as (
    select
        order_id,
        case when count(co2e_kg) = count(*) then sum(co2e_kg) end as co2e_kg,
        case when count(co2e_kg) = count(*)
            then sum({{ milligrams('co2e_kg') }} * uncertainty_percent)
        end as uncertain
    from lines
    group by order_id
)

select
    survived.order_id,
    transport.transport_modes,
    transport.co2e_kg as transport_co2e_kg,
    transport.uncertain as transport_uncertain,
    transport.factor_version,
    transport.order_id is not null as is_transported,
    packaging.co2e_kg as packaging_co2e_kg,
    packaging.uncertain as packaging_uncertain,
    in_force.factor_version as factor_version_in_force
from {{ ref('int_orders_survived') }} as survived
left join transport on survived.order_id = transport.order_id
left join packaging on survived.order_id = packaging.order_id
left join (
    select
        factor_version,
        min(valid_from) as valid_from,
        max(valid_to) as valid_to
    from {{ ref('emission_factors') }}
    group by factor_version
) as in_force
    on
        {{ date_of('survived.record_ordered_at') }} >= in_force.valid_from
        and {{ date_of('survived.record_ordered_at') }} < in_force.valid_to
