{{ marketplace_payments('wechat_shop', 'orders') }}
