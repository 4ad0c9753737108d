{{ latest(source('landing', 'square__refunds'), keys=['refund_id'], order='updated_at') }}
