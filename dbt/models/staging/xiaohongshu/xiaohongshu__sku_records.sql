{{ marketplace_sku_records('xiaohongshu', 'skus') }}
