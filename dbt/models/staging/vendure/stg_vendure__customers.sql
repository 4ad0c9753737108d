{{ latest(source('landing', 'vendure__customers'), keys=['customer_id'], order='updated_at') }}
