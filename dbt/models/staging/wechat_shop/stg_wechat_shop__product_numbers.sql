{{ latest(source('landing', 'wechat_shop__product_numbers'), keys=['item_id']) }}
