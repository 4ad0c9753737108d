{{ latest(source('landing', 'shopify__products'), keys=['product_id'], order='updated_at') }}
