{{ marketplace_order_lines('pinduoduo', 'orders', 'order_items', 'skus', states_tax=false) }}
