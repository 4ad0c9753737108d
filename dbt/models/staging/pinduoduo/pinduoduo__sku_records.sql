{{ marketplace_sku_records('pinduoduo', 'skus', 'goods') }}
