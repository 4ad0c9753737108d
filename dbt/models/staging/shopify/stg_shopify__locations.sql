{{ latest(source('landing', 'shopify__locations'), keys=['location_id']) }}
