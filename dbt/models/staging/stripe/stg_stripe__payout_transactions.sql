{{ latest(source('landing', 'stripe__payout_transactions'), keys=['payout_id', 'balance_transaction_id']) }}
