{{ latest(source('landing', 'wechat_shop__order_numbers'), keys=['order_id']) }}
