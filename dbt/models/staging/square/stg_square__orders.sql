{{ latest(source('landing', 'square__orders'), keys=['order_id'], order='updated_at') }}
