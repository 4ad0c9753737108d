{{ marketplace_returns('xiaohongshu', 'orders', 'after_sales', 'skus') }}
