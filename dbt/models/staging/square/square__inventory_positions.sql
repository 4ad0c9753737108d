-- What is reserved for a sale is no longer in stock by Square's count, yet still on the shelf.
with reserved as (
    select catalog_object_id, location_id, quantity
    from {{ ref('stg_square__inventory_counts') }}
    where state = 'RESERVED_FOR_SALE'
),

positions as (
    select
        counts.*,
        counts.quantity + coalesce(reserved.quantity, 0) as on_hand_qty,
        coalesce(reserved.quantity, 0) as reserved_qty
    from {{ ref('stg_square__inventory_counts') }} as counts
    left join reserved
        on counts.catalog_object_id = reserved.catalog_object_id and counts.location_id = reserved.location_id
    where counts.state = 'IN_STOCK'
)

{{ conform('inventory_positions', 'positions', {
    'source_key': "catalog_object_id || '/' || location_id",
    'source_updated_at': 'calculated_at',
    'sku_key': record_id('square', 'catalog_variations', 'catalog_object_id'),
    'location_key': record_id('square', 'locations', 'location_id'),
    'on_hand_qty': 'on_hand_qty',
    'reserved_qty': 'reserved_qty',
    'uom': "'C62'",
    'counted_at': 'calculated_at',
}) }}
