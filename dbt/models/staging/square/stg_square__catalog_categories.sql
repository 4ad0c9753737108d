{{ latest(source('landing', 'square__catalog_categories'), keys=['category_id'], order='updated_at') }}
