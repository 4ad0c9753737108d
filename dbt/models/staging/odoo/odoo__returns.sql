with returned as (
    select
        moves.id, moves.modified_at, {{ record_id('odoo', 'pickings', 'returns.return_id') }} as order_record_id,
        moves.product_id, moves.quantity, {{ rec20_unit('moves.uom_name') }} as uom,
        cast(null as {{ column_type('text') }}) as reason, coalesce(returns.done_at, moves.moved_at) as returned_at,
        moves._source, moves._stream, moves._batch_id, moves._page_sha256, moves._row_index, moves._extracted_at
    from {{ ref('stg_odoo__moves') }} as moves
    inner join {{ ref('stg_odoo__returns') }} as returns
        on moves.picking_id = returns.id
    where moves.state = 'done'
    union all
    select
        lines.id, lines.modified_at,
        {{ record_id('odoo', 'pos_orders', 'coalesce(sales.refunded_order_id, sales.id)') }}, lines.product_id,
        -lines.quantity, {{ rec20_unit('lines.uom_name') }}, lines.customer_note, sales.ordered_at, lines._source,
        lines._stream, lines._batch_id, lines._page_sha256, lines._row_index, lines._extracted_at
    from {{ ref('stg_odoo__pos_order_lines') }} as lines
    inner join {{ ref('stg_odoo__pos_sales') }} as sales on lines.order_id = sales.id
    where lines.quantity < 0 and sales.state in ('paid', 'done')
)

{{ conform('returns', 'returned', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'return_key': 'id',
    'order_record_id': 'order_record_id',
    'sku_key': record_id('odoo', 'products', 'product_id'),
    'qty': 'quantity',
    'uom': 'uom',
    'reason': 'reason',
    'returned_at': 'returned_at',
}) }}
