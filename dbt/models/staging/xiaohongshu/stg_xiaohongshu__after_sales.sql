-- What was asked for stands in the list, what was granted in the details.
select
    asked.*,
    granted.amount,
    granted.refunded_at,
    granted.sku_id,
    granted.quantity,
    coalesce(granted.refund_status = 2, false) as is_refunded,
    coalesce(granted.refund_status = 2 and asked.refund_type = 1, false) as has_goods_back,
    cast(null as {{ column_type('instant') }}) as returned_at
from (
    {{ latest(source('landing', 'xiaohongshu__after_sales'), keys=['refund_id'], order='updated_at') }}
) as asked
left join {{ ref('stg_xiaohongshu__after_sale_details') }} as granted on asked.refund_id = granted.refund_id
