-- A material has a name per language; the English one where there is one.
with texts as (
    select
        product,
        text,
        row_number() over (
            partition by product
            order by case language when 'EN' then 0 else 1 end, {{ code_point_order('language') }}
        ) as place
    from {{ ref('stg_sap_s4__product_texts') }}
),

products as (
    select
        products.*,
        texts.text,
        cast(products.gross_weight * case products.weight_iso_unit when 'KGM' then 1 when 'GRM' then 0.001 end as {{ column_type('quantity') }}) as weight_kg
    from {{ ref('stg_sap_s4__products') }} as products
    left join texts
        on products.product = texts.product and texts.place = 1
    where coalesce(products.product_type, '') <> 'DIEN'
)

{{ conform('sku_records', 'products', {
    'source_key': 'product',
    'source_updated_at': 'changed_at',
    'sku_code': 'product',
    'title': 'text',
    'mpn': 'manufacturer_number',
    'gtin': 'gtin',
    'gtin14': 'gtin_gtin14',
    'category_code': 'product_group',
    'weight_kg': 'weight_kg',
}) }}
