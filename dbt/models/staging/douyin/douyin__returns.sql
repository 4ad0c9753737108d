{{ marketplace_returns('douyin', 'orders', 'after_sales', 'skus') }}
