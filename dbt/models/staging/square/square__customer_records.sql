with customers as (
    select
        *,
        case when company_name is not null and family_name is null then 'company' else 'person' end as customer_type,
        nullif(trim(coalesce(given_name, '') || ' ' || coalesce(family_name, '')), '') as full_name
    from {{ ref('stg_square__customers') }}
)

{{ conform('customer_records', 'customers', {
    'source_key': 'customer_id',
    'source_updated_at': 'updated_at',
    'customer_type': 'customer_type',
    'full_name': 'coalesce(full_name, company_name)',
    'given_name': 'given_name',
    'family_name': 'family_name',
    'company_name': 'company_name',
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'tax_number': 'eu_vat',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'marketing_consent': 'not is_email_unsubscribed',
    'created_at': 'created_at',
}) }}
