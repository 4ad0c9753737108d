{{ marketplace_customer_records('xiaohongshu', 'orders') }}
