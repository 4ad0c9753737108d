{{ latest(source('landing', 'lazada__reverse_orders'), keys=['reverse_order_id']) }}
