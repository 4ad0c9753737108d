-- Moves from and to customers that a sale line caused; the inventory moves before them have another move as origin.
select
    moves.*,
    lines.id as sale_line_id,
    lines.sale_id
from {{ ref('stg_tryton__moves') }} as moves
inner join {{ ref('stg_tryton__sale_lines') }} as lines
    on moves.origin = 'sale.line,' || cast(lines.id as {{ column_type('text') }})
where moves.to_location_type = 'customer' or moves.from_location_type = 'customer'
