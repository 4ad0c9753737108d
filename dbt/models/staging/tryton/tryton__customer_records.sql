-- Tryton does not say whether a party is a person or a company: a tax number makes it a company, nothing makes it a
-- person. A party merged into another is that other one now.
with ranked as (
    select
        *,
        row_number() over (
            partition by party_id
            order by case when is_active then 0 else 1 end, coalesce(sequence, 2147483647), id
        ) as place
    from {{ ref('stg_tryton__addresses') }}
),

numbers as (
    select
        party_id,
        min({{ code_point_order('code') }}) as code
    from {{ ref('stg_tryton__party_identifiers') }}
    where is_active and type is not null
    group by party_id
),

parties as (
    select
        parties.*,
        coalesce(parties.tax_code, numbers.code) as tax_number,
        case when coalesce(parties.tax_code, numbers.code) is not null then 'company' end as customer_type,
        case when coalesce(parties.tax_code, numbers.code) is not null then parties.name end as company_name,
        coalesce(parties.phone, parties.mobile) as any_phone,
        coalesce(parties.phone_e164, parties.mobile_e164) as any_phone_e164,
        addresses.street,
        addresses.city,
        addresses.region,
        addresses.postal_code,
        addresses.country_iso2
    from {{ ref('stg_tryton__parties') }} as parties
    left join ranked as addresses
        on parties.id = addresses.party_id and addresses.place = 1
    left join numbers
        on parties.id = numbers.party_id
    where parties.replaced_by_id is null
)

{{ conform('customer_records', 'parties', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'customer_type': 'customer_type',
    'full_name': 'name',
    'company_name': 'company_name',
    'email': 'email',
    'phone': 'any_phone',
    'phone_e164': 'any_phone_e164',
    'tax_number': 'tax_number',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postal_code',
    'country': 'country_iso2',
    'language': 'language',
    'created_at': 'created_at',
}) }}
