{{ latest(source('landing', 'douyin__product_details'), keys=['item_id']) }}
