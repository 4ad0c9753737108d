{{ latest(source('landing', 'wechat_shop__products'), keys=['item_id'], order='updated_at') }}
