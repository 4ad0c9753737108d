{{ marketplace_order_records('wechat_shop', 'orders', 'after_sales', states_tax=false) }}
