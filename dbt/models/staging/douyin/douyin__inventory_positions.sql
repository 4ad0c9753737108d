{{ marketplace_inventory_positions('douyin', 'skus', held='held_quantity') }}
