{{ latest(source('landing', 'stripe__balance_transactions'), keys=['balance_transaction_id']) }}
