with ranked as (
    select
        *,
        row_number() over (
            partition by customer_id
            order by
                case when is_default_billing then 0 when is_default_shipping then 1 else 2 end, updated_at desc, address_id
        ) as place
    from {{ ref('stg_vendure__customer_addresses') }}
),

customers as (
    select
        customers.*,
        nullif(trim(coalesce(customers.first_name, '') || ' ' || coalesce(customers.last_name, '')), '') as full_name,
        nullif(addresses.company, '') as company_name,
        case when addresses.company <> '' then 'company' end as customer_type,
        coalesce(customers.phone, addresses.phone) as any_phone,
        coalesce(customers.phone_e164, addresses.phone_e164) as any_phone_e164,
        addresses.street,
        addresses.city,
        addresses.region,
        addresses.postcode,
        addresses.country_iso2
    from {{ ref('stg_vendure__customers') }} as customers
    left join ranked as addresses
        on customers.customer_id = addresses.customer_id and addresses.place = 1
)

{{ conform('customer_records', 'customers', {
    'source_key': 'customer_id',
    'source_updated_at': 'updated_at',
    'customer_type': 'customer_type',
    'full_name': 'full_name',
    'given_name': 'first_name',
    'family_name': 'last_name',
    'company_name': 'company_name',
    'email': 'email',
    'phone': 'any_phone',
    'phone_e164': 'any_phone_e164',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'created_at': 'created_at',
}) }}
