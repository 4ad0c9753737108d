{{ marketplace_customer_records('wechat_shop', 'orders') }}
