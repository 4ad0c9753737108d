{{ latest(source('landing', 'square__locations'), keys=['location_id']) }}
