{{ marketplace_refunds('xiaohongshu', 'orders', 'after_sales') }}
