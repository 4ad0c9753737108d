{{ latest(source('landing', 'pinduoduo__goods'), keys=['item_id']) }}
