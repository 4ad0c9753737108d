{{ conform('inventory_positions', ref('stg_vendure__stock_levels'), {
    'source_key': 'stock_level_id',
    'source_updated_at': 'updated_at',
    'sku_key': record_id('vendure', 'variants', 'variant_id'),
    'location_key': record_id('vendure', 'stock_locations', 'location_id'),
    'on_hand_qty': 'on_hand_qty',
    'reserved_qty': 'allocated_qty',
    'uom': "'C62'",
    'counted_at': 'updated_at',
}) }}
