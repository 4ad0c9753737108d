{{ latest(source('landing', 'stripe__charges'), keys=['charge_id']) }}
