{{ latest(source('landing', 'square__payments'), keys=['payment_id'], order='updated_at') }}
