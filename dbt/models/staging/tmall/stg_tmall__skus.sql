select
    skus.*,
    items.title,
    items.updated_at
from (
    {{ latest_children(source('landing', 'tmall__skus'), ref('stg_tmall__item_details'), parent_keys=['item_id'],
                       keys=['sku_id']) }}
) as skus
left join {{ ref('stg_tmall__item_details') }} as items on skus.item_id = items.item_id
