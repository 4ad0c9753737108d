-- Lazada tells when goods were asked to be sent back, and not when they came.
with returned as (
    select
        reverse_lines.*,
        items.sku_id
    from {{ ref('stg_lazada__reverse_order_lines') }} as reverse_lines
    inner join {{ ref('stg_lazada__reverse_orders') }} as reverse_orders
        on reverse_lines.reverse_order_id = reverse_orders.reverse_order_id and reverse_orders.request_type = 'RETURN'
    left join {{ ref('stg_lazada__order_items') }} as items
        on reverse_lines.item_id = items.item_id
    where reverse_lines.status = 'REFUND_SUCCESS'
)

{{ conform('returns', 'returned', {
    'source_key': 'line_id',
    'source_updated_at': 'changed_at',
    'return_key': 'line_id',
    'order_record_id': record_id('lazada', 'orders', 'order_id'),
    'sku_key': record_id('lazada', 'skus', 'sku_id'),
    'qty': '1',
    'uom': "'C62'",
    'reason': 'reason',
    'returned_at': 'requested_at',
}) }}
