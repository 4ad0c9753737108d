with items as (
    select
        *,
        row_number() over (partition by order_id order by _child_index) as line_number,
        item_amount - discount_amount as net_amount
    from {{ ref('stg_amazon__order_items') }}
)

{{ conform('order_lines', 'items', {
    'source_key': "order_id || '/' || order_item_id",
    'order_record_id': record_id('amazon', 'orders', 'order_id'),
    'line_key': 'order_item_id',
    'line_number': 'line_number',
    'sku_key': record_id('amazon', 'order_items', 'seller_sku'),
    'sku_code': 'seller_sku',
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
