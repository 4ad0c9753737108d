with lines as (
    select
        *,
        row_number() over (partition by order_id order by _child_index) as line_number,
        quantity * unit_price_amount - coalesce(discount_amount, 0) as net_amount
    from {{ ref('stg_shopify__order_line_items') }}
)

{{ conform('order_lines', 'lines', {
    'source_key': 'line_item_id',
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'line_key': 'line_item_id',
    'line_number': 'line_number',
    'sku_key': record_id('shopify', 'variants', 'variant_id'),
    'sku_code': 'sku',
    'description': 'title',
    'qty': 'quantity',
    'uom': "'C62'",
    'unit_price_amount': 'unit_price_amount',
    'discount_amount': 'discount_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'currency': 'currency',
    'is_return': 'false',
}) }}
