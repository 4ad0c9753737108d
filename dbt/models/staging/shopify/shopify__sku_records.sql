with variants as (
    select
        variants.*,
        products.title
            || case
                when variants.title is null or variants.title = 'Default Title' then '' else ' ' || variants.title
            end as full_title,
        products.vendor,
        products.product_type,
        cast(variants.weight * case variants.weight_unit
            when 'KILOGRAMS' then 1
            when 'GRAMS' then 0.001
            when 'POUNDS' then 0.45359237
            when 'OUNCES' then 0.028349523125
        end as numeric(18, 6)) as weight_kg
    from {{ ref('stg_shopify__variants') }} as variants
    left join {{ ref('stg_shopify__products') }} as products on variants.product_id = products.product_id
)

{{ conform('sku_records', 'variants', {
    'source_key': 'variant_id',
    'source_updated_at': 'updated_at',
    'sku_code': 'sku',
    'title': 'full_title',
    'brand': 'vendor',
    'gtin': 'barcode',
    'gtin14': 'barcode_gtin14',
    'category_code': 'product_type',
    'weight_kg': 'weight_kg',
    'unit_cost_amount': 'unit_cost_amount',
    'cost_currency': 'cost_currency',
    'origin_country': 'origin_country_iso2',
    'parent_key': record_id('shopify', 'products', 'product_id'),
}) }}
