{{ marketplace_inventory_positions('wechat_shop', 'skus') }}
