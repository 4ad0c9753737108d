-- Amazon has no customer list: each order carries its buyer, known again only by the relay address.
{{ conform('customer_records', ref('stg_amazon__orders'), {
    'source_key': 'order_id',
    'source_updated_at': 'updated_at',
    'customer_type': "case when buyer_company is not null then 'company' else 'person' end",
    'full_name': 'coalesce(buyer_name, ship_to_name)',
    'company_name': 'buyer_company',
    'email': 'buyer_email',
    'phone': 'ship_to_phone',
    'phone_e164': 'ship_to_phone_e164',
    'tax_number': 'tax_number',
    'street': 'ship_to_street',
    'city': 'ship_to_city',
    'region': 'ship_to_region',
    'postcode': 'ship_to_postcode',
    'country': 'ship_to_country_iso2',
    'marketplace_buyer_id': 'lower(buyer_email)',
    'created_at': 'created_at',
}) }}
