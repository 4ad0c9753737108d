with customers as (
    select
        *,
        nullif(trim(coalesce(first_name, '') || ' ' || coalesce(last_name, '')), '') as full_name,
        case when company is not null and company <> '' then 'company' else 'person' end as customer_type,
        case
            when email_consent = 'SUBSCRIBED' then true
            when email_consent is not null then false
        end as marketing_consent
    from {{ ref('stg_shopify__customers') }}
)

{{ conform('customer_records', 'customers', {
    'source_key': 'customer_id',
    'source_updated_at': 'updated_at',
    'customer_type': 'customer_type',
    'full_name': 'full_name',
    'given_name': 'first_name',
    'family_name': 'last_name',
    'company_name': 'company',
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'language': 'locale',
    'marketing_consent': 'marketing_consent',
    'created_at': 'created_at',
}) }}
