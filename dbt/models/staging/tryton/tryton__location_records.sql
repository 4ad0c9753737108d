with warehouses as (
    select
        locations.*,
        addresses.street,
        addresses.city,
        addresses.region,
        addresses.postal_code,
        addresses.country_iso2
    from {{ ref('stg_tryton__locations') }} as locations
    left join {{ ref('stg_tryton__addresses') }} as addresses
        on locations.address_id = addresses.id
    where locations.type = 'warehouse'
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
    'postcode': 'postal_code',
    'country': 'country_iso2',
}) }}
