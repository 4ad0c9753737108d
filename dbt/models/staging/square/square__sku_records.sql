with variations as (
    select
        variations.*,
        items.name
            || case
                when variations.name is null or variations.name = 'Regular' then '' else ' ' || variations.name
            end as title,
        categories.name as category_code
    from {{ ref('stg_square__catalog_variations') }} as variations
    inner join {{ ref('stg_square__catalog_items') }} as items on variations.item_id = items.item_id
    left join {{ ref('stg_square__catalog_categories') }} as categories on items.category_id = categories.category_id
)

{{ conform('sku_records', 'variations', {
    'source_key': 'variation_id',
    'source_updated_at': 'updated_at',
    'sku_code': 'sku',
    'title': 'title',
    'gtin': 'upc',
    'gtin14': 'upc_gtin14',
    'category_code': 'category_code',
    'parent_key': record_id('square', 'catalog_items', 'item_id'),
}) }}
