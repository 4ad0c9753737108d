{{ latest(source('landing', 'square__customers'), keys=['customer_id'], order='updated_at') }}
