{{ marketplace_inventory_positions('pinduoduo', 'skus', held='held_quantity') }}
