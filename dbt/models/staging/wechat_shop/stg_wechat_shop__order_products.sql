select
    products.*,
    sku_id as line_id
from (
    {{ latest_children(source('landing', 'wechat_shop__order_products'), ref('stg_wechat_shop__orders'),
                       parent_keys=['order_id'], keys=['order_id', 'sku_id']) }}
) as products
