{{ latest(source('landing', 'square__catalog_items'), keys=['item_id'], order='updated_at') }}
