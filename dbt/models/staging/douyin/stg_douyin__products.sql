{{ latest(source('landing', 'douyin__products'), keys=['item_id'], order='updated_at') }}
