{{ marketplace_order_lines('xiaohongshu', 'orders', 'order_skus', 'skus', states_tax=true) }}
