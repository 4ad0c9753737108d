{{ marketplace_returns('wechat_shop', 'orders', 'after_sales', 'skus') }}
