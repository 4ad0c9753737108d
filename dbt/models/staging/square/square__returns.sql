with taken_back as (
    select
        lines.*,
        orders.created_at as returned_at,
        coalesce(lines.source_order_id, lines.order_id) as sale_id
    from {{ ref('stg_square__order_return_line_items') }} as lines
    inner join {{ ref('stg_square__orders') }} as orders on lines.order_id = orders.order_id
)

{{ conform('returns', 'taken_back', {
    'source_key': "order_id || '/' || uid",
    'return_key': 'uid',
    'order_record_id': record_id('square', 'orders', 'sale_id'),
    'sku_key': record_id('square', 'catalog_variations', 'catalog_object_id'),
    'qty': 'quantity',
    'uom': "'C62'",
    'reason': 'note',
    'returned_at': 'returned_at',
}) }}
