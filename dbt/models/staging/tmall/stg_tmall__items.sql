{{ latest(source('landing', 'tmall__items'), keys=['item_id'], order='updated_at') }}
