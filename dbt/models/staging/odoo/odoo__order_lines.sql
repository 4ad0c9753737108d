-- What the last step delivers, one row per lot; the pick and pack before it move the same goods.
with lines as (
    select
        moves.id,
        moves.modified_at,
        moves.picking_id,
        moves.product_id,
        products.name as product_name,
        moves.sequence,
        coalesce(parts.id, moves.id) as line_key,
        coalesce(parts.quantity, moves.demand_quantity) as qty,
        {{ rec20_unit('coalesce(parts.uom_name, moves.uom_name)') }} as uom,
        parts.lot_name,
        moves._source,
        moves._stream,
        moves._batch_id,
        moves._page_sha256,
        moves._row_index,
        moves._extracted_at
    from {{ ref('stg_odoo__moves') }} as moves
    inner join {{ ref('stg_odoo__deliveries') }} as deliveries
        on moves.picking_id = deliveries.id and deliveries.picking_type_code = 'outgoing'
    left join {{ ref('stg_odoo__products') }} as products
        on moves.product_id = products.id
    left join {{ ref('stg_odoo__move_lines') }} as parts
        on moves.id = parts.move_id
    where
        moves.state <> 'cancel'
        and {{ is_held('odoo', 'moves', 'moves.id') }}
        and (parts.id is null or {{ is_held('odoo', 'move_lines', 'parts.id') }})
)

{{ conform('order_lines', 'lines', {
    'source_key': "cast(id as " ~ column_type('text') ~ ") || '/' || cast(line_key as " ~ column_type('text') ~ ')',
    'source_updated_at': 'modified_at',
    'order_record_id': record_id('odoo', 'pickings', 'picking_id'),
    'line_key': 'line_key',
    'line_number': 'sequence',
    'sku_key': record_id('odoo', 'products', 'product_id'),
    'description': 'product_name',
    'qty': 'qty',
    'uom': 'uom',
    'lot_number': 'lot_name',
    'is_return': 'false',
}) }}
