-- Units as placed: a cancelled unit stays a line of the order. Its price is known, what came off it no longer is. The SKU is the
-- variant's of today; Vendure keeps no other.
with lines as (
    select
        lines.*,
        row_number() over (partition by lines.order_id order by lines._child_index) as line_number,
        variants.sku,
        variants.name,
        case when lines.quantity = lines.placed_qty then lines.list_amount - lines.net_amount end as own_discount_amount,
        case when lines.quantity = lines.placed_qty then lines.tax_amount end as own_tax_amount,
        case when lines.quantity = lines.placed_qty then lines.net_amount end as own_net_amount
    from {{ ref('stg_vendure__order_lines') }} as lines
    inner join {{ ref('stg_vendure__orders') }} as orders
        on lines.order_id = orders.order_id and orders.type <> 'Seller'
    left join {{ ref('stg_vendure__variants') }} as variants
        on lines.variant_id = variants.variant_id
)

{{ conform('order_lines', 'lines', {
    'source_key': 'line_id',
    'order_record_id': record_id('vendure', 'orders', 'order_id'),
    'line_key': 'line_id',
    'line_number': 'line_number',
    'sku_key': record_id('vendure', 'variants', 'variant_id'),
    'sku_code': 'sku',
    'description': 'name',
    'qty': 'placed_qty',
    'uom': "'C62'",
    'unit_price_amount': 'unit_price_amount',
    'discount_amount': 'own_discount_amount',
    'tax_amount': 'own_tax_amount',
    'net_amount': 'own_net_amount',
    'currency': 'currency',
    'is_return': 'false',
}) }}
