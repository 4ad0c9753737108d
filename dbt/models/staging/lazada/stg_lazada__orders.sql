{{ latest(source('landing', 'lazada__orders'), keys=['order_id'], order='updated_at') }}
