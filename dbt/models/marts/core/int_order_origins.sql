{{ config(schema='intermediate') }}
-- One row per order whose lots are known: where its raw material came from. A lot is traced when everything it was made
-- of that was made of nothing else has a country.
with made as (
    select distinct to_lot_id
    from {{ ref('int_lot_links') }}
),

origins as (
    select
        lot_id,
        max(origin_country) as origin_country
    from {{ ref('int_lot_origins') }}
    group by lot_id
),

traces as (
    select
        ancestry.lot_id,
        count(*) = count(origins.origin_country) as is_traced
    from {{ ref('int_lot_ancestry') }} as ancestry
    left join made on ancestry.ancestor_lot_id = made.to_lot_id
    left join origins on ancestry.ancestor_lot_id = origins.lot_id
    where made.to_lot_id is null
    group by ancestry.lot_id
),

told as (
    select
        lots.order_id,
        {{ sorted_json_list('origins.origin_country') }} as origin_countries,
        {{ sorted_json_list('suppliers.customer_id') }} as supplier_party_ids,
        {{ sorted_json_list('certificates.certificate_id') }} as certificate_ids
    from {{ ref('fct_order_lots') }} as lots
    inner join {{ ref('int_lot_ancestry') }} as ancestry on lots.lot_id = ancestry.lot_id
    left join {{ ref('int_lot_origins') }} as origins on ancestry.ancestor_lot_id = origins.lot_id
    left join {{ ref('customer_xref') }} as suppliers
        on origins.supplier_key = suppliers.record_id and suppliers.is_current
    left join {{ ref('int_lot_certificates') }} as certificates on ancestry.ancestor_lot_id = certificates.lot_id
    where lots.order_id is not null
    group by lots.order_id
),

sums as (
    select
        lots.order_id,
        {{ sorted_json_list('lots.lot_number') }} as lot_numbers,
        sum(case when traces.is_traced then lots.qty else 0 end) as traced_qty,
        count(distinct lots.uom) as uom_count,
        max(lots._extracted_at) as last_changed_at
    from {{ ref('fct_order_lots') }} as lots
    left join traces on lots.lot_id = traces.lot_id
    where lots.order_id is not null
    group by lots.order_id
)

select
    sums.order_id,
    sums.lot_numbers,
    case when sums.uom_count = 1 then sums.traced_qty end as traced_qty,
    told.origin_countries,
    told.supplier_party_ids,
    told.certificate_ids,
    sums.last_changed_at
from sums
inner join told on sums.order_id = told.order_id
