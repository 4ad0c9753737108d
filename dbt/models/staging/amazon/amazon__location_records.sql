-- Amazon names no warehouse: the stock that the marketplaces of one network share is one place.
with networks as (
    select *
    from (
        select
            *,
            {{ amazon_network('marketplace_id') }} as network,
            min(_first_seen_at) over (partition by {{ amazon_network('marketplace_id') }}) as network_seen_at,
            row_number() over (
                partition by {{ amazon_network('marketplace_id') }} order by _extracted_at, marketplace_id, seller_sku
            ) as place
        from {{ ref('stg_amazon__inventory_summaries') }}
    ) as ranked
    where place = 1
),

named as (
    select
        *,
        case network when 'NA' then 'US' else network end as area,
        case network when 'NA' then 'US' when 'UK' then 'GB' end as country
    from networks
)

{{ conform('location_records', 'named', {
    'source_key': 'network',
    'location_name': "'Amazon FBA ' || area",
    'location_type': "'third_party'",
    'location_code': "'FBA-' || area",
    'country': 'country',
    '_first_seen_at': 'network_seen_at',
}) }}
