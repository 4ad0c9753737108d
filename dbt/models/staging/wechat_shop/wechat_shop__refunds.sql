{{ marketplace_refunds('wechat_shop', 'orders', 'after_sales') }}
