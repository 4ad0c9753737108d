{{ latest(source('landing', 'tmall__trades'), keys=['trade_id'], order='updated_at') }}
