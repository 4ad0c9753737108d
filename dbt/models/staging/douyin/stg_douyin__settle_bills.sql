{{ latest(source('landing', 'douyin__settle_bills'), keys=['settlement_no', 'line_id', 'trade_type'], order='settled_at') }}
