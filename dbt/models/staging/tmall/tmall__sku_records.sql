{{ marketplace_sku_records('tmall', 'skus') }}
