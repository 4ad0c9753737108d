{{ latest(source('landing', 'lazada__products'), keys=['item_id'], order='updated_at') }}
