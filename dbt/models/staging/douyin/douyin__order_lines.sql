{{ marketplace_order_lines('douyin', 'orders', 'sku_orders', 'skus', states_tax=true) }}
