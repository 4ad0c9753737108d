-- What tills sold, and what the last step delivers, one row per lot; the pick and pack before it move the same goods.
with delivered as (
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
),

lines as (
    select
        cast(id as {{ column_type('text') }}) || '/' || cast(line_key as {{ column_type('text') }}) as source_key,
        modified_at, picking_id as order_id, 'pickings' as document, line_key, sequence as line_number, product_id,
        product_name as description, qty, uom, lot_name, cast(null as {{ column_type('amount') }}) as unit_price,
        cast(null as {{ column_type('amount') }}) as discount_amount,
        cast(null as {{ column_type('amount') }}) as tax_amount, cast(null as {{ column_type('amount') }}) as net_amount,
        cast(null as {{ column_type('text') }}) as currency, _source, _stream, _batch_id, _page_sha256, _row_index,
        _extracted_at
    from delivered
    union all
    select
        cast(sold.id as {{ column_type('text') }}), sold.modified_at, sold.order_id, 'pos_orders', sold.id,
        row_number() over (partition by sold.order_id order by sold.id), sold.product_id, sold.description,
        sold.quantity, {{ rec20_unit('sold.uom_name') }}, null, sold.unit_price,
        cast(sold.quantity * sold.unit_price - sold.net_amount as {{ column_type('amount') }}),
        cast(sold.total_amount - sold.net_amount as {{ column_type('amount') }}), sold.net_amount, sales.currency,
        sold._source, sold._stream, sold._batch_id, sold._page_sha256, sold._row_index, sold._extracted_at
    from {{ ref('stg_odoo__pos_order_lines') }} as sold
    inner join {{ ref('stg_odoo__pos_sales') }} as sales on sold.order_id = sales.id
    where sold.quantity > 0 and {{ is_held('odoo', 'pos_order_lines', 'sold.id') }}
)

{{ conform('order_lines', 'lines', {
    'source_key': 'source_key',
    'source_updated_at': 'modified_at',
    'order_record_id': "'odoo:' || document || ':' || cast(order_id as " ~ column_type('text') ~ ')',
    'line_key': 'line_key',
    'line_number': 'line_number',
    'sku_key': record_id('odoo', 'products', 'product_id'),
    'description': 'description',
    'qty': 'qty',
    'uom': 'uom',
    'unit_price_amount': 'unit_price',
    'discount_amount': 'discount_amount',
    'tax_amount': 'tax_amount',
    'net_amount': 'net_amount',
    'currency': 'currency',
    'lot_number': 'lot_name',
    'is_return': 'false',
}) }}
