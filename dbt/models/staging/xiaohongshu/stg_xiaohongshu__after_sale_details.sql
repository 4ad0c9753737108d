{{ latest(source('landing', 'xiaohongshu__after_sale_details'), keys=['refund_id']) }}
