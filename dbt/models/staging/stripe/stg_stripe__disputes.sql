{{ latest(source('landing', 'stripe__disputes'), keys=['dispute_id']) }}
