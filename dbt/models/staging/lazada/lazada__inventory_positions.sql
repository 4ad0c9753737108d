-- What the shop shows for sale: it says of no place that goods lie there.
with offered as (
    select
        skus.*,
        products.updated_at
    from {{ ref('stg_lazada__skus') }} as skus
    left join {{ ref('stg_lazada__products') }} as products
        on skus.item_id = products.item_id
    where skus.quantity is not null
)

{{ conform('inventory_positions', 'offered', {
    'source_key': 'sku_id',
    'source_updated_at': 'updated_at',
    'sku_key': record_id('lazada', 'skus', 'sku_id'),
    'uom': "'C62'",
    'channel': "'lazada'",
    'offered_qty': 'quantity',
}) }}
