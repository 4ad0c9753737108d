select
    skus.*,
    goods.title,
    cast(null as {{ column_type('text') }}) as barcode,
    cast(null as {{ column_type('text') }}) as barcode_gtin14,
    cast(null as {{ column_type('instant') }}) as updated_at
from (
    {{ latest_children(source('landing', 'pinduoduo__skus'), ref('stg_pinduoduo__goods'), parent_keys=['item_id'],
                       keys=['sku_id']) }}
) as skus
left join {{ ref('stg_pinduoduo__goods') }} as goods on skus.item_id = goods.item_id
