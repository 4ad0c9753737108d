{{ marketplace_order_records('douyin', 'orders', 'after_sales', states_tax=true) }}
