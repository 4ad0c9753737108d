with returned as (
    select
        moves.*,
        {{ rec20_unit('moves.unit_symbol') }} as uom,
        cast(coalesce(moves.effective_on, moves.planned_on) as {{ column_type('instant') }}) as returned_at
    from {{ ref('stg_tryton__sale_moves') }} as moves
    where moves.from_location_type = 'customer' and moves.state = 'done'
)

{{ conform('returns', 'returned', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'return_key': 'id',
    'order_record_id': record_id('tryton', 'sales', 'sale_id'),
    'sku_key': record_id('tryton', 'products', 'product_id'),
    'qty': 'quantity',
    'uom': 'uom',
    'returned_at': 'returned_at',
}) }}
