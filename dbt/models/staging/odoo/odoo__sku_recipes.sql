-- Kits. What is manufactured is another article than its parts. A recipe of no variant is for each of its product's.
with components as (
    select
        lines.*,
        products.id as kit_id,
        cast(lines.quantity / boms.quantity as {{ column_type('quantity') }}) as qty,
        {{ rec20_unit('lines.uom_name') }} as uom
    from {{ ref('stg_odoo__bom_lines') }} as lines
    inner join {{ ref('stg_odoo__boms') }} as boms on lines.bom_id = boms.id
    inner join {{ ref('stg_odoo__products') }} as products
        on boms.template_id = products.template_id and (boms.product_id is null or boms.product_id = products.id)
    where boms.type = 'phantom' and boms.is_active
)

{{ conform('sku_recipes', 'components', {
    'source_key': "cast(id as " ~ column_type('text') ~ ") || '/' || cast(kit_id as " ~ column_type('text') ~ ")",
    'source_updated_at': 'modified_at',
    'kit_record_id': record_id('odoo', 'products', 'kit_id'),
    'component_record_id': record_id('odoo', 'products', 'product_id'),
    'qty': 'qty',
    'uom': 'uom',
}) }}
