select
    items.*,
    sku_id as line_id
from (
    {{ latest_children(source('landing', 'pinduoduo__order_items'), ref('stg_pinduoduo__orders'), parent_keys=['order_id'],
                       keys=['order_id', 'sku_id']) }}
) as items
