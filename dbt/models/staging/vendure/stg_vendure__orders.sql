{{ latest(source('landing', 'vendure__orders'), keys=['order_id'], order='changed_at') }}
