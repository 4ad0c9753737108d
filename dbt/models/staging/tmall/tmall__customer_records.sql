{{ marketplace_customer_records('tmall', 'trade_details') }}
