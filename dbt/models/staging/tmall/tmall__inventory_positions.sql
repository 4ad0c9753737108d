{{ marketplace_inventory_positions('tmall', 'skus') }}
