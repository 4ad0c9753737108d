select
    refunds.*,
    orders.sku_id,
    refunds.status = 'SUCCESS' as is_refunded,
    refunds.status = 'SUCCESS' and refunds.needs_goods_back as has_goods_back,
    case when refunds.status = 'SUCCESS' then refunds.updated_at end as refunded_at,
    cast(null as {{ column_type('instant') }}) as returned_at
from (
    {{ latest(source('landing', 'tmall__refunds'), keys=['refund_id'], order='updated_at') }}
) as refunds
left join {{ ref('stg_tmall__trade_orders') }} as orders
    on refunds.order_id = orders.order_id and refunds.line_id = orders.line_id
