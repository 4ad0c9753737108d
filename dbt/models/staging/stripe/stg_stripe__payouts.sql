{{ latest(source('landing', 'stripe__payouts'), keys=['payout_id']) }}
