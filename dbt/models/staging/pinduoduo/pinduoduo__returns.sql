{{ marketplace_returns('pinduoduo', 'orders', 'refunds', 'skus') }}
