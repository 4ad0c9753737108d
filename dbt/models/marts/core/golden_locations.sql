{%- set relation %}(
    select records.*, xref.location_id
    from {{ ref('int_location_records') }} as records
    inner join {{ ref('location_xref') }} as xref on records.record_id = xref.record_id and xref.is_current
)
{%- endset -%}
{{ survive(relation, 'location_id', 'location', {
    'name': {'rules': 'name', 'anchor': 'location_name', 'attributes': {'location_name': ('location_name', 'text')}},
    'type': {'rules': 'type', 'anchor': 'location_type', 'attributes': {'location_type': ('location_type', 'text')}},
    'gln': {'rules': 'identifier', 'anchor': 'gln', 'attributes': {'gln': ('gln', 'text')}},
    'code': {'rules': 'identifier', 'anchor': 'location_code', 'attributes': {
        'location_code': ('location_code', 'text')}},
    'address': {'rules': 'address', 'anchor': 'coalesce(street, postcode, city, country)', 'attributes': {
        'street': ('street', 'text'), 'city': ('city', 'text'), 'region': ('region', 'text'),
        'postcode': ('postcode', 'text'), 'country': ('country', 'text')}},
    'position': {'rules': 'position', 'anchor': 'latitude', 'attributes': {
        'latitude': ('latitude', 'degree'), 'longitude': ('longitude', 'degree')}},
    'timezone': {'rules': 'position', 'anchor': 'timezone', 'attributes': {'timezone': ('timezone', 'text')}},
}) }}
