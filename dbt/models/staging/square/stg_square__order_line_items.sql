{{ latest_children(source('landing', 'square__order_line_items'), ref('stg_square__orders'),
                   parent_keys=['order_id'], keys=['order_id', 'uid']) }}
