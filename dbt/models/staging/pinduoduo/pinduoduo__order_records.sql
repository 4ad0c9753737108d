{{ marketplace_order_records('pinduoduo', 'orders', 'refunds', states_tax=false) }}
