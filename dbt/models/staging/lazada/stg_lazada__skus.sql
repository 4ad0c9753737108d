{{ latest_children(source('landing', 'lazada__skus'), ref('stg_lazada__products'), parent_keys=['item_id'],
                   keys=['sku_id']) }}
