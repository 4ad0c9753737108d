{{ latest_children(source('landing', 'douyin__sku_orders'), ref('stg_douyin__orders'), parent_keys=['order_id'],
                   keys=['order_id', 'line_id']) }}
