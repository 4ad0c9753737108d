{{ latest_children(source('landing', 'pinduoduo__extra_deliveries'), ref('stg_pinduoduo__orders'), parent_keys=['order_id'],
                   keys=['order_id', 'tracking_number']) }}
