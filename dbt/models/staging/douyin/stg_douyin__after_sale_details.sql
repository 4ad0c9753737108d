{{ latest(source('landing', 'douyin__after_sale_details'), keys=['refund_id']) }}
