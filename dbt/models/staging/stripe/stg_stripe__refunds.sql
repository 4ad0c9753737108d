{{ latest(source('landing', 'stripe__refunds'), keys=['refund_id']) }}
