{{ marketplace_sku_records('wechat_shop', 'skus', 'product_numbers') }}
