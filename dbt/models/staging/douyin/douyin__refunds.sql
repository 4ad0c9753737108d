{{ marketplace_refunds('douyin', 'orders', 'after_sales') }}
