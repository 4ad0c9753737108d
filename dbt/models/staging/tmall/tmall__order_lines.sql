{{ marketplace_order_lines('tmall', 'trade_details', 'trade_orders', 'skus', states_tax=true) }}
