with lines as (
    select
        *,
        row_number() over (partition by order_id order by _child_index) as line_number,
        coalesce(gross_sales_amount, total_amount - coalesce(tax_amount, 0) + coalesce(discount_amount, 0))
            - coalesce(discount_amount, 0) as net_amount
    from {{ ref('stg_square__order_line_items') }}
)

{{ conform('order_lines', 'lines', {
    'source_key': "order_id || '/' || uid",
    'order_record_id': record_id('square', 'orders', 'order_id'),
    'line_key': 'uid',
    'line_number': 'line_number',
    'sku_key': record_id('square', 'catalog_variations', 'catalog_object_id'),
    'description': 'name',
    'qty': 'quantity',
    'uom': "case when measurement_unit is null then 'C62' end",
    'unit_price_amount': 'base_price_amount',
    'discount_amount': 'discount_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'currency': 'currency',
    'is_return': 'false',
}) }}
