select
    orders.*,
    own_discount_amount + coalesce(shared_discount_amount, 0) as discount_amount
from (
    {{ latest_children(source('landing', 'tmall__trade_orders'), ref('stg_tmall__trade_details'), parent_keys=['order_id'],
                       keys=['order_id', 'line_id']) }}
) as orders
