{{ latest(source('landing', 'wechat_shop__after_sale_numbers'), keys=['refund_id']) }}
