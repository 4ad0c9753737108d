{{ marketplace_sku_records('douyin', 'skus', 'products') }}
