{{ latest(source('landing', 'tmall__item_details'), keys=['item_id'], order='updated_at') }}
