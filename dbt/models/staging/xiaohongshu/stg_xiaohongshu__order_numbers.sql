{{ latest(source('landing', 'xiaohongshu__order_numbers'), keys=['order_id'], order='updated_at') }}
