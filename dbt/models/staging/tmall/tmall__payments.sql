{{ marketplace_payments('tmall', 'trade_details') }}
