-- Partners but for the warehouses' own addresses. A delivery address below a company belongs to that company.
with partners as (
    select
        partners.*,
        case when partners.is_company or companies.id is not null then 'company' else 'person' end as customer_type,
        case when partners.is_company then partners.name else companies.name end as company_name,
        nullif(concat_ws(', ', partners.street, partners.street2), '') as whole_street,
        -- Odoo shows a state with its country's code: Guangdong (CN).
        case
            when partners.state_name like '% (__)' then substr(partners.state_name, 1, length(partners.state_name) - 5)
            else partners.state_name
        end as region
    from {{ ref('stg_odoo__partners') }} as partners
    left join {{ ref('stg_odoo__partners') }} as companies
        on partners.parent_id = companies.id and companies.is_company
    where partners.id not in (
        select partner_id from {{ ref('stg_odoo__warehouses') }} where partner_id is not null
    )
)

{{ conform('customer_records', 'partners', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'customer_type': 'customer_type',
    'full_name': 'name',
    'company_name': 'company_name',
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'tax_number': 'vat',
    'street': 'whole_street',
    'city': 'city',
    'region': 'region',
    'postcode': 'zip',
    'country': 'country_iso2',
    'language': 'lang',
    'created_at': 'created_at',
    'parent_key': record_id('odoo', 'partners', 'parent_id'),
}) }}
