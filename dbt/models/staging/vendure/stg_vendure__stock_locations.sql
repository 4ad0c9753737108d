{{ latest(source('landing', 'vendure__stock_locations'), keys=['location_id'], order='updated_at') }}
