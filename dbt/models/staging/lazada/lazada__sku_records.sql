with skus as (
    select
        skus.*,
        products.name,
        products.brand,
        products.updated_at
    from {{ ref('stg_lazada__skus') }} as skus
    left join {{ ref('stg_lazada__products') }} as products
        on skus.item_id = products.item_id
)

{{ conform('sku_records', 'skus', {
    'source_key': 'sku_id',
    'source_updated_at': 'updated_at',
    'sku_code': 'seller_sku',
    'title': 'name',
    'brand': 'brand',
    'weight_kg': 'weight_kg',
    'parent_key': record_id('lazada', 'products', 'item_id'),
}) }}
