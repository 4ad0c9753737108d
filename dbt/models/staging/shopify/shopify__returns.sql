-- A refunded line is a return only where goods came back; a cancelled one never left.
with taken_back as (
    select
        lines.*,
        refunds.note
    from {{ ref('stg_shopify__order_refund_line_items') }} as lines
    left join {{ ref('stg_shopify__order_refunds') }} as refunds
        on lines.order_id = refunds.order_id and lines.refund_id = refunds.refund_id
    where lines.restock_type in ('RETURN', 'NO_RESTOCK')
)

{{ conform('returns', 'taken_back', {
    'source_key': 'refund_line_item_id',
    'return_key': 'refund_line_item_id',
    'order_record_id': record_id('shopify', 'orders', 'order_id'),
    'sku_key': record_id('shopify', 'variants', 'variant_id'),
    'qty': 'quantity',
    'uom': "'C62'",
    'reason': 'note',
    'returned_at': 'refunded_at',
}) }}
