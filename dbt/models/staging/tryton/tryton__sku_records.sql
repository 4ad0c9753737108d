-- The cost of a variant is that of its latest delivery, in the currency of the company that delivered it.
with identifiers as (
    select
        product_id,
        min({{ code_point_order("case when type = 'ean' then code end") }}) as gtin,
        min({{ code_point_order("case when type = 'ean' then code_gtin14 end") }}) as gtin14,
        min({{ code_point_order("case when type = 'mpn' then code end") }}) as mpn,
        min({{ code_point_order("case when type = 'brand' then code end") }}) as brand
    from {{ ref('stg_tryton__product_identifiers') }}
    group by product_id
),

costs as (
    select
        moves.product_id,
        moves.cost_price,
        companies.currency,
        row_number() over (partition by moves.product_id order by moves.effective_on desc nulls last, moves.id desc) as place
    from {{ ref('stg_tryton__moves') }} as moves
    inner join {{ ref('stg_tryton__companies') }} as companies
        on moves.company_id = companies.id
    where moves.state = 'done' and moves.to_location_type = 'customer' and moves.cost_price is not null
),

products as (
    select
        products.*,
        templates.name as title,
        templates.category_name,
        coalesce(products.code, templates.code) as sku_code,
        identifiers.gtin,
        identifiers.gtin14,
        identifiers.mpn,
        identifiers.brand,
        costs.cost_price,
        costs.currency as cost_currency
    from {{ ref('stg_tryton__products') }} as products
    left join {{ ref('stg_tryton__templates') }} as templates
        on products.template_id = templates.id
    left join identifiers
        on products.id = identifiers.product_id
    left join costs
        on products.id = costs.product_id and costs.place = 1
    where templates.type is null or templates.type <> 'service'
)

{{ conform('sku_records', 'products', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'sku_code': 'sku_code',
    'title': 'title',
    'brand': 'brand',
    'mpn': 'mpn',
    'gtin': 'gtin',
    'gtin14': 'gtin14',
    'category_code': 'category_name',
    'unit_cost_amount': 'cost_price',
    'cost_currency': 'cost_currency',
    'parent_key': record_id('tryton', 'templates', 'template_id'),
}) }}
