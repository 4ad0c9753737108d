-- What was asked for stands in the list, what was granted in the details.
select
    asked.*,
    granted.amount,
    granted.refunded_at,
    lines.sku_id,
    coalesce(granted.refund_status in (3, 5), false) as is_refunded,
    coalesce(granted.refund_status in (3, 5) and asked.refund_type = 0, false) as has_goods_back,
    cast(null as {{ column_type('instant') }}) as returned_at
from (
    {{ latest(source('landing', 'douyin__after_sales'), keys=['refund_id'], order='updated_at') }}
) as asked
left join {{ ref('stg_douyin__after_sale_details') }} as granted on asked.refund_id = granted.refund_id
left join {{ ref('stg_douyin__sku_orders') }} as lines on asked.order_id = lines.order_id and asked.line_id = lines.line_id
