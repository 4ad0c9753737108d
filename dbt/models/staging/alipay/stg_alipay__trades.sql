{{ latest(source('landing', 'alipay__trades'), keys=['trade_no', 'business_type', 'refund_request_no'], order='completed_at') }}
