with warehouses as (
    select
        warehouses.*,
        partners.street,
        partners.city,
        case
            when partners.state_name like '% (__)' then substr(partners.state_name, 1, length(partners.state_name) - 5)
            else partners.state_name
        end as region,
        partners.zip,
        partners.country_iso2
    from {{ ref('stg_odoo__warehouses') }} as warehouses
    left join {{ ref('stg_odoo__partners') }} as partners
        on warehouses.partner_id = partners.id
)

{{ conform('location_records', 'warehouses', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'location_name': 'name',
    'location_type': "'warehouse'",
    'location_code': 'code',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'zip',
    'country': 'country_iso2',
}) }}
