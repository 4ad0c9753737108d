{{ latest(source('landing', 'lazada__order_items'), keys=['item_id'], order='updated_at') }}
