-- Temperatures measured with the goods of an order. The range is what all its goods that must be kept cold bear; where
-- the range of one of them is not known, nothing can be said about it.
with bearable as (
    select
        lines.order_id,
        case when count(ranges.min_temperature_c) = count(*) then max(ranges.min_temperature_c) end as min_temperature_c,
        case when count(ranges.max_temperature_c) = count(*) then min(ranges.max_temperature_c) end as max_temperature_c
    from {{ ref('fct_order_lines') }} as lines
    inner join {{ ref('golden_skus') }} as skus on lines.sku_id = skus.sku_id
    left join {{ ref('temperature_ranges') }} as ranges on skus.category_code = ranges.category_code
    where skus.needs_cold_chain
    group by lines.order_id
)

select {{ contracted({
    'reading_id': 'readings.record_id',
    'order_id': 'orders.order_id',
    'shipment_id': 'readings.shipment_key',
    'location_id': 'locations.location_id',
    'is_out_of_range':
        'readings.lowest_c < bearable.min_temperature_c or readings.highest_c > bearable.max_temperature_c',
}, 'readings') }}
from {{ ref('int_temperature_readings') }} as readings
left join {{ ref('order_xref') }} as orders on readings.order_record_id = orders.record_id and orders.is_current and not orders.is_shared
left join {{ ref('location_xref') }} as locations
    on readings.location_key = locations.record_id and locations.is_current
left join bearable on orders.order_id = bearable.order_id
