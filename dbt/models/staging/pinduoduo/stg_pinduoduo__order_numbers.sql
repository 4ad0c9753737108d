{{ latest(source('landing', 'pinduoduo__order_numbers'), keys=['order_id'], order='updated_at') }}
