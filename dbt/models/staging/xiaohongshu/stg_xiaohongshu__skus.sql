{{ latest(source('landing', 'xiaohongshu__skus'), keys=['sku_id'], order='updated_at') }}
