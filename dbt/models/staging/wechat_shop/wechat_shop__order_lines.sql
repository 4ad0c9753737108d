{{ marketplace_order_lines('wechat_shop', 'orders', 'order_products', 'skus', states_tax=false) }}
