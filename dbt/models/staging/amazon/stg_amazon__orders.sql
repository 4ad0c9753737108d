{{ latest(source('landing', 'amazon__orders'), keys=['order_id'], order='updated_at') }}
