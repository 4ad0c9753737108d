{{ marketplace_payments('douyin', 'orders') }}
