{{ marketplace_returns('tmall', 'trade_details', 'refunds', 'skus') }}
