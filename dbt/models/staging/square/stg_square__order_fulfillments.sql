{{ latest_children(source('landing', 'square__order_fulfillments'), ref('stg_square__orders'),
                   parent_keys=['order_id'], keys=['order_id', 'uid']) }}
