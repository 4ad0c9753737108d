{{ conform('location_records', ref('stg_sap_s4__plants'), {
    'source_key': 'plant',
    'location_name': 'name',
    'location_type': "'warehouse'",
    'location_code': 'plant',
}) }}
