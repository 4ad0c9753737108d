{{ latest(source('landing', 'amazon__transactions'), keys=['transaction_id'], order='posted_at') }}
