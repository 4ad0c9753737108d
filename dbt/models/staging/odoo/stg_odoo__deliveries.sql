-- Pickings that fulfil an order: the delivery, and the pick and pack before it. Receipts and transfers are not here, nor is
-- what a till books out of stock for all that it sold in a session.
select
    pickings.*,
    types.sequence_code,
    types.reservation_method,
    types.warehouse_id
from {{ ref('stg_odoo__pickings') }} as pickings
inner join {{ ref('stg_odoo__picking_types') }} as types
    on pickings.picking_type_id = types.id
where
    (types.code = 'outgoing' or types.sequence_code in ('PICK', 'PACK'))
    and types.id not in (select picking_type_id from {{ ref('stg_odoo__pos_configs') }})
