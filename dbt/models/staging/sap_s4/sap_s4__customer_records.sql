-- Collective accounts of a marketplace (category 3) are nobody.
with ranked as (
    select
        *,
        row_number() over (partition by partner order by address_id) as place
    from {{ ref('stg_sap_s4__partner_addresses') }}
),

taxes as (
    select
        partner,
        min({{ code_point_order('number') }}) as tax_number
    from {{ ref('stg_sap_s4__partner_tax_numbers') }}
    group by partner
),

partners as (
    select
        partners.*,
        case when partners.category = '2' then 'company' else 'person' end as customer_type,
        coalesce(partners.organization_name, partners.full_name) as any_name,
        nullif(trim(coalesce(addresses.street, '') || ' ' || coalesce(addresses.house_number, '')), '') as street,
        addresses.city,
        addresses.region,
        addresses.postcode,
        addresses.country_iso2,
        addresses.email,
        addresses.phone,
        addresses.phone_e164,
        taxes.tax_number
    from {{ ref('stg_sap_s4__partners') }} as partners
    left join ranked as addresses
        on partners.partner = addresses.partner and addresses.place = 1
    left join taxes
        on partners.partner = taxes.partner
    where partners.category <> '3'
)

{{ conform('customer_records', 'partners', {
    'source_key': 'partner',
    'source_updated_at': 'touched_on',
    'customer_type': 'customer_type',
    'full_name': 'any_name',
    'given_name': 'first_name',
    'family_name': 'last_name',
    'company_name': "case when category = '2' then any_name end",
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'tax_number': 'tax_number',
    'street': 'street',
    'city': 'city',
    'region': 'region',
    'postcode': 'postcode',
    'country': 'country_iso2',
    'language': 'lower(language)',
    'created_at': 'created_on',
}) }}
