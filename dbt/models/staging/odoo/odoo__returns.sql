with returned as (
    select
        moves.*,
        returns.return_id,
        coalesce(returns.done_at, moves.moved_at) as returned_at,
        {{ rec20_unit('moves.uom_name') }} as uom
    from {{ ref('stg_odoo__moves') }} as moves
    inner join {{ ref('stg_odoo__returns') }} as returns
        on moves.picking_id = returns.id
    where moves.state = 'done'
)

{{ conform('returns', 'returned', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'return_key': 'id',
    'order_record_id': record_id('odoo', 'pickings', 'return_id'),
    'sku_key': record_id('odoo', 'products', 'product_id'),
    'qty': 'quantity',
    'uom': 'uom',
    'returned_at': 'returned_at',
}) }}
