select
    refunds.*,
    orders.sku_id,
    refunds.status = 'SUCCESS' as is_refunded,
    case when refunds.status = 'SUCCESS' then refunds.updated_at end as refunded_at
from (
    {{ latest(source('landing', 'tmall__refunds'), keys=['refund_id'], order='updated_at') }}
) as refunds
left join {{ ref('stg_tmall__trade_orders') }} as orders
    on refunds.order_id = orders.order_id and refunds.line_id = orders.line_id
