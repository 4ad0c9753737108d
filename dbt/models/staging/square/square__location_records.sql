{{ conform('location_records', ref('stg_square__locations'), {
    'source_key': 'location_id',
    'location_name': 'name',
    'location_type': "case location_type when 'PHYSICAL' then 'store' when 'MOBILE' then 'virtual' end",
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'latitude': 'latitude',
    'longitude': 'longitude',
    'timezone': 'timezone',
}) }}
