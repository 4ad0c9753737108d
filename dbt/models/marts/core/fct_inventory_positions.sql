select {{ contracted({
    'position_id': 'positions.record_id',
    'sku_id': 'skus.sku_id',
    'location_id': 'locations.location_id',
    'available_qty': 'positions.on_hand_qty - positions.reserved_qty',
}, 'positions') }}
from {{ ref('int_inventory_positions') }} as positions
left join {{ ref('sku_xref') }} as skus on positions.sku_key = skus.record_id and skus.is_current
left join {{ ref('location_xref') }} as locations
    on positions.location_key = locations.record_id and locations.is_current
