-- A contact or company that was merged into another is that other one now: it lends its record no more.
with merged as (
    select 'contacts' as kind, merged_object_ids
    from {{ ref('stg_hubspot__contacts') }}
    where merged_object_ids is not null
    union all
    select 'companies' as kind, merged_object_ids
    from {{ ref('stg_hubspot__companies') }}
    where merged_object_ids is not null
),

customers as (
    select
        contacts.id,
        contacts.modified_at,
        contacts.created_at,
        case when contacts.company_id is not null then 'company' else 'person' end as customer_type,
        nullif(concat_ws(' ', contacts.first_name, contacts.last_name), '') as full_name,
        contacts.first_name as given_name,
        contacts.last_name as family_name,
        coalesce(contacts.company, companies.name) as company_name,
        contacts.email,
        contacts.phone,
        contacts.phone_e164,
        coalesce(contacts.tax_number, companies.tax_number) as tax_number,
        contacts.address,
        contacts.city,
        contacts.state,
        contacts.zip,
        contacts.country_iso2,
        contacts.language,
        contacts.loyalty_tier,
        contacts.customer_segment,
        contacts.company_id,
        contacts.preference_tags,
        -- Not having unsubscribed is no consent: only a recorded legal basis is.
        case
            when contacts.is_email_optout then false
            when contacts.legal_basis like '%Freely given consent from contact%' then true
        end as marketing_consent,
        contacts._source,
        contacts._stream,
        contacts._batch_id,
        contacts._page_sha256,
        contacts._row_index,
        contacts._extracted_at,
        contacts._first_seen_at
    from {{ ref('stg_hubspot__contacts') }} as contacts
    left join {{ ref('stg_hubspot__companies') }} as companies
        on contacts.company_id = companies.id
    union all
    select
        id,
        modified_at,
        created_at,
        'company' as customer_type,
        name as full_name,
        null as given_name,
        null as family_name,
        name as company_name,
        null as email,
        phone,
        phone_e164,
        tax_number,
        address,
        city,
        state,
        zip,
        country_iso2,
        null as language,
        null as loyalty_tier,
        customer_segment,
        null as company_id,
        null as preference_tags,
        null as marketing_consent,
        _source,
        _stream,
        _batch_id,
        _page_sha256,
        _row_index,
        _extracted_at,
        _first_seen_at
    from {{ ref('stg_hubspot__companies') }}
),

present as (
    select *
    from customers
    where not exists (
        select 1
        from merged
        where merged.kind = customers._stream
            and merged.merged_object_ids like '%"' || customers.id || '"%'
    )
)

{{ conform('customer_records', 'present', {
    'source_key': 'id',
    'source_updated_at': 'modified_at',
    'customer_type': 'customer_type',
    'full_name': 'full_name',
    'given_name': 'given_name',
    'family_name': 'family_name',
    'company_name': 'company_name',
    'email': 'email',
    'phone': 'phone',
    'phone_e164': 'phone_e164',
    'tax_number': 'tax_number',
    'street': 'address',
    'city': 'city',
    'region': 'state',
    'postcode': 'zip',
    'country': 'country_iso2',
    'language': 'language',
    'loyalty_tier': 'loyalty_tier',
    'customer_segment': 'customer_segment',
    'preference_tags': 'preference_tags',
    'marketing_consent': 'marketing_consent',
    'created_at': 'created_at',
    'parent_key': record_id('hubspot', 'companies', 'company_id'),
}) }}
