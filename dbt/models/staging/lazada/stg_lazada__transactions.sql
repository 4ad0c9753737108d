{{ latest(source('landing', 'lazada__transactions'), keys=['transaction_number'], order='booked_at') }}
