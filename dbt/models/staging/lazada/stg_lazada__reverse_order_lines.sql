{{ latest_children(source('landing', 'lazada__reverse_order_lines'), ref('stg_lazada__reverse_orders'), parent_keys=['reverse_order_id'],
                   keys=['line_id']) }}
