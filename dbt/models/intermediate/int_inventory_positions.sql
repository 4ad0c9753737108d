{{ union_sources('inventory_positions') }}
