{{ marketplace_customer_records('douyin', 'orders') }}
