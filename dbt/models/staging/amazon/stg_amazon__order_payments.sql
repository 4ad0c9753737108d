{{ latest_children(source('landing', 'amazon__order_payments'), ref('stg_amazon__orders'), parent_keys=['order_id'],
                   keys=['order_id', '_child_index']) }}
