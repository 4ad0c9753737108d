{{ marketplace_order_records('xiaohongshu', 'orders', 'after_sales', states_tax=true) }}
