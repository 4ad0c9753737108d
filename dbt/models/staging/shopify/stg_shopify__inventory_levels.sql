{{ latest(source('landing', 'shopify__inventory_levels'), keys=['inventory_level_id'], order='updated_at') }}
