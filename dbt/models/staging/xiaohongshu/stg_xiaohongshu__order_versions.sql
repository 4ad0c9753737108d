{{ latest(source('landing', 'xiaohongshu__orders'), keys=['order_id'], order='updated_at') }}
