{{ conform('location_records', ref('stg_shopify__locations'), {
    'source_key': 'location_id',
    'location_name': 'name',
    'location_type': "case when is_fulfillment_service then 'third_party' end",
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'latitude': 'latitude',
    'longitude': 'longitude',
}) }}
