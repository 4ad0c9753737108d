-- Sales of tills and what they gave back, with the till and the warehouse it sells from. What only gives back is no sale.
-- The goods' amounts are those of the lines, where all of them are here.
with sides as (
    select
        lines.order_id,
        max(case when lines.quantity > 0 then 1 else 0 end) as has_sold,
        max(case when lines.quantity < 0 then 1 else 0 end) as has_taken_back,
        sum(lines.quantity * lines.unit_price) as gross_amount,
        sum(lines.net_amount) as net_amount
    from {{ ref('stg_odoo__pos_order_lines') }} as lines
    where {{ is_held('odoo', 'pos_order_lines', 'lines.id') }}
    group by lines.order_id
)

select
    orders.*,
    orders.total_amount - orders.tax_amount as net_amount,
    case when sides.net_amount = orders.total_amount - orders.tax_amount then sides.gross_amount end as gross_amount,
    case when sides.net_amount = orders.total_amount - orders.tax_amount then sides.gross_amount - sides.net_amount end
        as discount_amount,
    case when coalesce(sides.has_taken_back, 0) = 1 then 'exchange' else 'pos' end as sale_type,
    case when orders.refunded_order_id is not null and coalesce(sides.has_sold, 0) = 0 then 1 else 0 end as is_return,
    types.warehouse_id,
    warehouses.code as warehouse_code
from {{ ref('stg_odoo__pos_orders') }} as orders
left join {{ ref('stg_odoo__pos_configs') }} as configs on orders.config_id = configs.id
left join {{ ref('stg_odoo__picking_types') }} as types on configs.picking_type_id = types.id
left join {{ ref('stg_odoo__warehouses') }} as warehouses on types.warehouse_id = warehouses.id
left join sides on orders.id = sides.order_id
