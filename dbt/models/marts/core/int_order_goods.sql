{{ config(schema='intermediate') }}
-- One row per order with lines: what was bought. A sum that some line cannot add to is unknown.
select
    lines.order_id,
    count(*) as line_count,
    case when count(distinct lines.uom) = 1 and count(lines.uom) = count(*) and count(lines.qty) = count(*) then sum(lines.qty) end
        as unit_qty,
    case when count(distinct lines.uom) > 1 then 1 else 0 end as uom_conflict,
    case when count(distinct lines.currency) = 1 and count(lines.net_amount) = count(*) then sum(lines.net_amount) end
        as lines_net_amount,
    count(distinct coalesce(lines.sku_id, lines.sku_code)) as distinct_sku_count,
    {{ sorted_json_list('skus.category_code') }} as category_codes,
    {{ sorted_json_list('lines.lot_number') }} as lot_numbers,
    case
        when max(case when skus.is_bundle then 1 else 0 end) = 1 then true
        when count(skus.is_bundle) = count(*) then false
    end as has_bundle,
    case
        when max(case when skus.needs_cold_chain then 1 else 0 end) = 1 then true
        when count(skus.needs_cold_chain) = count(*) then false
    end as needs_cold_chain,
    case when count(skus.weight_kg * lines.qty) = count(*) and min(lines.uom) = 'C62' and max(lines.uom) = 'C62'
        then sum(skus.weight_kg * lines.qty) end as goods_weight_kg,
    case when count(skus.volume_m3 * lines.qty) = count(*) and min(lines.uom) = 'C62' and max(lines.uom) = 'C62'
        then sum(skus.volume_m3 * lines.qty) end as goods_volume_m3
from {{ ref('fct_order_lines') }} as lines
left join {{ ref('golden_skus') }} as skus on lines.sku_id = skus.sku_id
group by lines.order_id
