-- An order is what its units are together. The prices hold the tax; what a unit costs without it is the difference.
select
    order_id,
    min({{ code_point_order('buyer_id') }}) as buyer_id,
    min({{ code_point_order('currency') }}) as currency,
    count(distinct currency) as currency_count,
    sum(item_price_amount - tax_amount) as gross_amount,
    sum(voucher_amount) as discount_amount,
    sum(tax_amount) as tax_amount,
    sum(paid_amount) as paid_amount,
    min(paid_at) as paid_at,
    count(*) as unit_count,
    sum(case when unit_status = 'cancelled' then 1 else 0 end) as cancelled_count,
    sum(case when unit_status in ('delivered', 'returned') then 1 else 0 end) as delivered_count,
    sum(case when unit_status = 'returned' then 1 else 0 end) as returned_count,
    sum(case when unit_status in ('shipped', 'delivered', 'returned', 'failed') then 1 else 0 end) as shipped_count
from {{ ref('stg_lazada__order_items') }}
group by order_id
