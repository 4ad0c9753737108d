with levels as (
    select
        levels.*,
        variants.variant_id
    from {{ ref('stg_shopify__inventory_levels') }} as levels
    left join {{ ref('stg_shopify__variants') }} as variants
        on levels.inventory_item_id = variants.inventory_item_id
)

{{ conform('inventory_positions', 'levels', {
    'source_key': 'inventory_level_id',
    'source_updated_at': 'updated_at',
    'sku_key': record_id('shopify', 'variants', 'variant_id'),
    'location_key': record_id('shopify', 'locations', 'location_id'),
    'on_hand_qty': 'on_hand_qty',
    'reserved_qty': 'committed_qty',
    'uom': "'C62'",
    'counted_at': 'updated_at',
}) }}
