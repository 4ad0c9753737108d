select
    skus.*,
    products.title,
    products.updated_at
from (
    {{ latest_children(source('landing', 'wechat_shop__skus'), ref('stg_wechat_shop__products'), parent_keys=['item_id'],
                       keys=['sku_id']) }}
) as skus
left join {{ ref('stg_wechat_shop__products') }} as products on skus.item_id = products.item_id
