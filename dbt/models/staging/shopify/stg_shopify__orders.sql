{{ latest(source('landing', 'shopify__orders'), keys=['order_id'], order='updated_at') }}
