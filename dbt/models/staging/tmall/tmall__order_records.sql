{{ marketplace_order_records('tmall', 'trade_details', 'refunds', states_tax=true) }}
