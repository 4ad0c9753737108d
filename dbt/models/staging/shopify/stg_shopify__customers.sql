{{ latest(source('landing', 'shopify__customers'), keys=['customer_id'], order='updated_at') }}
