{{ latest_children(source('landing', 'amazon__order_items'), ref('stg_amazon__orders'), parent_keys=['order_id'],
                   keys=['order_id', 'order_item_id']) }}
