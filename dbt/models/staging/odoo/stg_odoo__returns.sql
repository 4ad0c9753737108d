-- Receipts that bring back a delivery.
select
    pickings.*,
    types.warehouse_id
from {{ ref('stg_odoo__pickings') }} as pickings
inner join {{ ref('stg_odoo__picking_types') }} as types
    on pickings.picking_type_id = types.id
where pickings.return_id is not null
