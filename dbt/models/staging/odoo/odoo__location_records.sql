-- A warehouse that a till sells from is a store.
with tills as (
    select distinct types.warehouse_id
    from {{ ref('stg_odoo__pos_configs') }} as configs
    inner join {{ ref('stg_odoo__picking_types') }} as types on configs.picking_type_id = types.id
),

warehouses as (
    select
        warehouses.*,
        partners.street,
        partners.city,
        case
            when partners.state_name like '% (__)' then substr(partners.state_name, 1, length(partners.state_name) - 5)
            else partners.state_name
        end as region,
        partners.zip,
        partners.country_iso2,
        case when tills.warehouse_id is not null then 'store' else 'warehouse' end as location_type
    from {{ ref('stg_odoo__warehouses') }} as warehouses
    left join {{ ref('stg_odoo__partners') }} as partners
        on warehouses.partner_id = partners.id
    left join tills on warehouses.id = tills.warehouse_id
)

{{ conform('location_records', 'warehouses', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'location_name': 'name',
    'location_type': 'location_type',
    'location_code': 'code',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'zip',
    'country': 'country_iso2',
}) }}
