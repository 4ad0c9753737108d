-- What lies inside warehouses; not what is with suppliers, customers or in between.
with quants as (
    select
        quants.*,
        locations.warehouse_id,
        {{ rec20_unit('quants.uom_name') }} as uom,
        {{ date_of('lots.expires_at') }} as expires_on
    from {{ ref('stg_odoo__quants') }} as quants
    inner join {{ ref('stg_odoo__locations') }} as locations
        on quants.location_id = locations.id
    left join {{ ref('stg_odoo__lots') }} as lots
        on quants.lot_id = lots.id
    where locations.usage = 'internal' and locations.warehouse_id is not null
)

{{ conform('inventory_positions', 'quants', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'sku_key': record_id('odoo', 'products', 'product_id'),
    'location_key': record_id('odoo', 'warehouses', 'warehouse_id'),
    'lot_number': 'lot_name',
    'on_hand_qty': 'quantity',
    'reserved_qty': 'reserved_quantity',
    'uom': 'uom',
    'counted_at': 'modified_at',
    'expires_on': 'expires_on',
}) }}
