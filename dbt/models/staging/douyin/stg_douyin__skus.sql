select
    skus.*,
    products.title,
    products.updated_at
from (
    {{ latest_children(source('landing', 'douyin__skus'), ref('stg_douyin__product_details'), parent_keys=['item_id'],
                       keys=['sku_id']) }}
) as skus
left join {{ ref('stg_douyin__products') }} as products on skus.item_id = products.item_id
