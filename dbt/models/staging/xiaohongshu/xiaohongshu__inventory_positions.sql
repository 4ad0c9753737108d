{{ marketplace_inventory_positions('xiaohongshu', 'skus') }}
