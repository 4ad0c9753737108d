{{ latest(source('landing', 'pinduoduo__carriers'), keys=['carrier_id']) }}
