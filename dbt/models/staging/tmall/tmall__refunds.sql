{{ marketplace_refunds('tmall', 'trade_details', 'refunds') }}
