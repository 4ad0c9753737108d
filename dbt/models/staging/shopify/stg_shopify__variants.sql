{{ latest(source('landing', 'shopify__variants'), keys=['variant_id'], order='updated_at') }}
